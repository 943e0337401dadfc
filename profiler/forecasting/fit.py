"""Fits of a curve, from arrays or from a streaming accumulator.

Repaired and counted (`CurveFit.repairs`, `CurveFit.dropped`): joules out of order or repeated, values that are not
finite, zero or negative values and joules, short spikes of the loss.

Stated in `CurveFit.state`: no progress measure, too few points, divergence, a rise, a standstill.

Reported in a note (`CurveFit.notes`): a short span, a curve that left an earlier trend, a loss that jumps, systematic
misfit, a learning rate that falls without a plan or has fallen to zero, a plan that has ended.

Refused with a reason and a remedy (`ForecastRefusedError`): a curve without a finite point.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.errors import ForecastRefusedError, UsageError
from profiler.forecasting import longer_run
from profiler.forecasting.backtest import History
from profiler.forecasting.binning import CurveBins
from profiler.forecasting.cleaning import Repairs, clean
from profiler.forecasting.context import FitContext
from profiler.forecasting.curve import (
    Curve,
    FineBins,
    as_errors,
    bin_arrays,
    coarsen,
    describe,
    from_stream,
)
from profiler.forecasting.diagnostics import notes
from profiler.forecasting.metric import Metric, declared
from profiler.forecasting.posterior import Nodes, infer
from profiler.forecasting.predictive import LOWEST, Predictive, Standstill, predictives
from profiler.forecasting.priors import HORIZON_LIMIT, IMAGES, Priors
from profiler.forecasting.result import CurveFit, number, probabilities
from profiler.forecasting.schedule import Schedule, build
from profiler.forecasting.smoothing import smooth, smooth_bins
from profiler.forecasting.states import Assessment, StepAt, assess
from profiler.records import CurveState, Interval

Rate = tuple[npt.ArrayLike, npt.ArrayLike]

UNFITTED = (CurveState.NOT_A_PROGRESS_MEASURE, CurveState.DIVERGED, CurveState.RISING)
"""States whose curves have no trend to extrapolate."""
MOST_BEYOND = 0.5
"""Largest part of the values that may exceed the best possible one."""
SAME_RATE = 0.01
"""Relative change of a planned rate that counts as none."""


def fit_curve(
    joules: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    origin_joules: float = 0.0,
    learning_rate: npt.ArrayLike | None = None,
    recorded_learning_rate: Rate | None = None,
    planned_learning_rate: Rate | None = None,
    lower_bound: float | None = None,
    goal: str = "min",
    best: float | None = None,
    level: float = 0.9,
    priors: Priors | None = None,
    steps: Rate | None = None,
    alternating: bool = False,
    reinforced: bool = False,
    convolutional: bool = False,
    schedule_ended: bool = False,
) -> CurveFit:
    """Fit a curve from arrays.

    Args:
        joules: Energy since the start of the run at each point, in joules. Any order; repeats are averaged.
        values: The metric at each point, positive; a lower value is better unless ``goal`` is ``max``.
        weights: Number of steps that each value is the mean of; 1 by default.
        origin_joules: Joules at which the first step began, on the same axis. The trend counts from there; answers
            are on the axis of ``joules``.
        learning_rate: The learning rate at each point.
        recorded_learning_rate: ``(joules, rate)`` so far, at any joules; replaces ``learning_rate``.
        planned_learning_rate: ``(joules, rate)`` over the whole run, past and future; replaces ``learning_rate``.
        lower_bound: A known lower limit of the metric, such as the entropy of the data.
        goal: ``"min"`` for a metric that falls, ``"max"`` for one that rises.
        best: The best possible value of a metric that rises; 1.0 for an accuracy.
        level: Probability inside the intervals.
        priors: Assumptions before the curve is seen; the package's own by default.
        steps: ``(joules, step)`` of the run, for messages.
        alternating: Whether several optimizers take turns, each with a loss of its own.
        reinforced: Whether this is the loss of reinforcement learning, whose targets move with the policy.
        convolutional: Whether convolutions over images or spectrograms are trained, which changes the default priors.
        schedule_ended: Whether the learning rate has no plan beyond the curve, because its schedule has ended.

    Raises:
        ForecastRefusedError: The curve has no finite point.
        UsageError: An argument is invalid.
    """
    sizes = {np.size(part) for part in (joules, values, weights, learning_rate) if part is not None}
    if len(sizes) > 1:
        raise UsageError(
            f"joules, values, weights and learning_rate must have the same length, not {sorted(sizes)}."
        )
    known = recorded_learning_rate
    if known is None and learning_rate is not None:
        known = joules, learning_rate
    metric = declared(goal, best, lower_bound)
    origin = number("origin_joules", origin_joules)
    schedule = _schedule(known, planned_learning_rate, origin)
    context = _context(
        metric,
        lower_bound,
        level,
        priors or _priors(convolutional),
        schedule,
        origin_joules=origin,
        step_at=_steps(steps),
        alternating=alternating,
        reinforced=reinforced,
        over=schedule_ended,
    )
    values = np.asarray(values, dtype=float)
    errors = values if metric.best is None else metric.best - values
    return _fit(bin_arrays(joules, errors, weights, origin_joules=origin), context)


def fit_bins(
    bins: CurveBins | FineBins,
    *,
    origin_joules: float = 0.0,
    learning_rate: Rate | None = None,
    planned_learning_rate: Rate | None = None,
    lower_bound: float | None = None,
    goal: str = "min",
    best: float | None = None,
    level: float = 0.9,
    priors: Priors | None = None,
    steps: Rate | None = None,
    alternating: bool = False,
    reinforced: bool = False,
    convolutional: bool = False,
    schedule_ended: bool = False,
) -> CurveFit:
    """Fit a curve that is already binned, with the same result as `fit_curve` on the same points.

    A metric that rises is converted after the binning, so that its values must be positive, as those of an accuracy;
    `fit_curve` has no such limit.

    Args:
        bins: The accumulator, or the bins of :func:`profiler.forecasting.curve.bin_arrays`.
        origin_joules: Joules at which the first step began; an accumulator has its own.
        learning_rate: ``(joules, rate)`` so far.
        planned_learning_rate: ``(joules, rate)`` over the whole run, past and future.
        lower_bound: A known lower limit of the metric.
        goal: ``"min"`` for a metric that falls, ``"max"`` for one that rises.
        best: The best possible value of a metric that rises.
        level: Probability inside the intervals.
        priors: Assumptions before the curve is seen.
        steps: ``(joules, step)`` of the run, for messages.
        alternating: Whether several optimizers take turns, each with a loss of its own.
        reinforced: Whether this is the loss of reinforcement learning, whose targets move with the policy.
        convolutional: Whether convolutions over images or spectrograms are trained, which changes the default priors.
        schedule_ended: Whether the learning rate has no plan beyond the curve, because its schedule has ended.

    Raises:
        ForecastRefusedError: The curve has no finite point.
        UsageError: An argument is invalid.
    """
    metric = declared(goal, best, lower_bound)
    if isinstance(bins, CurveBins):
        origin_joules = bins.origin_joules
        bins = from_stream(bins)
    schedule = _schedule(learning_rate, planned_learning_rate, origin_joules)
    context = _context(
        metric,
        lower_bound,
        level,
        priors or _priors(convolutional),
        schedule,
        origin_joules=origin_joules,
        step_at=_steps(steps),
        alternating=alternating,
        reinforced=reinforced,
        over=schedule_ended,
    )
    return _fit(as_errors(bins, metric.best), context)


def with_constant_rate(fit: CurveFit) -> CurveFit:
    """Fit the same curve again, with a learning rate known to be constant, which adds the scenarios of an anneal."""
    end = fit.history.fine.last_joules
    constant = build(np.array([0.0, end]), np.ones(2))
    return _fit(fit.history.fine, replace(fit.history.context, schedule=constant, planned=False))


def prefix_fit(fit: CurveFit, joules: float) -> CurveFit | None:
    """Fit the part of a curve up to an energy since the start of the run; None without a point in it.

    A recorded learning rate counts as a plan for what follows, as it would have been at that time.
    """
    fine, context = fit.history.fine, fit.history.context
    before = int((fine.joules <= joules - context.origin_joules).sum())
    if not before:
        return None
    prefix, limit = fine.first(before), joules - context.origin_joules
    tail = fine.facts.tail_nonfinite if fine.facts.first_nonfinite_joules <= limit else 0
    end = min(limit, fine.facts.end_joules) if tail else prefix.last_joules
    facts = replace(fine.facts, tail_nonfinite=tail, tail_zeros=0, end_joules=end)
    return _fit(replace(prefix, facts=facts), context.before_the_end())


def _steps(steps: Rate | None) -> StepAt | None:
    if steps is None or not np.size(steps[0]):
        return None
    return StepAt(joules=np.asarray(steps[0], dtype=float), steps=np.asarray(steps[1], dtype=float))


def _schedule(known: Rate | None, plan: Rate | None, origin: float) -> tuple[Schedule | None, bool]:
    """Return the learning rate, if known, and whether it reaches into the future."""
    rate = plan or known
    if rate is None:
        return None, False
    return build(np.asarray(rate[0], dtype=float) - origin, rate[1]), plan is not None


def _priors(convolutional: bool) -> Priors:  # noqa: FBT001 - named like the argument of a fit
    return IMAGES if convolutional else Priors()


def _context(
    metric: Metric,
    lower_bound: float | None,
    level: float,
    priors: Priors,
    schedule: tuple[Schedule | None, bool],
    **rest: Any,
) -> FitContext:
    """Return the context of a fit; ``rest`` are its further attributes."""
    if not 0.0 < level < 1.0:
        raise UsageError(f"level must lie between 0 and 1, not {level!r}.")
    return FitContext(
        metric=metric,
        lower_bound=0.0 if lower_bound is None else max(number("lower_bound", lower_bound), 0.0),
        level=level,
        priors=priors,
        schedule=schedule[0],
        planned=schedule[1],
        **rest,
    )


def _fit(raw: FineBins, given: FitContext) -> CurveFit:
    if not raw.facts.finite:
        raise _no_points(raw, given.metric)
    _check_best(raw, given.metric)
    fine, repairs = clean(raw)
    context = given.until(fine.last_joules)
    curve = coarsen(fine)
    assessment = assess(
        fine,
        curve,
        metric=context.metric,
        recency=context.priors.recency,
        schedule=context.schedule,
        alternating=context.alternating,
        reinforced=context.reinforced,
        step_at=context.step_at,
        origin=context.origin_joules,
    )
    if context.ended and curve is not None and assessment.state is CurveState.TOO_EARLY:
        assessment = replace(assessment, reason=longer_run.NO_TREND)
    if curve is None or assessment.state in UNFITTED or math.isinf(assessment.log_level):
        return _unfitted(fine, repairs, context, assessment)
    return _fitted(fine, curve, repairs, context, assessment)


def _no_points(fine: FineBins, metric: Metric) -> ForecastRefusedError:
    if not fine.dropped.total:
        remedy = "If the training has a loss, pass it with prof.step(loss=...)."
        return ForecastRefusedError("too_few_points", "No value was recorded.", remedy=remedy)
    if fine.dropped.nonfinite == fine.dropped.total:
        reason = f"None of {fine.dropped.total:,} recorded values is finite, or none has an energy."
        remedy = "Check the inputs, the learning rate and the numerical precision."
        return ForecastRefusedError("nothing_finite", reason, remedy=remedy)
    why = describe(fine.dropped, metric.best)
    reason = f"The curve has no finite point ({fine.dropped.total} are unusable: {why})."
    return ForecastRefusedError(
        "too_few_points", reason, remedy="Train longer, or record the metric more often."
    )


def _check_best(fine: FineBins, metric: Metric) -> None:
    beyond = fine.facts.negative
    if metric.best is not None and beyond > MOST_BEYOND * fine.facts.finite:
        raise UsageError(
            f"best={metric.best:g} is exceeded by {beyond} of {fine.facts.finite} values. "
            "Pass the best possible value in the unit of the metric, such as best=100 for a percentage."
        )


def _fitted(
    fine: FineBins, curve: Curve, repairs: Repairs, context: FitContext, assessment: Assessment
) -> CurveFit:
    metric = context.metric
    is_still = assessment.state is not CurveState.IMPROVING
    posterior = infer(curve, context, is_still=is_still)
    untested: dict[str, Predictive | Standstill] = {
        **predictives(posterior.nodes, context, curve.last_joules, may_rise=is_still)
    }
    if assessment.state is CurveState.FLAT:
        still = _standstill(assessment)
        nodes = posterior.nodes.at_rest(still.log_level, still.log_error)
        at_rest = predictives(nodes, context, curve.last_joules, may_rise=True)
        untested = {
            name: still if _keeps_the_rate(name, context, curve.last_joules) else _drifting(one, still)
            for name, one in at_rest.items()
        }
    here = _standstill(assessment) if assessment.state is CurveState.FLAT else next(iter(untested.values()))
    log_now = tuple(here.log_quantile(0.0, p) for p in probabilities(context.level))
    if context.ended and assessment.state is CurveState.IMPROVING:
        longer = longer_run.forecast(fine, context, log_now[1])
        untested = {} if longer is None else {longer_run.NAME: longer}
        assessment = replace(assessment, reason=longer_run.UNKNOWN) if longer is None else assessment
    longer_notes = (longer_run.NOTE,) if longer_run.NAME in untested else ()
    return CurveFit(
        state=assessment.state,
        state_reason=assessment.reason,
        joules=context.origin_joules + curve.last_joules,
        level=metric.value(math.exp(log_now[1])),
        first_level=metric.value(curve.first_value),
        exponent=_exponent(posterior.nodes),
        families=posterior.nodes.families(),
        points=curve.points,
        dropped=curve.dropped,
        repairs=repairs,
        notes=(*notes(fine, curve, repairs, posterior, context), *longer_notes),
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


def _standstill(assessment: Assessment) -> Standstill:
    return Standstill(
        log_level=max(assessment.log_level, LOWEST),
        log_error=assessment.log_error,
        log_drift=assessment.log_drift,
        p_still=assessment.p_still,
    )


def _drifting(predictive: Predictive, still: Standstill) -> Predictive:
    """Return the future of a flat curve whose learning rate changes, with the drift of the same at a constant rate."""
    error, drift = predictive.error, still.log_drift / math.sqrt(math.log2(HORIZON_LIMIT))
    least_below, least_above = max(error.least_below, drift), max(error.least_above, drift)
    return replace(predictive, error=replace(error, least_below=least_below, least_above=least_above))


def _keeps_the_rate(scenario: str, context: FitContext, last: float) -> bool:
    if scenario != "planned" or context.schedule is None:
        return scenario in ("onward", "held")
    ahead = np.linspace(last, context.schedule.end, 64)
    rates = np.array([context.schedule.rate_at(float(x)) for x in ahead])
    return bool(np.ptp(rates) <= SAME_RATE * rates[0])


def _unfitted(fine: FineBins, repairs: Repairs, context: FitContext, assessment: Assessment) -> CurveFit:
    """Return a fit without a forecast: the recorded curve and its state."""
    metric, origin, facts = context.metric, context.origin_joules, fine.facts
    smoothed = smooth_bins(fine, origin)
    log_now = math.nan if not smoothed.log_values.size else float(smoothed.log_values[-1])
    untested: dict[str, Predictive | Standstill] = {}
    if math.isinf(assessment.log_level):
        if context.lower_bound > 0.0:
            raise UsageError(f"lower_bound={context.lower_bound:g} is not under the curve, which is at 0.")
        # Values of zero have no logarithm; `LOWEST` represents it.
        if not fine.values.size and facts.start_joules < facts.end_joules:
            smoothed = smoothed.extended(facts.start_joules, LOWEST)
        smoothed = smoothed.extended(facts.end_joules, LOWEST)
        log_now, untested = LOWEST, {"onward": _standstill(assessment)}
    if assessment.state is CurveState.NOT_A_PROGRESS_MEASURE and facts.negative:
        log_now = math.nan
    now = (log_now,) * 3
    nothing = Interval(low=math.nan, median=math.nan, high=math.nan)
    values = np.log(fine.values)
    curve = Curve(
        joules=fine.joules,
        log_values=values,
        weights=fine.weights,
        last_joules=facts.end_joules,
        first_value=float(fine.values[0]) if fine.values.size else math.nan,
        points=fine.points,
        dropped=fine.dropped,
    )
    return CurveFit(
        state=assessment.state,
        state_reason=assessment.reason,
        joules=origin + facts.end_joules,
        level=metric.value(math.exp(log_now)),
        first_level=metric.value(curve.first_value),
        exponent=nothing,
        families={},
        points=fine.points,
        dropped=fine.dropped,
        repairs=repairs,
        notes=(),
        confidence=context.level,
        lower_bound=context.lower_bound,
        metric=metric,
        priors=context.priors,
        curve=curve.shifted(origin),
        smoothed=smoothed,
        log_now=now,
        untested=untested,
        history=History(fine=fine, context=context, log_now=log_now),
    )


def _exponent(nodes: Nodes) -> Interval:
    order = np.argsort(nodes.slope)
    cumulative = np.cumsum(nodes.mass[order])
    low, median, high = nodes.slope[order][
        np.searchsorted(cumulative, probabilities(0.9)).clip(max=order.size - 1)
    ]
    return Interval(low=float(low), median=float(median), high=float(high))
