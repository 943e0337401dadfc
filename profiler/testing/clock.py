"""A monotonic clock that moves only when told to."""

from collections.abc import Callable

from profiler.units import NANOSECONDS_PER_SECOND


class FakeClock:
    """Stands in for ``time.monotonic_ns``, and for ``time.sleep``.

    Args:
        start_ns: The first time it shows, in nanoseconds.
    """

    def __init__(self, start_ns: int = 1_000_000_000) -> None:
        self._now_ns = start_ns
        self._watchers: list[Callable[[int], None]] = []

    def __call__(self) -> int:
        """Return the time in nanoseconds."""
        return self._now_ns

    @property
    def seconds(self) -> float:
        """The time in seconds."""
        return self._now_ns / NANOSECONDS_PER_SECOND

    def advance(self, seconds: float) -> None:
        """Move forward, then tell every watcher.

        Args:
            seconds: How far; not below zero.

        Raises:
            ValueError: ``seconds`` is below zero.
        """
        if seconds < 0:
            raise ValueError(f"a monotonic clock does not go back: {seconds} s")
        self._now_ns += round(seconds * NANOSECONDS_PER_SECOND)
        for watcher in self._watchers:
            watcher(self._now_ns)

    sleep = advance

    def watch(self, watcher: Callable[[int], None]) -> None:
        """Call ``watcher`` with the new time, in nanoseconds, whenever the clock moves."""
        self._watchers.append(watcher)
