"""The report as JSON; ``docs/report-json.md`` describes its keys. Infinite joules are null: a verdict says why."""

import json
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from profiler.reporting.model import Report

REPORT_VERSION = 1
_NOT_SAID = ("look_closer",)
_SAID_ELSEWHERE = ("metered", "refusals", "warnings")
"""Of the summary: the report's own domains, refusals and warnings say it, without identifiers of devices."""


def render(report: Report) -> str:
    """Render the report; ends with a newline."""
    body = {"report_version": REPORT_VERSION, **plain(report), **plain(report.details)}
    for name in _SAID_ELSEWHERE:
        del body["summary"][name]
    return "".join(_lines(body)) + "\n"


def plain(value: Any) -> Any:
    """Turn dataclasses into mappings and what JSON has no word for into null."""
    if is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in fields(value) if field.name not in _NOT_SAID)
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _lines(value: Any, indent: str = "\n") -> Iterator[str]:
    """Write a value with a line for each entry, but for each mapping or list without another inside it."""
    deeper = indent + " "
    if isinstance(value, dict) and _nests(value.values()):
        for number, (key, item) in enumerate(value.items()):
            yield f"{',' if number else '{'}{deeper}{json.dumps(key)}: "
            yield from _lines(item, deeper)
        yield indent + "}"
    elif isinstance(value, list) and _nests(value):
        for number, item in enumerate(value):
            yield f"{',' if number else '['}{deeper}"
            yield from _lines(item, deeper)
        yield indent + "]"
    else:
        yield json.dumps(value, allow_nan=False)


def _nests(items: Any) -> bool:
    return any(isinstance(item, (dict, list)) for item in items)
