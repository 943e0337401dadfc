"""The report as JSON. Infinite joules are null: the verdict beside them says why."""

import json
import math
from dataclasses import fields, is_dataclass
from typing import Any

from profiler.report.model import Report

REPORT_VERSION = 1


def render(report: Report) -> str:
    """Render the report; ends with a newline."""
    return json.dumps({"report_version": REPORT_VERSION, **plain(report)}, indent=1, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Turn dataclasses into mappings and what JSON has no word for into null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
