"""Figure of a comparison: the smoothed curves of the runs, and the frontier with its projection."""

from html import escape
from itertools import cycle
from typing import TYPE_CHECKING

from profiler.reporting import figures, text
from profiler.units import significant

if TYPE_CHECKING:
    from profiler.reporting.figures import Figure
    from profiler.reporting.records import Comparison

_FRONTIER = "var(--faint)"
_TOTAL, _MORE, _LESS = "var(--soft)", "var(--floor)", "var(--accent)"
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


def bridge(comparison: "Comparison") -> "Figure":
    """Draw the energy of the first run, each factor as a step from there, and the energy of the last run."""
    from profiler.analysis.factors import FACTORS

    assert comparison.why_joules is not None
    assert comparison.why_runs is not None
    first, last = (text.shortened(comparison.runs[index].name, 24) for index in comparison.why_runs)
    ratios = {one.name: one.ratio for one in comparison.why}
    start, end = comparison.why_joules
    names, bases, sizes, words, colours = [first], [0.0], [start], [text.joules(start)], [_TOTAL]
    level = start
    for name in FACTORS:
        reached = level * ratios[name]
        names.append(text.factor(name))
        bases.append(min(level, reached))
        sizes.append(abs(reached - level))
        words.append(f"x {significant(ratios[name])}")
        colours.append(_MORE if reached > level else _LESS)
        level = reached
    names, bases, sizes = [*names, last], [*bases, 0.0], [*sizes, end]
    words, colours = [*words, text.joules(end)], [*colours, _TOTAL]
    rows = [f"{number}. {escape(name, quote=False)}" for number, name in enumerate(names, 1)]
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "y": [row],
                "base": [base],
                "x": [size],
                "text": [word],
                "textposition": "auto",
                "cliponaxis": False,
                "marker": {"color": colour},
                "hovertemplate": "%{y}: %{text}<extra></extra>",
            }
            for row, base, size, word, colour in zip(rows, bases, sizes, words, colours, strict=True)
        ],
        "layout": {
            "barmode": "overlay",
            "xaxis": {"title": {"text": "energy to the level, J"}, "tickformat": "~s", "rangemode": "tozero"},
            "yaxis": {"fixedrange": True, "autorange": "reversed", "ticksuffix": " "},
            "showlegend": False,
        },
    }


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
        low = [last, *(figures.drawable(one.loss.low, series.levels) for one in comparison.ahead)]
        high = [last, *(figures.drawable(one.loss.high, series.levels) for one in comparison.ahead)]
        middle = [last, *(one.loss.median for one in comparison.ahead)]
        dashed = {"color": _FRONTIER, "width": 3, "dash": "dash"}
        data += [{**one, "showlegend": False} for one in figures.band(joules, low, high, "90 %")]
        data.append({**figures.polyline(joules, middle, name="projection, 90 %", line=dashed), **skipped})
    return data
