"""Warnings of a run."""

import re
import time
from collections.abc import Callable

from profiler.units import NANOSECONDS_PER_SECOND, format_seconds

_CAPACITY = 100
"""More would not be read; each is stored in ``run.json`` and shown in the report."""
_SEVERE_CAPACITY = 50
"""Room that only severe warnings may use."""
_REMEMBERED = 10_000
_QUANTITY = re.compile(r"(?<![\w:/.=-])\d[\d,.]*(?: (?:[num]?s|h|days?|[mkMGT]?[JW]h?)\b)?")
"""Numbers, with their units, that may change from one occurrence of a warning to the next; not parts of names, such as
``gpu:0``."""


class _Entry:
    """One kind of warning: its latest message, and the number and time of its occurrences."""

    __slots__ = ("count", "first_ns", "last_ns", "message")

    def __init__(self, message: str, time_ns: int) -> None:
        self.message = message
        self.first_ns = self.last_ns = time_ns
        self.count = 1

    @property
    def line(self) -> str:
        if self.count == 1:
            return self.message
        seconds = (self.last_ns - self.first_ns) / NANOSECONDS_PER_SECOND
        return f"{self.message} [{self.count:,} times in {format_seconds(seconds)}]"


class WarningLog:
    """Keeps one line per kind of warning, in order, up to a fixed number. Messages of a kind differ only in numbers.

    Args:
        emit: Called with the first message of each kind.
    """

    def __init__(self, emit: Callable[[str], object]) -> None:
        self._entries: dict[str, _Entry] = {}
        self._dropped: set[str] = set()
        self._ordinary = 0
        self._emit = emit

    @property
    def lines(self) -> list[str]:
        """The warnings so far, each with the number of its occurrences if there were several."""
        lines = [entry.line for entry in tuple(self._entries.values())]
        if self._dropped:
            more = "at least " if len(self._dropped) >= _REMEMBERED else ""
            lines.append(f"{more}{len(self._dropped):,} more kinds of warnings were dropped")
        return lines

    def warn(self, message: str, *, is_severe: bool = False) -> None:
        """Record an event, and emit the first of its kind.

        Args:
            message: The event, its meaning for the numbers, and the remedy.
            is_severe: Whether the numbers of the run depend on it, so that it is kept even if there are many others.
        """
        entry = self._entries.get(_kind_of(message))
        if entry is None:
            self._add(message, is_severe=is_severe)
        else:
            entry.message, entry.last_ns = message, time.monotonic_ns()
            entry.count += 1

    def update(self, message: str, *, is_severe: bool = False) -> None:
        """Record a state of the run, which replaces an earlier message of its kind; emit the first."""
        entry = self._entries.get(_kind_of(message))
        if entry is None:
            self._add(message, is_severe=is_severe)
        else:
            entry.message = message

    def _add(self, message: str, *, is_severe: bool) -> None:
        kind = _kind_of(message)
        has_room = (
            len(self._entries) < _CAPACITY + _SEVERE_CAPACITY if is_severe else self._ordinary < _CAPACITY
        )
        if not has_room:
            if len(self._dropped) < _REMEMBERED:
                self._dropped.add(kind)
            return
        self._ordinary += not is_severe
        self._entries[kind] = _Entry(message, time.monotonic_ns())
        self._emit(message)


def _kind_of(message: str) -> str:
    return _QUANTITY.sub("#", message)
