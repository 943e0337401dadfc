"""The figures of the page as plain data for plotly.js. Colours are names of ``page.css``: it knows light and dark."""

from collections.abc import Iterable, Sequence
from typing import Any

from profiler.records import Interval
from profiler.report.details import Chart, Details
from profiler.report.outlook import Outlook
from profiler.report.series import Band, Power, Series, Stretch
from profiler.report.where import Part

Figure = dict[str, Any]
COLOURS = tuple(f"var(--c{number})" for number in range(1, 8))
_LINE, _BAND, _FLOOR, _FLOOR_BAND = "var(--accent)", "var(--accent-soft)", "var(--floor)", "var(--floor-soft)"
_SEEN, _BINS = "var(--faint)", "var(--ink)"
_MARGIN = 1.08
_FARTHEST_FLOOR = 4.0
_DIGITS = 6


def script() -> str:
    """Plotly's own script."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def script_name() -> str:
    """What it is called beside a page."""
    from plotly.offline import get_plotlyjs_version

    return f"plotly-{get_plotlyjs_version()}.min.js"


def figures_of(outlook: Outlook | None, details: Details) -> dict[str, Figure]:
    """Every figure that the run has, by its place in the page."""
    found = {
        "curve": curve(outlook, details.chart) if outlook and details.chart else None,
        "power": power(details.power, details.stretches) if details.power else None,
        "step-joules": step_joules(details.step_joules_over_time) if details.step_joules_over_time else None,
        "where": where(details.where) if any(part.joules for part in details.where) else None,
        "halvings": halvings(outlook, details) if outlook and details.halvings else None,
        "learning-rate": learning_rate(details.learning_rate) if details.learning_rate else None,
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def curve(outlook: Outlook, chart: Chart) -> Figure:
    """Loss against joules on log axes: measured, fitted, extrapolated, and the floor's band."""
    law = [(x, i.median) for x, i in zip(chart.law_joules, chart.law, strict=True)]
    known = sum(x <= outlook.joules for x, _ in law)
    data = [
        *_floor(outlook.floor, chart),
        *_between(chart.law_joules, [i.low for i in chart.law], [i.high for i in chart.law], "90 % band"),
        _dots(chart.seen.x, chart.seen.y, "recorded", {"size": 3, "color": _SEEN}),
        _dots(chart.joules, chart.losses, "mean in a bin", {"size": 5, "color": _BINS}),
        _line(*zip(*law[:known], strict=True), name="fit", line={"color": _LINE, "width": 2.5}),
        _line(
            *zip(*law[max(known - 1, 0) :], strict=True),
            name="extrapolated",
            line={"color": _LINE, "width": 2.5, "dash": "dash"},
        ),
    ]
    lowest, highest = _range(outlook, chart)
    layout = {
        "xaxis": {
            "type": "log",
            "title": {"text": "energy since the start"},
            "ticksuffix": "J",
            "exponentformat": "SI",
        },
        "yaxis": {
            "type": "log",
            "title": {"text": "loss"},
            "range": _logs(lowest, highest),
            **_few(lowest, highest),
        },
    }
    return {"data": data, "layout": layout}


def _floor(floor: Interval, chart: Chart) -> list[Figure]:
    ends = [min(chart.seen.x, default=chart.law_joules[0]), chart.law_joules[-1]]
    least = min(chart.losses) * 1e-6
    low, high = (max(level, least) for level in (floor.low, floor.high))
    middle = {"color": _FLOOR, "width": 1.5, "dash": "dot"}
    return [
        *_between(ends, [low] * 2, [high] * 2, "floor, 90 %", fill=_FLOOR_BAND),
        _line(ends, [max(floor.median, least)] * 2, name="median floor", line=middle),
    ]


def _range(outlook: Outlook, chart: Chart) -> tuple[float, float]:
    """The losses that the figure shows: all that was measured and expected, and the median floor where it is near."""
    lowest = min(*chart.losses, *(i.low for i in chart.law if i.low > 0.0))
    floor = max(outlook.floor.median, lowest / _FARTHEST_FLOOR)
    highest = max(*chart.losses, *chart.seen.y)
    return min(lowest, floor) / _MARGIN, highest * _MARGIN


