"""The forecast of a fitted curve: its state and history, the prices of targets, and the backtest."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING

from profiler.emissions import WORLD_ELECTRICITY
from profiler.records import CurveState, Forecast, Interval, Verdict
from profiler.reporting import text
from profiler.reporting.records import Best, Outlook, PlannedEnd, Scenario, Target

if TYPE_CHECKING:
    from profiler.forecasting import CurveFit
    from profiler.forecasting.lr_trace import RateTrace

CHANGES = (0.01, 0.05, 0.10, 0.25)
"""Targets, as relative reductions of the present level, or of the error of a metric that rises."""
_COMPARED = 0.05
"""Reduction at which the scenarios of the learning rate are compared."""
_SCENARIOS = ("planned", "held", "annealed")
_DIGITS = 4
_AHEAD = 2.0
"""Multiple of the present energy at which the width of the forecast decides the confidence."""


def outlook_of(
    fit: "CurveFit",
    targets: Sequence[float],
    notes: Sequence[str],
    *,
    metric: str = "loss",
    trace: "RateTrace | None" = None,
) -> Outlook:
    """Compute the forecast of a fit.

    Args:
        fit: The fitted curve.
        targets: Levels whose price is requested.
        notes: Caveats beside those of the fit.
        metric: Name of the metric.
        trace: Trace of the learning rate, from which the step at an energy is known; None without one.
    """
    has_trend = fit.state is CurveState.IMPROVING and fit.has_forecast
    priced = has_trend or fit.state is CurveState.FLAT
    goal = "min" if fit.metric.best is None else "max"
    backtest = fit.backtest if has_trend else ()
    return Outlook(
        metric=metric,
        goal=goal,
        state=fit.state,
        state_reason=text.named(fit.state_reason, metric),
        first_loss=fit.first_level,
        last_loss=fit.level,
        half=_half(fit),
        best=_best(fit, trace),
        diverged_step=_diverged_step(fit, trace),
        joules=fit.joules,
        floor=fit.floor if has_trend else None,
        targets=_targets(fit) if priced else (),
        asked=tuple(target_of(fit, loss) for loss in targets),
        ahead=fit.loss_at(fit.joules_after(math.log(_AHEAD))) if has_trend else None,
        perfection=fit.loss_at(max(WORLD_ELECTRICITY.joules, fit.joules)) if has_trend else None,
        yardstick=WORLD_ELECTRICITY,
        notes=(*notes, *(fit.notes if priced else ())),
        backtest=backtest,
        scenarios=_scenarios(fit) if priced else (),
        planned_end=_planned_end(fit) if priced else None,
        points=fit.points,
        rate_ended=fit.history.context.ended,
    )


def _half(fit: "CurveFit") -> float | None:
    middle = fit.origin_joules + (fit.joules - fit.origin_joules) / 2.0
    half = fit.loss_at(middle).median if middle > 0.0 else math.nan
    return half if math.isfinite(half) else None


def _best(fit: "CurveFit", trace: "RateTrace | None") -> Best | None:
    """Return the best smoothed level; None where it is not clearly before the end."""
    if not len(fit.smoothed.log_values):
        return None
    lowest = int(fit.smoothed.log_values.argmin())
    joules = float(fit.smoothed.joules[lowest])
    length = fit.joules - fit.origin_joules
    is_last = lowest == len(fit.smoothed.log_values) - 1
    if length <= 0.0 or (is_last and _last_finite(fit) >= fit.joules):
        return None
    joules = min(joules, _last_finite(fit))
    return Best(
        level=fit.metric.value(math.exp(float(fit.smoothed.log_values[lowest]))),
        joules=joules,
        step=_step_at(trace, joules),
        share_after=min(max((fit.joules - joules) / length, 0.0), 1.0),
    )


def _last_finite(fit: "CurveFit") -> float:
    """Return the joules since the start at the last finite point."""
    return fit.origin_joules + fit.history.fine.last_joules


def _diverged_step(fit: "CurveFit", trace: "RateTrace | None") -> int | None:
    """Return the step of the last finite value before a non-finite tail."""
    last = _last_finite(fit)
    if fit.state is not CurveState.DIVERGED or last >= fit.joules:
        return None
    # The fit has every step of the run; the trace of the learning rate is thinned.
    steps = fit.history.context.step_at
    return _step_at(trace, last) if steps is None else steps.at(last)


def _planned_end(fit: "CurveFit") -> PlannedEnd | None:
    end = fit.planned_joules
    return None if end is None else PlannedEnd(joules=end, loss=fit.loss_at(end))


def target_of(
    fit: "CurveFit", loss: float, change: float | None = None, *, scenario: str | None = None
) -> Target:
    """Price a target."""
    forecast = fit.joules_at(loss, scenario=scenario)
    return Target(loss=loss, change=change, forecast=forecast, more=more_of(forecast, fit.joules))


def more_of(forecast: Forecast, now: float) -> Interval | None:
    """Return joules from ``now`` on; None when reached or out of reach."""
    if forecast.verdict in (Verdict.REACHED, Verdict.UNREACHABLE):
        return None
    # NaN stays NaN: the median of a forecast without a trend is unknown.
    low, median, high = (
        joules if math.isnan(joules) else max(joules - now, 0.0)
        for joules in (forecast.low, forecast.median, forecast.high)
    )
    return Interval(low=low, median=median, high=high, level=forecast.level)


def _round_targets(fit: "CurveFit") -> list[tuple[float, float]]:
    """Return levels below the present one by round shares of it, as short numbers."""
    return [(change, _lowered(fit, change)) for change in CHANGES if fit.metric.error(fit.level) > 0.0]


def _targets(fit: "CurveFit") -> tuple[Target, ...]:
    """Price the round targets; a noisy dip of a flat curve below its level has reached none."""
    rows = [target_of(fit, loss, change) for change, loss in _round_targets(fit)]
    ahead = [row for row in rows if row.forecast.verdict is not Verdict.REACHED]
    return tuple(ahead if ahead and fit.state is CurveState.FLAT else rows)


def _lowered(fit: "CurveFit", change: float) -> float:
    value = fit.metric.value(fit.metric.error(fit.level) * (1.0 - change))
    return float(f"{value:.{_DIGITS - 1}e}") if fit.metric.best is None else float(f"{value:.{_DIGITS + 1}g}")


def next_target(fit: "CurveFit") -> float:
    """Return the target that a live forecast prices where the user named none."""
    return _lowered(fit, _COMPARED)


def _scenarios(fit: "CurveFit") -> tuple[Scenario, ...]:
    """Price one target under each future of a known learning rate."""
    loss = next_target(fit)
    return tuple(
        Scenario(name=name, target=target_of(fit, loss, _COMPARED, scenario=name))
        for name in _SCENARIOS
        if name in fit.scenarios
    )


def _step_at(trace: "RateTrace | None", joules: float) -> int | None:
    """Return the recorded step that was running at an energy since the start; None where steps are unknown."""
    points = () if trace is None else trace.points
    running = bisect_left(points, joules, key=lambda point: point.joules)
    return points[min(running, len(points) - 1)].step if points else None
