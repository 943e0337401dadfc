"""The predictive distribution: levels at given joules and joules at given levels, from one distribution."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from profiler.forecasting.curve import FloatArray
from profiler.forecasting.priors import HORIZON_LIMIT, ModelError
from profiler.forecasting.schedule import Annealed, Held, Onward, Path, Planned

if TYPE_CHECKING:
    from profiler.forecasting.context import FitContext
    from profiler.forecasting.posterior import Nodes

LOG_HORIZON = float(np.log(HORIZON_LIMIT))
FARTHEST = 700.0
"""Logarithm of the largest ratio of joules that a float holds; larger ones count as infinite."""
MOST_STEPS = 200
CLOSE = 1e-12
HALF = 0.5
LOWEST = -1e4
"""Log level that represents zero, so that all values here are finite."""
STEPS = np.concatenate(
    [np.linspace(0.0, LOG_HORIZON, 17), np.geomspace(LOG_HORIZON, FARTHEST, 9)[1:], [np.inf]]
)
"""Log ratios between which crossings are bracketed: dense up to the horizon limit, sparse to infinity."""
AROUND = 33
"""Log ratios between two of these at which the largest probability is searched for."""
T4_WIDTH = 1.6449 / 2.1318
"""Scale that gives Student's t with four degrees of freedom the 90 % interval of the normal."""


