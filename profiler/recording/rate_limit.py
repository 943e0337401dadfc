"""Rate limit that keeps a log from growing without bound."""

from profiler.units import NANOSECONDS_PER_SECOND

_UNLIMITED_ROWS = 10_000
_ROWS_PER_SECOND = 5


class RateLimit:
    """Admits the first 10,000 rows of one kind, then five per second.

    Attributes:
        dropped: Number of rows that were not admitted.
    """

    def __init__(self) -> None:
        self._admitted = 0
        self._last_ns = 0
        self.dropped = 0

    def admits(self, time_ns: int) -> bool:
        """Return whether a row at ``time_ns`` may be written, and count it."""
        if (
            self._admitted >= _UNLIMITED_ROWS
            and time_ns - self._last_ns < NANOSECONDS_PER_SECOND // _ROWS_PER_SECOND
        ):
            self.dropped += 1
            return False
        self._admitted += 1
        self._last_ns = time_ns
        return True
