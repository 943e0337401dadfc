"""Figures of the page as data for plotly.js. Colours are variables of ``page.css``, in a light and a dark set."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import log10
from typing import TYPE_CHECKING, Any

from profiler.analysis.breakdown import TRAINING
from profiler.analysis.device_energy import Piece
from profiler.analysis.downsample import Band, Power, Series, Stretch
from profiler.records import Interval
from profiler.reporting import text
from profiler.reporting.templating import static
from profiler.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE, SECONDS_PER_YEAR

if TYPE_CHECKING:
    from profiler.reporting.records import Chart, Outlook, Report

Figure = dict[str, Any]
SCRIPT_NAME = "plotly-basic-4.1.1.min.js"
"""Plotly's bundle of scatter, bar and pie, from the npm package plotly.js-basic-dist-min; the same as on its server."""
COLOURS = tuple(f"var(--c{number})" for number in range(1, 8))
_LINE, _BAND, _FLOOR, _FLOOR_BAND = "var(--accent)", "var(--accent-soft)", "var(--floor)", "var(--floor-soft)"
_SEEN, _BINS, _SOFT = "var(--faint)", "var(--ink)", "var(--soft)"
_DOTTED = {"color": _FLOOR, "width": 1.5, "dash": "dot"}
_KINDS = {
    TRAINING: "#1b5fbd", "evaluation": "#2f7291", "checkpoint": "#b0421d", "stall": "#8f3f79", "setup": "#68727f",
    "lost": "#9a5b00", "idle": "#7b8592", "teardown": "#4d5663",
    "forward": "#1b5fbd", "backward": "#0f766e", "optimizer": "#8f3f79", "data": "#9a5b00", "other": "#68727f",
}  # fmt: skip
"""Colours of activities: dark enough for white text in both themes."""
_PHASES = ("#0f766e", "#6d4aa8")
"""Colours of phases that the user named."""
_CLOCK = (
    (SECONDS_PER_YEAR, "years"), (SECONDS_PER_DAY, "days"), (SECONDS_PER_HOUR, "hours"),
    (SECONDS_PER_MINUTE, "minutes"),
)  # fmt: skip
_FEWEST_TICKS = 4
_LANE = 0.04
"""Part of the figure's height for the lane of named stretches."""
_VISIBLE = 0.02
_LABELLED = 0.06
"""Share of the energy from which a piece of a bar has a label."""
_DEVICES = ("#1b5fbd", "#0f766e", "#6d4aa8", "#9a5b00", "#5b6675")
"""Colours of devices: dark enough for white text in both themes."""
_FULL = (TRAINING, "forward", "backward", "optimizer")
"""Activities in the full colour of their device; all others are lighter."""
LIGHT = 0.6
_FEW_DECADES = 300
_A_DECADE = 10
_MARGIN = 1.08
_FARTHEST_FLOOR = 2.0
_DEEPEST_BAND = 4.0
_BEYOND_AXIS = 10.0
"""End of a band without an end, in multiples of the largest value."""
_DIGITS = 6


def script() -> str:
    """Return plotly's script."""
    return static(SCRIPT_NAME).decode()


def figures_of(report: "Report") -> dict[str, Figure]:
    """Return every figure that the run has, by the id of its element; ``curve-k`` is that of metric k."""
    details = report.details
    found = {
        f"curve-{number}": metric(known.outlook, one.chart, known.name)
        for number, (known, one) in enumerate(zip(report.metrics, details.curves, strict=False))
        if one.chart is not None
    }
    if details.devices:
        found["where"] = where(report)
    if details.power:
        found["power"] = power(details.power, details.stretches, _colours(report))
    if details.step_joules_over_time:
        found["step-joules"] = step_joules(details.step_joules_over_time)
    if details.learning_rate and len(set(details.learning_rate.y)) > 1:
        found["learning-rate"] = learning_rate(details.learning_rate)
    return found


