"""Forecast of a longer run with a new plan, where the learning rate has fallen to zero after a constant part.

The slope of an anneal does not continue. The curve before it does: a run that is longer by a factor has its constant
part longer by that factor, and the anneal is assumed to remove the same part of the level from it.
"""

from dataclasses import replace

import numpy as np

from profiler.forecasting.context import FitContext
from profiler.forecasting.curve import FineBins, coarsen
from profiler.forecasting.posterior import infer
from profiler.forecasting.predictive import Predictive, predictives
from profiler.forecasting.schedule import Schedule
from profiler.forecasting.states import assess
from profiler.records import CurveState

NAME = "longer"
"""Name of the scenario."""
NOTE = (
    "Prices are those of a longer run with a plan of the same shape, beyond the energy of this run. They follow from "
    "the curve before the learning rate fell."
)
UNKNOWN = (
    "The learning rate has fallen below 1 % of its peak, so more steps change little. A longer run needs a new plan, "
    "which has no price because the rate was not constant for long enough before it fell."
)
NO_TREND = (
    "The level shows no clear trend, and the learning rate has fallen below 1 % of its peak, so more steps change "
    "little. A longer run needs a new plan."
)
AT_PEAK = 0.98
"""Part of the peak from which the rate counts as constant."""
LEAST_CONSTANT = 0.4
"""Least part of the energy at the peak rate that shows the trend without an anneal."""
SHORTEST_SPAN = 4.0
DIFFERS = 0.1
"""Standard deviation of the effect of a longer anneal after one doubling of energy, as a part of the effect."""


def forecast(fine: FineBins, context: FitContext, log_now: float) -> Predictive | None:
    """Return the level at the end of longer runs, by ln(joules / joules of this run); None where it is not known.

    Args:
        fine: All bins, without spikes.
        context: Information beside the points, of a run whose rate has fallen to zero.
        log_now: Log level at the end of this run.
    """
    schedule = context.spent
    end = None if schedule is None else _constant_until(schedule, fine.last_joules)
    before = 0 if end is None else int((fine.joules <= end).sum())
    if not before:
        return None
    prefix = fine.first(before)
    curve = coarsen(prefix)
    if curve is None or curve.span < SHORTEST_SPAN:
        return None
    known = replace(context, schedule=schedule, planned=False, ended=False, over=False, spent=None)
    recency = context.priors.recency
    state = assess(prefix, curve, metric=context.metric, recency=recency, schedule=schedule).state
    if state is not CurveState.IMPROVING:
        return None
    held = predictives(infer(curve, known).nodes, known, curve.last_joules)["held"]
    removed = held.log_quantile(0.0, 0.5) - log_now
    nodes = replace(held.nodes, location=held.nodes.location - removed)
    differs = DIFFERS * abs(removed)
    error = replace(
        held.error,
        least_below=float(np.hypot(held.error.least_below, differs)),
        least_above=float(np.hypot(held.error.least_above, differs)),
    )
    return replace(held, nodes=nodes, error=error)


def _constant_until(schedule: Schedule, last: float) -> float | None:
    """Return the joules at which a rate that was constant for long enough begins to fall; None for other schedules."""
    at_peak = np.flatnonzero((schedule.rate >= AT_PEAK) & (schedule.joules <= last))
    if not at_peak.size or not np.all(schedule.rate[at_peak[0] : at_peak[-1]] >= AT_PEAK):
        return None
    begin, end = float(schedule.joules[at_peak[0]]), float(schedule.joules[at_peak[-1]])
    return end if end - begin >= LEAST_CONSTANT * last else None
