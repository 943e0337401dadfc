"""The report as JSON; ``docs/report-json.md`` documents its keys. Unknown and infinite numbers are null."""

import json
import math
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from profiler.reporting.renderer import Rendered, RenderOptions

if TYPE_CHECKING:
    from profiler.reporting.model import Report

REPORT_VERSION = 1
_INTERNAL = ("examine",)
_REPEATED = ("metered", "refusals", "warnings")
"""Keys of the summary that the report repeats, without identifiers of devices."""


def render(report: "Report", _: RenderOptions) -> Rendered:
    """Render the report."""
    body = {"report_version": REPORT_VERSION, **plain(report), **plain(report.details)}
    for name in _REPEATED:
        del body["summary"][name]
    return Rendered(content=f"{json.dumps(body, indent=1, allow_nan=False)}\n".encode())


def plain(value: Any) -> Any:
    """Convert dataclasses to mappings and numbers that JSON cannot hold to null."""
    if is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in fields(value) if field.name not in _INTERNAL)
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
