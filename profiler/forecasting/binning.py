"""Accumulator of a curve of any length in constant memory, in pure standard library.

It runs beside a training loop, so it does not import numpy (`curve` reads it later) and stores no points: each point is
added to one of the fine bins, 64 per octave of joules. The mean inside a bin is arithmetic, so that averaging blocks of
steps upstream does not shift the level.
"""

import copy
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

BINS_PER_OCTAVE = 64
"""Bins 1.1 % wide, far below the resolution of a forecast."""

SUMS = 4
"""Sums per bin."""

EDGES = tuple(0.5 * 2.0 ** ((k + 0.5) / BINS_PER_OCTAVE) for k in range(BINS_PER_OCTAVE))
"""Upper edges in an octave of `math.frexp` mantissas [0.5, 1).

They are half a bin off the anchor, so that joules in a simple ratio to the first one fall well inside a bin, in every
unit of energy.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Numbers of unusable points of a curve.

    Attributes:
        nonfinite: The value or its joules were NaN or infinite.
        nonpositive_joules: At zero or fewer joules.
        nonpositive_values: A negative value, or a zero among zeros only: they have no logarithm.
    """

    nonfinite: int = 0
    nonpositive_joules: int = 0
    nonpositive_values: int = 0

    @property
    def total(self) -> int:
        """Points dropped for any reason."""
        return self.nonfinite + self.nonpositive_joules + self.nonpositive_values


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveFacts:
    """Counts over all finite and non-finite points in order, for the state of the curve.

    Joules count from the first step. The ``tail`` counts are of the points after the last other one.

    Attributes:
        finite: Points with a finite value.
        negative: Points with a negative value.
        zeros: Points with a value of zero.
        sign_changes: Changes of sign from one finite value to the next, zeros ignored.
        tail_nonfinite: Non-finite values at the end.
        tail_zeros: Zeros at the end.
        first_nonfinite_joules: Joules of the first of the non-finite values at the end.
        last_nonzero_joules: Joules of the last point before the zeros at the end; 0 where there is none.
        start_joules: Joules of the first point of any value.
        end_joules: Joules of the last point of any value.
    """

    finite: int = 0
    negative: int = 0
    zeros: int = 0
    sign_changes: int = 0
    tail_nonfinite: int = 0
    tail_zeros: int = 0
    first_nonfinite_joules: float = 0.0
    last_nonzero_joules: float = 0.0
    start_joules: float = 0.0
    end_joules: float = 0.0


