"""The live page: its files, and the snapshots of a run that it lays out, as JSON."""

import json
from typing import TYPE_CHECKING, Any

from profiler.analysis.downsample import power_of, stretches
from profiler.reporting import figures, tables, text
from profiler.reporting.answer import answer_of
from profiler.reporting.templating import render_template, static
from profiler.units import format_watts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from profiler.merging.follow import LatestPower
    from profiler.reporting.live_report import View

_RESOURCES = {
    "/page.css": ("page.css", "text/css"),
    "/watch.css": ("watch.css", "text/css"),
    "/figures.js": ("figures.js", "text/javascript"),
    "/watch.js": ("watch.js", "text/javascript"),
    "/runs.js": ("runs.js", "text/javascript"),
}
PLOTLY = "/plotly.js"


_PAGES = {False: {"/": "watch.html"}, True: {"/": "runs.html", "/run": "watch.html"}}
"""Templates by path, of one run and of a folder of runs."""


def resource(path: str, *, of_folder: bool = False) -> tuple[bytes, str] | None:
    """Return the file that the page requests under ``path``, with its type; None where there is none."""
    if path in _PAGES[of_folder]:
        return render_template(_PAGES[of_folder][path]).encode(), "text/html"
    if path == PLOTLY:
        return figures.script().encode(), "text/javascript"
    if path not in _RESOURCES:
        return None
    name, kind = _RESOURCES[path]
    return static(name), kind


def encoded(shown: dict[str, Any]) -> bytes:
    """Encode a snapshot as JSON."""
    return json.dumps(shown, allow_nan=False, separators=(",", ":")).encode()


def refreshed(
    shown: dict[str, Any], power: "LatestPower | None", *, now: float, age_seconds: float
) -> dict[str, Any]:
    """Return a snapshot with the present power and the age of its other numbers.

    Args:
        shown: The snapshot.
        power: The last readings; None keeps the power of the snapshot.
        now: The present time in Unix seconds.
        age_seconds: Time since the snapshot was computed.
    """
    if shown["over"]:
        return shown
    forecast = text.age(shown["forecast_seconds"] + age_seconds)
    ages = {
        "state": f"{shown['state']}. Energy, steps and levels read {text.age(age_seconds)} ago",
        "age": f"Forecast computed {forecast} ago",
    }
    if power is None:
        return {**shown, **ages}
    card = _power(power.watts, now - power.unix_seconds)
    others = [one for one in shown["cards"] if one[0] != card[0]]
    return {**shown, **ages, "cards": [card, *others]}


def snapshot(view: "View") -> dict[str, Any]:
    """Return everything that changes on the page."""
    report, summary = view.report, view.report.summary
    outlook, spent = report.outlook, summary.total_joules or 0.0
    answer = answer_of(report)
    rows = [
        ("Cost", answer.cost),
        ("Scope", answer.scope),
        ("Worth", " ".join(answer.worth)),
        ("Advice", text.advice(answer)),
    ]
    return {
        "name": text.one_line(summary.name) or "unnamed run",
        "status": summary.status.value,
        "state": f"Started {text.when(summary.started_at)}",
        "band": answer.status,
        "tone": answer.tone,
        "over": view.is_over,
        "answer": [pair for pair in (*rows, ("Trust", answer.measuring)) if pair[1]],
        "metric": text.one_line(report.metric),
        "age": "",
        "forecast_seconds": view.forecast_age_seconds,
        "cards": [*_now(view), *([card.label, card.value, card.note] for card in tables.cards_of(report))],
        "targets": _table(tables.targets(outlook, spent, report.training_watts)) if outlook else None,
        "warnings": list(report.warnings),
        "figures": _figures(view),
    }


def _now(view: "View") -> list[list[str]]:
    """Return the power of the snapshot while the run is running."""
    return [] if view.is_over or view.total_watts is None else [_power(view.watts)]


def _power(watts: "Mapping[str, float]", age_seconds: float | None = None) -> list[str]:
    parts = ", ".join(f"{name} {format_watts(value)}" for name, value in watts.items())
    age = "" if age_seconds is None else f"; read {text.age(max(age_seconds, 0.0))} ago"
    return ["Power now", format_watts(sum(watts.values())), f"{parts}{age}"]


def _table(table: tables.Table) -> dict[str, Any]:
    return {"head": table.head, "rows": table.rows}


def _figures(view: "View") -> dict[str, figures.Figure]:
    run, outlook = view.run, view.report.outlook
    power = power_of(run.samples_by_domain, list(view.watts))
    found = {
        "curve": figures.metric(outlook, view.chart, view.report.metric) if view.chart else None,
        "power": figures.power(power, stretches(run.steps, run.spans)) if power else None,
    }
    return {name: figure for name, figure in found.items() if figure is not None}
