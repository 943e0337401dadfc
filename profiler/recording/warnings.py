"""The warnings of a run."""

from collections.abc import Callable

_MOST = 100
"""Nobody reads more, and each of them stands in ``run.json`` and in the report."""


class Notices:
    """Keeps every warning once, in order, up to a number that can be read.

    Args:
        say: Called with each of them.

    Attributes:
        lines: The warnings so far.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.lines: list[str] = []
        self._say = say

    def __call__(self, message: str) -> None:
        """Keep a warning, and say it the first time."""
        if len(self.lines) > _MOST or message in self.lines:
            return
        if len(self.lines) == _MOST:
            message = f"there were more than {_MOST} warnings; the others are left out"
        self.lines.append(message)
        self._say(message)
