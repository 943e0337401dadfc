"""The live page: its files, and the snapshots of a run that it lays out, as JSON."""

import json
from typing import TYPE_CHECKING, Any

from profiler.analysis.downsample import power_of, stretches
from profiler.reporting import figures, tables, text
from profiler.reporting.templating import render_template, static
from profiler.units import format_watts

if TYPE_CHECKING:
    from profiler.reporting.live_report import View

_RESOURCES = {
    "/page.css": ("page.css", "text/css"),
    "/watch.css": ("watch.css", "text/css"),
    "/figures.js": ("figures.js", "text/javascript"),
    "/watch.js": ("watch.js", "text/javascript"),
}
PLOTLY = "/plotly.js"


def resource(path: str) -> tuple[bytes, str] | None:
    """Return the file that the page requests under ``path``, with its type; None where there is none."""
    if path == "/":
        return render_template("watch.html").encode(), "text/html"
    if path == PLOTLY:
        return figures.script().encode(), "text/javascript"
    if path not in _RESOURCES:
        return None
    name, kind = _RESOURCES[path]
    return static(name), kind


def snapshot(view: "View") -> bytes:
    """Return everything that changes on the page, as JSON."""
    report, summary = view.report, view.report.summary
    outlook, spent = report.outlook, summary.total_joules or 0.0
    answer = report.answer
    rows = [("Cost", answer.cost), ("Worth", " ".join(answer.worth)), ("Advice", text.advice(answer))]
    shown = {
        "name": text.one_line(summary.name) or "unnamed run",
        "status": summary.status.value,
        "state": f"Started {text.when(summary.started_at)}",
        "band": answer.status,
        "tone": answer.tone,
        "over": view.is_over,
        "answer": [pair for pair in (*rows, ("Trust", answer.measuring)) if pair[1]],
        "metric": text.one_line(report.metric),
        "age": "" if view.is_over else f"Forecast computed {text.age(view.forecast_age_seconds)} ago",
        "cards": [[card.label, card.value, card.note] for card in (*_now(view), *tables.cards_of(report))],
        "targets": _table(tables.targets(outlook, spent, report.training_watts)) if outlook else None,
        "warnings": list(report.warnings),
        "figures": _figures(view),
    }
    return json.dumps(shown, allow_nan=False, separators=(",", ":")).encode()


def _now(view: "View") -> tuple[tables.Card, ...]:
    """Return the present power while the run is running."""
    if view.is_over or view.total_watts is None:
        return ()
    parts = ", ".join(f"{name} {format_watts(watts)}" for name, watts in view.watts.items())
    return (tables.Card(label="Power now", value=format_watts(view.total_watts), note=parts),)


def _table(table: tables.Table) -> dict[str, Any]:
    return {"head": table.head, "rows": table.rows}


def _figures(view: "View") -> dict[str, figures.Figure]:
    run, outlook = view.run, view.report.outlook
    power = power_of(run.samples, list(view.watts))
    found = {
        "curve": figures.metric(outlook, view.chart, view.report.metric) if view.chart else None,
        "power": figures.power(power, stretches(run.steps, run.spans)) if power else None,
    }
    return {name: figure for name, figure in found.items() if figure is not None}
