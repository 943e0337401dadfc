"""What the posterior says of the level at given joules, and of joules at a given level: one distribution."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from profiler.forecasting.curve import FloatArray
from profiler.forecasting.models import Laws
from profiler.forecasting.priors import HORIZON_LIMIT, Misses
from profiler.forecasting.schedule import Path

LOG_HORIZON = float(np.log(HORIZON_LIMIT))
FARTHEST = 700.0
"""Logarithm of the largest ratio of joules that a float holds; what costs more costs infinitely much."""
MOST_STEPS = 200
BISECT_EVERY = 3
CLOSE = 1e-12
HALF = 0.5
LOWEST = -1e4
"""Log level that stands for zero, so that nothing is infinite here."""
STEPS = np.concatenate(
    [np.linspace(0.0, LOG_HORIZON, 17), np.geomspace(LOG_HORIZON, FARTHEST, 9)[1:], [np.inf]]
)
"""Where crossings are looked for: closely up to the horizon limit, widely to infinity."""
T4_WIDTH = 1.6449 / 2.1318
"""Makes the 90 % interval of Student's t with four degrees of freedom as wide as the normal's."""


def kernel(z: FloatArray) -> FloatArray:
    """Return the distribution function of Student's t with four degrees of freedom, at normal width.

    It is algebraic, and forgives a miss that a normal would not (Abramowitz and Stegun 26.7.4).
    """
    t = np.clip(z / T4_WIDTH, -1e9, 1e9)
    u = t / np.sqrt(4.0 + t * t)
    return np.asarray(0.5 + u * (0.75 - 0.25 * u * u))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Levels:
    """Log levels of the laws (rows) at some joules (columns)."""

    center: FloatArray
    below: FloatArray
    """Standard deviation downwards."""
    above: FloatArray
    """Standard deviation upwards."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictive:
    """A posterior and a future.

    Attributes:
        laws: The posterior.
        misses: How far levels stray from their law.
        path: How energy maps to the law's axis.
    """

    laws: Laws
    misses: Misses
    path: Path

    def log_quantile(self, log_ratio: float, probability: float) -> float:
        """Quantile of the log level at a log of joules / last joules; `LOWEST` or less stands for zero."""
        levels = self._levels(np.array([log_ratio]))
        order = np.argsort(levels.center[:, 0])
        first = int(np.searchsorted(np.cumsum(self.laws.mass[order]), probability).clip(max=order.size - 1))
        guess = float(levels.center[order[first], 0])

        def missing(log_level: float) -> float:
            return float(self._chance(levels, log_level, probability)[0]) - probability

        return _root(
            missing, *_bracket(missing, guess, float((levels.below + levels.above)[order[first], 0]))
        )

    def p_never(self, log_level: float) -> float:
        """Probability that no finite energy brings the level down to ``log_level``."""
        levels = self._levels(STEPS)
        less, own, more = (self._chance(levels, log_level, p).max() for p in (0.0, HALF, 1.0))
        reached = min(less, HALF) if own < HALF else max(more, HALF)
        return float(np.clip(1.0 - reached, 0.0, 1.0))

    def crossing(self, log_level: float, probability: float) -> float:
        """Return the first log ratio >= 0 where the level is reached with a probability, or infinity."""

        def missing(log_ratio: FloatArray) -> FloatArray:
            return self._chance(self._levels(log_ratio), log_level, probability) - probability

        enough = missing(STEPS) >= 0.0
        first = int(np.argmax(enough))
        if first == 0:
            return 0.0 if enough[0] else np.inf
        low, high = float(STEPS[first - 1]), min(float(STEPS[first]), FARTHEST)
        if high == FARTHEST and missing(np.array([high]))[0] < 0.0:
            return np.inf
        return _root(lambda log_ratio: float(missing(np.array([log_ratio]))[0]), low, high)

    def _chance(self, levels: _Levels, log_level: float, probability: float) -> FloatArray:
        """Distribution function around one of its probabilities.

        It is the laws' own, stretched outwards on either side of the median by the misses. So misses widen the
        interval, unevenly, and leave the forecast where it is.
        """
        miss = log_level - levels.center
        own = self._mean(kernel(miss / self.laws.scale[:, None]))
        if probability < HALF:
            return np.maximum(own, self._mean(kernel(miss / levels.below)))
        return np.minimum(own, self._mean(kernel(miss / levels.above))) if probability > HALF else own

    def _mean(self, values: FloatArray) -> FloatArray:
        return np.asarray((self.laws.mass[:, None] * values).sum(axis=0))

    def _levels(self, log_ratio: FloatArray) -> _Levels:
        misses = self.misses
        center = np.maximum(self.laws.log_levels(*self.path.at(log_ratio)), LOWEST)
        walk = np.clip(log_ratio, 0.0, LOG_HORIZON) / np.log(2.0)
        gain = self.laws.gain_per_doubling()[:, None]
        center = center - misses.lean * gain / (1.0 + gain / misses.lean_gain) * np.sqrt(walk)
        own = np.square(self.laws.scale)[:, None]
        come = walk * (1.0 + misses.sudden) / (1.0 + misses.sudden * walk)
        below = own + np.square(misses.below * gain) * come + misses.least_below**2 * walk
        above = own + (np.square(misses.above * gain) + misses.least_above**2) * walk
        return _Levels(center=center, below=np.sqrt(below), above=np.sqrt(above))


def _bracket(f: Callable[[float], float], guess: float, step: float) -> tuple[float, float]:
    """Widen a bracket around a guess until an increasing function changes its sign in it."""
    low, high = guess - step, guess + step
    while f(low) > 0.0:
        low, high, step = low - 2.0 * step, low, 2.0 * step
    while f(high) < 0.0:
        low, high, step = high, high + 2.0 * step, 2.0 * step
    return low, high


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    """Find where an increasing function comes to zero between ``low`` and ``high``, where it is not negative.

    Regula falsi with the Illinois rule (Dowell and Jarratt, BIT 11, 1971), and a bisection every third step, because
    distribution functions may be flat or jump.
    """
    at_low, at_high = f(low), f(high)
    if at_low >= 0.0:
        return low
    for k in range(MOST_STEPS):
        if high - low <= CLOSE * max(1.0, abs(high)):
            break
        halve = k % BISECT_EVERY == 0 or at_high <= 0.0
        x = 0.5 * (low + high) if halve else low - at_low * (high - low) / (at_high - at_low)
        here = f(x)
        if abs(here) < CLOSE:
            return x
        if here > 0.0:
            high, at_high, at_low = x, here, 0.5 * at_low
        else:
            low, at_low, at_high = x, here, 0.5 * at_high
    return high
