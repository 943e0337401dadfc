"""What the posterior says of the level at given joules, and of joules at a given level: one distribution."""

from collections.abc import Callable

import numpy as np

from profiler.forecast.curve import FloatArray
from profiler.forecast.posterior import Nodes
from profiler.forecast.priors import HORIZON_LIMIT, Priors

LOG_HORIZON = float(np.log(HORIZON_LIMIT))
FARTHEST = 700.0
"""Logarithm of the largest ratio of joules that a float holds; what costs more costs infinitely much."""
BISECTIONS = 60
STEPS_TO_HORIZON = 33
T4_WIDTH = 1.6449 / 2.1318
"""Makes the 90 % interval of Student's t with four degrees of freedom as wide as the normal's."""


def kernel(z: FloatArray) -> FloatArray:
    """Return the distribution function of Student's t with four degrees of freedom, at normal width.

    It is algebraic, and forgives a miss that a normal would not (Abramowitz and Stegun 26.7.4).
    """
    t = np.clip(z / T4_WIDTH, -1e9, 1e9)
    u = t / np.sqrt(4.0 + t * t)
    return np.asarray(0.5 + u * (0.75 - 0.25 * u * u))


def log_locations(nodes: Nodes, log_v: FloatArray) -> FloatArray:
    """Log level of each law (rows) at each log of joules / last joules (columns); -inf where it is zero."""
    with np.errstate(divide="ignore", over="ignore"):
        excess = np.expm1(-nodes.slope[:, None] * log_v)
        return np.asarray(nodes.location[:, None] + np.log1p(nodes.share[:, None] * excess))


def scales(nodes: Nodes, priors: Priors, log_v: FloatArray) -> FloatArray:
    """Standard deviation of each law's log level: of the fit, and of what no law explains."""
    doublings = np.clip(log_v, 0.0, LOG_HORIZON) / np.log(2.0)
    return np.asarray(np.hypot(nodes.scale[:, None], priors.drift_per_doubling * doublings))


def probability_below(nodes: Nodes, priors: Priors, log_v: FloatArray, log_level: float) -> FloatArray:
    """Probability that the level at each ``log_v`` is at most ``log_level``."""
    z = (log_level - log_locations(nodes, log_v)) / scales(nodes, priors, log_v)
    return np.asarray(nodes.mass @ kernel(z))


def log_quantile(nodes: Nodes, priors: Priors, log_v: float, probability: float) -> float:
    """Quantile of the log level at one ``log_v``; -inf when a level of zero has at least that probability."""
    at = np.array([log_v])
    location, scale = log_locations(nodes, at)[:, 0], scales(nodes, priors, at)[:, 0]
    finite = np.isfinite(location)
    if nodes.mass[~finite].sum() >= probability:
        return -np.inf
    low = float(np.min(location[finite] - 100.0 * scale[finite]))
    high = float(np.max(location[finite] + 100.0 * scale[finite]))
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        below = float(nodes.mass @ kernel((middle - location) / scale))
        low, high = (low, middle) if below >= probability else (middle, high)
    return high


def p_never(nodes: Nodes, priors: Priors, log_level: float) -> float:
    """Probability that no finite energy brings the level down to ``log_level``."""
    reached = probability_below(nodes, priors, _steps(), log_level)
    return float(np.clip(1.0 - reached.max(), 0.0, 1.0))


def crossing(nodes: Nodes, priors: Priors, log_level: float, probability: float) -> float:
    """First ``log_v`` >= 0 at which the level is ``log_level`` or less with ``probability``, or infinity."""
    steps = _steps()
    enough = probability_below(nodes, priors, steps, log_level) >= probability
    if not enough.any():
        return np.inf
    first = int(np.argmax(enough))
    if first == 0:
        return 0.0
    low, high = float(steps[first - 1]), min(float(steps[first]), FARTHEST)

    def enough_at(log_v: float) -> bool:
        return bool(probability_below(nodes, priors, np.array([log_v]), log_level)[0] >= probability)

    return _bisect(enough_at, low, high) if enough_at(high) else np.inf


def _bisect(enough_at: Callable[[float], bool], low: float, high: float) -> float:
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if enough_at(middle) else (middle, high)
    return high


def _steps() -> FloatArray:
    """Where crossings are looked for; beyond the horizon limit the level only falls."""
    return np.append(np.linspace(0.0, LOG_HORIZON, STEPS_TO_HORIZON), np.inf)