class CurveBins:
    """Streaming accumulator of (joules, value) points.

    Attributes:
        origin_joules: Joules spent before the first step, from which bins count. Set it before the first point.
        anchor: Joules of the first usable point since the origin, which anchors the bins; 0 before it.
        first_joules: Fewest joules at a usable point.
        last_joules: Most joules at a usable point.
        points: Usable points so far.
        disordered: Usable points at fewer joules than an earlier one.
        repeated: Usable points at the same joules as the latest one.
        bins: Sums of weight, weight x joules since the origin, weight x value, and points at zero, by bin index.
    """

    __slots__ = (
        "_counts",
        "_facts",
        "_last",
        "anchor",
        "bins",
        "disordered",
        "first_joules",
        "last_joules",
        "origin_joules",
        "points",
        "repeated",
    )

    def __init__(self, origin_joules: float = 0.0) -> None:
        self.origin_joules = origin_joules
        self.anchor = 0.0
        self.first_joules = math.inf
        self.last_joules = 0.0
        self.points = 0
        self.disordered = 0
        self.repeated = 0
        self._facts: dict[str, Any] = asdict(CurveFacts())
        self._last = 0.0
        self.bins: dict[int, list[float]] = {}
        self._counts = {"nonfinite": 0, "nonpositive_joules": 0, "nonpositive_values": 0}

    @property
    def dropped(self) -> Dropped:
        """Unusable points, by reason."""
        return Dropped(**self._counts)

    def add(self, joules: float, value: float, weight: float = 1.0) -> None:
        """Add one point.

        Args:
            joules: Energy since the start of the run, in joules. Points may arrive slightly out of order.
            value: The value of the metric, not negative.
            weight: Number of steps that the value is the mean of; points without weight are ignored.
        """
        if weight <= 0.0:
            return
        since = joules - self.origin_joules
        if since > 0.0 and math.isfinite(since):
            self._count(since, value)
        reason = _unusable(since, value)
        if reason:
            self._counts[reason] += 1
            return
        self.anchor = self.anchor or since
        self.disordered += joules < self.last_joules
        self.repeated += joules == self.last_joules
        self.first_joules = min(self.first_joules, joules)
        self.last_joules = max(self.last_joules, joules)
        self.points += 1
        sums = self.bins.setdefault(_index(since / self.anchor), [0.0] * SUMS)
        sums[0] += weight
        sums[1] += weight * since
        sums[2] += weight * value
        sums[3] += value == 0.0

    def extend(self, joules: Sequence[float], values: Sequence[float], weights: Sequence[float]) -> None:
        """Add points, given as columns, as :meth:`add` does."""
        origin = self.origin_joules
        is_usual = (
            bool(values)
            and math.isfinite(sum(values))
            and min(values) > 0.0
            and math.isfinite(sum(joules))
            and min(joules) > origin
            and min(weights) > 0.0
        )
        if not is_usual:
            for point in zip(joules, values, weights, strict=True):
                self.add(*point)
            return
        self.anchor = self.anchor or joules[0] - origin
        anchor, last, low, high = self.anchor, self.last_joules, 0.0, 0.0
        sums = [0.0] * SUMS
        for reached, value, weight in zip(joules, values, weights, strict=True):
            if reached > last:
                last = reached
            elif reached == last:
                self.repeated += 1
            else:
                self.disordered += 1
            since = reached - origin
            # Successive points mostly lie in the same bin, so its edges are kept.
            ratio = since / anchor
            if not low <= ratio < high:
                low, high = _edges(ratio)
                sums = self.bins.setdefault(_index(ratio), [0.0] * SUMS)
            sums[0] += weight
            sums[1] += weight * since
            sums[2] += weight * value
        self.points += len(values)
        lowest = min(joules)
        self.first_joules, self.last_joules = min(self.first_joules, lowest), last
        self._facts["start_joules"] = self._facts["start_joules"] or joules[0] - origin
        self._count_positive(len(values), joules[-1] - origin)

    def _count_positive(self, points: int, since: float) -> None:
        """Count points with positive values, the last of which is at ``since`` joules after the origin."""
        facts = self._facts
        facts["end_joules"] = facts["last_nonzero_joules"] = since
        facts["finite"] += points
        facts["tail_nonfinite"] = facts["tail_zeros"] = 0
        facts["sign_changes"] += self._last < 0.0
        self._last = 1.0

    def _count(self, since: float, value: float) -> None:
        facts = self._facts
        facts["start_joules"] = facts["start_joules"] or since
        facts["end_joules"] = since
        if not math.isfinite(value):
            if not facts["tail_nonfinite"]:
                facts["first_nonfinite_joules"] = since
            facts["tail_nonfinite"] += 1
            facts["tail_zeros"], facts["last_nonzero_joules"] = 0, since
            return
        facts["finite"] += 1
        facts["tail_nonfinite"] = 0
        if value == 0.0:
            facts["zeros"] += 1
            facts["tail_zeros"] += 1
            return
        facts["tail_zeros"], facts["last_nonzero_joules"] = 0, since
        facts["negative"] += value < 0.0
        facts["sign_changes"] += value * self._last < 0.0
        self._last = math.copysign(1.0, value)

    @property
    def facts(self) -> CurveFacts:
        """Counts for the state of the curve."""
        return CurveFacts(**self._facts)

    def copy(self) -> "CurveBins":
        """Return an independent copy."""
        other = copy.copy(self)
        other.bins = {index: sums.copy() for index, sums in self.bins.items()}
        other._counts, other._facts = self._counts.copy(), self._facts.copy()  # noqa: SLF001 - a copy of the same class
        return other


def _unusable(joules: float, value: float) -> str:
    if not (math.isfinite(joules) and math.isfinite(value)):
        return "nonfinite"
    if joules <= 0.0:
        return "nonpositive_joules"
    return "nonpositive_values" if value < 0.0 else ""


def _edges(ratio: float) -> tuple[float, float]:
    """Return the edges of the bin of a ratio, within its octave."""
    mantissa, octave = math.frexp(ratio)
    above = bisect_right(EDGES, mantissa)
    low = EDGES[above - 1] if above else 0.5
    high = EDGES[above] if above < BINS_PER_OCTAVE else 1.0
    return math.ldexp(low, octave), math.ldexp(high, octave)


def _index(ratio: float) -> int:
    mantissa, octave = math.frexp(ratio)
    return octave * BINS_PER_OCTAVE + bisect_right(EDGES, mantissa)
