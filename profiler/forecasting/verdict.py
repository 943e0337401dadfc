"""Verdict of a forecast and its reason, from the numbers."""

import math

from profiler.forecasting.priors import HORIZON_LIMIT
from profiler.records import Forecast, Verdict

PROBABLY_UNREACHABLE = 0.95
AS_LIKELY_AS_NOT = 0.5


def decide(p_unreachable: float, energy_ratio: float) -> Verdict:
    """Return the verdict on a level that was not reached yet.

    Args:
        p_unreachable: Probability that no finite energy reaches the level.
        energy_ratio: Median joules at the level over measured joules, both since the first step; may be infinite.
    """
    if p_unreachable > PROBABLY_UNREACHABLE:
        return Verdict.UNREACHABLE
    if p_unreachable >= AS_LIKELY_AS_NOT:
        return Verdict.UNDETERMINED
    return Verdict.REACHABLE if energy_ratio <= HORIZON_LIMIT else Verdict.BEYOND_HORIZON


def excluded(target: float, bound: str, level: float) -> Forecast:
    """Return the forecast of a target that an exact bound excludes.

    Args:
        target: The target, in the unit of the metric.
        bound: The bound, as a clause.
        level: Probability inside intervals.
    """
    return Forecast(
        verdict=Verdict.UNREACHABLE,
        low=math.inf,
        median=math.inf,
        high=math.inf,
        p_unreachable=1.0,
        certain=True,
        energy_ratio=math.inf,
        reason=f"No amount of energy reaches {target:.6g}: {bound}.",
        level=level,
    )


def out_of_reach(p_unreachable: float, reason: str, level: float) -> Forecast:
    """Return the forecast of a target beyond the level of a flat curve."""
    return Forecast(
        verdict=Verdict.UNREACHABLE,
        low=math.inf,
        median=math.inf,
        high=math.inf,
        p_unreachable=p_unreachable,
        certain=False,
        energy_ratio=math.inf,
        reason=reason,
        level=level,
        reach=((1.0, 0.0), (HORIZON_LIMIT, 1.0 - p_unreachable)),
    )


def undetermined(joules: float, reason: str, level: float) -> Forecast:
    """Return the forecast of a target for a curve whose state supports none; ``joules`` were spent so far."""
    return Forecast(
        verdict=Verdict.UNDETERMINED,
        low=joules,
        median=math.nan,
        high=math.inf,
        p_unreachable=math.nan,
        certain=False,
        energy_ratio=math.nan,
        reason=reason,
        level=level,
    )


def reached(joules: float, ends: tuple[float, float], measured: float, level: float) -> Forecast:
    """Return the forecast of a target that the smoothed curve reached.

    Args:
        joules: Joules of the first crossing.
        ends: Interval of that crossing, in joules.
        measured: Joules of the whole curve so far.
        level: Probability inside the interval.
    """
    return Forecast(
        verdict=Verdict.REACHED,
        low=ends[0],
        median=joules,
        high=ends[1],
        p_unreachable=0.0,
        certain=False,
        energy_ratio=joules / measured,
        reason=(
            f"The smoothed curve reached the target after {100 * joules / measured:.0f} % of the energy spent so far."
        ),
        level=level,
    )


def extrapolated(
    joules: tuple[float, float, float],
    p_unreachable: float,
    measured: float,
    level: float,
    *,
    origin: float = 0.0,
    reach: tuple[tuple[float, float], ...] = (),
) -> Forecast:
    """Return the forecast of a level that was not reached yet.

    The horizon counts from the first step, the joules from the start of the run.

    Args:
        joules: Low, median and high joules at the level since the start of the run; each may be infinite.
        p_unreachable: Probability that no finite energy reaches the level.
        measured: Joules of the whole curve so far.
        level: Probability inside the interval.
        origin: Joules at which the first step began.
        reach: See :class:`~profiler.records.Forecast`.
    """
    # The present level is uncertain, so that its lower end may have been reached before; the target was not.
    low, median, high = (max(end, measured) for end in joules)
    ratio = median / measured
    verdict = decide(p_unreachable, (median - origin) / (measured - origin))
    return Forecast(
        verdict=verdict,
        low=low,
        median=median,
        high=high,
        p_unreachable=p_unreachable,
        certain=False,
        energy_ratio=ratio,
        reason=_reason(verdict, p_unreachable, ratio),
        level=level,
        reach=reach,
    )


def _reason(verdict: Verdict, p_unreachable: float, ratio: float) -> str:
    if verdict is Verdict.UNREACHABLE:
        return f"The fitted floor lies above the target with a probability of {100 * p_unreachable:.1f} %."
    if verdict is Verdict.UNDETERMINED:
        return (
            "The target may be out of reach: the floor lies above it with a probability of "
            f"{100 * p_unreachable:.0f} %."
        )
    if verdict is Verdict.REACHABLE:
        return (
            f"It takes about {ratio:.2g} times the energy spent so far; it is out of reach with a probability of "
            f"{100 * p_unreachable:.0f} %."
        )
    return (
        f"It takes more than {HORIZON_LIMIT:g} times the energy of the steps so far, where only the interval is "
        f"reliable; it is out of reach with a probability of {100 * p_unreachable:.0f} %."
    )
