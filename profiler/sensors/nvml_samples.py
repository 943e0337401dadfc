"""Power readings that a board buffers with time stamps, so that none is missed between two reads."""

import time
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from profiler.clock import Clock
from profiler.sensors.nvml_device import VALUE_MEMBERS
from profiler.units import MICROJOULES_PER_JOULE, NANOSECONDS_PER_SECOND

_MIN_SAMPLES = 3
_MIN_SECONDS, _MAX_SECONDS = 0.005, 0.5
"""Range of plausible measurement periods."""
_NANOSECONDS_PER_MICROSECOND = 1_000
_MONOTONIC = getattr(time, "CLOCK_MONOTONIC", -1)
"""Number of the clock of :func:`time.monotonic_ns`; it has none on Windows."""
_EARLIEST_NS = -2_000_000
_LATEST_NS = NANOSECONDS_PER_SECOND
"""Range of the newest reading's age on the correct clock."""
_AGES_KEPT = 64
_TRIES = 3
_SET_BACK_NS = NANOSECONDS_PER_SECOND
"""After this time without a new reading, the time stamps are assumed to have been set back."""


def known_clocks() -> tuple[int, ...]:
    """Return the numbers of the candidate clocks, the monotonic clock first."""
    others = [getattr(time, name) for name in ("CLOCK_BOOTTIME", "CLOCK_REALTIME") if hasattr(time, name)]
    return (_MONOTONIC, *others)


def _ahead_ns(clock: int) -> int:
    """Measure how far a clock is ahead of the monotonic clock, in nanoseconds."""
    if clock == _MONOTONIC:
        return 0
    # A pause between the reads counts as a difference of the clocks: the pair that was read closest together is best.
    tries = []
    for _ in range(_TRIES):
        before, there, after = time.monotonic_ns(), time.clock_gettime_ns(clock), time.monotonic_ns()
        tries.append((after - before, there - (before + after) // 2))
    return min(tries)[1]


class StampClock:
    """Estimates the offset of the clock that stamps samples, which NVIDIA does not document.

    The newest sample is always slightly old. The first candidate clock on which its age is plausible is used. If there
    is none, the smallest recent age is taken as zero, because the errors of the ages are one-sided.

    Args:
        clocks: Numbers of candidate clocks.
    """

    def __init__(self, clocks: Sequence[int]) -> None:
        self._clocks = tuple(clocks)
        self._ahead: deque[int] = deque(maxlen=_AGES_KEPT)

    def ahead_ns(self, newest_ns: int, now_ns: int) -> int:
        """Return how far the stamps' clock is ahead of the monotonic clock, in nanoseconds.

        Args:
            newest_ns: Time stamp of the newest sample.
            now_ns: Monotonic time after it was read.
        """
        for clock in self._clocks:
            ahead = _ahead_ns(clock)
            if _EARLIEST_NS <= now_ns + ahead - newest_ns <= _LATEST_NS:
                return ahead
        self._ahead.append(newest_ns - now_ns)
        return max(self._ahead)


class PowerBuffer:
    """Buffered readings of a board's total power (``nvmlDeviceGetSamples``).

    Args:
        nvml: The initialised ``pynvml`` module.
        handle: Handle of the board.

    Attributes:
        period_seconds: Time between two samples.
        seconds: Time span of the buffer.
    """

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        self._clock = StampClock(known_clocks())
        self._last_us = 0
        self._given_ns = self._seen_ns = 0
        self.period_seconds = self.seconds = 0.0

    def use(self, handle: Any) -> None:
        """Continue with a new handle of the same board."""
        self._handle = handle

    def probe(self) -> bool:
        """Return True if the board buffers regular samples. The first :meth:`read` returns them again."""
        try:
            stamps = [stamp for stamp, _ in self._query(0)]
        except self._nvml.NVMLError:
            return False
        if len(stamps) < _MIN_SAMPLES:
            return False
        # The median ignores a gap where the board paused. Equal time stamps would be samples without a duration.
        gaps = sorted(after - before for before, after in pairwise(stamps))
        self.period_seconds = gaps[len(gaps) // 2] / MICROJOULES_PER_JOULE
        self.seconds = (stamps[-1] - stamps[0]) / MICROJOULES_PER_JOULE
        return gaps[0] > 0 and _MIN_SECONDS <= self.period_seconds <= _MAX_SECONDS

    def read(self, clock: Clock) -> list[tuple[int, float]]:
        """Return the samples since the last call as monotonic nanoseconds and watts, in order.

        A sample is the mean over an undocumented part of the period before its time stamp. Its centre lies between the
        stamp and half a period before it; a quarter of a period is assumed.

        Raises:
            nvml.NVMLError: The board is lost, or has no samples.
        """
        now = clock.now_ns()
        # A set-back clock makes every new stamp older than the last one, so asking for later samples would return none.
        samples = self._query(0 if now - self._seen_ns > _SET_BACK_NS else self._last_us)
        if not samples:
            return []
        self._last_us = samples[-1][0]
        newest = self._last_us * _NANOSECONDS_PER_MICROSECOND
        back = self._clock.ahead_ns(newest, clock.now_ns()) + round(
            self.period_seconds / 4 * NANOSECONDS_PER_SECOND
        )
        found = [(stamp * _NANOSECONDS_PER_MICROSECOND - back, milli * 1e-3) for stamp, milli in samples]
        fresh = [(time_ns, watts) for time_ns, watts in found if time_ns > self._given_ns]
        if fresh:
            self._given_ns, self._seen_ns = fresh[-1][0], now
        return fresh

    def _query(self, after_us: int) -> list[tuple[int, int]]:
        """Return microseconds and milliwatts, in order."""
        try:
            kind, samples = self._nvml.nvmlDeviceGetSamples(
                self._handle, self._nvml.NVML_TOTAL_POWER_SAMPLES, after_us
            )
        except self._nvml.NVMLError_NotFound:
            return []  # no new sample
        return sorted((int(s.timeStamp), int(getattr(s.sampleValue, VALUE_MEMBERS[kind]))) for s in samples)
