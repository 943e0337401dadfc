"""The power readings that a board remembers: none is missed between two reads, and each says when it was made."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from profiler.sensors.nvml_board import VALUE_MEMBERS
from profiler.units import MICROJOULES_PER_JOULE, NANOSECONDS_PER_SECOND

_FEWEST = 3
_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.005, 0.5
"""A period outside these is none at which a board measures."""
_NANOSECONDS_PER_MICROSECOND = 1_000
_EARLIEST_NS = -2_000_000
_LATEST_NS = NANOSECONDS_PER_SECOND
"""The age that the newest reading may have by the right clock."""
_REMEMBERED = 64
_TRIES = 3
_FORGETFUL_NS = NANOSECONDS_PER_SECOND
"""After so long without a reading, the stamps themselves have gone back."""


def known_clocks() -> tuple[Callable[[], int], ...]:
    """Tell how far each clock that stamps may come from is ahead of the monotonic one now, in nanoseconds."""
    numbers = [getattr(time, name) for name in ("CLOCK_BOOTTIME", "CLOCK_REALTIME") if hasattr(time, name)]
    return (lambda: 0, *(partial(_ahead_ns, number) for number in numbers))


def _ahead_ns(clock: int) -> int:
    """Ask both clocks some times, and believe the time at which they were asked closest together."""
    tries = []
    for _ in range(_TRIES):
        before, there, after = time.monotonic_ns(), time.clock_gettime_ns(clock), time.monotonic_ns()
        tries.append((after - before, there - (before + after) // 2))
    return min(tries)[1]


class StampClock:
    """Tells on which clock stamps are made, which NVIDIA does not say, and what that is on the monotonic clock.

    The newest stamp is always a little old. A known clock by which its age is plausible is taken at its word. Where
    there is none, the youngest age seen lately is taken for no age at all: a minimum of one-sided errors.

    Args:
        clocks: How far each known clock is ahead of the monotonic one, in nanoseconds.
    """

    def __init__(self, clocks: Sequence[Callable[[], int]]) -> None:
        self._clocks = tuple(clocks)
        self._ahead: deque[int] = deque(maxlen=_REMEMBERED)

    def ahead_ns(self, newest_ns: int, now_ns: int) -> int:
        """How far the stamps' clock is ahead of the monotonic one, which showed ``now_ns`` after the newest stamp."""
        for clock in self._clocks:
            ahead = clock()
            if _EARLIEST_NS <= now_ns + ahead - newest_ns <= _LATEST_NS:
                return ahead
        self._ahead.append(newest_ns - now_ns)
        return max(self._ahead)


class PowerBuffer:
    """One board's remembered readings of its total power.

    Args:
        nvml: The initialised ``pynvml`` module.
        handle: The board's handle.
        clocks: Where its stamps may come from.

    Attributes:
        period_seconds: The time from one reading to the next.
        seconds: How far back it remembers.
    """

    def __init__(self, nvml: Any, handle: Any, clocks: Sequence[Callable[[], int]]) -> None:
        self._nvml = nvml
        self._handle = handle
        self._clock = StampClock(clocks)
        self._last_us = 0
        self._given_ns = self._seen_ns = 0
        self.period_seconds = self.seconds = 0.0

    def use(self, handle: Any) -> None:
        """Go on with a board that was found again."""
        self._handle = handle

    def probe(self) -> bool:
        """Whether the board remembers steady readings. What is read here is given again by the first :meth:`read`."""
        try:
            stamps = [stamp for stamp, _ in self._ask(0)]
        except self._nvml.NVMLError:
            return False
        if len(stamps) < _FEWEST:
            return False
        gaps = sorted(after - before for before, after in pairwise(stamps))
        self.period_seconds = gaps[len(gaps) // 2] / MICROJOULES_PER_JOULE
        self.seconds = (stamps[-1] - stamps[0]) / MICROJOULES_PER_JOULE
        return gaps[0] > 0 and _SHORTEST_SECONDS <= self.period_seconds <= _LONGEST_SECONDS

    def read(self, clock: Callable[[], int]) -> list[tuple[int, float]]:
        """The readings since the last call: monotonic nanoseconds and watts, in order.

        A reading is the mean over a part of the period before its stamp, of which no document says how long: its
        middle lies between the stamp and half a period before, and is taken to be half-way.

        Raises:
            nvml.NVMLError: The board is lost, or has no such readings.
        """
        now = clock()
        samples = self._ask(0 if now - self._seen_ns > _FORGETFUL_NS else self._last_us)
        if not samples:
            return []
        self._last_us = samples[-1][0]
        newest = self._last_us * _NANOSECONDS_PER_MICROSECOND
        back = self._clock.ahead_ns(newest, clock()) + round(self.period_seconds / 4 * NANOSECONDS_PER_SECOND)
        found = [(stamp * _NANOSECONDS_PER_MICROSECOND - back, milli * 1e-3) for stamp, milli in samples]
        fresh = [(time_ns, watts) for time_ns, watts in found if time_ns > self._given_ns]
        if fresh:
            self._given_ns, self._seen_ns = fresh[-1][0], now
        return fresh

    def _ask(self, after_us: int) -> list[tuple[int, int]]:
        """Microseconds and milliwatts, in order."""
        try:
            kind, samples = self._nvml.nvmlDeviceGetSamples(
                self._handle, self._nvml.NVML_TOTAL_POWER_SAMPLES, after_us
            )
        except self._nvml.NVMLError_NotFound:
            return []  # none since then
        return sorted((int(s.timeStamp), int(getattr(s.sampleValue, VALUE_MEMBERS[kind]))) for s in samples)
