"""Effect of a learning rate on a curve: an axis that counts learning instead of energy, and a term for annealing.

S1 is the integral of the learning rate, divided by its peak, over joules. Curves are regular in S1 where they are not
in joules (Luo et al., A Multi-Power Law for Loss Curve Prediction, 2025; Tissue et al., Scaling Law with Learning Rate
Annealing, 2024). Each drop d_i of the square root of the rate takes effect with a memory tau: the anneal progress
``a(x) = sum d_i (1 - exp(-(x - x_i) / tau))`` rises to 1 with a full anneal and does not fall when the rate rises. The
square root gives the last part of an anneal most of its gain, as the development curves show.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from profiler.errors import UsageError

FloatArray = npt.NDArray[np.float64]

POINTS = 2048
"""Evenly spaced points of a resampled schedule; half as many more are spaced in equal ratios."""
EARLIEST = 1e-5
"""Part of the joules at which the latter begin, so that the start of a long plan is resolved."""
LEAST = 1e-3
"""Lowest rate on the S1 axis, as a part of the peak, so that a warm-up from zero leaves no empty interval."""
ENDED = 1e-6
"""Shortest remaining part of a plan, in parts of the joules so far, so that a finished plan can be stretched."""
SPENT = 0.01
"""Rates below this part of the peak count as zero."""
SAME = 1e-3
"""Relative change of a rate that counts as none."""
MEMORY_SHARE = 0.01
"""The memory tau, as a share of the run's joules."""
UNSPENDABLE = 600.0
"""Largest log ratio of joules that is computed; it represents infinity."""


