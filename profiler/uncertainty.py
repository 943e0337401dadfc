"""Formulas for the uncertainty of energies, shared by the recorder, which writes rows, and the reader of a run.

The energy between two moments is uncertain by its two edges, by what a power sensor misses between readings, and by
errors common to the whole run (the gain of a board, sampling that is aliased with the steps). The constants were chosen
so that 90 % intervals contain the true energy on simulated sensors; ``scripts/benchmark_accuracy.py`` measures how
often they do.
"""

import math
from collections.abc import Iterable, Sequence

Z_90 = 1.6448536269514722
"""Quantile of the standard normal distribution: 90 % lies within this many standard deviations of the mean."""

EDGE_FACTOR = 0.4
"""Standard deviation of the energy at a moment between two change points of a counter, as a multiple of (seconds
between them x standard deviation of the mean power in neighbouring intervals)."""
HIDDEN_FACTOR = 0.28
"""The same multiple for the standard deviation of momentary power around the counter's mean power."""
DRIFT_FACTOR = 0.7
"""Standard deviation of the energy missed between two power readings, as a multiple of (seconds x change of power)."""
BUFFERED_FACTOR = 0.35
"""The same multiple if no reading is missed and each has a time stamp. The error of the trapezoid rule for a jump at a
uniformly distributed time is 1 / sqrt(12) = 0.29; the rest allows for readings that are averages over an interval."""
UNIFORM = 1 / math.sqrt(12)
"""Standard deviation of a uniform distribution, in units of its width."""


_STUDENT_95 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812)
"""Quantiles of Student's t distribution at 95 % for 1 to 10 degrees of freedom."""


def student_95(degrees: int) -> float:
    """Return the 95 % quantile of Student's t distribution; above 10 degrees of freedom, that of 10."""
    return _STUDENT_95[min(degrees, len(_STUDENT_95)) - 1]


def standard_deviation(watts: Sequence[float]) -> float:
    """Return the population standard deviation of some powers, in watts."""
    mean = sum(watts) / len(watts)
    return math.sqrt(sum((w - mean) ** 2 for w in watts) / len(watts))


def bridge_variance_share(place: float) -> float:
    """Return the relative variance at a place between two change points, from 0 to 1; its mean over all places is 1.

    The energy is known at both change points. Its deviation from the straight line between them behaves like a Brownian
    bridge, whose variance is proportional to ``place * (1 - place)``.
    """
    return 6.0 * place * (1.0 - place)


def edge_variance(
    seconds: float, around: Sequence[float], hidden_watts: float, blur_seconds: float
) -> tuple[float, float]:
    """Return the variance, in square joules, of the energy at a moment between two change points.

    Args:
        seconds: Time between the two change points.
        around: Mean power between them and in the neighbouring intervals, in watts.
        hidden_watts: Standard deviation of momentary power around these means.
        blur_seconds: Standard deviation of the observed times of the change points.

    Returns:
        The part that also applies at the change points, and the part between them, which is to be multiplied by
        :func:`bridge_variance_share`.
    """
    mean = sum(around) / len(around)
    varying = EDGE_FACTOR * seconds * standard_deviation(around)
    hidden = HIDDEN_FACTOR * seconds * hidden_watts
    return (blur_seconds * mean) ** 2, varying**2 + hidden**2


def gain_variance(shares: Iterable[tuple[bool, float]]) -> float:
    """Return the variance of a total, in square joules, due to errors that are common to a whole run.

    Errors of different sensors are independent and add in quadrature. Estimated domains share one model, so their
    errors add linearly.

    Args:
        shares: For each domain, whether it is estimated, and its relative gain uncertainty times its joules.
    """
    known = list(shares)
    modelled = sum(joules for is_modelled, joules in known if is_modelled)
    return modelled**2 + sum(joules**2 for is_modelled, joules in known if not is_modelled)
