"""How uncertain joules are: one set of formulas for the recorder, which writes rows, and for the reader of a run.

Energy between two moments is known as well as its two edges, plus what a sensor that looks only at times misses in
between, plus what is common to the whole run (a board's gain, looks that lock to the steps). The constants make 90 %
intervals contain the truth on simulated sensors; ``scripts/benchmark_accuracy.py`` shows how often.
"""

import math
from collections.abc import Iterable, Sequence

Z_90 = 1.6448536269514722
"""Standard deviations on either side that hold 90 % of a normal distribution."""

EDGE_FACTOR = 0.4
"""Standard deviation of an edge between two change points of a counter, in (seconds between them x watts), for the
watts that its power varies by from one pair of change points to the next."""
HIDDEN_FACTOR = 0.28
"""The same for the watts by which momentary power departs from the counter's mean power."""
DRIFT_FACTOR = 0.7
"""Standard deviation of what is missed between two looks, in (seconds between them x change of power)."""
BUFFERED_FACTOR = 0.35
"""The same where no look is left out and each says when it was: the trapezoid rule misjudges a jump at a random place
between two by 1 / sqrt(12) of it, and looks are no moments."""
UNIFORM = 1 / math.sqrt(12)
"""Standard deviation of a moment known to lie in an interval, in intervals."""


def spread(watts: Sequence[float]) -> float:
    """Standard deviation of some powers, in watts."""
    mean = sum(watts) / len(watts)
    return math.sqrt(sum((w - mean) ** 2 for w in watts) / len(watts))


def bridge(place: float) -> float:
    """Share of an edge's variance by its place between two change points, from 0 to 1; 1 in the mean over all places.

    At both change points the energy is known; what departs from the straight line between them grows away from either
    as that of a Brownian bridge, whose variance is proportional to ``place * (1 - place)``.
    """
    return 6.0 * place * (1.0 - place)


def edge_variance(
    seconds: float, around: Sequence[float], hidden_watts: float, blur_seconds: float
) -> tuple[float, float]:
    """Variance, in square joules, of the energy at a moment between two change points.

    Args:
        seconds: Time between the two.
        around: Mean power between them and between their neighbours, in watts.
        hidden_watts: By how much momentary power departs from such means.
        blur_seconds: One standard deviation of the change points' own times.

    Returns:
        What applies at both change points too, and what applies by :func:`bridge` between them.
    """
    mean = sum(around) / len(around)
    varying = EDGE_FACTOR * seconds * spread(around)
    hidden = HIDDEN_FACTOR * seconds * hidden_watts
    return (blur_seconds * mean) ** 2, varying**2 + hidden**2


def gain_variance(shares: Iterable[tuple[bool, float]]) -> float:
    """Variance, in square joules, of a total from what is common to a whole run.

    Sensors err independently of each other; modelled domains share their model, so their errors add up.

    Args:
        shares: Of each domain whether it is modelled, and its gain's uncertainty times its joules.
    """
    known = list(shares)
    modelled = sum(joules for is_modelled, joules in known if is_modelled)
    return modelled**2 + sum(joules**2 for is_modelled, joules in known if not is_modelled)