class Path(Protocol):
    """A future of the learning rate: maps energy still to be spent to the axis of the curve."""

    def at(self, log_ratio: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log v and the anneal progress since the last point, at ln(joules / last joules) >= 0."""


class Onward:
    """Energy itself as the axis, for a constant or unknown learning rate."""

    def at(self, log_ratio: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the axis unchanged, without annealing."""
        return log_ratio, np.zeros_like(log_ratio)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schedule:
    """A learning rate over joules, relative to its peak.

    Attributes:
        joules: Increasing, from zero.
        rate: The rate at each point, relative to the peak.
        learned: S1 at each point, in joules at peak rate.
        progress: Anneal progress at each point.
        memory: tau, in joules.
    """

    joules: FloatArray
    rate: FloatArray
    learned: FloatArray
    progress: FloatArray
    memory: float

    def learned_at(self, joules: FloatArray) -> FloatArray:
        """Return S1 at any joules; the last rate holds beyond the end."""
        beyond = np.maximum(joules - self.joules[-1], 0.0)
        return np.asarray(np.interp(joules, self.joules, self.learned) + self.rate[-1] * beyond)

    def progress_at(self, joules: FloatArray) -> FloatArray:
        """Return the anneal progress at any joules."""
        return np.asarray(np.interp(joules, self.joules, self.progress))

    def rate_at(self, joules: float) -> float:
        """Return the rate relative to its peak."""
        return float(np.interp(joules, self.joules, self.rate))

    def rises_after(self, joules: float) -> bool:
        """Return whether the rate exceeds the one at ``joules`` later."""
        return bool(np.any(self.rate[self.joules > joules] > (1.0 + SAME) * self.rate_at(joules)))

    @property
    def end(self) -> float:
        """Joules of the last point."""
        return float(self.joules[-1])

    @property
    def is_spent(self) -> bool:
        """True if the last rate is practically zero."""
        return bool(self.rate[-1] < SPENT)


def build(joules: npt.ArrayLike, rate: npt.ArrayLike) -> Schedule:
    """Build a schedule from points.

    Args:
        joules: Energy since the first step, in any order.
        rate: The learning rate at each point.

    Raises:
        UsageError: No rate is positive, one is negative, or the lengths differ.
    """
    x, r = np.asarray(joules, dtype=float).ravel(), np.asarray(rate, dtype=float).ravel()
    if x.size != r.size:
        raise UsageError(
            f"The learning rate has {r.size} values for {x.size} joules; the lengths must be equal."
        )
    usable = np.isfinite(x) & np.isfinite(r) & (x >= 0.0)
    x, r = x[usable], r[usable]
    if not r.size or r.max() <= 0.0 or r.min() < 0.0:
        raise UsageError("The learning rate must have a finite positive value and no negative one.")
    order = np.argsort(x, kind="stable")
    end = float(x[order][-1])
    grid = np.union1d(np.linspace(0.0, end, POINTS), end * np.geomspace(EARLIEST, 1.0, POINTS // 2))
    return _integrated(grid, np.interp(grid, x[order], r[order]) / r.max())


def _integrated(grid: FloatArray, rate: FloatArray) -> Schedule:
    memory = MEMORY_SHARE * float(grid[-1])
    steps = np.diff(grid)
    at_least = np.maximum(rate, LEAST)
    learned = np.append(0.0, np.cumsum(0.5 * (at_least[1:] + at_least[:-1]) * steps))
    drops = np.maximum(-np.diff(np.sqrt(rate)), 0.0)
    pending, taken = 0.0, []
    for drop, fade in zip(drops.tolist(), np.exp(-steps / memory).tolist(), strict=True):
        taken.append((1.0 - fade) * (pending + drop))
        pending = fade * (pending + drop)
    progress = np.append(0.0, np.cumsum(taken))
    return Schedule(joules=grid, rate=rate, learned=learned, progress=progress, memory=memory)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planned:
    """The rate follows a known plan; beyond its end, the plan is stretched.

    Plans often end at a rate of zero, at which no energy would lower the loss. A longer run would use a longer plan.

    Attributes:
        schedule: The rate of the past and the future.
        last: Joules of the last point.
    """

    schedule: Schedule
    last: float

    def at(self, log_ratio: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log v and the anneal progress since the last point."""
        schedule, here = self.schedule, np.array([self.last])
        joules = _energy(self.last, log_ratio)
        end = max(schedule.end, self.last * (1.0 + ENDED))
        longer = np.maximum((joules - self.last) / (end - self.last), 1.0)
        within = np.minimum(joules, end)
        more = schedule.learned_at(within) / schedule.learned_at(here) - 1.0
        return np.log1p(longer * more), schedule.progress_at(within) - schedule.progress_at(here)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The present rate stays constant.

    Attributes:
        rate: The present rate, relative to the peak.
        learned: S1 at the last point.
        last: Joules of the last point.
    """

    rate: float
    learned: float
    last: float

    def at(self, log_ratio: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log v, without further annealing."""
        more = _energy(self.last, log_ratio) - self.last
        return np.log1p(self.rate * more / self.learned), np.zeros_like(log_ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class Annealed:
    """The rate falls linearly from now to zero at the target.

    Attributes:
        rate: The present rate, relative to the peak.
        learned: S1 at the last point.
        memory: tau, in joules.
        last: Joules of the last point.
    """

    rate: float
    learned: float
    memory: float
    last: float

    def at(self, log_ratio: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log v and the anneal progress, which is zero at the last point."""
        more = _energy(self.last, log_ratio) - self.last
        taken = _taken(more / self.memory)
        return np.log1p(0.5 * self.rate * more / self.learned), math.sqrt(self.rate) * taken


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnealedLater:
    """The rate is held up to a point and falls linearly from there to zero at the target.

    Attributes:
        held: The path with the present rate.
        start: Joules at which the anneal begins, not before the last point.
        memory: tau, in joules.
    """

    held: Held
    start: float
    memory: float

    def at(self, log_ratio: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log v and the anneal progress since the last point."""
        joules = _energy(self.held.last, log_ratio)
        held, falling = np.minimum(joules, self.start) - self.held.last, np.maximum(joules - self.start, 0.0)
        more = self.held.rate * (held + 0.5 * falling)
        return np.log1p(more / self.held.learned), math.sqrt(self.held.rate) * _taken(falling / self.memory)


def _taken(memories: FloatArray) -> FloatArray:
    """Return the part of a linear anneal to zero that has taken effect at its end, by its length in memories.

    It is the integral of ``(1 - exp(-m w)) d sqrt(w)`` over the falling rate w from 0 to 1.
    """
    root = np.sqrt(np.maximum(memories, 1e-9))
    return np.asarray(1.0 - 0.5 * math.sqrt(math.pi) * np.vectorize(math.erf, otypes=[float])(root) / root)


def _energy(last: float, log_ratio: FloatArray) -> FloatArray:
    # A finite limit instead of infinity keeps the product with a rate of zero defined.
    return np.asarray(last * np.exp(np.minimum(log_ratio, UNSPENDABLE)))
