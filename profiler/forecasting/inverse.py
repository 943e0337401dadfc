"""Forecasts of many targets from few evaluations: a table of level quantiles over energy, interpolated inversely.

`CurveFit.joules_at` searches for each crossing separately. Quantiles of the level at about sixty energies give every
crossing between them: the excess over a quantile's own limit at infinite energy falls about as a power of energy, so
that its logarithm is interpolated linearly in that of energy.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from profiler.forecasting import verdict
from profiler.forecasting.curve import FloatArray
from profiler.forecasting.predictive import Standstill
from profiler.forecasting.priors import HORIZON_LIMIT
from profiler.forecasting.result import CurveFit
from profiler.records import CurveState, Forecast, Interval

_NEAR, _FAR = 30, 30
"""Numbers of energies up to the horizon limit, and beyond it."""
_HORIZON = _NEAR - 1
"""Row of the columns at the horizon limit; the first row is the present."""
_CHANCES, _MOST_CHANCES = 7, 48
"""Evaluations of a probability between two quantiles of the level, and in all."""
_SMOOTH = 0.04
"""Step of a probability that needs no further evaluation."""
_BEYOND = 0.2
"""Lowest evaluation below the lowest quantile, in distances from the present level to it."""
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
        chance = float(np.interp(-log_level, *self._never))
        return verdict.extrapolated(
            (low, median, high), chance, fit.joules, fit.confidence, origin=fit.origin_joules
        )

    def p_within_horizon(self, loss: float) -> float:
        """Return the probability of reaching a level within ten times the energy, NaN where unknown."""
        if self._is_known(loss):
            return self.fit.joules_at(loss).p_within(HORIZON_LIMIT)
        return float(np.interp(-math.log(self.fit.metric.error(loss)), *self._soon))

    def _is_known(self, loss: float) -> bool:
        """Return whether the state, a bound or the measured part answers, so that no quantile is needed."""
        if not (self.fit.is_priced and self.fit.state is CurveState.IMPROVING):
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
    def _never(self) -> tuple[FloatArray, FloatArray]:
        """Negated log levels, and p_unreachable at each."""
        depths, chances = self._chances(
            lambda error: self.fit.p_unreachable(self.fit.metric.value(error)), -1
        )
        return depths, np.maximum.accumulate(chances)

    @cached_property
    def _soon(self) -> tuple[FloatArray, FloatArray]:
        """Negated log levels, and at each the probability of reaching it within ten times the energy."""
        predictive, horizon = self.fit.predictives[self.fit.scenarios[0]], np.log([HORIZON_LIMIT])
        if isinstance(predictive, Standstill):
            raise TypeError("a standstill has no chances between now and the horizon")
        depths, chances = self._chances(
            lambda error: float(predictive.chances(math.log(error), horizon)[0]), _HORIZON
        )
        return depths, np.minimum.accumulate(chances)

    def _chances(self, chance: Callable[[float], float], row: int) -> tuple[FloatArray, FloatArray]:
        """Return negated log levels around the quantiles in one row of `_columns`, and the probability of each."""
        now = math.exp(self.fit.log_now[1])
        ends = [math.exp(column[row]) for column in reversed(self._columns)]
        marks = [now, *ends, max(ends[-1] - _BEYOND * (now - ends[-1]), _SMALLEST)]
        down = np.unique(np.concatenate([np.linspace(a, b, _CHANCES) for a, b in pairwise(marks)]))[::-1]
        known = [(float(error), chance(float(error))) for error in down]
        while len(known) < _MOST_CHANCES:
            gaps = [abs(after[1] - before[1]) for before, after in pairwise(known)]
            widest = int(np.argmax(gaps))
            if gaps[widest] < _SMOOTH:
                break
            middle = (known[widest][0] + known[widest + 1][0]) / 2
            known.insert(widest + 1, (middle, chance(middle)))
        errors, chances = np.array(known).T
        return -np.log(errors), chances


def _log_difference(logs: FloatArray, log_end: float) -> FloatArray:
    """Return the logarithm of exp(logs) - exp(log_end), very low where they are equal."""
    with np.errstate(divide="ignore"):
        return np.maximum(logs + np.log(-np.expm1(np.minimum(log_end - logs, 0.0))), np.log(_SMALLEST))
