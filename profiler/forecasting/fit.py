"""From points to a fit: the two ways in, and what they share.

Repaired and counted (`CurveFit.repaired`, `CurveFit.dropped`): joules out of order or repeated, values that are not
finite, zero or negative values and joules, short spikes of the loss.

Answered with a note (`CurveFit.notes`): a short span, a curve that left an earlier law, a loss that jumps, neighbours
that miss the law in the same direction, a learning rate that has been falling without a plan or has come to zero, a
plan of it that has come to its end.

Refused with a reason and a remedy (`ForecastRefusedError`): too few points, points at nearly the same joules, a
constant curve, a curve that rises at its end.
"""

import math

import numpy as np
import numpy.typing as npt

from profiler.errors import UsageError
from profiler.forecasting.backtest import Past
from profiler.forecasting.binning import CurveBins
from profiler.forecasting.cleaning import repair
from profiler.forecasting.curve import FineBins, as_errors, bin_arrays, coarsen, from_stream
from profiler.forecasting.diagnostics import notes
from profiler.forecasting.metric import Metric, declared
from profiler.forecasting.models import Laws
from profiler.forecasting.priors import Priors
from profiler.forecasting.result import CurveFit, number, probabilities
from profiler.forecasting.scenarios import Known, futures, weigh
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
    """Fit a curve given as arrays.

    Args:
        joules: Energy since the start of the run at each point, in joules. Any order; repeats are averaged.
        values: The metric at each point, positive; falling (a loss, an error) unless ``goal`` is ``max``.
        weights: Steps that each value is the mean of; 1 where not given.
        origin_joules: Joules at which the first step began, on the same axis. They bought no loss, so the law counts
            from there; answers are on the axis of ``joules``.
        learning_rate: The learning rate at each point.
        planned_learning_rate: ``(joules, rate)`` over the whole run, past and future, taken instead of the former.
        lower_bound: A value that the metric is known not to go under, such as the entropy of the data.
        goal: ``"min"`` for a metric that falls, ``"max"`` for one that rises.
        best: The best possible value of a metric that rises; 1.0 for an accuracy.
        level: Probability inside the intervals.
        priors: What to assume before seeing the curve; the package's own where not given.

    Raises:
        ForecastRefusedError: The curve does not support a forecast.
        UsageError: An argument cannot mean anything.
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
    options = _options(metric, lower_bound, level, priors, schedule, origin=origin)
    values = np.asarray(values, dtype=float)
    errors = values if metric.best is None else metric.best - values
    return _fit(bin_arrays(joules, errors, weights, origin_joules=origin), options)


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
    """Fit a curve that was binned while it was recorded; the same result as `fit_curve` on the same points.

    Args:
        bins: The accumulator.
        learning_rate: ``(joules, rate)`` so far.
        planned_learning_rate: ``(joules, rate)`` over the whole run, past and future.
        lower_bound: A value that the metric is known not to go under.
        goal: ``"min"`` for a metric that falls, ``"max"`` for one that rises.
        best: The best possible value of a metric that rises.
        level: Probability inside the intervals.
        priors: What to assume before seeing the curve.

    Raises:
        ForecastRefusedError: The curve does not support a forecast.
        UsageError: An argument cannot mean anything.
    """
    metric = declared(goal, best, lower_bound)
    schedule = _schedule(learning_rate, planned_learning_rate, bins.origin_joules)
    options = _options(metric, lower_bound, level, priors, schedule, origin=bins.origin_joules)
    return _fit(as_errors(from_stream(bins), metric.best), options)


def _schedule(known: Rate | None, plan: Rate | None, origin: float) -> tuple[Schedule | None, bool]:
    """Return the learning rate, if anything is known of it, and whether it reaches into the future."""
    rate = plan or known
    if rate is None:
        return None, False
    return build(np.asarray(rate[0], dtype=float) - origin, rate[1]), plan is not None


def _options(
    metric: Metric,
    lower_bound: float | None,
    level: float,
    priors: Priors | None,
    schedule: tuple[Schedule | None, bool],
    *,
    origin: float,
) -> Known:
    if not 0.0 < level < 1.0:
        raise UsageError(f"level must lie between 0 and 1, not {level!r}.")
    return Known(
        metric=metric,
        lower_bound=0.0 if lower_bound is None else max(number("lower_bound", lower_bound), 0.0),
        level=level,
        priors=priors or Priors(),
        schedule=schedule[0],
        planned=schedule[1],
        origin_joules=origin,
    )


def _fit(raw: FineBins, told: Known) -> CurveFit:
    fine, repaired = repair(raw)
    known = told.until(fine.last_joules)
    curve, metric = coarsen(fine), known.metric
    refuse_rising(curve, (curve.joules / curve.last_joules) ** known.priors.recency)
    weighed = weigh(curve, known)
    unwidened = futures(weighed.laws, known, curve.last_joules)
    default = next(iter(unwidened.values()))
    here = tuple(default.log_quantile(0.0, p) for p in probabilities(known.level))
    # Short, constant and rising curves were refused above, so that every fit improves.
    return CurveFit(
        state=CurveState.IMPROVING,
        state_reason=_improving(metric, curve.first_value, math.exp(here[1])),
        joules=known.origin_joules + curve.last_joules,
        level=metric.value(math.exp(here[1])),
        first_level=metric.value(curve.first_value),
        exponent=_exponent(weighed.laws),
        families=weighed.laws.families(),
        points=curve.points,
        dropped=curve.dropped,
        repaired=repaired,
        notes=tuple(notes(fine, curve, repaired, weighed, known)),
        confidence=known.level,
        lower_bound=known.lower_bound,
        metric=metric,
        priors=known.priors,
        curve=curve.shifted(known.origin_joules),
        smoothed=smooth(curve, weighed.log_law, here[1], known.origin_joules),
        here=here,
        unwidened=unwidened,
        past=Past(fine=fine, known=known, log_now=here[1]),
    )


def _exponent(laws: Laws) -> Interval:
    order = np.argsort(laws.slope)
    cumulative = np.cumsum(laws.mass[order])
    low, median, high = laws.slope[order][
        np.searchsorted(cumulative, probabilities(0.9)).clip(max=order.size - 1)
    ]
    return Interval(low=float(low), median=float(median), high=float(high))


def _improving(metric: Metric, first: float, now: float) -> str:
    return f"The level went from {metric.value(first):.4g} to {metric.value(now):.4g} and is still improving."
