"""From points to a fit: the two ways in, and what they share."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.errors import UsageError
from profiler.forecast.bins import CurveBins
from profiler.forecast.curve import (
    Curve,
    FineBins,
    FloatArray,
    as_errors,
    bin_arrays,
    coarsen,
    describe,
    from_stream,
)
from profiler.forecast.evidence import gather
from profiler.forecast.fit import CurveFit, exp, number, probabilities
from profiler.forecast.laws import Laws
from profiler.forecast.metric import Metric, declared
from profiler.forecast.posterior import fit_laws
from profiler.forecast.predictive import Predictive
from profiler.forecast.priors import Priors
from profiler.forecast.schedule import Annealed, Held, Onward, Path, Planned, Schedule, build
from profiler.forecast.trend import refuse_rising, smooth
from profiler.records import Interval

Rate = tuple[npt.ArrayLike, npt.ArrayLike]

SHORT_SPAN = 4.0
LIKELY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """What the caller knows beside the points."""

    metric: Metric
    lower_bound: float
    level: float
    priors: Priors
    schedule: Schedule | None
    planned: bool


def fit_curve(
    joules: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
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
        learning_rate: The learning rate at each point.
        planned_learning_rate: ``(joules, rate)`` over the whole run, past and future.
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
    options = _options(metric, lower_bound, level, priors, _schedule(known, planned_learning_rate))
    values = np.asarray(values, dtype=float)
    errors = values if metric.best is None else metric.best - values
    return _fit(bin_arrays(joules, errors, weights), options)


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
    options = _options(metric, lower_bound, level, priors, _schedule(learning_rate, planned_learning_rate))
    return _fit(as_errors(from_stream(bins), metric.best), options)


def _schedule(known: Rate | None, plan: Rate | None) -> tuple[Schedule | None, bool]:
    """Return the learning rate, if anything is known of it, and whether it reaches into the future."""
    rate = plan or known
    return (None if rate is None else build(*rate)), plan is not None


def _options(
    metric: Metric,
    lower_bound: float | None,
    level: float,
    priors: Priors | None,
    schedule: tuple[Schedule | None, bool],
) -> _Options:
    if not 0.0 < level < 1.0:
        raise UsageError(f"level must lie between 0 and 1, not {level!r}.")
    return _Options(
        metric=metric,
        lower_bound=0.0 if lower_bound is None else max(number("lower_bound", lower_bound), 0.0),
        level=level,
        priors=priors or Priors(),
        schedule=schedule[0],
        planned=schedule[1],
    )


def _fit(fine: FineBins, options: _Options) -> CurveFit:
    curve, priors, metric = coarsen(fine), options.priors, options.metric
    refuse_rising(curve, (curve.joules / curve.last_joules) ** priors.recency)
    log_v, progress = _axis(curve, options.schedule)
    evidence = gather(curve, priors, log_v=log_v, progress=progress, lower_bound=options.lower_bound)
    laws = fit_laws(evidence)
    futures = {name: _future(laws, priors, path) for name, path in _paths(curve, options).items()}
    default = next(iter(futures.values()))
    here = tuple(default.log_quantile(0.0, p) for p in probabilities(options.level))
    law = laws.mass @ laws.log_levels(log_v, np.zeros_like(log_v) if progress is None else progress)
    return CurveFit(
        joules=curve.last_joules,
        level=metric.value(math.exp(here[1])),
        first_level=metric.value(curve.first_value),
        floor=metric.interval(_floor(default, options.lower_bound)),
        exponent=_exponent(laws),
        families=laws.families(),
        points=curve.points,
        dropped=curve.dropped,
        notes=tuple(_notes(curve, laws, float(log_v[0]))),
        confidence=options.level,
        lower_bound=options.lower_bound,
        metric=metric,
        priors=priors,
        curve=curve,
        smoothed=smooth(curve, law, here[1]),
        here=here,
        futures=futures,
    )


def _axis(curve: Curve, schedule: Schedule | None) -> tuple[FloatArray, FloatArray | None]:
    """Log v of each bin, and its anneal progress less that at the last point."""
    if schedule is None:
        return np.log(curve.joules / curve.last_joules), None
    last = np.array([curve.last_joules])
    log_v = np.log(schedule.learned_at(curve.joules) / schedule.learned_at(last))
    return log_v, schedule.progress_at(curve.joules) - schedule.progress_at(last)


def _paths(curve: Curve, options: _Options) -> dict[str, Path]:
    schedule, last = options.schedule, curve.last_joules
    if schedule is None:
        return {"onward": Onward()}
    rate, learned = schedule.rate_at(last), float(schedule.learned_at(np.array([last]))[0])
    paths: dict[str, Path] = {"planned": Planned(schedule=schedule, last=last)} if options.planned else {}
    paths["held"] = Held(rate=rate, learned=learned, last=last)
    paths["annealed"] = Annealed(rate=rate, learned=learned, memory=schedule.memory, last=last)
    return paths


def _future(laws: Laws, priors: Priors, path: Path) -> Predictive:
    misses = priors.rate_unknown if isinstance(path, Onward) else priors.rate_known
    return Predictive(laws=laws, misses=misses, path=path)


def _floor(future: Predictive, bound: float) -> Interval:
    low, median, high = (max(exp(future.log_quantile(math.inf, p)), bound) for p in probabilities(0.9))
    return Interval(low=low, median=median, high=high)


def _exponent(laws: Laws) -> Interval:
    order = np.argsort(laws.slope)
    cumulative = np.cumsum(laws.mass[order])
    low, median, high = laws.slope[order][
        np.searchsorted(cumulative, probabilities(0.9)).clip(max=order.size - 1)
    ]
    return Interval(low=float(low), median=float(median), high=float(high))


def _notes(curve: Curve, laws: Laws, first: float) -> list[str]:
    notes = []
    if curve.dropped.total:
        notes.append(f"{curve.dropped.total} points were left out: {describe(curve.dropped)}.")
    if curve.span < SHORT_SPAN:
        notes.append(
            f"The curve spans only a factor of {curve.span:.2g} in joules; the forecast leans on its priors."
        )
    late = laws.start > first + 1e-9
    if laws.mass[late].sum() > LIKELY:
        begins = curve.last_joules * math.exp(float(np.median(laws.start[late])))
        notes.append(f"What came before about {begins:.3g} J follows another law and was left aside.")
    return notes
