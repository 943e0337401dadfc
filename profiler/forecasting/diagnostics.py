"""What a reader must know to trust the numbers, in sentences; what changes them most comes first."""

import math
from collections.abc import Iterator

import numpy as np

from profiler.forecasting.cleaning import Repaired, jump
from profiler.forecasting.curve import Curve, FineBins, describe
from profiler.forecasting.scenarios import Known, Weighed
from profiler.units import format_joules

SHORT_SPAN = 4.0
LIKELY = 0.5
CORRELATED = 0.6
"""White residuals of the 20 or so bins that weigh something come this far in one curve of two hundred."""
LATELY = 0.8
ENDED = "The learning rate came down to zero; one raised again would bend the curve."
BENDS = (
    "The learning rate has been falling and its plan is not known: the curve may bend. EnergyProfiler(total_steps=...) "
    "or planned_learning_rate=... would tell."
)
OVER = "The plan of the learning rate has come to its end: what follows is not known."
FALLEN = 0.99
"""A rate under this part of what it was at `LATELY` of the joules is falling."""


def notes(fine: FineBins, curve: Curve, repaired: Repaired, weighed: Weighed, known: Known) -> Iterator[str]:
    """Say what was left out, what does not fit, and what is not known.

    Args:
        fine: All bins, without spikes.
        curve: The bins that were fitted.
        repaired: What was put right.
        weighed: The posterior.
        known: What is known beside the points.
    """
    if curve.dropped.total:
        yield f"{curve.dropped.total} points were left out: {describe(curve.dropped)}."
    if repaired.spikes:
        yield f"{repaired.spikes} short {_plural('spike', repaired.spikes)} of the loss set aside."
    if curve.span < SHORT_SPAN:
        yield f"The curve spans only a factor of {curve.span:.2g} in joules; the forecast leans on its priors."
    yield from _bends(curve, known)
    yield from _regimes(fine, curve, weighed, known.origin_joules)
    yield from _misfit(curve, weighed, known)
    yield from _order(repaired)


def _plural(noun: str, count: int) -> str:
    return f"{noun} was" if count == 1 else f"{noun}s were"


def _bends(curve: Curve, known: Known) -> Iterator[str]:
    schedule, last = known.schedule, curve.last_joules
    if known.ended:
        yield ENDED
    elif known.over:
        yield OVER
    elif schedule is None or known.planned:
        return
    elif schedule.rate_at(last) < FALLEN * schedule.rate_at(LATELY * last):
        yield BENDS


def _regimes(fine: FineBins, curve: Curve, weighed: Weighed, origin: float) -> Iterator[str]:
    rise = jump(fine)
    if rise is not None:
        where = format_joules(origin + rise.joules)
        yield f"The loss jumps by {math.expm1(rise.rise):.0%} at about {where}, as after a restart."
    first = _first(weighed)
    if first:
        joules = origin + float(curve.joules[first])
        yield f"What came before about {format_joules(joules)} follows another law and was left aside."


def _first(weighed: Weighed) -> int:
    """Index of the bin from which on the curve probably follows its law."""
    log_v, laws = weighed.log_v, weighed.laws
    late = laws.start > log_v[0] + 1e-9
    if laws.mass[late].sum() <= LIKELY:
        return 0
    return int(np.searchsorted(log_v, float(np.median(laws.start[late])) - 1e-9))


def _misfit(curve: Curve, weighed: Weighed, known: Known) -> Iterator[str]:
    rho = _correlation(curve, weighed, known)
    if rho > CORRELATED:
        yield (
            f"Neighbouring bins miss the law in the same direction (correlation {rho:.2f}): no law fits this curve "
            "well, and the interval is wider for it."
        )


def _correlation(curve: Curve, weighed: Weighed, known: Known) -> float:
    """Correlation of neighbours in what the law leaves, weighed by recency; what is under the noise is none."""
    weight = (curve.joules / curve.last_joules) ** known.priors.recency
    weight[: _first(weighed)] = 0.0
    weight /= weight.sum()
    residual = curve.log_values - weighed.log_law
    left = (residual - residual @ weight) * np.sqrt(weight)
    return float(left[1:] @ left[:-1]) / (float(left @ left) + known.priors.noise**2)


def _order(repaired: Repaired) -> Iterator[str]:
    if repaired.disordered:
        yield f"{repaired.disordered} points came at fewer joules than one before them and were put in order."
    if repaired.repeated:
        yield f"{repaired.repeated} points repeat the joules of one before them and were averaged with it."
