"""The observed part of a curve: smoothed and inverted."""

import math
from dataclasses import dataclass, replace

import numpy as np

from profiler.forecasting.curve import Curve, FineBins, FloatArray

NEIGHBOURS = 2
"""Bins on either side that are averaged, so that one noisy value is not a level."""
CLEAR = 3.0
"""Standard errors by which a dip must lie below the present level to count."""
LEAST_OTHERS = 1e-9
SMALLEST = 1e-300
"""Lowest joules, in place of zero and less."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Smoothed:
    """The smoothed curve.

    Attributes:
        log_joules: Natural logarithm of joules since the first step, increasing.
        log_values: Natural logarithm of the level there.
        origin_joules: Joules at which the first step began.
    """

    log_joules: FloatArray
    log_values: FloatArray
    origin_joules: float = 0.0

    @property
    def joules(self) -> FloatArray:
        """Joules since the start of the run."""
        return np.asarray(self.origin_joules + np.exp(self.log_joules))

    def log_at(self, joules: float) -> float:
        """Return the log level at joules within the curve, and its end values outside."""
        since = max(joules - self.origin_joules, SMALLEST)
        return float(np.interp(math.log(since), self.log_joules, self.log_values))

    def extended(self, joules: float, log_value: float) -> "Smoothed":
        """Return the curve with one more point, at joules since the first step."""
        return replace(
            self,
            log_joules=np.append(self.log_joules, math.log(joules)),
            log_values=np.append(self.log_values, log_value),
        )

    def first_crossing(self, log_level: float) -> float:
        """Return the joules at which the curve first fell to the level; infinity if it did not."""
        below = np.flatnonzero(self.log_values <= log_level)
        if not below.size:
            return math.inf
        k = int(below[0])
        if k == 0:
            return self.origin_joules + math.exp(self.log_joules[0])
        before, after = self.log_values[k - 1], self.log_values[k]
        part = (before - log_level) / (before - after)
        log_since = self.log_joules[k - 1] + part * (self.log_joules[k] - self.log_joules[k - 1])
        return self.origin_joules + math.exp(log_since)


def smooth(curve: Curve, log_fit: FloatArray, log_now: float, origin_joules: float = 0.0) -> Smoothed:
    """Smooth the residuals of the fit, which preserves the trend; the result ends at the present level.

    A dip below the present level counts only as far as it exceeds the noise around it, so that a few low values do not
    make a level that the run never had count as reached.

    Args:
        curve: The binned curve.
        log_fit: Log level of the fit in each bin.
        log_now: Log level at the last point.
        origin_joules: Joules at which the first step began.
    """
    mean, error = _windowed(curve.log_values - log_fit, curve.weights)
    # A dip within its error is raised to the present level, and a deeper one by its error.
    smoothed = np.maximum(log_fit + mean, np.minimum(log_now, log_fit + mean + CLEAR * error))
    log_joules, log_last = np.log(curve.joules), math.log(curve.last_joules)
    before = log_joules < log_last - 1e-9
    return Smoothed(
        log_joules=np.append(log_joules[before], log_last),
        log_values=np.append(smoothed[before], log_now),
        origin_joules=origin_joules,
    )


def _windowed(residual: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the weighted mean of each bin and its neighbours, and its standard error.

    The error uses the spread of these bins or the typical spread, whichever is larger.
    """
    window = np.ones(2 * min(NEIGHBOURS, (residual.size - 1) // 2) + 1)

    def around(values: FloatArray) -> FloatArray:
        return np.convolve(values, window, mode="same")

    total = around(weights)
    mean = around(weights * residual) / total
    spread = np.maximum(around(weights * residual**2) / total - mean**2, 0.0)
    others = np.maximum(total**2 / around(weights**2) - 1.0, LEAST_OTHERS)
    return mean, np.sqrt(np.maximum(spread, np.median(spread)) / others)


def smooth_bins(fine: FineBins, origin_joules: float = 0.0) -> Smoothed:
    """Smooth the bins themselves, for curves that have no fit."""
    if not fine.values.size:
        empty = np.zeros(0)
        return Smoothed(log_joules=empty, log_values=empty, origin_joules=origin_joules)
    mean, _ = _windowed(np.log(fine.values), fine.weights)
    return Smoothed(log_joules=np.log(fine.joules), log_values=mean, origin_joules=origin_joules)
