"""Fits of a curve, from arrays or from a streaming accumulator.

Repaired and counted (`CurveFit.repairs`, `CurveFit.dropped`): joules out of order or repeated, values that are not
finite, zero or negative values and joules, short spikes of the loss.

Reported in a note (`CurveFit.notes`): a short span, a curve that left an earlier trend, a loss that jumps, systematic
misfit, a learning rate that falls without a plan or has fallen to zero, a plan that has ended.

Refused with a reason and a remedy (`ForecastRefusedError`): too few points, points at nearly the same joules, a
constant curve, a curve that rises at its end.
"""

import math

import numpy as np
import numpy.typing as npt

from profiler.errors import UsageError
from profiler.forecasting.backtest import History
from profiler.forecasting.binning import CurveBins
from profiler.forecasting.cleaning import clean
from profiler.forecasting.context import FitContext
from profiler.forecasting.curve import FineBins, as_errors, bin_arrays, coarsen, from_stream
from profiler.forecasting.diagnostics import notes
from profiler.forecasting.metric import Metric, declared
from profiler.forecasting.posterior import Nodes, infer
from profiler.forecasting.predictive import predictives
from profiler.forecasting.priors import Priors
from profiler.forecasting.result import CurveFit, number, probabilities
from profiler.forecasting.schedule import Schedule, build
from profiler.forecasting.smoothing import refuse_rising, smooth
from profiler.records import CurveState, Interval

Rate = tuple[npt.ArrayLike, npt.ArrayLike]


def fit_curve(
    joules: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    origin_joules: float = 0.0,
    learning_rate: npt.ArrayLike | None = None,
    planned_learning_rate: Rate | None = None,
    lower_bound: float | None = None,
    goal: str = "min",
    best: float | None = None,
    level: float = 0.9,
    priors: Priors | None = None,
) -> CurveFit:
    """Fit a curve from arrays.

    Args:
        joules: Energy since the start of the run at each point, in joules. Any order; repeats are averaged.
        values: The metric at each point, positive; a lower value is better unless ``goal`` is ``max``.
        weights: Number of steps that each value is the mean of; 1 by default.
        origin_joules: Joules at which the first step began, on the same axis. The trend counts from there; answers
            are on the axis of ``joules``.
        learning_rate: The learning rate at each point.
        planned_learning_rate: ``(joules, rate)`` over the whole run, past and future; replaces ``learning_rate``.
        lower_bound: A known lower limit of the metric, such as the entropy of the data.
        goal: ``"min"`` for a metric that falls, ``"max"`` for one that rises.
        best: The best possible value of a metric that rises; 1.0 for an accuracy.
        level: Probability inside the intervals.
        priors: Assumptions before the curve is seen; the package's own by default.

    Raises:
        ForecastRefusedError: The curve does not support a forecast.
        UsageError: An argument is invalid.
    """
    sizes = {np.size(part) for part in (joules, values, weights, learning_rate) if part is not None}
    if len(sizes) > 1:
        raise UsageError(
            f"joules, values, weights and learning_rate must have the same length, not {sorted(sizes)}."
        )
    known = None if learning_rate is None else (joules, learning_rate)
    metric = declared(goal, best, lower_bound)
    origin = number("origin_joules", origin_joules)
    schedule = _schedule(known, planned_learning_rate, origin)
    context = _context(metric, lower_bound, level, priors, schedule, origin=origin)
    values = np.asarray(values, dtype=float)
    errors = values if metric.best is None else metric.best - values
    return _fit(bin_arrays(joules, errors, weights, origin_joules=origin), context)