def metric(outlook: "Outlook | None", chart: "Chart", name: str) -> Figure:
    """Draw a metric against joules, with its forecast where the curve supports one."""
    return recorded(chart, name) if outlook is None or not chart.law else curve(outlook, chart)


def recorded(chart: "Chart", metric: str = "loss") -> Figure:
    """Draw a metric against joules without a forecast."""
    seen = chart.seen
    x = {**_si("energy since the start, J"), **_joules(seen.x[0] / _MARGIN, seen.x[-1] * _MARGIN)}
    dots = _dots(seen.x, seen.y, "recorded", {"size": 4, "color": _BINS})
    y = _levels(metric, min(seen.y), max(seen.y))
    return {"data": [{**dots, **hover_text(metric)}], "layout": {"xaxis": x, "yaxis": y, "showlegend": False}}


def curve(outlook: "Outlook", chart: "Chart") -> Figure:
    """Draw a metric against joules: measured, fitted, extrapolated, and the floor's band, with direct labels."""
    law = [(x, drawable(i.median, chart.losses)) for x, i in zip(chart.law_joules, chart.law, strict=True)]
    known = sum(x <= outlook.joules for x, _ in law)
    fit, dashed = {"color": _LINE, "width": 2.5}, {"color": _LINE, "width": 2.5, "dash": "dash"}
    hover = hover_text(outlook.metric)
    data = [
        *(_floor(outlook.floor, chart) if outlook.floor is not None else ()),
        *band(
            chart.law_joules,
            [drawable(i.low, chart.losses) for i in chart.law],
            [drawable(i.high, chart.losses) for i in chart.law],
            "forecast, 90 %",
        ),
        {**_dots(chart.seen.x, chart.seen.y, "recorded", {"size": 3, "color": _SEEN}), **hover},
        {**_dots(chart.joules, chart.losses, "mean", {"size": 5, "color": _BINS}), **hover},
        {**polyline(*zip(*law[:known], strict=True), name="fit", line=fit), **hover},
        {**polyline(*zip(*law[max(known - 1, 0) :], strict=True), name="forecast", line=dashed), **hover},
    ]
    first = min(chart.seen.x, default=chart.law_joules[0])
    x = {**_si("energy since the start, J"), **_joules(first / _MARGIN, chart.law_joules[-1])}
    y = _levels(outlook.metric, *_range(outlook, chart))
    layout = {"xaxis": x, "yaxis": y, "showlegend": False}
    return {"data": data, "layout": {**layout, "annotations": _labels(outlook, chart, layout)}}


def _labels(outlook: "Outlook", chart: "Chart", layout: Figure) -> list[Figure]:
    """Return the direct labels of the curve, in the coordinates of its axes."""
    middle = len(chart.joules) // 3
    labels = [
        (chart.joules[middle], chart.losses[middle], "recorded", _BINS, "left", 8),
        (
            chart.law_joules[-1],
            min(chart.law[-1].high, _range(outlook, chart)[1]),
            "forecast, 90 %",
            _LINE,
            "right",
            24,
        ),
    ]
    if outlook.floor is not None and outlook.floor.high > 0.0:
        name = "floor" if outlook.goal == "min" else "ceiling"
        left = min(chart.seen.x, default=chart.law_joules[0])
        # The median is farther from the data than the end of the band, unless it is below the axis.
        is_drawn = outlook.floor.median >= _range(outlook, chart)[0]
        place = drawable(outlook.floor.median if is_drawn else outlook.floor.high, chart.losses)
        labels.append((left, place, f"{name}, 90 %", _FLOOR, "left", 1))
    is_log = layout["yaxis"].get("type") == "log"
    return [
        {
            "x": log10(x),
            "y": log10(y) if is_log else y,
            "yshift": shift,
            "text": words,
            # On a narrow screen there is no room beside the data.
            "name": "optional" if words == "recorded" else "",
            "showarrow": False,
            "xanchor": xanchor,
            "yanchor": "bottom",
            "font": {"color": colour, "size": 13},
        }
        for x, y, words, colour, xanchor, shift in labels
        if not is_log or y > 0.0
    ]


