"""What time it is on the host when it is some time on a device. Pure: observations in, times out.

A device's event is complete some time between the last moment at which it was seen incomplete and the first at which
it was seen complete. Each event thus says between which bounds the clocks' difference lies, and the bounds of half a
minute together leave little: completion is always seen late, by how much differs, and the best case counts.
"""

from collections import deque

from profiler.units import NANOSECONDS_PER_SECOND

_MEMORY_NS = 30 * NANOSECONDS_PER_SECOND
"""Clocks drift apart by some 20 ppm: 0.6 ms in this time."""


class DeviceClock:
    """Maps times of a device, in nanoseconds from a zero of its own, to monotonic times of the host."""

    def __init__(self) -> None:
        self._earliest = _Least()
        self._latest = _Least()

    def observe(self, device_ns: int, *, incomplete_ns: int, complete_ns: int) -> None:
        """Take an event in.

        Args:
            device_ns: When it happened, on the device's clock.
            incomplete_ns: A moment on the host at which it had not happened: it was not recorded yet, or asked for.
            complete_ns: A later one at which it had.
        """
        self._earliest.add(complete_ns, device_ns - incomplete_ns)
        self._latest.add(complete_ns, complete_ns - device_ns)

    @property
    def is_set(self) -> bool:
        """Whether an event was observed."""
        return self._latest.value is not None

    @property
    def half_width_ns(self) -> int:
        """By how much the mapping may be off, apart from drift."""
        return (self._high - self._low) // 2

    def host_ns(self, device_ns: int) -> int:
        """Return the time on the host when it is ``device_ns`` on the device; an event must have been observed."""
        return device_ns + (self._low + self._high) // 2

    @property
    def _low(self) -> int:
        return -(self._earliest.value or 0)

    @property
    def _high(self) -> int:
        return self._latest.value or 0


class _Least:
    """The least of the values of the last half minute.

    Attributes:
        value: That; None before the first. Written by one thread, and read by any.
    """

    def __init__(self) -> None:
        self._rising: deque[tuple[int, int]] = deque()
        self.value: int | None = None

    def add(self, time_ns: int, value: int) -> None:
        """Take a value in; times must not decrease."""
        rising = self._rising
        while rising and rising[-1][1] >= value:
            rising.pop()
        rising.append((time_ns, value))
        while rising[0][0] < time_ns - _MEMORY_NS:
            rising.popleft()
        self.value = rising[0][1]
