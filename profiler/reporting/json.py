"""The report as JSON; ``docs/report-json.md`` documents its keys. Unknown and infinite numbers are null."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from profiler.reporting.answer import answer_of
from profiler.reporting.renderer import Rendered, RenderOptions

if TYPE_CHECKING:
    from profiler.reporting.records import MetricReport, Report

REPORT_VERSION = 2
_REPORTED = (
    "summary", "energy", "modelled_share", "watts", "training_watts", "step_joules", "step_seconds", "cost",
    "domains", "note", "refusals", "warnings", "waste", "power_limits",
)  # fmt: skip
_OF_WORK = ("total", "joules_each", "reason")
_REPEATED = ("metered", "refusals", "warnings", "work", "parameters")
"""Keys of the summary that the report repeats, without identifiers of devices."""


def render(report: "Report", _: RenderOptions) -> Rendered:
    """Render the report."""
    first, details = report.metrics[0], report.details
    body = {
        "report_version": REPORT_VERSION,
        "answer": plain(answer_of(report)),
        **{name: plain(getattr(report, name)) for name in _REPORTED},
        "work": _work(report),
        "device_hours": plain(report.device_hours),
        "node_meters": plain(report.node_meters),
        "idle": plain(report.idle),
        "metric": first.name,
        "forecast": _forecast(first),
        "outlook": plain(first.outlook),
        "refused": first.refused,
        "metrics": [_metric(report, number) for number in range(len(report.metrics))],
        **{name: plain(getattr(details.headline, name)) for name in ("target_table", "assumptions", "chart")},
        **{
            field.name: plain(getattr(details, field.name))
            for field in fields(details)
            if field.name != "curves"
        },
    }
    for name in _REPEATED:
        del body["summary"][name]
    return Rendered(content=f"{json.dumps(body, indent=1, allow_nan=False)}\n".encode())


def _work(report: "Report") -> dict[str, Any]:
    units = {line.unit: {name: plain(getattr(line, name)) for name in _OF_WORK} for line in report.work}
    return {"parameters": report.summary.parameters, **units}


def _forecast(known: "MetricReport") -> dict[str, Any] | None:
    """Return the state of a metric's curve and the reason for it; None without a curve."""
    if known.state is None:
        return None
    return {
        "state": known.state,
        "reason": known.refused if known.outlook is None else known.outlook.state_reason,
    }


def _metric(report: "Report", number: int) -> dict[str, Any]:
    """Convert one metric; the details of the headline's are at the top level."""
    known: dict[str, Any] = plain(report.metrics[number])
    curves = report.details.curves
    if number == 0:
        del known["outlook"]
    elif number < len(curves):
        known |= {name: plain(getattr(curves[number], name)) for name in ("target_table", "chart")}
    return known


def plain(value: Any) -> Any:
    """Convert dataclasses to mappings and numbers that JSON cannot hold to null."""
    if is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in fields(value))
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
