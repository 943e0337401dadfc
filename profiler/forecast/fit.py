"""The fit object: what a curve says of every level and every amount of energy."""

import math
from dataclasses import dataclass
from typing import SupportsFloat

import numpy as np
import numpy.typing as npt

from profiler.errors import UsageError
from profiler.forecast import predictive, verdict
from profiler.forecast.bins import CurveBins, Dropped
from profiler.forecast.curve import Curve, FineBins, bin_arrays, coarsen, describe, from_stream
from profiler.forecast.posterior import Nodes, fit_nodes
from profiler.forecast.priors import Priors
from profiler.forecast.trend import Smoothed, refuse_rising, smooth
from profiler.records import Forecast, Interval


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CurveFit:
    """A fitted curve. Joules are totals since the start of the run; values are in the unit of the metric.

    Attributes:
        joules: Joules of the last usable point.
        level: Level of the smoothed curve there.
        first_level: Level at the very start of the curve.
        floor: The level that infinite energy would approach; 90 % interval.
        exponent: Exponent of the power law at the last point; 90 % interval.
        points: Usable points.
        dropped: Points that could not be used.
        notes: Sentences that a reader must know to trust the numbers.
        confidence: Probability inside the intervals that methods return.
        lower_bound: A value that the metric cannot be under.
        priors: What was assumed before the curve was seen.
        curve: The binned curve that was fitted.
        smoothed: The observed part, smoothed.
        nodes: The posterior.
    """

    joules: float
    level: float
    first_level: float
    floor: Interval
    exponent: Interval
    points: int
    dropped: Dropped
    notes: tuple[str, ...]
    confidence: float
    lower_bound: float
    priors: Priors
    curve: Curve
    smoothed: Smoothed
    nodes: Nodes

    def loss_at(self, joules: float) -> Interval:
        """Return the level after an amount of energy.

        Args:
            joules: Energy since the start of the run, in joules, past or future; may be infinite.

        Raises:
            UsageError: Not a positive number.
        """
        energy = _number("joules", joules)
        if energy <= 0.0:
            raise UsageError(f"joules must be positive, not {joules!r}.")
        if energy > self.joules:
            return self._interval_at(math.log(energy) - math.log(self.joules))
        here = self._interval_at(0.0)
        past = math.exp(self.smoothed.log_at(energy)) / here.median
        return Interval(
            low=here.low * past, median=here.median * past, high=here.high * past, level=here.level
        )

    def joules_at(self, loss: float) -> Forecast:
        """Return the energy that a level costs, with the verdict.

        Args:
            loss: The target, in the unit of the metric.

        Raises:
            UsageError: Not a number.
        """
        target = _number("loss", loss)
        if target <= 0.0 or target < self.lower_bound:
            return verdict.certain_never(target, self.lower_bound, self.confidence)
        log_level = math.log(target)
        low, median, high = (self._energy(log_level, p) for p in self._probabilities())
        if median <= self.joules:
            return verdict.reached(median, (low, min(high, self.joules)), self.joules, self.confidence)
        return verdict.extrapolated((low, median, high), self.p_never(target), self.joules, self.confidence)

    def p_never(self, loss: float) -> float:
        """Return the probability that no finite energy reaches a level that the curve has not reached."""
        target = _number("loss", loss)
        if target <= 0.0 or target < self.lower_bound:
            return 1.0
        if self.smoothed.first_crossing(math.log(target)) <= self.joules:
            return 0.0
        return predictive.p_never(self.nodes, self.priors, math.log(target))

    def _probabilities(self) -> tuple[float, float, float]:
        return 0.5 - self.confidence / 2.0, 0.5, 0.5 + self.confidence / 2.0

    def _interval_at(self, log_v: float) -> Interval:
        quantiles = (
            predictive.log_quantile(self.nodes, self.priors, log_v, p) for p in self._probabilities()
        )
        low, median, high = (max(_exp(q), self.lower_bound) for q in quantiles)
        return Interval(low=low, median=median, high=high, level=self.confidence)

    def _energy(self, log_level: float, probability: float) -> float:
        """Joules by which the level is reached with a probability: smoothed curve, then posterior."""
        offset = predictive.log_quantile(self.nodes, self.priors, 0.0, probability) - math.log(self.level)
        past = self.smoothed.first_crossing(log_level - offset)
        if past <= self.joules:
            return past
        return self.joules * _exp(predictive.crossing(self.nodes, self.priors, log_level, probability))