def kernel(z: FloatArray) -> FloatArray:
    """Return the distribution function of Student's t with four degrees of freedom, at the width of a normal.

    It is algebraic, and its tails are heavier than a normal's (Abramowitz and Stegun 26.7.4).
    """
    t = np.minimum(np.maximum(z / T4_WIDTH, -1e9), 1e9)  # a third of the time of np.clip
    u = t / np.sqrt(4.0 + t * t)
    return np.asarray(0.5 + u * (0.75 - 0.25 * u * u))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Levels:
    """Log levels of the nodes (rows) at several joules (columns)."""

    center: FloatArray
    below: FloatArray
    """Standard deviation downwards."""
    above: FloatArray
    """Standard deviation upwards."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictive:
    """A posterior under one future of the learning rate.

    Attributes:
        nodes: The posterior.
        error: Departures of the level from the curve.
        path: Map from energy to the axis of the curve.
        may_rise: Whether the level may exceed the present one, as after a planned rise of the learning rate.
    """

    nodes: "Nodes"
    error: ModelError
    path: Path
    may_rise: bool = False

    def log_quantile(self, log_ratio: float, probability: float) -> float:
        """Return a quantile of the log level at ln(joules / last joules); `LOWEST` or less represents zero."""
        found = self._log_quantile(log_ratio, probability)
        if probability <= HALF or log_ratio <= 0.0 or self.may_rise:
            return found
        # A curve that flattens departs upwards from its trend, but not beyond the present level.
        now = self._levels(np.zeros(1))
        is_above = self._chance(now, found, probability)[0] > probability
        return min(found, self._log_quantile(0.0, probability)) if is_above else found

    def _log_quantile(self, log_ratio: float, probability: float) -> float:
        levels = self._levels(np.array([log_ratio]))
        order = np.argsort(levels.center[:, 0])
        first = int(np.searchsorted(np.cumsum(self.nodes.mass[order]), probability).clip(max=order.size - 1))
        guess = float(levels.center[order[first], 0])

        def missing(log_level: float) -> float:
            return float(self._chance(levels, log_level, probability)[0]) - probability

        return _root(
            missing, *_bracket(missing, guess, float((levels.below + levels.above)[order[first], 0]))
        )

    def p_unreachable(self, log_level: float) -> float:
        """Return the probability that no finite energy lowers the level to ``log_level``."""
        chances = self._chances(log_level, STEPS)
        near = self._chances(log_level, _around_the_largest(chances))
        return float(np.clip(1.0 - max(chances.max(), near.max(initial=0.0)), 0.0, 1.0))

    def p_reached(self, log_level: float, log_ratios: FloatArray) -> FloatArray:
        """Return the probability that the level is reached by each of increasing ln(joules / last joules)."""
        return np.asarray(np.maximum.accumulate(self._chances(log_level, log_ratios)))

    def _chances(self, log_level: float, log_ratios: FloatArray) -> FloatArray:
        """Return the probability that the level is at most ``log_level`` at each ln(joules / last joules)."""
        levels = self._levels(log_ratios)
        less, own, more = (self._chance(levels, log_level, p) for p in (0.0, HALF, 1.0))
        return np.where(own < HALF, np.minimum(less, HALF), np.maximum(more, HALF))

    def chances(self, log_level: float, log_ratios: FloatArray) -> FloatArray:
        """Return `p_reached`, at most the probability of ever reaching the level."""
        return np.minimum(self.p_reached(log_level, log_ratios), 1.0 - self.p_unreachable(log_level))

    def crossing(self, log_level: float, probability: float) -> float:
        """Return the first ln(joules / last joules) >= 0 at which the level is reached with a probability, or inf."""

        def missing(log_ratio: FloatArray) -> FloatArray:
            return self._chance(self._levels(log_ratio), log_level, probability) - probability

        steps, found = STEPS, missing(STEPS)
        if found.max() < 0.0:
            steps = _around_the_largest(found)
            found = missing(steps)
        enough = found >= 0.0
        if not enough.any():
            return np.inf
        first = int(np.argmax(enough))
        if first == 0:
            return 0.0
        low, high = float(steps[first - 1]), min(float(steps[first]), FARTHEST)
        if high == FARTHEST and missing(np.array([high]))[0] < 0.0:
            return np.inf
        return _root(lambda log_ratio: float(missing(np.array([log_ratio]))[0]), low, high)

    def _chance(self, levels: _Levels, log_level: float, probability: float) -> FloatArray:
        """Return the distribution function, in the form that applies to ``probability``.

        It is that of the nodes, stretched outwards on either side of the median by the model error, which thereby
        widens the interval, unevenly, and leaves the median unchanged.
        """
        miss = log_level - levels.center
        own = self._mean(kernel(miss / self.nodes.scale[:, None]))
        if probability < HALF:
            return np.maximum(own, self._mean(kernel(miss / levels.below)))
        return np.minimum(own, self._mean(kernel(miss / levels.above))) if probability > HALF else own

    def _mean(self, values: FloatArray) -> FloatArray:
        return np.asarray((self.nodes.mass[:, None] * values).sum(axis=0))

    def _levels(self, log_ratio: FloatArray) -> _Levels:
        error = self.error
        log_v, progress = self.path.at(log_ratio)
        center = np.maximum(self.nodes.log_levels(log_v, progress), LOWEST)
        # Variances grow in proportion to doublings of energy, as those of a random walk, up to the horizon limit.
        walk = np.clip(log_ratio, 0.0, LOG_HORIZON) / np.log(2.0)
        gain = self.nodes.gain_per_doubling()[:, None]
        center = center - error.lean * gain / (1.0 + gain / error.lean_gain) * walk
        own = np.square(self.nodes.scale)[:, None]
        come = walk * (1.0 + error.sudden) / (1.0 + error.sudden * walk)
        bent = error.curvature * gain * walk**2
        # A steep curve that flattens or steepens departs in proportion to doublings, not to their square root.
        broken = np.square(error.breaks * gain**3 / (gain**2 + error.breaks_gain**2) * walk)
        # The part of an anneal that has taken effect by a rate is itself a guess.
        broken = broken + np.square(error.anneal * self.nodes.gain[:, None] * progress)
        below = own + np.square(error.below * gain) * come + error.least_below**2 * walk + np.square(bent)
        above = own + (np.square(error.above * gain) + error.least_above**2) * walk
        return _Levels(center=center, below=np.sqrt(below + broken), above=np.sqrt(above + broken))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standstill:
    """The future of a flat curve at the present learning rate.

    Attributes:
        log_level: Mean log level.
        log_error: Its standard error.
        log_drift: Standard error of the change up to the horizon limit.
        p_still: Probability that the level does not fall by 1 % within it.
    """

    log_level: float
    log_error: float
    log_drift: float
    p_still: float

    def log_quantile(self, log_ratio: float, probability: float) -> float:
        """Return a quantile of the log level at ln(joules / last joules)."""
        drift = self.log_drift * min(max(log_ratio, 0.0), LOG_HORIZON) / LOG_HORIZON
        return self.log_level + NormalDist().inv_cdf(probability) * math.hypot(self.log_error, drift)


def predictives(
    nodes: "Nodes", context: "FitContext", last_joules: float, *, may_rise: bool = False
) -> dict[str, Predictive]:
    """Return the predictive distribution under each scenario, the default one first.

    Args:
        nodes: The posterior.
        context: Information beside the points.
        last_joules: Joules of the last point.
        may_rise: Whether the level may exceed the present one, as that of a curve without progress.
    """
    error = context.priors.rate_unknown if context.schedule is None else context.priors.rate_known
    return {
        name: Predictive(
            nodes=nodes.merged(gains=isinstance(path, Held | Onward)),
            error=error,
            path=path,
            may_rise=may_rise or (isinstance(path, Planned) and path.schedule.rises_after(last_joules)),
        )
        for name, path in _paths(context, last_joules).items()
    }


def _paths(context: "FitContext", last: float) -> dict[str, Path]:
    schedule = context.schedule
    if schedule is None:
        return {"onward": Onward()}
    rate, learned = schedule.rate_at(last), float(schedule.learned_at(np.array([last]))[0])
    paths: dict[str, Path] = {"planned": Planned(schedule=schedule, last=last)} if context.planned else {}
    paths["held"] = Held(rate=rate, learned=learned, last=last)
    paths["annealed"] = Annealed(rate=rate, learned=learned, memory=schedule.memory, last=last)
    return paths


def _around_the_largest(values: FloatArray) -> FloatArray:
    """Return log ratios about that of the largest of the values at `STEPS`; none where it is the first or the last.

    Where the interval widens faster than the level falls, the probability of a level is largest at a finite energy.
    """
    largest = int(np.argmax(values))
    if not 0 < largest < STEPS.size - 2:
        return np.empty(0)
    return np.linspace(STEPS[largest - 1], STEPS[largest + 1], AROUND)


def _bracket(f: Callable[[float], float], guess: float, step: float) -> tuple[float, float]:
    """Widen a bracket around a guess until an increasing function changes sign in it."""
    low, high = guess - step, guess + step
    while f(low) > 0.0:
        low, high, step = low - 2.0 * step, low, 2.0 * step
    while f(high) < 0.0:
        low, high, step = high, high + 2.0 * step, 2.0 * step
    return low, high


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    """Return the zero of an increasing function between ``low`` and ``high``, at which it is not negative.

    Inverse quadratic interpolation where the last three points show that it converges, else bisection, because
    distribution functions may be flat or jump (Chandrupatla, Advances in Engineering Software 28, 1997).
    """
    at_low, at_high = f(low), f(high)
    if at_low >= 0.0:
        return low
    x = 0.5 * (low + high)
    for _ in range(MOST_STEPS):
        close = CLOSE * max(1.0, abs(high))
        if high - low <= close:
            break
        here = f(x)
        if abs(here) < CLOSE:
            return x
        if here > 0.0:
            former, other = (high, at_high), (low, at_low)
            high, at_high = x, here
        else:
            former, other = (low, at_low), (high, at_high)
            low, at_low = x, here
        part = _part_way((x, here), other, former) if at_high > 0.0 else 0.5
        least = 0.5 * close / (high - low)
        x += min(max(part, least), 1.0 - least) * (other[0] - x)
    return high


def _part_way(last: tuple[float, float], other: tuple[float, float], former: tuple[float, float]) -> float:
    """Return the part of the way from the last point to the other end of the bracket at which the zero is expected.

    Args:
        last: Argument and value of the last point, an end of the bracket.
        other: Those of the other end.
        former: Those of the end that the last point replaced.
    """
    (a, at_a), (b, at_b), (c, at_c) = last, other, former
    if at_c in (at_a, at_b):
        return 0.5
    place, value = (a - b) / (c - b), (at_a - at_b) / (at_c - at_b)
    if value**2 >= place or (1.0 - value) ** 2 >= 1.0 - place:
        return 0.5
    along = at_a / (at_b - at_a) * at_c / (at_b - at_c)
    return along + (c - a) / (b - a) * at_a / (at_c - at_a) * at_b / (at_c - at_b)
