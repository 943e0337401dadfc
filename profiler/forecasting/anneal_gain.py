"""Gain of an anneal, measured on finished curves: a prior for unfinished curves of the same task."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from profiler.forecasting.curve import coarsen
from profiler.forecasting.posterior import infer
from profiler.forecasting.priors import Priors
from profiler.forecasting.result import CurveFit
from profiler.forecasting.schedule import Schedule, build

Rate = tuple[npt.ArrayLike, npt.ArrayLike]

ANNEALED, AHEAD = 0.5, 0.25
"""Least anneal progress of a curve that shows the gain, and the least ahead of one whose forecast depends on it."""
NOTHING = 0.005
"""Gains below this part of the level count as none."""
BETWEEN, LEAST_BETWEEN = 0.3, 0.002
"""Standard deviation of the gain between runs of one task: as a part of it, and the least."""
_WIDE = Priors(anneal_steep=math.inf, anneal_spread=1.0, anneal_none=0.3, anneal_none_slope=math.inf)
"""Assumptions of a measurement, which must not prefer the gain of other tasks."""
_SPREADS = (0.25, 0.6)
"""Least and largest spread of a prior from measured gains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnealGain:
    """Part of the log level that annealing the learning rate to zero removed from a curve.

    Attributes:
        gain: Its mean.
        error: Its standard deviation.
    """

    gain: float
    error: float


def measured_gain(fit: CurveFit, rate: Rate) -> AnnealGain | None:
    """Measure the gain of an anneal on a finished curve; None where the rate did not fall far enough.

    Args:
        fit: The fit of the curve.
        rate: ``(joules, rate)`` of the whole run.
    """
    schedule, curve = _schedule(fit, rate), coarsen(fit.history.fine)
    if curve is None or _progress(schedule, curve.last_joules) < ANNEALED:
        return None
    context = replace(fit.history.context, schedule=schedule, planned=True, ended=False, priors=_WIDE)
    nodes = infer(curve, context).nodes
    gain = float(nodes.mass @ nodes.gain)
    return AnnealGain(gain=gain, error=math.sqrt(float(nodes.mass @ np.square(nodes.gain - gain))))


def has_anneal_ahead(fit: CurveFit, rate: Rate) -> bool:
    """Return whether a forecast depends on the gain of an anneal ahead.

    Halfway through an anneal the curve shows little of the gain, because its trend explains the fall as well.
    """
    schedule, last = _schedule(fit, rate), fit.history.fine.last_joules
    return _progress(schedule, schedule.end) - _progress(schedule, last) > AHEAD


def with_gains(priors: Priors, gains: Sequence[AnnealGain]) -> Priors:
    """Return priors whose anneal gain is that of finished runs of the same task."""
    values = np.array([one.gain for one in gains])
    between = np.maximum(BETWEEN * values, LEAST_BETWEEN)
    weights = 1.0 / (np.square([one.error for one in gains]) + np.square(between))
    mean = float(weights @ values / weights.sum())
    # Runs that disagree by more than their errors show the spread between runs themselves.
    scatter = float(weights @ np.square(values - mean) / weights.sum())
    deviation = math.sqrt(1.0 / float(weights.sum()) + max(scatter, float(np.mean(between)) ** 2))
    if mean < NOTHING:
        return replace(
            priors,
            anneal_gain=NOTHING,
            anneal_none=0.8,
            anneal_none_slope=math.inf,
            anneal_steep=math.inf,
            anneal_spread=_SPREADS[1],
        )
    spread = min(max(deviation / mean, _SPREADS[0]), _SPREADS[1])
    return replace(priors, anneal_gain=mean, anneal_none=0.0, anneal_steep=math.inf, anneal_spread=spread)


def _schedule(fit: CurveFit, rate: Rate) -> Schedule:
    return build(np.asarray(rate[0], dtype=float) - fit.origin_joules, rate[1])


def _progress(schedule: Schedule, joules: float) -> float:
    return float(schedule.progress_at(np.array([joules]))[0])