def hover_text(metric: str) -> Figure:
    """Return the hover text of a curve."""
    return {
        "hovertemplate": f"{escape(text.label(metric), quote=False)} %{{y:.4~g}} at %{{x:.3~s}}J<extra></extra>"
    }


def _floor(floor: Interval, chart: "Chart") -> list[Figure]:
    ends = [min(chart.seen.x, default=chart.law_joules[0]), chart.law_joules[-1]]
    least = max(min(chart.losses), 0.0) * 1e-6
    low, middle, high = (
        max(drawable(level, chart.losses), least) for level in (floor.low, floor.median, floor.high)
    )
    return [
        *band(ends, [low] * 2, [high] * 2, "floor, 90 %", fill=_FLOOR_BAND),
        {**polyline(ends, [middle] * 2, name="floor", line=_DOTTED), "hoverinfo": "skip"},
    ]


def drawable(level: float, measured: Iterable[float]) -> float:
    """Return a level not far beyond the measured ones: an interval without an end fills the figure up to its edge."""
    edge = min(_BEYOND_AXIS * max(map(abs, measured)), sys.float_info.max)
    return min(max(level, -edge), edge)


def _range(outlook: "Outlook", chart: "Chart") -> tuple[float, float]:
    """Return the range of losses: all that were measured and forecast, and the median floor where it is near."""
    # A band that reaches down for decades would hide the measured part.
    deepest = min(chart.losses) / _DEEPEST_BAND
    lowest = min(*chart.losses, *(max(i.low, deepest) for i in chart.law))
    floor = lowest if outlook.floor is None else max(outlook.floor.median, lowest / _FARTHEST_FLOOR)
    highest = max(*chart.losses, *chart.seen.y)
    return min(lowest, floor), highest


def power(known: Power, stretches: Sequence[Stretch], colours: Mapping[str, str] | None = None) -> Figure:
    """Draw power over time, stacked by domain, with its extremes, above a lane of named stretches.

    Args:
        known: The power.
        stretches: Named stretches of time.
        colours: Colour of each domain, as in the bar of devices.
    """
    clock = Clock(known.seconds[-1])
    seconds, data = clock.times(known.seconds), []
    for number, one in enumerate(known.domains):
        colour = (colours or {}).get(one.domain, _DEVICES[number % len(_DEVICES)])
        area = {"stackgroup": "power", "fillcolor": colour}
        line = {"width": 0, "shape": "hv"}
        data.append({**polyline(seconds, [*one.watts, one.watts[-1]], name=one.domain, line=line), **area})
    data += [*_extremes(known, seconds), *_lanes(stretches, clock)]
    y = {**_si("power, W"), "rangemode": "tozero", "domain": [2 * _LANE, 1.0]}
    lane = {"range": [0, 1], "domain": [0.0, _LANE], "visible": False, "fixedrange": True}
    x = {**clock.axis, "anchor": "y2"}
    return {"data": data, "layout": {"xaxis": x, "yaxis": y, "yaxis2": lane}}


def _extremes(known: Power, seconds: Sequence[float]) -> list[Figure]:
    """Draw the lowest and highest power in each piece, where they differ visibly from its mean."""
    mean = [sum(watts) for watts in zip(*(one.watts for one in known.domains), strict=True)]
    if max(high - m for high, m in zip(known.high, mean, strict=True)) < _VISIBLE * max(known.high):
        return []
    x = [(a + b) / 2 for a, b in pairwise(seconds) for _ in range(2)]
    y = [value for pair in zip(known.low, known.high, strict=True) for value in pair]
    return [polyline(x, y, name="lowest and highest", line={"color": _SOFT, "width": 0.7})]


def _lanes(stretches: Sequence[Stretch], clock: "Clock") -> list[Figure]:
    """Draw one trace for each kind of stretch, in the lane below."""
    return [_lane(kind, stretches, clock) for kind in dict.fromkeys(stretch.kind for stretch in stretches)]


