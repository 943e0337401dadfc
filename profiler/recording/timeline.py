"""The cumulative energy of one domain over time, from its readings. Pure: readings in, joules out.

A counter of the hardware is a staircase: its value is true only at the moments at which it changes, and straight
lines between those moments are the best estimate of what happened in between (0.7 to 4 % error a step of 80 to
500 ms on a counter that is renewed every 100 ms, where reading the counter at the step's edges gives 4 to 40 %).
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from operator import itemgetter

from profiler.recording.intervals import Edge, Segment
from profiler.records import Reading
from profiler.uncertainty import DRIFT_FACTOR, UNIFORM
from profiler.units import NANOSECONDS_PER_SECOND

_STALE_SECONDS = 1.0
"""A counter that has not moved for this long is bridged at its last power until it moves again."""

_Line = tuple[int, int, float, float, float, Edge]
"""A straight piece: its start and end, joules at the start, joules a nanosecond, joules at the end, how far off."""

_BRIDGE_FACTOR = 0.5
"""Standard deviation of bridged energy, as a share of it."""


_NO_LINE: _Line = (0, 0, 0.0, 0.0, 0.0, Edge(0, 0))


class Timeline:
    """Change points of one domain: times in monotonic nanoseconds, joules since the first of them.

    Args:
        is_sampled: What is known beforehand of whether the source sees power only at times.
        drift_factor: What it then misses, as in :mod:`profiler.uncertainty`.

    Attributes:
        bridged_joules: Energy that no reading covers, estimated at the neighbouring power.
        bridged_seconds: The time it covers.
        resets: How often the counter fell back, as it does when a driver is reloaded.
        hidden_watts: By how much momentary power departs from the mean power between change points.
        is_sampled: Whether the source sees power only at times, so that each piece adds to the uncertainty.
    """

    def __init__(self, *, is_sampled: bool = False, drift_factor: float = DRIFT_FACTOR) -> None:
        self._factor = drift_factor
        self._times: list[int] = []
        self._joules: list[float] = []
        self._bridged: list[bool] = []
        self._blurs: list[float] = []
        self._drifts: list[float] = []
        self._blur = 0.0
        self._watts = 0.0
        self.hidden_watts = 0.0
        self.is_sampled = is_sampled
        self._raw: float | None = None
        self._starts_roughly = False
        self._power: float | None = None
        self._owed = 0.0
        self._line = _NO_LINE
        self._pins: list[tuple[int, float, float]] = []
        self.bridged_joules = 0.0
        self.bridged_seconds = 0.0
        self.resets = 0

    @property
    def latest_ns(self) -> int | None:
        """The last change point; None before the first."""
        return self._times[-1] if self._times else None

    @property
    def first_ns(self) -> int | None:
        """The first change point still held; None before the first."""
        return self._times[0] if self._times else None

    @property
    def points(self) -> int:
        """Change points held now."""
        return len(self._times)

    def add(self, reading: Reading, appeared_ns: int | None = None, blur_ns: int = 0) -> bool:
        """Take a reading in. Returns whether the energy has moved since the last one.

        One that is not a number, or not later than what is known, is a gap: a counter shows next time what it gained.

        Args:
            reading: The reading.
            appeared_ns: When its value appeared, where that is known better than by the time of the reading.
            blur_ns: The interval in which that moment is known to lie.
        """
        is_energy = reading.energy_joules is not None
        value = reading.energy_joules if is_energy else reading.power_watts
        is_late = bool(self._times) and reading.time_ns <= self._times[-1]
        if value is None or not math.isfinite(value) or is_late:
            return False
        self._blur = UNIFORM * blur_ns / NANOSECONDS_PER_SECOND
        time_ns = reading.time_ns if appeared_ns is None else appeared_ns
        if self._times and time_ns <= self._times[-1]:
            time_ns = reading.time_ns
        return self._add_energy(time_ns, value) if is_energy else self._add_power(time_ns, value)

    def _add_energy(self, time_ns: int, raw: float) -> bool:
        if self._raw is None:
            self._raw = raw
            self._starts_roughly = not self._times
            return self._append(time_ns, self._joules[-1] if self._joules else 0.0)
        if raw == self._raw:
            return False
        moved, self._raw = raw - self._raw, raw
        if moved < 0:
            self.resets += 1
            self.bridge_to(time_ns)
            self._owed = 0.0
            return True
        paid = min(moved, self._owed)
        self._owed -= paid
        return self._append(time_ns, self._joules[-1] + (moved - paid))

    def _add_power(self, time_ns: int, watts: float) -> bool:
        before, self._power = self._power, watts
        if before is None or not self._times:
            return self._append(time_ns, self._joules[-1] if self._joules else 0.0)
        seconds = (time_ns - self._times[-1]) / NANOSECONDS_PER_SECOND
        joules = seconds * (before + watts) / 2
        long = seconds > _STALE_SECONDS
        if long:
            self._count_bridge(joules, seconds)
        return self._append(time_ns, self._joules[-1] + joules, bridged=long)

    def _append(self, time_ns: int, joules: float, *, bridged: bool = False) -> bool:
        if self._times and time_ns <= self._times[-1]:
            return False
        self._add_drift(time_ns, joules)
        self._blurs.append(self._blur)
        self._times.append(time_ns)
        self._joules.append(joules)
        self._bridged.append(bridged)
        return True

    def _add_drift(self, time_ns: int, joules: float) -> None:
        """Add the variance of what was missed since the last point, if power is seen only at times."""
        if not self._times:
            self._drifts.append(0.0)
            return
        seconds = (time_ns - self._times[-1]) / NANOSECONDS_PER_SECOND
        before, self._watts = self._watts, (joules - self._joules[-1]) / seconds
        missed = self._factor * seconds * (self._watts - before) if self.is_sampled and before else 0.0
        self._drifts.append(self._drifts[-1] + missed**2)

    def drift_at(self, time_ns: int) -> float:
        """Variance, in square joules, of what was missed between looks up to ``time_ns``."""
        after = bisect_right(self._times, time_ns)
        return self._drifts[after - 1] if after else 0.0

    def _count_bridge(self, joules: float, seconds: float) -> None:
        self.bridged_joules += joules
        self.bridged_seconds += seconds

    def bridge_to(self, time_ns: int) -> None:
        """Extend the timeline to ``time_ns`` at the neighbouring power, where no reading covers it.

        What a counter gains later while it catches up is taken as already paid.
        """
        if not self._times or time_ns <= self._times[-1]:
            return
        seconds = (time_ns - self._times[-1]) / NANOSECONDS_PER_SECOND
        joules = seconds * self.recent_watts()
        if self._raw is not None:
            self._owed += joules
        self._count_bridge(joules, seconds)
        self._append(time_ns, self._joules[-1] + joules, bridged=True)

    def recent_watts(self) -> float:
        """Mean power over the last few change points; 0 before there are two."""
        if self._power is not None:
            return self._power
        first = max(len(self._times) - 6, 0)
        if len(self._times) - first < 2:  # noqa: PLR2004 - power takes two points
            return 0.0
        seconds = (self._times[-1] - self._times[first]) / NANOSECONDS_PER_SECOND
        return (self._joules[-1] - self._joules[first]) / seconds

    def is_stale(self, now_ns: int) -> bool:
        """Say whether nothing has moved for so long that waiting is useless."""
        return bool(self._times) and now_ns - self._times[-1] > _STALE_SECONDS * NANOSECONDS_PER_SECOND

    def at(self, time_ns: int) -> tuple[float, float]:
        """Cumulative joules at ``time_ns`` and their variance, in square joules, without the domain's gain.

        Held flat outside the change points; non-decreasing in ``time_ns``. Neighbouring moments mostly lie on the
        same straight line, which is therefore remembered.
        """
        start, end, joules, slope, most, edge = self._line
        if not start <= time_ns < end:
            found = self._find(time_ns)
            if found is None:
                return self._outside(time_ns)
            start, end, joules, slope, most, edge = self._line = found
        variance = edge.variance(time_ns, self.hidden_watts)
        return min(joules + (time_ns - start) * slope, most), variance

    def edge(self, time_ns: int) -> Edge:
        """How uncertain the energy is around a moment."""
        after = bisect_right(self._times, time_ns)
        last = len(self._times) - 1
        return self._edge(min(max(after, 1), last)) if last > 0 else Edge(time_ns, time_ns)

    def segment(self, time_ns: int) -> Segment | None:
        """The two change points around ``time_ns``; None outside them."""
        after = bisect_right(self._times, time_ns)
        return self._segment(after) if 0 < after < len(self._times) else None

    def segments(self, start_ns: int, end_ns: int) -> Iterator[Segment]:
        """Pairs of neighbouring change points from ``start_ns`` on that lie before ``end_ns`` or at it."""
        for after in range(bisect_left(self._times, start_ns) + 1, bisect_right(self._times, end_ns)):
            yield self._segment(after)

    def _segment(self, after: int) -> Segment:
        times, joules = self._times, self._joules
        return Segment(times[after - 1], times[after], joules[after - 1], joules[after], self._bridged[after])

    def pin(self, time_ns: int, joules: float, variance: float) -> None:
        """Fix the energy at a moment after the last that was fixed, between what is known before and after it."""
        segment = self.segment(time_ns)
        if segment is None or (self._pins and time_ns <= self._pins[-1][0]):
            return
        least = max(segment.start_joules, self._pins[-1][1] if self._pins else 0.0)
        blur = self._blurs[bisect_right(self._times, time_ns)] * segment.watts
        self._pins.append((time_ns, min(max(joules, least), segment.end_joules), variance + blur**2))
        self._line = _NO_LINE

    def joules_at(self, time_ns: int) -> float:
        """Cumulative joules at ``time_ns``."""
        return self.at(time_ns)[0]

    def sigma_at(self, time_ns: int) -> float:
        """One standard deviation, in joules, of the energy at ``time_ns``, without the domain's gain."""
        return math.sqrt(self.at(time_ns)[1])

    def _find(self, time_ns: int) -> "_Line | None":
        after = bisect_right(self._times, time_ns)
        if after in (0, len(self._times)):
            return None
        start, end = self._times[after - 1], self._times[after]
        joules, most = self._joules[after - 1], self._joules[after]
        edge = self._edge(after)
        if self._pins and self._pins[-1][0] > start:
            place = bisect_right(self._pins, time_ns, key=itemgetter(0))
            if place < len(self._pins) and self._pins[place][0] < end:
                end, most, _ = self._pins[place]
            if place and self._pins[place - 1][0] > start:
                start, joules, variance = self._pins[place - 1]
                edge = Edge(start, end, fixed=variance)
        return start, end, joules, (most - joules) / (end - start), most, edge

    def _outside(self, time_ns: int) -> tuple[float, float]:
        if not self._times:
            return 0.0, 0.0
        if time_ns < self._times[0]:
            return self._joules[0], self.edge(time_ns).variance(self._times[0], self.hidden_watts)
        return self._joules[-1], self.edge(time_ns).variance(self._times[-1], self.hidden_watts)

    def _edge(self, after: int) -> Edge:
        """The edge between the change points ``after - 1`` and ``after``."""
        start, end = self._times[after - 1], self._times[after]
        if self._bridged[after]:
            return Edge(
                start, end, fixed=(_BRIDGE_FACTOR * (self._joules[after] - self._joules[after - 1])) ** 2
            )
        # The first value of a counter had stood for an unknown time, so that the gain after it tells no power.
        first = 2 if self._starts_roughly and after > 1 else 1
        around = range(max(after - 1, first), min(after + 2, len(self._times)))
        watts = tuple((self._joules[i] - self._joules[i - 1]) / self._seconds(i) for i in around)
        return Edge(start, end, watts, max(self._blurs[after - 1], self._blurs[after]))

    def _seconds(self, segment: int) -> float:
        return (self._times[segment] - self._times[segment - 1]) / NANOSECONDS_PER_SECOND

    def prune(self, before_ns: int) -> None:
        """Forget change points that nothing before ``before_ns`` needs any more, a few neighbours kept."""
        keep = max(bisect_left(self._times, before_ns) - 8, 0)
        self._starts_roughly &= not keep
        for column in (self._times, self._joules, self._bridged, self._blurs, self._drifts):
            del column[:keep]
        if self._pins and self._pins[0][0] < self._times[0]:
            self._pins = [pin for pin in self._pins if pin[0] >= self._times[0]]
