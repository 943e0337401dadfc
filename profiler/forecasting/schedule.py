"""What a learning rate does to a curve: an axis that counts learning instead of energy, and a term for annealing.

S1 is the cumulative learning rate, divided by its peak, over joules: a law holds in S1 where it does not in joules
(Luo et al., A Multi-Power Law for Loss Curve Prediction, 2025; Tissue et al., Scaling Law with Learning Rate
Annealing, 2024). Each drop of the rate takes effect with a memory tau: ``a(x) = sum d_i (1 - exp(-(x - x_i) / tau))``
rises to 1 with a full anneal and does not fall back when the rate rises again.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from profiler.errors import UsageError

FloatArray = npt.NDArray[np.float64]

POINTS = 2048
"""A schedule is resampled to this many points evenly, and to half as many in equal ratios."""
EARLIEST = 1e-5
"""Part of its joules at which the latter begin: a long plan may have hardly begun."""
LEAST = 1e-3
"""Part of its peak that a rate counts as learning at, even where it is less: a warm-up may start at zero."""
ENDED = 1e-6
"""A plan that ended goes on so little further, in parts of the joules so far; made longer, it holds its last rate."""
SPENT = 0.01
"""Under this part of its peak a rate has come to its end."""
MEMORY_SHARE = 0.01
"""The memory of a drop, as a share of the run's joules."""
UNSPENDABLE = 600.0
"""Logarithm of a ratio of joules beyond anything."""


class Path(Protocol):
    """A future: how energy still to be spent maps to the axis that the law is written in."""

    def at(self, log_ratio: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log v and the anneal progress since the last point, at logs of joules / last joules >= 0."""


class Onward:
    """Energy itself is the axis: the learning rate is constant, or nothing is known of it."""

    def at(self, log_ratio: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the same axis, and no annealing."""
        return log_ratio, np.zeros_like(log_ratio)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schedule:
    """A learning rate over joules, divided by its peak.

    Attributes:
        joules: Where it is known, increasing, from zero.
        rate: The rate over its peak.
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
        """S1 at any joules; beyond the end the last rate is held."""
        beyond = np.maximum(joules - self.joules[-1], 0.0)
        return np.asarray(np.interp(joules, self.joules, self.learned) + self.rate[-1] * beyond)

    def progress_at(self, joules: FloatArray) -> FloatArray:
        """Anneal progress at any joules."""
        return np.asarray(np.interp(joules, self.joules, self.progress))

    def rate_at(self, joules: float) -> float:
        """Rate over its peak."""
        return float(np.interp(joules, self.joules, self.rate))

    @property
    def end(self) -> float:
        """Joules of its last point."""
        return float(self.joules[-1])

    @property
    def is_spent(self) -> bool:
        """Whether the last rate is almost none."""
        return bool(self.rate[-1] < SPENT)


def build(joules: npt.ArrayLike, rate: npt.ArrayLike) -> Schedule:
    """Read a schedule.

    Args:
        joules: Energy since the start of the run, in any order.
        rate: The learning rate there.

    Raises:
        UsageError: No rate is positive, one is negative, or the lengths differ.
    """
    x, r = np.asarray(joules, dtype=float).ravel(), np.asarray(rate, dtype=float).ravel()
    if x.size != r.size:
        raise UsageError(f"A learning rate needs as many values as joules, not {r.size} for {x.size}.")
    usable = np.isfinite(x) & np.isfinite(r) & (x >= 0.0)
    x, r = x[usable], r[usable]
    if not r.size or r.max() <= 0.0 or r.min() < 0.0:
        raise UsageError("A learning rate must be known somewhere, never negative and not always zero.")
    order = np.argsort(x, kind="stable")
    end = float(x[order][-1])
    grid = np.union1d(np.linspace(0.0, end, POINTS), end * np.geomspace(EARLIEST, 1.0, POINTS // 2))
    return _integrated(grid, np.interp(grid, x[order], r[order]) / r.max())


def _integrated(grid: FloatArray, rate: FloatArray) -> Schedule:
    memory = MEMORY_SHARE * float(grid[-1])
    steps = np.diff(grid)
    at_least = np.maximum(rate, LEAST)
    learned = np.append(0.0, np.cumsum(0.5 * (at_least[1:] + at_least[:-1]) * steps))
    drops = np.maximum(-np.diff(rate), 0.0)
    pending, taken = 0.0, []
    for drop, fade in zip(drops.tolist(), np.exp(-steps / memory).tolist(), strict=True):
        taken.append((1.0 - fade) * (pending + drop))
        pending = fade * (pending + drop)
    progress = np.append(0.0, np.cumsum(taken))
    return Schedule(joules=grid, rate=rate, learned=learned, progress=progress, memory=memory)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planned:
    """The rate follows a known plan; for more joules than it spends, the same plan made longer.

    A run that is to go further than planned would not train on at the rate that the plan ends with, which is often
    zero, but be planned longer from the start.

    Attributes:
        schedule: Past and future.
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
    """The present rate is held.

    Attributes:
        rate: The present rate over its peak.
        learned: S1 at the last point.
        last: Joules of the last point.
    """

    rate: float
    learned: float
    last: float

    def at(self, log_ratio: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log v, and no further annealing."""
        more = _energy(self.last, log_ratio) - self.last
        return np.log1p(self.rate * more / self.learned), np.zeros_like(log_ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class Annealed:
    """The rate falls evenly from here to zero at the target, wherever that is.

    Attributes:
        rate: The present rate over its peak.
        learned: S1 at the last point.
        memory: tau, in joules.
        last: Joules of the last point.
    """

    rate: float
    learned: float
    memory: float
    last: float

    def at(self, log_ratio: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log v and the anneal progress, which starts from nothing at the last point."""
        more = _energy(self.last, log_ratio) - self.last
        memories = np.maximum(more / self.memory, 1e-9)
        taken = 1.0 + np.expm1(-memories) / memories
        return np.log1p(0.5 * self.rate * more / self.learned), self.rate * taken


def _energy(last: float, log_ratio: FloatArray) -> FloatArray:
    """Joules at log ratios; what no run could spend stands for infinity, so that a rate of zero times it is zero."""
    return np.asarray(last * np.exp(np.minimum(log_ratio, UNSPENDABLE)))
