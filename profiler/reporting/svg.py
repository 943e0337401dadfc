"""The curve of the headline's metric as an SVG file, for papers, slides and notebooks."""

import sys
from dataclasses import dataclass
from math import floor, isclose, isfinite, log10
from typing import TYPE_CHECKING, Any

from profiler.reporting import text
from profiler.reporting.answer import answer_of
from profiler.reporting.renderer import Rendered, RenderOptions
from profiler.reporting.templating import render_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from profiler.records import Interval
    from profiler.reporting.records import Chart, Outlook, Report

WIDTH, HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 20, 50
_MARGIN = 1.08
_DEEPEST = 0.5
"""Share of the lowest drawn level down to which a low floor is drawn."""
_FEW_DECADES = 2.0
_DEEPEST_BAND = 4.0
_LARGEST = sys.float_info.max / 4
"""Largest level on a linear axis, whose length would otherwise overflow."""
_FEWEST_TICKS = 2
_FEWEST_STEPS = 4
_MOST_DIGITS = 6

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear or logarithmic axis between two values, at pixels ``start`` and ``end``."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool

    def at(self, value: float) -> float:
        """Return the pixel of a value, clipped to the axis."""
        low, high, here = self.low, self.high, min(max(value, self.low), self.high)
        if self.is_log:
            low, high, here = log10(low), log10(high), log10(here)
        return round(self.start + (here - low) / ((high - low) or 1.0) * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[float]:
        """Round values on the axis."""
        return self._decades() if self.is_log else self._steps()

    def _decades(self) -> list[float]:
        decades = range(floor(log10(self.low)), floor(log10(self.high)) + 1)
        few = log10(self.high / self.low) <= _FEW_DECADES
        found = [digit * 10.0**power for power in decades for digit in ((1, 2, 5) if few else (1,))]
        inside = [value for value in found if self.low <= value <= self.high]
        return inside if len(inside) >= _FEWEST_TICKS else self._steps()

    def _steps(self) -> list[float]:
        step = 10.0 ** floor(log10((self.high - self.low) or 1.0))
        step = next(
            (step / part for part in (1, 2, 5, 10) if (self.high - self.low) * part / step >= _FEWEST_STEPS),
            step,
        )
        first = floor(self.low / step) + 1
        return [step * k for k in range(first, floor(self.high / step) + 1)]


def joules_label(value: float) -> str:
    """Format a tick in joules with all of its digits: neighbouring ticks of a narrow axis differ in the second."""
    digits = next(
        (n for n in range(1, _MOST_DIGITS) if isclose(float(f"{value:.{n}g}"), value)), _MOST_DIGITS
    )
    return text.joules(value, digits)


def render(report: "Report", _: RenderOptions) -> Rendered:
    """Render the curve; a run with fewer than two values of the metric has an empty figure."""
    return Rendered(content=curve(report).encode())


def curve(report: "Report") -> str:
    """Return the curve of the headline's metric as an SVG element."""
    answer = answer_of(report)
    words = {
        "width": WIDTH,
        "height": HEIGHT,
        "left": _LEFT,
        "right": WIDTH - _RIGHT,
        "top": _TOP,
        "bottom": HEIGHT - _BOTTOM,
        "metric": text.label(report.metric),
        "name": text.one_line(report.summary.name),
        "description": f"{answer.status}. {answer.cost}",
    }
    chart = report.details.headline.chart
    drawn = _EMPTY if chart is None else _drawn(chart, report.outlook)
    return render_template("curve.svg", **words, **drawn)


_EMPTY: dict[str, Any] = {
    "x_ticks": (), "y_ticks": (), "floor": None, "band": "", "dots": (), "fit": "", "ahead": "",
}  # fmt: skip


def _drawn(chart: "Chart", outlook: "Outlook | None") -> dict[str, Any]:
    x, y = axes_of(chart, outlook)
    law = list(zip(chart.law_joules, chart.law, strict=True))
    fitted = [(j, i.median) for j, i in law if outlook is None or j <= outlook.joules]
    ahead = [(j, i.median) for j, i in law if outlook is not None and j >= outlook.joules]
    seen = zip(chart.seen.x, chart.seen.y, strict=True)
    return {
        "x_ticks": [(x.at(value), joules_label(value)) for value in x.ticks],
        "y_ticks": [(y.at(value), f"{value:.4g}") for value in y.ticks],
        "floor": _floor(outlook.floor if outlook is not None else None, y),
        "band": _path(x, y, [*((j, i.low) for j, i in law), *((j, i.high) for j, i in reversed(law))]),
        "dots": [(x.at(joules), y.at(value)) for joules, value in seen],
        "fit": _path(x, y, fitted),
        "ahead": _path(x, y, ahead),
    }


def axes_of(chart: "Chart", outlook: "Outlook | None") -> tuple[Axis, Axis]:
    """Return both axes of the curve."""
    levels = [*chart.seen.y, *(end for i in chart.law for end in (i.low, i.high) if isfinite(end))]
    is_log = min(levels) > 0.0
    low, high = min(levels), max(levels)
    if is_log:
        # A band that reaches down for decades would hide the measured part.
        low = max(low, min(chart.seen.y) / _DEEPEST_BAND)
    if outlook is not None and outlook.floor is not None and outlook.goal == "min":
        low = min(low, max(outlook.floor.median, low * _DEEPEST))
    if is_log:
        low, high = low / _MARGIN, min(high * _MARGIN, sys.float_info.max)
    else:
        low, high = max(low, -_LARGEST), min(high, _LARGEST)
        pad = 0.05 * (high - low or 1.0)
        low, high = low - pad, high + pad
    first, last = chart.seen.x[0], max(chart.seen.x[-1], *chart.law_joules[-1:], chart.seen.x[0] * _MARGIN)
    return (
        Axis(first / _MARGIN, last, _LEFT, WIDTH - _RIGHT, is_log=True),
        Axis(low, high, HEIGHT - _BOTTOM, _TOP, is_log=is_log),
    )


def _floor(known: "Interval | None", y: Axis) -> tuple[float, float] | None:
    """Return the pixels of the floor's interval; None where it is outside the figure."""
    if known is None or known.high < y.low or known.low > y.high:
        return None
    return y.at(known.high), y.at(known.low)


def _path(x: Axis, y: Axis, points: "Iterable[Point]") -> str:
    drawn: Sequence[str] = [f"{x.at(joules)},{y.at(level)}" for joules, level in points]
    return "M" + "L".join(drawn) if drawn else ""
