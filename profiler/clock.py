"""Monotonic clock of readings and waits."""

import time


class Clock:
    """Monotonic time; tests use :class:`profiler.testing.FakeClock` in its place."""

    def now_ns(self) -> int:
        """Return monotonic nanoseconds."""
        return time.monotonic_ns()

    def sleep(self, seconds: float) -> None:
        """Wait for this time."""
        time.sleep(seconds)


MONOTONIC = Clock()
"""The clock of the machine."""