def power(known: Power, stretches: Sequence[Stretch]) -> Figure:
    """Power over time, stacked by domain, with its peaks, over what the time was spent on."""
    total = [sum(watts) for watts in zip(*(one.watts for one in known.domains), strict=True)]
    areas = [
        {
            **_line(
                known.seconds, [*one.watts, one.watts[-1]], name=one.domain, line={"width": 0, "shape": "hv"}
            ),
            "stackgroup": "power",
            "fillcolor": COLOURS[number % len(COLOURS)],
        }
        for number, one in enumerate(known.domains)
    ]
    peaks = [value for pair in zip(known.low, known.high, strict=True) for value in pair]
    middles = [(a + b) / 2 for a, b in zip(known.seconds, known.seconds[1:], strict=False) for _ in range(2)]
    spans = max(h - m for h, m in zip(known.high, total, strict=True)) > 0.02 * max(known.high)
    extremes = _line(middles, peaks, name="lowest and highest", line={"color": "var(--soft)", "width": 0.7})
    layout = {
        **_seconds(),
        "yaxis": {
            "title": {"text": "power"},
            "ticksuffix": "W",
            "exponentformat": "SI",
            "rangemode": "tozero",
        },
        "yaxis2": {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
    }
    return {"data": [*areas, *([extremes] if spans else []), *_shades(stretches)], "layout": layout}


def _shades(stretches: Sequence[Stretch]) -> list[Figure]:
    """One see-through trace for each kind of stretch, as high as the figure."""
    kinds = list(dict.fromkeys(stretch.kind for stretch in stretches))
    return [_shade(kind, number, stretches) for number, kind in enumerate(kinds)]


def _shade(kind: str, number: int, stretches: Sequence[Stretch]) -> Figure:
    x: list[float | None] = []
    for one in stretches:
        if one.kind == kind:
            x += [one.start_seconds, one.start_seconds, one.end_seconds, one.end_seconds, None]
    colour = COLOURS[-1 - number % len(COLOURS)]
    fill = {"fill": "tozeroy", "fillcolor": colour, "opacity": 0.35, "yaxis": "y2", "hoverinfo": "skip"}
    return {**_line(x, [0, 1, 1, 0, None] * (len(x) // 5), name=kind, line={"width": 0}), **fill}


def step_joules(known: Band) -> Figure:
    """Joules a step over time: the mean of each piece, inside its extremes."""
    data = [
        *_between(known.x, known.low, known.high, "lowest to highest"),
        _line(known.x, known.mean, name="mean", line={"color": _LINE, "width": 2}),
    ]
    y = {"title": {"text": "energy a step"}, "ticksuffix": "J", "exponentformat": "SI", "rangemode": "tozero"}
    return {"data": data, "layout": {**_seconds(), "yaxis": y}}


def learning_rate(known: Series) -> Figure:
    """The learning rate over time."""
    line = _line(known.x, known.y, name="learning rate", line={"color": _LINE, "width": 2, "shape": "hv"})
    y = {"title": {"text": "learning rate"}, "rangemode": "tozero", "exponentformat": "power"}
    return {"data": [{**line, "showlegend": False}], "layout": {**_seconds(), "yaxis": y}}


def where(parts: Sequence[Part]) -> Figure:
    """Where the energy went, as one bar."""
    bars = [
        {
            "type": "bar",
            "orientation": "h",
            "x": [_short(part.joules)],
            "y": [""],
            "name": part.name,
            "marker": {"color": COLOURS[number % len(COLOURS)]},
            "hovertemplate": "%{x:.3s}J",
        }
        for number, part in enumerate(parts)
        if part.joules
    ]
    layout = {
        "barmode": "stack",
        "xaxis": {"ticksuffix": "J", "exponentformat": "SI"},
        "yaxis": {"visible": False, "fixedrange": True},
    }
    return {"data": bars, "layout": layout}


def halvings(outlook: Outlook, details: Details) -> Figure:
    """Joules more for each halving of the distance to the floor, beside a year of the world's electricity."""
    rows = [(row.halvings, row.target.more) for row in details.halvings if row.target.more]
    x, median = [count for count, _ in rows], [_short(more.median) for _, more in rows]
    farthest = outlook.yardstick.joules
    ends = [[_short(min(end, farthest)) for end in column] for column in _ends(rows)]
    world = _line([0.5, max(x) + 0.5], [farthest] * 2, name=outlook.yardstick.name,
                  line={"color": _FLOOR, "width": 1.5, "dash": "dot"})  # fmt: skip
    data = [
        *_between(x, ends[0], ends[1], "90 % interval"),
        {**_line(x, median, name="median", line={"color": _LINE, "width": 2}), "mode": "lines+markers"},
        world,
    ]
    layout = {
        "xaxis": {
            "title": {"text": "halvings of the distance to the median floor"},
            "dtick": max(len(x) // 10, 1),
        },
        "yaxis": {"type": "log", "title": {"text": "energy more"}, "ticksuffix": "J", "exponentformat": "SI"},
    }
    return {"data": data, "layout": layout}


def _ends(rows: Iterable[tuple[int, Interval]]) -> tuple[list[float], list[float]]:
    known = list(rows)
    return [more.low for _, more in known], [more.high for _, more in known]


def _seconds() -> Figure:
    return {"xaxis": {"title": {"text": "time since the start"}, "ticksuffix": "s", "exponentformat": "none"}}


def _logs(lowest: float, highest: float) -> list[float]:
    from math import log10

    return [log10(lowest), log10(highest)]


def _few(lowest: float, highest: float) -> Figure:
    """Ticks that can be read where a log axis spans little."""
    return {"dtick": "D1", "nticks": 8} if highest / lowest > 30 else {"nticks": 8}  # noqa: PLR2004 - a decade and a half


def _between(
    x: Sequence[float], low: Sequence[float], high: Sequence[float], name: str, fill: str = _BAND
) -> list[Figure]:
    """Two invisible lines and what lies between them."""
    plain = {"line": {"width": 0}, "hoverinfo": "skip"}
    return [
        {**_line(x, low, name=name, **plain), "showlegend": False},
        {**_line(x, high, name=name, **plain), "fill": "tonexty", "fillcolor": fill},
    ]


def _line(x: Sequence[Any], y: Sequence[Any], *, name: str, **looks: Any) -> Figure:
    return {"type": "scatter", "mode": "lines", "x": _list(x), "y": _list(y), "name": name, **looks}


def _dots(x: Sequence[float], y: Sequence[float], name: str, marker: Figure) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": _list(x),
        "y": _list(y),
        "name": name,
        "marker": marker,
    }


def _list(values: Sequence[Any]) -> list[Any]:
    return [None if value is None else _short(value) for value in values]


def _short(value: float) -> float:
    """What can be told apart on a screen."""
    return float(f"{value:.{_DIGITS}g}")
