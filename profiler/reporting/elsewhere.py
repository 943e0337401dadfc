"""The price of a training on other hardware, from a short probe there: the old curve, the new cost per step."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from profiler.analysis.curve import learning_rate_trace
from profiler.analysis.probe import StepCost, combined, step_cost
from profiler.analysis.same_work import check_same_work
from profiler.emissions import Prices
from profiler.records import Interval, Verdict
from profiler.reporting import text
from profiler.reporting.comparison import run_names
from profiler.reporting.json import REPORT_VERSION, plain
from profiler.reporting.metrics import metrics_of
from profiler.reporting.model import converted
from profiler.reporting.records import Elsewhere, PriceThere

if TYPE_CHECKING:
    from profiler.forecasting.lr_trace import RateTrace
    from profiler.records import Forecast
    from profiler.reporting.records import Outlook
    from profiler.storage.reader import StoredRun

_WIDTH_OF_TARGETS = 3


def elsewhere_of(
    run: "StoredRun",
    probe: "StoredRun",
    targets: Sequence[float] = (),
    *,
    metric: str | None = None,
    goal: str | None = None,
    prices: Prices | None = None,
) -> Elsewhere:
    """Price a run's targets on the hardware of a probe.

    Args:
        run: The run whose curve is used.
        probe: A short run of the same script on the other hardware.
        targets: Levels to price beside the round ones.
        metric: The metric; by default the headline's.
        goal: Its direction; by default known from its name.
        prices: Prices of a kilowatt-hour there.

    Raises:
        ForecastRefusedError: Either has too few steps or no energy.
        UsageError: Both do other work per step, or an argument is invalid.
    """
    here, there = step_cost(run, "run"), step_cost(probe, "probe")
    unchecked = check_same_work(run, probe)
    trace = learning_rate_trace(run)
    (first, _), *_ = metrics_of(run, trace, targets, metric, goal)[0]
    summary, prices = run.summary(), prices or Prices()
    names = run_names([run, probe])
    if names[0] == names[1]:
        names = [f"{one.path.resolve().parent.name}/{one.path.name}" for one in (run, probe)]
    outside = (
        _outside(summary.training_joules, summary.step_joules),
        _outside(summary.training_seconds, summary.step_seconds),
    )
    outlook = first.outlook
    shown = _shown(outlook) if outlook is not None else ()
    return Elsewhere(
        run=names[0],
        probe=names[1],
        metric=first.name,
        here=here,
        there=there,
        joules_ratio=_spread(there.joules / here.joules, here.joules_error, there.joules_error),
        seconds_ratio=_spread(there.seconds / here.seconds, here.seconds_error, there.seconds_error),
        outside_joules=outside[0],
        outside_seconds=outside[1],
        targets=tuple(_priced(*row, trace, there=there, outside=outside, prices=prices) for row in shown),
        refused="" if shown else (first.refused or (outlook.state_reason if outlook is not None else "")),
        unchecked=unchecked,
        prices=prices,
    )


def _outside(whole: float | None, steps: float | None) -> float:
    return max(whole / steps - 1.0, 0.0) if whole is not None and steps else 0.0


def _shown(outlook: "Outlook") -> "tuple[tuple[float, Forecast], ...]":
    """Return the asked targets, and the first round ones of a curve with a trend."""
    rows = outlook.rows if outlook.has_trend else outlook.asked
    kept = [row for row in rows if row in outlook.asked or row in outlook.targets[:_WIDTH_OF_TARGETS]]
    return tuple((row.loss, row.forecast) for row in kept)


def _spread(value: float, *errors: float) -> Interval:
    factor = math.exp(combined(*errors))
    return Interval(low=value / factor, median=value, high=value * factor)


def _priced(
    loss: float,
    forecast: "Forecast",
    trace: "RateTrace",
    *,
    there: StepCost,
    outside: tuple[float, float],
    prices: Prices,
) -> PriceThere:
    if forecast.verdict is Verdict.UNREACHABLE or math.isnan(forecast.median):
        nothing = dict.fromkeys(("steps", "joules", "seconds", "money", "joules_here"))
        return PriceThere(loss=loss, verdict=forecast.verdict, **nothing)
    here = Interval(low=forecast.low, median=forecast.median, high=forecast.high, level=forecast.level)
    low, median, high = (_steps_at(trace, end) for end in (here.low, here.median, here.high))
    steps = Interval(low=low, median=median, high=high, level=here.level)
    joules = _times(steps, there.joules * (1.0 + outside[0]), there.joules_error)
    return PriceThere(
        loss=loss,
        verdict=forecast.verdict,
        steps=steps,
        joules=joules,
        seconds=_times(steps, there.seconds * (1.0 + outside[1]), there.seconds_error),
        money=converted(joules, prices.money),
        joules_here=here,
    )


def _steps_at(trace: "RateTrace", joules: float) -> float:
    """Return the steps up to an energy of the run, at the recent energy per step beyond its end."""
    if not math.isfinite(joules):
        return joules
    if joules >= trace.last.joules:
        pace = trace.joules_at(trace.last.step + 1) - trace.last.joules
        return trace.last.step + (joules - trace.last.joules) / pace if pace > 0.0 else math.inf
    import numpy as np

    points = [*trace.points, trace.last]
    known = [trace.origin_joules, *(point.joules for point in points)]
    return float(np.interp(joules, known, [trace.before, *(point.step for point in points)]))


def _times(steps: Interval, each: float, error: float) -> Interval:
    """Multiply steps by the cost of one; both uncertainties add in logarithms."""
    half = combined(error)
    if math.isinf(steps.median):
        low = steps.low * each * math.exp(-half)
        return Interval(low=low, median=math.inf, high=math.inf, level=steps.level)
    low = _half(steps.median, steps.low, half)
    high = _half(steps.median, steps.high, half)
    median = steps.median * each
    return Interval(
        low=median * math.exp(-low), median=median, high=median * math.exp(high), level=steps.level
    )


def _half(median: float, end: float, other: float) -> float:
    if not (math.isfinite(end) and math.isfinite(median)):
        return math.inf
    distance = abs(math.log(max(end, 1e-9) / max(median, 1e-9)))
    return math.hypot(distance, other)


def render_json(known: Elsewhere) -> str:
    """Render as JSON; ends with a newline."""
    body = {"report_version": REPORT_VERSION, **plain(known)}
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def render_text(known: Elsewhere) -> str:
    """Render as plain text; ends with a newline."""
    return "\n".join(line.rstrip() for line in _lines(known)) + "\n"


def _lines(known: Elsewhere) -> Iterator[str]:
    yield from text.elsewhere_sentences(known)
    if not known.targets:
        yield f"No targets: {known.refused}"
        return
    yield ""
    has_money = any(row.money is not None for row in known.targets)
    head = (
        known.metric,
        "energy there",
        "90 % interval",
        "time there",
        *(["cost there"] if has_money else []),
    )
    rows = [
        (*head, "energy here"),
        *(text.price_there(row, known.prices, has_money=has_money) for row in known.targets),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    yield "Prices count from the first step."
