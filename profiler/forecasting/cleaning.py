"""Local faults of a curve: short spikes, which are excluded, and lasting jumps, which are reported."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.forecasting.curve import BoolArray, FineBins, FloatArray

REACH = 8
"""Neighbours on either side that a bin is compared with."""
FEWEST = 3
"""Fewest neighbours on one side: with fewer, a rise may be the beginning of a lasting one."""
DEVIATIONS = 10.0
"""Robust standard deviations above the neighbours from which a bin is a spike."""
LEAST_SPIKE = 0.05
LEAST_JUMP = 0.1
"""Rises of the log level below these do no harm."""
TO_DEVIATION = 1.4826
"""Ratio of standard deviation to median absolute deviation of a normal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repairs:
    """Repairs made before the fit.

    Attributes:
        disordered: Points at fewer joules than an earlier one, which were sorted.
        repeated: Points at the same joules as the latest one, which were averaged.
        spikes: Short rises of the loss, which were excluded.
    """

    disordered: int
    repeated: int
    spikes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """A lasting rise.

    Attributes:
        joules: Its position.
        rise: Its height, in log levels.
    """

    joules: float
    rise: float


def clean(fine: FineBins) -> tuple[FineBins, Repairs]:
    """Exclude spikes, and count all repairs."""
    found = spikes(fine)
    count = int(np.sum(found & ~np.append(False, found)[:-1]))
    repairs = Repairs(disordered=fine.disordered, repeated=fine.repeated, spikes=count)
    return (fine.only(~found) if count else fine), repairs


def spikes(fine: FineBins) -> BoolArray:
    """Return a mask of the bins that rise far above their neighbours, at most `REACH` on either side.

    It is the Hampel identifier (Hampel, JASA 69, 1974): it uses the median and the median absolute deviation of the
    neighbours after removing their trend, which a spike narrower than half of them cannot move.
    """
    found = np.zeros(fine.values.size, dtype=bool)
    log_y = np.log(fine.values)
    for reach in range(FEWEST, REACH + 1):
        middle = _middle(log_y.size, reach)
        if middle.size:
            found[middle] = _is_spike(log_y, middle, reach)
    return found


def _middle(size: int, reach: int) -> npt.NDArray[np.int64]:
    """Return the bins whose nearer end is ``reach`` bins away, or at least that for the largest reach."""
    nearer = np.minimum(np.arange(size), np.arange(size)[::-1])
    return np.flatnonzero(nearer == reach if reach < REACH else nearer >= reach)


def _is_spike(log_y: FloatArray, middle: npt.NDArray[np.int64], reach: int) -> BoolArray:
    steps = np.arange(-reach, reach + 1)
    near = log_y[middle[:, None] + steps]
    slope = _medians((near[:, reach + 1 :] - near[:, reach - 1 :: -1]) / (2 * steps[reach + 1 :]))
    near = near - slope[:, None] * steps
    median = _medians(near)
    deviation = TO_DEVIATION * _medians(np.abs(near - median[:, None]))
    excess = log_y[middle] - median
    return np.asarray(excess > np.maximum(DEVIATIONS * deviation, LEAST_SPIKE))


def _medians(rows: FloatArray) -> FloatArray:
    """Return the median of each row, NaN for rows with NaN: `numpy.median` in a fraction of its time for short rows."""
    ordered = np.sort(rows, axis=1)
    upper = rows.shape[1] // 2
    middle = ordered[:, upper] if rows.shape[1] % 2 else (ordered[:, upper - 1] + ordered[:, upper]) / 2.0
    return np.where(np.isnan(ordered[:, -1]), np.nan, middle)


def jump(fine: FineBins) -> Jump | None:
    """Return the largest lasting rise, such as after a restart from an older checkpoint; None without one."""
    log_y = np.log(fine.values)
    if log_y.size < 2 * REACH:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(log_y, REACH)
    before, after = windows[:-REACH], windows[REACH:]
    rise = np.median(after, axis=1) - np.median(before, axis=1)
    clear = after.min(axis=1) > before.max(axis=1)
    edge = log_y[REACH : REACH + rise.size] - log_y[REACH - 1 : REACH - 1 + rise.size]
    # A slow rise is a trend: a jump gains a large part of its height between two neighbouring bins.
    sudden = edge > np.maximum(0.4 * rise, LEAST_JUMP)
    found = np.where(clear & sudden, rise, -math.inf)
    k = int(np.argmax(found))
    if found[k] < LEAST_JUMP:
        return None
    return Jump(joules=float(fine.joules[REACH + k]), rise=float(found[k]))
