"""Warnings of a run."""

from collections.abc import Callable

_CAPACITY = 100
"""More would not be read; each is stored in ``run.json`` and shown in the report."""


class WarningLog:
    """Keeps each distinct warning once, in order, up to a fixed number.

    Args:
        emit: Called with each new warning.

    Attributes:
        lines: The warnings so far.
    """

    def __init__(self, emit: Callable[[str], None]) -> None:
        self.lines: list[str] = []
        self._emit = emit

    def warn(self, message: str) -> None:
        """Record a warning and emit it the first time."""
        if len(self.lines) > _CAPACITY or message in self.lines:
            return
        if len(self.lines) == _CAPACITY:
            message = f"there were more than {_CAPACITY} warnings; the others were dropped"
        self.lines.append(message)
        self._emit(message)
