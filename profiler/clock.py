"""Clock of readings, waits and work."""

import time


class Clock:
    """Monotonic time; tests use :class:`profiler.testing.FakeClock` in its place."""

    def now_ns(self) -> int:
        """Return monotonic nanoseconds."""
        return time.monotonic_ns()

    @property
    def seconds(self) -> float:
        """The same in seconds."""
        return self.now_ns() / 1e9

    def sleep(self, seconds: float) -> None:
        """Wait for this time."""
        time.sleep(seconds)

    def thread_seconds(self) -> float:
        """Return the processor time of the present thread, in seconds."""
        return time.thread_time()


MONOTONIC = Clock()
"""The clock of the machine."""
