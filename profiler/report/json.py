"""The report as JSON. Infinite joules are null: the verdict beside them says why."""

import json
import math
from dataclasses import fields, is_dataclass
from typing import Any

from profiler.report.model import Report

REPORT_VERSION = 1


def render(report: Report) -> str:
    """Render the report; ends with a newline."""
    return json.dumps({"report_version": REPORT_VERSION, **_plain(report)}, indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
