"""What many levels cost, at the price of a few: the quantiles of the level over energy, read the other way round.

`CurveFit.joules_at` looks for each crossing afresh. Quantiles of the level at a given energy are the same distribution,
so the ones at some sixty energies give every crossing in between: the excess over a quantile's own end at infinite
energy falls about as a power of energy, so that its logarithm is interpolated.
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
from profiler.records import Forecast, Interval

_NEAR, _FAR = 30, 30
"""Energies up to the horizon limit, and beyond."""
_CHANCES, _MOST_CHANCES = 7, 48
"""Probabilities of never that are asked for between two quantiles of the floor, and altogether."""
_SMOOTH = 0.04
"""A step of the probability that is not looked into."""
_BEYOND = 0.2
"""How far under the floor they are asked for, in distances from the present level to its lower end."""
_FARTHEST = 1e60
"""Joules beyond which nothing is told from never."""
_SMALLEST = 1e-300


@dataclass(frozen=True, kw_only=True, eq=False)
class Inverse:
    """A fit, ready for many targets.

    It has no slots, because its columns are worked out when they are first asked for.

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
        """Energies at which the fit is asked: closely up to the horizon limit, widely beyond, and infinity."""
        return (*(self.fit.joules_after(ratio) for ratio in self._ratios), math.inf)

    @cached_property
    def levels(self) -> tuple[Interval, ...]:
        """The level at each of them."""
        return tuple(self.fit.loss_at(joules) for joules in self.joules)

    def joules_at(self, loss: float) -> Forecast:
        """Return what `CurveFit.joules_at` returns, joules within a part in a thousand."""
        fit = self.fit
        if self._is_known(loss):
            return fit.joules_at(loss)
        log_level = math.log(fit.metric.error(loss))
        past = [fit.smoothed.first_crossing(log_level - q + fit.here[1]) for q in fit.here]
        ahead = [self._crossing(column, log_level) for column in self._columns]
        low, median, high = sorted(min(pair) for pair in zip(past, ahead, strict=True))
        chance = float(np.interp(-log_level, *self._chances))
        return verdict.extrapolated(
            (low, median, high), chance, fit.joules, fit.confidence, fit.origin_joules
        )

    def _is_known(self, loss: float) -> bool:
        """Whether the answer needs no quantile: it was reached, or a bound excludes it."""
        error = self.fit.metric.error(loss)
        if error <= 0.0 or error < self.fit.lower_bound:
            return True
        return self.fit.smoothed.first_crossing(math.log(error)) <= self.fit.joules

    @cached_property
    def _columns(self) -> tuple[FloatArray, ...]:
        """Log errors of the lower end, the median and the upper end over energy, none above one before it."""
        metric = self.fit.metric
        start = np.exp(np.asarray(self.fit.here))
        ends = np.array([[i.low, i.median, i.high] for i in self.levels])
        errors = np.sort(np.vectorize(metric.error)(ends), axis=1)
        rows = np.vstack([start, errors])
        return tuple(np.log(np.maximum(np.minimum.accumulate(column), _SMALLEST)) for column in rows.T)

    def _crossing(self, column: FloatArray, log_level: float) -> float:
        """Joules at which a quantile first comes down to a level; infinity if it does not."""
        if column[-1] > log_level:
            return math.inf
        excess = _log_difference(column[:-1], float(column[-1]))
        wanted = float(_log_difference(np.array([log_level]), float(column[-1]))[0])
        if wanted < excess[-1]:
            return math.inf
        return self.fit.joules_after(float(np.interp(-wanted, -excess, (0.0, *self._ratios))))

    @cached_property
    def _chances(self) -> tuple[FloatArray, FloatArray]:
        """Negated log levels, and the probability of never at each."""
        now = math.exp(self.fit.here[1])
        floors = [math.exp(column[-1]) for column in reversed(self._columns)]
        marks = [now, *floors, max(floors[-1] - _BEYOND * (now - floors[-1]), _SMALLEST)]
        down = np.unique(np.concatenate([np.linspace(a, b, _CHANCES) for a, b in pairwise(marks)]))[::-1]
        known = [(float(error), self._never(float(error))) for error in down]
        while len(known) < _MOST_CHANCES:
            gaps = [after[1] - before[1] for before, after in pairwise(known)]
            widest = int(np.argmax(gaps))
            if gaps[widest] < _SMOOTH:
                break
            middle = (known[widest][0] + known[widest + 1][0]) / 2
            known.insert(widest + 1, (middle, self._never(middle)))
        errors, chances = np.array(known).T
        return -np.log(errors), np.maximum.accumulate(chances)

    def _never(self, error: float) -> float:
        return self.fit.p_never(self.fit.metric.value(error))


def _log_difference(logs: FloatArray, log_end: float) -> FloatArray:
    """Logarithm of exp(logs) - exp(log_end), very low where they are equal."""
    with np.errstate(divide="ignore"):
        return np.maximum(logs + np.log(-np.expm1(np.minimum(log_end - logs, 0.0))), np.log(_SMALLEST))
