"""What the user says of a run while it goes on: values, and phases, from whichever threads there are."""

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from profiler.recording.pipeline import Inbox, Logged
from profiler.recording.rate_limit import Thinner
from profiler.torch_hooks.events import PendingScalar


class _Open(NamedTuple):
    """A phase that has not ended."""

    began_ns: int
    thread: int
    name: str


class Remarks:
    """Puts what the user says into the inbox. Never raises.

    Args:
        inbox: Where it goes.
        read: Makes a number, or a slot for one, of a value; None of none. Is told what to say of ``several`` elements.
        notice: Called with a warning.
    """

    def __init__(
        self, inbox: Inbox, read: Callable[..., float | PendingScalar | None], notice: Callable[[str], None]
    ) -> None:
        self._inbox = inbox
        self._read = read
        self._notice = notice
        self._limit = Thinner()
        self._open: list[_Open] = []

    def log(self, name: str, value: Any) -> None:
        """Record a value at this moment."""
        try:
            number = self._read(value, several=f"prof.log({name}=...) got several elements")
        except Exception as error:  # noqa: BLE001 - a bad value must not end the training
            what = f"a {type(value).__name__}; {type(error).__name__}"
            self._notice(f"prof.log({name}=...) got something that is not a number ({what})")
            return
        if number is not None:
            self._inbox.metrics.append(Logged(time_ns=time.monotonic_ns(), name=name, value=number))

    def enter_phase(self, name: str) -> bool:
        """Begin a phase. Returns whether it is recorded: phases that follow each other too fast are not."""
        now = time.monotonic_ns()
        if not self._limit.passes(now):
            self._notice("phases begin more than five times a second; most of them are left out of the logs")
            return False
        self._open.append(_Open(now, threading.get_ident(), name))
        self._inbox.phases.append((now, name))
        return True

    def leave_phase(self) -> None:
        """End the calling thread's innermost recorded phase; another's where it has none, as in an async loop."""
        here = threading.get_ident()
        of_all = tuple(self._open)
        mine = [phase for phase in of_all if phase.thread == here] or of_all
        if mine:
            self._open.remove(mine[-1])
        self._inbox.phases.append((time.monotonic_ns(), self._open[-1].name if self._open else ""))