def _lane(kind: str, stretches: Sequence[Stretch], clock: "Clock") -> Figure:
    x: list[float | None] = []
    for one in stretches:
        if one.kind == kind:
            start, end = clock.times((one.start_seconds, one.end_seconds))
            x += [start, start, end, end, None]
    fill = {"fill": "tozeroy", "fillcolor": _colour(kind), "yaxis": "y2", "hoverinfo": "skip"}
    return {**polyline(x, [0, 1, 1, 0, None] * (len(x) // 5), name=kind, line={"width": 0}), **fill}


def _colour(kind: str) -> str:
    """Return the colour of a kind of stretch, the same in every figure and run."""
    return _KINDS.get(kind) or _PHASES[sum(kind.encode()) % len(_PHASES)]


def step_joules(known: Band) -> Figure:
    """Draw joules per step over time: the mean of each piece, inside its extremes."""
    clock = Clock(known.x[-1])
    seconds = clock.times(known.x)
    data = [
        *band(seconds, known.low, known.high, "lowest to highest"),
        polyline(seconds, known.mean, name="mean", line={"color": _LINE, "width": 2}),
    ]
    y = {**_si("energy per step, J"), "rangemode": "tozero"}
    return {"data": data, "layout": {"xaxis": clock.axis, "yaxis": y}}


def learning_rate(known: Series) -> Figure:
    """Draw the learning rate over time."""
    clock = Clock(known.x[-1])
    look = {"color": _LINE, "width": 2, "shape": "hv"}
    line = polyline(clock.times(known.x), known.y, name="learning rate", line=look)
    y = {"title": {"text": "learning rate"}, "rangemode": "tozero", "exponentformat": "power"}
    return {"data": [{**line, "showlegend": False}], "layout": {"xaxis": clock.axis, "yaxis": y}}


def where(report: "Report") -> Figure:
    """Draw the energy as one bar of devices, divided by activity; the part after the best level is hatched."""
    total = report.summary.total_joules or 0.0
    bars = []
    for key in keys_of(report):
        piece = key.piece
        bars.append(_bar(key, piece.joules - piece.later_joules, total))
        if piece.later_joules:
            # A separate piece of the same colour, so that nothing is added to the bar.
            bars.append(_bar(key, piece.later_joules, total, is_hatched=True))
    hidden = {"visible": False, "fixedrange": True}
    return {
        "data": [bar for bar in bars if bar["x"][0] > 0.0],
        "layout": {
            "barmode": "stack",
            "xaxis": {**_si("energy, J"), "range": [0.0, _short(total)]},
            "yaxis": hidden,
            "showlegend": False,
            "uniformtext": {"minsize": 11, "mode": "hide"},
        },
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A piece of the bar of devices and activities, with its look.

    Attributes:
        piece: The piece.
        colour: Colour of its device.
        is_light: True for activities beside training, which are drawn in a lighter shade.
        label: Device and activity.
        share: Its share of the total.
    """

    piece: Piece
    colour: str
    is_light: bool
    label: str
    share: float


def keys_of(report: "Report") -> list[Key]:
    """Return the pieces of the bar of devices and activities, with their colours."""
    pieces, total = report.details.devices, report.summary.total_joules or 0.0
    colours = _colours(report)
    return [
        Key(
            piece=piece,
            colour=colours[piece.device],
            is_light=piece.activity not in _FULL,
            label=f"{piece.device} {piece.activity}".strip(),
            share=piece.joules / total if total else 0.0,
        )
        for piece in pieces
    ]


def _colours(report: "Report") -> dict[str, str]:
    """Return the colour of each device, the same in every figure."""
    devices = dict.fromkeys(piece.device for piece in report.details.devices)
    return {name: _DEVICES[number % len(_DEVICES)] for number, name in enumerate(devices)}


def _bar(key: Key, joules: float, total: float, *, is_hatched: bool = False) -> Figure:
    """Return a piece of the bar, labelled where it is wide enough."""
    label = escape(text.label(key.label), quote=False)
    # The label names the whole piece, as the list below the bar does; the hatched part has none.
    is_wide = bool(total) and joules / total >= _LABELLED
    name = f"{label} after the best level" if is_hatched else label
    marker: Figure = {"color": key.colour, "line": {"color": "var(--page)", "width": 1}}
    if is_hatched:
        marker["pattern"] = {
            "shape": "/",
            "fillmode": "overlay",
            "fgcolor": "#ffffff",
            "size": 7,
            "solidity": 0.3,
        }
    return {
        "type": "bar",
        "orientation": "h",
        "x": [_short(joules)],
        "y": [""],
        "name": name,
        # White text needs the full colour behind it; the list below the bar names the other pieces.
        "text": escape(text.share(key.label, key.share), quote=False)
        if is_wide and not (is_hatched or key.is_light)
        else "",
        "textposition": "inside",
        "insidetextanchor": "start",
        "textangle": 0,
        "textfont": {"color": "#ffffff"},
        "opacity": LIGHT if key.is_light else 1.0,
        "marker": marker,
        "hovertemplate": f"{name} %{{x:.3~s}}J<extra></extra>",
    }


class Clock:
    """A time axis, with the unit chosen by its length."""

    def __init__(self, seconds: float) -> None:
        self._length, self.unit = next(
            ((length, unit) for length, unit in _CLOCK if seconds >= _FEWEST_TICKS * length), (1.0, "s")
        )

    def times(self, seconds: Sequence[float]) -> list[float]:
        """Convert seconds to the unit."""
        return [second / self._length for second in seconds]

    @property
    def axis(self) -> Figure:
        """The axis, labelled with the unit."""
        return {"title": {"text": f"time since the start, {self.unit}"}, "exponentformat": "none"}


def _si(title: str) -> Figure:
    return {"title": {"text": title}, "tickformat": "~s"}


def _joules(lowest: float, highest: float) -> Figure:
    """Return a log axis with ticks at 1, 2 and 5 where they do not crowd, and even ones within a decade."""
    return {**_log(lowest, highest), **_ticks(lowest, highest)}


def _levels(metric: str, lowest: float, highest: float) -> Figure:
    """Return an axis in plain numbers: logarithmic for positive values, since a level has no unit."""
    title = {
        "title": {"text": escape(text.label(metric), quote=False), "standoff": 12},
        "tickformat": "~g",
        "hoverformat": ".4~g",
    }
    if lowest <= 0.0:
        return title
    low, high = lowest / _MARGIN, min(highest * _MARGIN, sys.float_info.max)
    return {**title, **_log(low, high), **_ticks(low, high)}


def _ticks(low: float, high: float) -> Figure:
    return {"dtick": "D2"} if _A_DECADE * low < high < _FEW_DECADES * low else {"nticks": 8}


def _log(lowest: float, highest: float) -> Figure:
    return {"type": "log", "range": [log10(lowest), log10(highest)]}


def band(
    x: Sequence[float], low: Sequence[float], high: Sequence[float], name: str, fill: str = _BAND
) -> list[Figure]:
    """Fill the area between two invisible lines."""
    plain = {"line": {"width": 0}, "hoverinfo": "skip"}
    return [
        {**polyline(x, low, name=name, **plain), "showlegend": False},
        {**polyline(x, high, name=name, **plain), "fill": "tonexty", "fillcolor": fill},
    ]


def plane(metric: str, joules: Sequence[float], levels: Sequence[float]) -> Figure:
    """Return the axes of a metric against joules that hold all of these points."""
    x = {**_si("energy since the start, J"), **_joules(min(joules) / _MARGIN, max(joules) * _MARGIN)}
    return {"xaxis": x, "yaxis": _levels(metric, min(levels), max(levels))}


def polyline(x: Sequence[Any], y: Sequence[Any], *, name: str, **looks: Any) -> Figure:
    """Return a line through points."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": _list(x),
        "y": _list(y),
        "name": escape(text.label(name), quote=False),
        **looks,
    }


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
    return float(f"{value:.{_DIGITS}g}")
