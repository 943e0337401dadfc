"""What the live page shows, as JSON: words and figures of the report, which the page only lays out."""

import json
from importlib.resources import files
from typing import Any

from profiler.analysis.downsample import power_of, stretches
from profiler.reporting import figures, tables, text
from profiler.reporting.cards import Card, cards_of
from profiler.reporting.live_report import View
from profiler.units import format_seconds, format_watts

_RESOURCES = {
    "/": ("watch.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/watch.css": ("watch.css", "text/css"),
    "/watch.js": ("watch.js", "text/javascript"),
}
PLOTLY = "/plotly.js"


def resource(path: str) -> tuple[bytes, str] | None:
    """The file that the page asks for under ``path``, with its type; None where there is none."""
    if path == PLOTLY:
        return figures.script().encode(), "text/javascript"
    if path not in _RESOURCES:
        return None
    name, kind = _RESOURCES[path]
    return files("profiler.reporting").joinpath(name).read_bytes(), kind


def snapshot(view: View) -> bytes:
    """Everything that changes on the page."""
    report, summary = view.report, view.report.summary
    outlook = report.outlook
    elapsed = format_seconds(summary.window_seconds)
    shown = {
        "name": text.one_line(summary.name) or "unnamed run",
        "status": summary.status.value,
        "state": f"{summary.status.value} after {elapsed}, begun {text.when(summary.started_at)}",
        "over": view.is_over,
        "answer": text.answer(report),
        "cards": [[card.label, card.value, card.note] for card in (*_now(view), *cards_of(report))],
        "targets": _table(tables.targets(outlook, report.training_watts)) if outlook else None,
        "warnings": list(report.warnings),
        "figures": _figures(view),
    }
    return json.dumps(shown, allow_nan=False, separators=(",", ":")).encode()


def _now(view: View) -> tuple[Card, ...]:
    """The power of the moment, while there is one."""
    if view.is_over or view.total_watts is None:
        return ()
    parts = ", ".join(f"{name} {format_watts(watts)}" for name, watts in view.watts.items())
    return (Card(label="Power now", value=format_watts(view.total_watts), note=parts),)


def _table(table: tables.Table) -> dict[str, Any]:
    return {"head": list(table.head), "rows": [list(row) for row in table.rows]}


def _figures(view: View) -> dict[str, figures.Figure]:
    run, outlook = view.run, view.report.outlook
    power = power_of(run.samples, list(view.watts))
    found = {
        "curve": figures.curve(outlook, view.chart) if outlook and view.chart else None,
        "power": figures.power(power, stretches(run.steps, run.spans)) if power else None,
    }
    return {name: figure for name, figure in found.items() if figure is not None}
