"""A monotonic clock that is advanced by hand."""

from collections.abc import Callable

from profiler.clock import Clock
from profiler.units import NANOSECONDS_PER_SECOND


class FakeClock(Clock):
    """Clock whose waits only advance it.

    Args:
        start_ns: Initial time in nanoseconds.
    """

    def __init__(self, start_ns: int = 1_000_000_000) -> None:
        self._now_ns = start_ns
        self._watchers: list[Callable[[int], None]] = []

    def now_ns(self) -> int:
        """Return the time in nanoseconds."""
        return self._now_ns

    def advance(self, seconds: float) -> None:
        """Move forward and call every watcher.

        Args:
            seconds: Time to add; not negative.

        Raises:
            ValueError: ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError(f"a monotonic clock does not go back: {seconds} s")
        self._now_ns += round(seconds * NANOSECONDS_PER_SECOND)
        for watcher in self._watchers:
            watcher(self._now_ns)

    def sleep(self, seconds: float) -> None:
        """Move forward instead of waiting."""
        self.advance(seconds)

    def watch(self, watcher: Callable[[int], None]) -> None:
        """Call ``watcher`` with the new time in nanoseconds whenever the clock moves."""
        self._watchers.append(watcher)
