"""Forecasts of many targets from few evaluations: a table of level quantiles over energy, interpolated inversely.

`CurveFit.joules_at` searches for each crossing separately. Quantiles of the level at about sixty energies give every
crossing between them: the excess over a quantile's own limit at infinite energy falls about as a power of energy, so
that its logarithm is interpolated linearly in that of energy.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from profiler.forecasting import verdict
from profiler.forecasting.curve import FloatArray
from profiler.forecasting.priors import HORIZON_LIMIT
from profiler.forecasting.result import CurveFit
from profiler.records import CurveState, Forecast, Interval

_NEAR, _FAR = 30, 30
"""Numbers of energies up to the horizon limit, and beyond it."""
_CHANCES, _MOST_CHANCES = 7, 48
"""Evaluations of p_unreachable between two quantiles of the floor, and in all."""
_SMOOTH = 0.04
"""Step of p_unreachable that needs no further evaluation."""
_BEYOND = 0.2
"""Lowest evaluation below the floor, in distances from the present level to the floor's lower end."""
_FARTHEST = 1e60
"""Joules beyond which a target counts as out of reach."""
_SMALLEST = 1e-300


@dataclass(frozen=True, kw_only=True, eq=False)
class Inverse:
    """A fit prepared for many targets.

    It has no slots, because its columns are computed on first access.

    Attributes:
        fit: The fitted curve.
    """

    fit: CurveFit

    @cached_property
    def _ratios(self) -> tuple[float, ...]:
        """Logs of joules over present joules, since the first step."""
        horizon = math.log(HORIZON_LIMIT)
        near = horizon * np.linspace(0.0, 1.0, _NEAR) ** 2
        farthest = math.log(_FARTHEST / (self.fit.joules - self.fit.origin_joules))
        far = np.geomspace(horizon, farthest, _FAR)[1:]
        return (*near[1:].tolist(), *far.tolist())

    @cached_property
    def joules(self) -> tuple[float, ...]:
        """Evaluated energies in joules: dense up to the horizon limit, sparse beyond, and infinity."""
        return (*(self.fit.joules_after(ratio) for ratio in self._ratios), math.inf)

    @cached_property
    def levels(self) -> tuple[Interval, ...]:
        """The level at each of these energies."""
        return tuple(self.fit.loss_at(joules) for joules in self.joules)

    def joules_at(self, loss: float) -> Forecast:
        """Return the forecast of `CurveFit.joules_at`, with joules within a part in a thousand."""
        fit = self.fit
        if self._is_known(loss):
            return fit.joules_at(loss)
        log_level = math.log(fit.metric.error(loss))
        past = [fit.smoothed.first_crossing(log_level - q + fit.log_now[1]) for q in fit.log_now]
        ahead = [self._crossing(column, log_level) for column in self._columns]
        low, median, high = sorted(min(pair) for pair in zip(past, ahead, strict=True))
        chance = float(np.interp(-log_level, *self._chances))
        return verdict.extrapolated(
            (low, median, high), chance, fit.joules, fit.confidence, origin=fit.origin_joules
        )

    def _is_known(self, loss: float) -> bool:
        """Return whether the state, a bound or the measured part answers, so that no quantile is needed."""
        if self.fit.state is not CurveState.IMPROVING:
            return True
        error = self.fit.metric.error(loss)
        if error <= 0.0 or error < self.fit.lower_bound:
            return True
        return self.fit.smoothed.first_crossing(math.log(error)) <= self.fit.joules

    @cached_property
    def _columns(self) -> tuple[FloatArray, ...]:
        """Log errors of the lower end, the median and the upper end over energy, each non-increasing."""
        metric = self.fit.metric
        start = np.exp(np.asarray(self.fit.log_now))
        ends = np.array([[i.low, i.median, i.high] for i in self.levels])
        errors = np.sort(np.vectorize(metric.error)(ends), axis=1)
        rows = np.vstack([start, errors])
        return tuple(np.log(np.maximum(np.minimum.accumulate(column), _SMALLEST)) for column in rows.T)

    def _crossing(self, column: FloatArray, log_level: float) -> float:
        """Return the joules at which a quantile first reaches a level; infinity if it does not."""
        if column[-1] > log_level:
            return math.inf
        excess = _log_difference(column[:-1], float(column[-1]))
        wanted = float(_log_difference(np.array([log_level]), float(column[-1]))[0])
        if wanted < excess[-1]:
            return math.inf
        return self.fit.joules_after(float(np.interp(-wanted, -excess, (0.0, *self._ratios))))

    @cached_property
    def _chances(self) -> tuple[FloatArray, FloatArray]:
        """Negated log levels, and p_unreachable at each."""
        now = math.exp(self.fit.log_now[1])
        floors = [math.exp(column[-1]) for column in reversed(self._columns)]
        marks = [now, *floors, max(floors[-1] - _BEYOND * (now - floors[-1]), _SMALLEST)]
        down = np.unique(np.concatenate([np.linspace(a, b, _CHANCES) for a, b in pairwise(marks)]))[::-1]
        known = [(float(error), self._p_unreachable(float(error))) for error in down]
        while len(known) < _MOST_CHANCES:
            gaps = [after[1] - before[1] for before, after in pairwise(known)]
            widest = int(np.argmax(gaps))
            if gaps[widest] < _SMOOTH:
                break
            middle = (known[widest][0] + known[widest + 1][0]) / 2
            known.insert(widest + 1, (middle, self._p_unreachable(middle)))
        errors, chances = np.array(known).T
        return -np.log(errors), np.maximum.accumulate(chances)

    def _p_unreachable(self, error: float) -> float:
        return self.fit.p_unreachable(self.fit.metric.value(error))


def _log_difference(logs: FloatArray, log_end: float) -> FloatArray:
    """Return the logarithm of exp(logs) - exp(log_end), very low where they are equal."""
    with np.errstate(divide="ignore"):
        return np.maximum(logs + np.log(-np.expm1(np.minimum(log_end - logs, 0.0))), np.log(_SMALLEST))