def fit_curve(
    joules: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    lower_bound: float | None = None,
    level: float = 0.9,
    priors: Priors | None = None,
) -> CurveFit:
    """Fit a curve given as arrays.

    Args:
        joules: Energy since the start of the run at each point, in joules. Any order; repeats are averaged.
        values: The metric at each point, positive and falling (a loss, an error).
        weights: Steps that each value is the mean of; 1 where not given.
        lower_bound: A value that the metric is known not to go under, such as the entropy of the data.
        level: Probability inside the intervals.
        priors: What to assume before seeing the curve; the package's own where not given.

    Raises:
        ForecastRefusedError: The curve does not support a forecast.
        UsageError: An argument cannot mean anything.
    """
    sizes = {np.size(part) for part in (joules, values, weights) if part is not None}
    if len(sizes) > 1:
        raise UsageError(f"joules, values and weights must have the same length, not {sorted(sizes)}.")
    return _fit(bin_arrays(joules, values, weights), lower_bound=lower_bound, level=level, priors=priors)


def fit_bins(
    bins: CurveBins, *, lower_bound: float | None = None, level: float = 0.9, priors: Priors | None = None
) -> CurveFit:
    """Fit a curve that was binned while it was recorded; the same result as `fit_curve` on the same points.

    Args:
        bins: The accumulator.
        lower_bound: A value that the metric is known not to go under.
        level: Probability inside the intervals.
        priors: What to assume before seeing the curve.

    Raises:
        ForecastRefusedError: The curve does not support a forecast.
        UsageError: An argument cannot mean anything.
    """
    return _fit(from_stream(bins), lower_bound=lower_bound, level=level, priors=priors)


def _fit(fine: FineBins, *, lower_bound: float | None, level: float, priors: Priors | None) -> CurveFit:
    if not 0.0 < level < 1.0:
        raise UsageError(f"level must lie between 0 and 1, not {level!r}.")
    bound = 0.0 if lower_bound is None else max(_number("lower_bound", lower_bound), 0.0)
    priors = priors or Priors()
    curve = coarsen(fine)
    refuse_rising(curve, (curve.joules / curve.last_joules) ** priors.recency)
    nodes = fit_nodes(curve, priors, lower_bound=bound)
    log_now = predictive.log_quantile(nodes, priors, 0.0, 0.5)
    law = nodes.mass @ predictive.log_locations(nodes, np.log(curve.joules / curve.last_joules))
    return CurveFit(
        joules=curve.last_joules,
        level=math.exp(log_now),
        first_level=curve.first_value,
        floor=_floor(nodes, priors, bound),
        exponent=_exponent(nodes),
        points=curve.points,
        dropped=curve.dropped,
        notes=_notes(curve),
        confidence=level,
        lower_bound=bound,
        priors=priors,
        curve=curve,
        smoothed=smooth(curve, law, log_now),
        nodes=nodes,
    )


def _floor(nodes: Nodes, priors: Priors, bound: float) -> Interval:
    low, median, high = (
        max(_exp(predictive.log_quantile(nodes, priors, math.inf, p)), bound) for p in (0.05, 0.5, 0.95)
    )
    return Interval(low=low, median=median, high=high)


def _exponent(nodes: Nodes) -> Interval:
    order = np.argsort(nodes.slope)
    cumulative = np.cumsum(nodes.mass[order])
    low, median, high = nodes.slope[order][
        np.searchsorted(cumulative, (0.05, 0.5, 0.95)).clip(max=order.size - 1)
    ]
    return Interval(low=float(low), median=float(median), high=float(high))


def _notes(curve: Curve) -> tuple[str, ...]:
    dropped = curve.dropped
    return (f"{dropped.total} points were left out: {describe(dropped)}.",) if dropped.total else ()


def _number(name: str, value: object) -> float:
    if isinstance(value, bool | str | bytes) or not isinstance(value, SupportsFloat):
        raise UsageError(f"{name} must be a number, not {value!r}.")
    number = float(value)
    if math.isnan(number):
        raise UsageError(f"{name} must be a number, not NaN.")
    return number


def _exp(exponent: float) -> float:
    """Return e^exponent, infinite where a float ends."""
    return math.exp(exponent) if exponent < predictive.FARTHEST else math.inf
