"""Keeping a log from growing without bound: the first rows all, then a few a second."""

from profiler.units import NANOSECONDS_PER_SECOND

_FREE_ROWS = 10_000
_ROWS_PER_SECOND = 5


class Thinner:
    """Lets the first 10,000 rows of one kind through, then five a second. Counts what it held back."""

    def __init__(self) -> None:
        self._passed = 0
        self._last_ns = 0
        self.held_back = 0

    def passes(self, time_ns: int) -> bool:
        """Say whether a row at ``time_ns`` may be written."""
        if (
            self._passed >= _FREE_ROWS
            and time_ns - self._last_ns < NANOSECONDS_PER_SECOND // _ROWS_PER_SECOND
        ):
            self.held_back += 1
            return False
        self._passed += 1
        self._last_ns = time_ns
        return True
