"""The cumulative energy of one domain over time, from its readings. Pure: readings in, joules out.

A counter of the hardware is a staircase: its value is true only at the moments at which it changes, and straight
lines between those moments are the best estimate of what happened in between (0.7 to 4 % error a step of 80 to
500 ms on a counter that is renewed every 100 ms, where reading the counter at the step's edges gives 4 to 40 %).
"""

import math
from bisect import bisect_left, bisect_right

from profiler.records import Reading
from profiler.units import NANOSECONDS_PER_SECOND

_STALE_SECONDS = 1.0
"""A counter that has not moved for this long is bridged at its last power until it moves again."""

_EDGE_FACTOR = 0.2
"""Standard deviation of an interpolated edge, in units of (update period x spread of power around it)."""

_Line = tuple[int, int, float, float, float, float]
"""A straight piece: its start and end, joules at the start, joules a nanosecond, joules at the end, edge variance."""

_NO_LINE: _Line = (0, 0, 0.0, 0.0, 0.0, 0.0)

_BRIDGE_FACTOR = 0.5
"""Standard deviation of bridged energy, as a share of it."""


class Timeline:
    """Change points of one domain: times in monotonic nanoseconds, joules since the first of them.

    Attributes:
        bridged_joules: Energy that no reading covers, estimated at the neighbouring power.
        bridged_seconds: The time it covers.
        resets: How often the counter fell back, as it does when a driver is reloaded.
    """

    def __init__(self) -> None:
        self._times: list[int] = []
        self._joules: list[float] = []
        self._bridged: list[bool] = []
        self._raw: float | None = None
        self._power: float | None = None
        self._owed = 0.0
        self._line = _NO_LINE
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

    def add(self, reading: Reading) -> bool:
        """Take a reading in. Returns whether the energy has moved since the last one.

        One that is not a number, or not later than what is known, is a gap: a counter shows next time what it gained.
        """
        is_energy = reading.energy_joules is not None
        value = reading.energy_joules if is_energy else reading.power_watts
        is_late = bool(self._times) and reading.time_ns <= self._times[-1]
        if value is None or not math.isfinite(value) or is_late:
            return False
        return (
            self._add_energy(reading.time_ns, value) if is_energy else self._add_power(reading.time_ns, value)
        )

    def _add_energy(self, time_ns: int, raw: float) -> bool:
        if self._raw is None:
            self._raw = raw
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
        self._times.append(time_ns)
        self._joules.append(joules)
        self._bridged.append(bridged)
        return True

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
        start, end, joules, slope, most, variance = self._line
        if not start <= time_ns < end:
            found = self._find(time_ns)
            if found is None:
                return self._outside(time_ns)
            start, end, joules, slope, most, variance = self._line = found
        return min(joules + (time_ns - start) * slope, most), variance

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
        return start, end, joules, (most - joules) / (end - start), most, self._variance(after)

    def _outside(self, time_ns: int) -> tuple[float, float]:
        if not self._times:
            return 0.0, 0.0
        if time_ns < self._times[0]:
            return self._joules[0], self._variance(1) if len(self._times) > 1 else 0.0
        return self._joules[-1], self._variance(len(self._times) - 1) if len(self._times) > 1 else 0.0

    def _variance(self, after: int) -> float:
        """Variance of an edge between the change points ``after - 1`` and ``after``."""
        if self._bridged[after]:
            return (_BRIDGE_FACTOR * (self._joules[after] - self._joules[after - 1])) ** 2
        return (_EDGE_FACTOR * self._seconds(after) * self._spread(after)) ** 2

    def _seconds(self, segment: int) -> float:
        return (self._times[segment] - self._times[segment - 1]) / NANOSECONDS_PER_SECOND

    def _spread(self, segment: int) -> float:
        """Standard deviation of power over a segment and its neighbours."""
        around = range(max(segment - 1, 1), min(segment + 2, len(self._times)))
        watts = [(self._joules[i] - self._joules[i - 1]) / self._seconds(i) for i in around]
        mean = sum(watts) / len(watts)
        return math.sqrt(sum((w - mean) ** 2 for w in watts) / len(watts))

    def prune(self, before_ns: int) -> None:
        """Forget change points that nothing before ``before_ns`` needs any more, a few neighbours kept."""
        keep = max(bisect_left(self._times, before_ns) - 8, 0)
        del self._times[:keep], self._joules[:keep], self._bridged[:keep]