def fit_bins(
    bins: CurveBins,
    *,
    learning_rate: Rate | None = None,
    planned_learning_rate: Rate | None = None,
    lower_bound: float | None = None,
    goal: str = "min",
    best: float | None = None,
    level: float = 0.9,
    priors: Priors | None = None,
) -> CurveFit:
    """Fit a curve from a streaming accumulator, with the same result as `fit_curve` on the same points.

    Args:
        bins: The accumulator.
        learning_rate: ``(joules, rate)`` so far.
        planned_learning_rate: ``(joules, rate)`` over the whole run, past and future.
        lower_bound: A known lower limit of the metric.
        goal: ``"min"`` for a metric that falls, ``"max"`` for one that rises.
        best: The best possible value of a metric that rises.
        level: Probability inside the intervals.
        priors: Assumptions before the curve is seen.

    Raises:
        ForecastRefusedError: The curve does not support a forecast.
        UsageError: An argument is invalid.
    """
    metric = declared(goal, best, lower_bound)
    schedule = _schedule(learning_rate, planned_learning_rate, bins.origin_joules)
    context = _context(metric, lower_bound, level, priors, schedule, origin=bins.origin_joules)
    return _fit(as_errors(from_stream(bins), metric.best), context)


def _schedule(known: Rate | None, plan: Rate | None, origin: float) -> tuple[Schedule | None, bool]:
    """Return the learning rate, if known, and whether it reaches into the future."""
    rate = plan or known
    if rate is None:
        return None, False
    return build(np.asarray(rate[0], dtype=float) - origin, rate[1]), plan is not None


def _context(
    metric: Metric,
    lower_bound: float | None,
    level: float,
    priors: Priors | None,
    schedule: tuple[Schedule | None, bool],
    *,
    origin: float,
) -> FitContext:
    if not 0.0 < level < 1.0:
        raise UsageError(f"level must lie between 0 and 1, not {level!r}.")
    return FitContext(
        metric=metric,
        lower_bound=0.0 if lower_bound is None else max(number("lower_bound", lower_bound), 0.0),
        level=level,
        priors=priors or Priors(),
        schedule=schedule[0],
        planned=schedule[1],
        origin_joules=origin,
    )


def _fit(raw: FineBins, given: FitContext) -> CurveFit:
    fine, repairs = clean(raw)
    context = given.until(fine.last_joules)
    curve, metric = coarsen(fine), context.metric
    refuse_rising(curve, (curve.joules / curve.last_joules) ** context.priors.recency)
    posterior = infer(curve, context)
    untested = predictives(posterior.nodes, context, curve.last_joules)
    default = next(iter(untested.values()))
    log_now = tuple(default.log_quantile(0.0, p) for p in probabilities(context.level))
    # Short, constant and rising curves were refused above, so that every fit improves.
    return CurveFit(
        state=CurveState.IMPROVING,
        state_reason=_improving(metric, curve.first_value, math.exp(log_now[1])),
        joules=context.origin_joules + curve.last_joules,
        level=metric.value(math.exp(log_now[1])),
        first_level=metric.value(curve.first_value),
        exponent=_exponent(posterior.nodes),
        families=posterior.nodes.families(),
        points=curve.points,
        dropped=curve.dropped,
        repairs=repairs,
        notes=tuple(notes(fine, curve, repairs, posterior, context)),
        confidence=context.level,
        lower_bound=context.lower_bound,
        metric=metric,
        priors=context.priors,
        curve=curve.shifted(context.origin_joules),
        smoothed=smooth(curve, posterior.log_mean, log_now[1], context.origin_joules),
        log_now=log_now,
        untested=untested,
        history=History(fine=fine, context=context, log_now=log_now[1]),
    )


def _exponent(nodes: Nodes) -> Interval:
    order = np.argsort(nodes.slope)
    cumulative = np.cumsum(nodes.mass[order])
    low, median, high = nodes.slope[order][
        np.searchsorted(cumulative, probabilities(0.9)).clip(max=order.size - 1)
    ]
    return Interval(low=float(low), median=float(median), high=float(high))


def _improving(metric: Metric, first: float, now: float) -> str:
    return f"The level went from {metric.value(first):.4g} to {metric.value(now):.4g} and is still improving."
