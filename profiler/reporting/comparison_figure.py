"""Figure of a comparison: the smoothed curves of the runs, and the frontier with its projection."""

from itertools import cycle
from typing import TYPE_CHECKING

from profiler.reporting import figures

if TYPE_CHECKING:
    from profiler.reporting.comparison import Comparison
    from profiler.reporting.figures import Figure

_FRONTIER = "var(--faint)"
_DASHES = ("solid", "dash", "dot")


def curves(comparison: "Comparison") -> "Figure":
    """Draw the level of each run against its joules, over the frontier and its projection."""
    known = [line for line in comparison.runs if line.series is not None]
    data, colours = _frontier(comparison), len(figures.COLOURS)
    looks = cycle([(colour, dash) for dash in _DASHES for colour in figures.COLOURS[: colours - 1]])
    for line, (colour, dash) in zip(known, looks, strict=False):
        if line.series is not None:
            style = {"color": colour, "width": 2.5, "dash": dash}
            drawn = figures.polyline(line.series.joules, line.series.levels, name=line.name, line=style)
            data.append({**drawn, **figures.hover_text(line.name)})
    levels = [level for line in known if line.series for level in line.series.levels]
    levels += [one.loss.median for one in comparison.ahead]
    joules = [end for line in known if line.series for end in (line.series.joules[0], line.series.joules[-1])]
    joules += [one.joules for one in comparison.ahead]
    return {"data": data, "layout": figures.plane(comparison.metric, joules, levels)}


def _frontier(comparison: "Comparison") -> "list[Figure]":
    series = comparison.frontier
    if series is None:
        return []
    skipped = {"hoverinfo": "skip"}
    wide = {"color": _FRONTIER, "width": 8}
    data = [{**figures.polyline(series.joules, series.levels, name="cheapest", line=wide), **skipped}]
    if comparison.ahead:
        joules = [series.joules[-1], *(one.joules for one in comparison.ahead)]
        last = series.levels[-1]
        low = [last, *(one.loss.low for one in comparison.ahead)]
        high = [last, *(one.loss.high for one in comparison.ahead)]
        middle = [last, *(one.loss.median for one in comparison.ahead)]
        dashed = {"color": _FRONTIER, "width": 3, "dash": "dash"}
        data += [{**one, "showlegend": False} for one in figures.band(joules, low, high, "90 %")]
        data.append({**figures.polyline(joules, middle, name="projection, 90 %", line=dashed), **skipped})
    return data
