"""The live view in a terminal: a screen of 80 columns, or a line for logs."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from profiler._compat import display_path
from profiler.reporting import terminal, text
from profiler.reporting.answer import answer_of
from profiler.reporting.live_report import View
from profiler.units import format_joules, format_watts

if TYPE_CHECKING:
    from rich.console import RenderableType

_BARS = "▁▂▃▄▅▆▇█"
_RECENT_SECONDS = 60.0
_COLUMNS = 40
_DOMAINS_SHOWN = 6


def line(view: View) -> str:
    """Return the state of the run in a line for a log."""
    report, summary = view.report, view.report.summary
    elapsed = timedelta(seconds=int(summary.window_seconds))
    parts = [f"{elapsed} {summary.status.value}", text.counted(summary.steps, "step")]
    parts += [] if view.total_watts is None or view.is_over else [format_watts(view.total_watts)]
    parts += [] if report.energy is None else [text.joules(report.energy.median)]
    parts += [] if view.loss is None else [f"loss {text.level(view.loss)}"]
    return ", ".join(parts) + (f". {text.advice(answer_of(report))}" if report.outlook is not None else "")


def screen(view: View) -> "RenderableType":
    """Return the whole view."""
    from rich.console import Group

    return Group(*_parts(view))


def _parts(view: View) -> "Iterator[RenderableType]":
    from rich.text import Text

    report, summary = view.report, view.report.summary
    yield Text(terminal.headline(report), style="bold")
    yield from map(Text, _power(view))
    yield Text(f"loss    {'none yet' if view.loss is None else text.level(view.loss)}")
    yield from map(Text, terminal.body(report))
    if report.outlook is not None and not view.is_over:
        yield Text(f"forecast {text.age(view.forecast_age_seconds)} old", style="dim")
    yield Text(f"record  {text.one_line(display_path(summary.path))}", style="dim")


def _power(view: View) -> Iterator[str]:
    if view.total_watts is None:
        yield "power   not measured"
        return
    if not view.is_over:
        yield f"power   {format_watts(view.total_watts)} now  {_sparkline(view)}".rstrip()
    lines = [line for line in view.report.domains if line.billed]
    for known in lines[:_DOMAINS_SHOWN]:
        watts = known.watts if view.is_over else view.watts.get(known.name, known.watts)
        name, joules = text.one_line(known.name), format_joules(known.joules)
        yield f"  {name:<16} {format_watts(watts):>8} {joules:>8}  {text.provenance(known)}"
    if rest := lines[_DOMAINS_SHOWN:]:
        yield f"  and {len(rest)} more"


def _sparkline(view: View) -> str:
    """Return the power of the last minute, scaled between its lowest and highest."""
    import numpy as np

    samples = view.run.samples_by_domain
    last = max(float(rows["time_seconds"].iloc[-1]) for rows in samples.values())
    edges = np.linspace(max(last - _RECENT_SECONDS, 0.0), last, _COLUMNS + 1)
    energy = np.zeros_like(edges)
    for name, rows in samples.items():
        seconds, joules = rows["time_seconds"].to_numpy(), rows["energy_joules"].to_numpy()
        recent = seconds >= edges[0] - 1.0
        if name in view.watts and recent.any():
            energy += np.interp(edges, seconds[recent], joules[recent])
    watts = np.diff(energy) / max(float(edges[1] - edges[0]), 1e-9)
    low, high = float(watts.min()), float(watts.max())
    if not high > 1.01 * low:
        return ""
    return "".join(_BARS[round((len(_BARS) - 1) * (w - low) / (high - low))] for w in watts.tolist())
