"""What is wrong with a curve and can be told from its neighbourhood: spikes, which are set aside, and jumps."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.forecasting.curve import BoolArray, FineBins, FloatArray

REACH = 8
"""Bins on either side that say what a bin should be."""
FEWEST = 3
"""With fewer on one side a rise may be the beginning of something, not a spike."""
DEVIATIONS = 10.0
"""A bin so many robust standard deviations above its neighbours is no noise."""
LEAST_SPIKE = 0.05
LEAST_JUMP = 0.1
"""Rises of the log level smaller than these do no harm."""
TO_DEVIATION = 1.4826
"""Median absolute deviation to standard deviation, for a normal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What was put right before the fit.

    Attributes:
        disordered: Points that came at fewer joules than one before them, and were put in order.
        repeated: Points that came at as many joules as the most so far, and were averaged.
        spikes: Short rises of the loss that were set aside.
    """

    disordered: int
    repeated: int
    spikes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """A rise that stays.

    Attributes:
        joules: Where it is.
        rise: By how much the log level rises there.
    """

    joules: float
    rise: float


def repair(fine: FineBins) -> tuple[FineBins, Repaired]:
    """Set spikes aside, and say what was put right."""
    found = spikes(fine)
    count = int(np.sum(found & ~np.append(False, found)[:-1]))
    repaired = Repaired(disordered=fine.disordered, repeated=fine.repeated, spikes=count)
    return (fine.only(~found) if count else fine), repaired


def spikes(fine: FineBins) -> BoolArray:
    """Return which bins stand out upwards from those on both sides of them, with `REACH` on either at most.

    It is the identifier of Hampel (JASA 69, 1974): the median and the median absolute deviation of the neighbours,
    less their own trend, which a spike narrower than half of them cannot move.
    """
    found = np.zeros(fine.values.size, dtype=bool)
    log_y = np.log(fine.values)
    for reach in range(FEWEST, REACH + 1):
        middle = _middle(log_y.size, reach)
        if middle.size:
            found[middle] = _stands_out(log_y, middle, reach)
    return found


def _middle(size: int, reach: int) -> npt.NDArray[np.int64]:
    """Bins that have so many neighbours on the side where they have fewest, or the most that are asked for."""
    fewest = np.minimum(np.arange(size), np.arange(size)[::-1])
    return np.flatnonzero(fewest == reach if reach < REACH else fewest >= reach)


def _stands_out(log_y: FloatArray, middle: npt.NDArray[np.int64], reach: int) -> BoolArray:
    steps = np.arange(-reach, reach + 1)
    near = log_y[middle[:, None] + steps]
    slope = np.median((near[:, reach + 1 :] - near[:, reach - 1 :: -1]) / (2 * steps[reach + 1 :]), axis=1)
    near = near - slope[:, None] * steps
    median = np.median(near, axis=1)
    deviation = TO_DEVIATION * np.median(np.abs(near - median[:, None]), axis=1)
    excess = log_y[middle] - median
    return np.asarray(excess > np.maximum(DEVIATIONS * deviation, LEAST_SPIKE))


def jump(fine: FineBins) -> Jump | None:
    """Return the largest rise that stays, if there is one: as when a run goes on from an older state."""
    log_y = np.log(fine.values)
    if log_y.size < 2 * REACH:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(log_y, REACH)
    before, after = windows[:-REACH], windows[REACH:]
    rise = np.median(after, axis=1) - np.median(before, axis=1)
    clear = after.min(axis=1) > before.max(axis=1)
    edge = log_y[REACH : REACH + rise.size] - log_y[REACH - 1 : REACH - 1 + rise.size]
    sudden = edge > np.maximum(0.4 * rise, LEAST_JUMP)
    found = np.where(clear & sudden, rise, -math.inf)
    k = int(np.argmax(found))
    if found[k] < LEAST_JUMP:
        return None
    return Jump(joules=float(fine.joules[REACH + k]), rise=float(found[k]))
