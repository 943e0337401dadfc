"""Caveats of a fit, as sentences; those that change the numbers most come first."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from profiler.forecasting.cleaning import Repairs, jump
from profiler.forecasting.curve import Curve, FineBins, describe
from profiler.units import format_joules

if TYPE_CHECKING:
    from profiler.forecasting.context import FitContext
    from profiler.forecasting.posterior import Posterior

SHORT_SPAN = 4.0
LIKELY = 0.5
CORRELATED = 0.6
"""Correlation that white residuals of the 20 or so bins with weight exceed in one curve of two hundred."""
LATELY = 0.8
FALLEN = 0.99
"""A rate below this part of the rate at `LATELY` of the joules is falling."""
ENDED = "The learning rate has fallen below 1 % of its peak: more steps change little; a longer run needs a new plan."
FALLING = (
    "The learning rate is falling and its plan is not known, so the curve may bend. "
    "Declare total_steps=... or planned_learning_rate=... (`energy-profiler run` with --total-steps or "
    "--planned-learning-rate)."
)
OVER = "The schedule of the learning rate has ended; prices hold for its last rate, and a new plan may cost less."


def notes(
    fine: FineBins, curve: Curve, repairs: Repairs, posterior: "Posterior", context: "FitContext"
) -> Iterator[str]:
    """Yield the caveats: excluded points, misfit, and unknown learning rates.

    Args:
        fine: All bins, without spikes.
        curve: The bins that were fitted.
        repairs: Repairs before the fit.
        posterior: The fitted curves.
        context: Information beside the points.
    """
    if curve.dropped.total:
        why = describe(curve.dropped, context.metric.best)
        yield f"{_count(curve.dropped.total, 'point was', 'points were')} excluded: {why}."
    if repairs.spikes:
        yield f"{_count(repairs.spikes, 'short spike of the loss was', 'short spikes of the loss were')} excluded."
    if curve.span < SHORT_SPAN:
        yield (
            f"The curve spans only a factor of {curve.span:.2g} in joules, so that the forecast depends mainly on its "
            "prior assumptions."
        )
    yield from _rate(curve, context)
    yield from _jump(fine, context.origin_joules)
    if not context.ended:  # no price follows from the trend of an anneal that has ended
        yield from _start(curve, posterior, context.origin_joules)
        yield from _misfit(curve, posterior, context)
    yield from _order(repairs)


def _count(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _rate(curve: Curve, context: "FitContext") -> Iterator[str]:
    schedule, last = context.schedule, curve.last_joules
    if context.ended:
        yield ENDED
    elif context.over:
        yield OVER
    elif schedule is None or context.planned:
        return
    elif schedule.rate_at(last) < FALLEN * schedule.rate_at(LATELY * last):
        yield FALLING


def _jump(fine: FineBins, origin: float) -> Iterator[str]:
    rise = jump(fine)
    if rise is not None:
        where = format_joules(origin + rise.joules)
        yield f"The loss jumps by {100 * math.expm1(rise.rise):.0f} % at about {where}, as after a restart."


def _start(curve: Curve, posterior: "Posterior", origin: float) -> Iterator[str]:
    first = _first(posterior)
    if first:
        start = format_joules(origin + float(curve.joules[first]))
        yield f"The fit uses the run after {start}; before that the loss followed a different trend."


def _first(posterior: "Posterior") -> int:
    """Return the index of the bin at which the fitted curve probably starts."""
    log_v, nodes = posterior.log_v, posterior.nodes
    late = nodes.start > log_v[0] + 1e-9
    if nodes.mass[late].sum() <= LIKELY:
        return 0
    return int(np.searchsorted(log_v, float(np.median(nodes.start[late])) - 1e-9))


def _misfit(curve: Curve, posterior: "Posterior", context: "FitContext") -> Iterator[str]:
    rho = _correlation(curve, posterior, context)
    if rho > CORRELATED:
        yield (
            f"The curve departs from every fitted trend in a systematic way (correlation of neighbours {rho:.2f}); the "
            "intervals are wider for it."
        )


def _correlation(curve: Curve, posterior: "Posterior", context: "FitContext") -> float:
    """Return the correlation of neighbouring residuals, weighted by recency; residuals below the noise count as 0."""
    weight = (curve.joules / curve.last_joules) ** context.priors.recency
    weight[: _first(posterior)] = 0.0
    weight /= weight.sum()
    residual = curve.log_values - posterior.log_mean
    left = (residual - residual @ weight) * np.sqrt(weight)
    return float(left[1:] @ left[:-1]) / (float(left @ left) + context.priors.noise**2)


def _order(repairs: Repairs) -> Iterator[str]:
    if repairs.disordered:
        yield f"{_count(repairs.disordered, 'point was', 'points were')} out of order in joules; sorted."
    if repairs.repeated:
        yield f"{_count(repairs.repeated, 'point repeats', 'points repeat')} the joules of an earlier one; averaged."
