"""Mapping from a device's clock to the host's.

An event on the device completes between the last host time at which it was seen incomplete and the first at which it
was seen complete. Each event thus bounds the offset of the clocks on both sides. Observations are late by varying
amounts, so the tightest bounds of the last half minute are used.
"""

from collections import deque

from profiler.units import NANOSECONDS_PER_SECOND

_MEMORY_NS = 30 * NANOSECONDS_PER_SECOND
"""Clocks drift apart by about 20 ppm: 0.6 ms in this time."""


class DeviceClock:
    """Map from device times, in nanoseconds from an arbitrary zero, to monotonic host times."""

    def __init__(self) -> None:
        self._earliest = _SlidingMinimum()
        self._latest = _SlidingMinimum()

    def observe(self, device_ns: int, *, incomplete_ns: int, complete_ns: int) -> None:
        """Add an event.

        Args:
            device_ns: Time of the event on the device's clock.
            incomplete_ns: Host time at which the event had not completed.
            complete_ns: Later host time at which it had.
        """
        self._earliest.add(complete_ns, device_ns - incomplete_ns)
        self._latest.add(complete_ns, complete_ns - device_ns)

    @property
    def half_width_ns(self) -> int:
        """Largest error of the mapping, without drift."""
        return (self._high - self._low) // 2

    def host_ns(self, device_ns: int) -> int:
        """Return the host time at device time ``device_ns``; at least one event must have been observed."""
        # The offset lies between both bounds: the middle halves the largest error.
        return device_ns + (self._low + self._high) // 2

    @property
    def _low(self) -> int:
        return -(self._earliest.value or 0)

    @property
    def _high(self) -> int:
        return self._latest.value or 0


class _SlidingMinimum:
    """Minimum of the values of the last half minute.

    Attributes:
        value: The minimum; None before the first value. Written by one thread and read by any.
    """

    def __init__(self) -> None:
        self._rising: deque[tuple[int, int]] = deque()
        self.value: int | None = None

    def add(self, time_ns: int, value: int) -> None:
        """Add a value; times must not decrease."""
        rising = self._rising
        # A later and smaller value outlives these, so none of them can become the minimum again.
        while rising and rising[-1][1] >= value:
            rising.pop()
        rising.append((time_ns, value))
        while rising[0][0] < time_ns - _MEMORY_NS:
            rising.popleft()
        self.value = rising[0][1]
