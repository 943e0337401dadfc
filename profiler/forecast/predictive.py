"""What the posterior says of the level at given joules, and of joules at a given level: one distribution."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.forecast.curve import FloatArray
from profiler.forecast.laws import Laws
from profiler.forecast.priors import HORIZON_LIMIT, Misses
from profiler.forecast.schedule import Path

LOG_HORIZON = float(np.log(HORIZON_LIMIT))
FARTHEST = 700.0
"""Logarithm of the largest ratio of joules that a float holds; what costs more costs infinitely much."""
BISECTIONS = 46
STEPS = np.concatenate(
    [np.linspace(0.0, LOG_HORIZON, 17), np.geomspace(LOG_HORIZON, FARTHEST, 9)[1:], [np.inf]]
)
"""Where crossings are looked for: closely up to the horizon limit, widely to infinity."""
T4_WIDTH = 1.6449 / 2.1318
"""Makes the 90 % interval of Student's t with four degrees of freedom as wide as the normal's."""
TAIL = 100.0
"""Standard deviations within which every quantile lies."""


def kernel(z: FloatArray) -> FloatArray:
    """Return the distribution function of Student's t with four degrees of freedom, at normal width.

    It is algebraic, and forgives a miss that a normal would not (Abramowitz and Stegun 26.7.4).
    """
    t = np.clip(z / T4_WIDTH, -1e9, 1e9)
    u = t / np.sqrt(4.0 + t * t)
    return np.asarray(0.5 + u * (0.75 - 0.25 * u * u))


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
        """Quantile of the log level at a log of joules / last joules; -inf where zero is that likely."""
        center, below, above = (part[:, 0] for part in self._parts(np.array([log_ratio])))
        finite = np.isfinite(center)
        mass = self.laws.mass
        if mass[~finite].sum() >= probability:
            return -np.inf
        low = float(np.min(center[finite] - TAIL * below[finite]))
        high = float(np.max(center[finite] + TAIL * above[finite]))
        return _bisect(
            lambda y: bool((mass * _cdf(y - center, below, above)).sum() >= probability), low, high
        )

    def p_never(self, log_level: float) -> float:
        """Probability that no finite energy brings the level down to ``log_level``."""
        return float(np.clip(1.0 - self._reached(STEPS, log_level).max(), 0.0, 1.0))

    def crossings(self, log_level: float, probabilities: tuple[float, ...]) -> tuple[float, ...]:
        """Return the first log ratios >= 0 where the level is reached with each probability, or infinity."""
        chances = self._reached(STEPS, log_level)
        return tuple(self._crossing(log_level, p, chances >= p) for p in probabilities)

    def _crossing(self, log_level: float, probability: float, enough: npt.NDArray[np.bool_]) -> float:
        if not enough.any():
            return np.inf
        first = int(np.argmax(enough))
        if first == 0:
            return 0.0

        def reached(log_ratio: float) -> bool:
            return bool(self._reached(np.array([log_ratio]), log_level)[0] >= probability)

        low, high = float(STEPS[first - 1]), min(float(STEPS[first]), FARTHEST)
        return _bisect(reached, low, high) if reached(high) else np.inf

    def _reached(self, log_ratio: FloatArray, log_level: float) -> FloatArray:
        """Probability that the level is at most ``log_level`` at each log ratio."""
        center, below, above = self._parts(log_ratio)
        chances = _cdf(log_level - center, below, above)
        return np.asarray((self.laws.mass[:, None] * chances).sum(axis=0))

    def _parts(self, log_ratio: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Log level of each law (rows) at each log ratio (columns), and its standard deviations."""
        center = self.laws.log_levels(*self.path.at(log_ratio))
        walk = np.sqrt(np.clip(log_ratio, 0.0, LOG_HORIZON) / np.log(2.0))
        gain = self.laws.gain_per_doubling()[:, None]
        own = np.square(self.laws.scale)[:, None]
        misses = self.misses
        below = own + (np.square(misses.below * gain) + misses.least_below**2) * walk**2
        above = own + (np.square(misses.above * gain) + misses.least_above**2) * walk**2
        return center, np.sqrt(below), np.sqrt(above)


def _cdf(miss: FloatArray, below: FloatArray, above: FloatArray) -> FloatArray:
    """Distribution function of a law's levels around its centre, half of them on either side."""
    return kernel(miss / np.where(miss < 0.0, below, above))


def _bisect(enough_at: Callable[[float], bool], low: float, high: float) -> float:
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if enough_at(middle) else (middle, high)
    return high
