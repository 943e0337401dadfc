"""Values and phases that the user's code reports during a run, from any thread."""

import threading
import time
from contextvars import ContextVar
from typing import Any, NamedTuple

from profiler.recording.inbox import Inbox, LoggedValue, PhaseChange
from profiler.recording.warning_log import WarningLog
from profiler.torch_hooks.async_scalars import ScalarReader
from profiler.units import NANOSECONDS_PER_SECOND

_MOST_NAMES = 1_000
_UNLIMITED_ROWS = 10_000
_ROWS_PER_SECOND = 5
"""Rate of the rows after that many, so that a loop that logs in each step does not fill the disk."""


class OpenPhase(NamedTuple):
    """A phase that the user's code has opened, with the one around it in the same task or thread."""

    start_ns: int
    name: str
    around: "OpenPhase | None"


_CURRENT: ContextVar[OpenPhase | None] = ContextVar("energy_profiler_phase", default=None)
"""Innermost phase of the running task. A new task begins in the phase that it was created in."""


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


class Annotations:
    """Appends logged values and phase changes to the inbox. Never raises.

    Args:
        inbox: Queue to append to.
        scalars: Converts values to floats, or to slots for values that are still on a device.
        warnings: Receives warnings about unusable values.

    Attributes:
        overlapping: Names of phases of different tasks or threads that were open at the same time.
    """

    def __init__(self, inbox: Inbox, scalars: ScalarReader, warnings: WarningLog) -> None:
        self._inbox = inbox
        self._scalars = scalars
        self._warnings = warnings
        self._phase_limit = RateLimit()
        self._value_limits: dict[str, RateLimit] = {}
        self._open: list[OpenPhase] = []
        self._announced: tuple[OpenPhase | None, bool] = None, False
        self._lock = threading.Lock()
        self.overlapping: set[str] = set()

    def log(self, name: str, value: Any) -> None:
        """Record a value at this moment: the first 10,000 of each name, then five per second."""
        limit = self._value_limits.get(name)
        if limit is None:
            if len(self._value_limits) >= _MOST_NAMES:
                self._warnings.update(
                    f"prof.log() got more than {_MOST_NAMES:,} names; values of further names are not recorded"
                )
                return
            limit = self._value_limits[name] = RateLimit()
        now = time.monotonic_ns()
        if not limit.admits(now):
            return
        try:
            number = self._scalars.read(value, several=f"prof.log({name}=...) got several elements")
        except Exception as error:  # noqa: BLE001 - a bad value must not end the training
            what = f"a {type(value).__name__}; {type(error).__name__}"
            self._warnings.warn(f"prof.log({name}=...) got something that is not a number ({what})")
            return
        if number is not None:
            self._inbox.metrics.append(LoggedValue(time_ns=now, name=name, value=number))

    def enter_phase(self, name: str) -> OpenPhase | None:
        """Begin a phase. Return None when it is not recorded because phases follow each other too fast."""
        now = time.monotonic_ns()
        if not self._phase_limit.admits(now):
            self._warnings.warn("phases begin more than five times per second; most of them are not recorded")
            return None
        phase = OpenPhase(now, name, self._first_open(_CURRENT.get()))
        _CURRENT.set(phase)
        with self._lock:
            self._open.append(phase)
            self._note_overlap(phase)
            self._announce(now)
        return phase

    def leave_phase(self, phase: OpenPhase) -> None:
        """End a phase, in any task or thread."""
        if _CURRENT.get() is phase:
            _CURRENT.set(phase.around)
        with self._lock:
            self._open = [other for other in self._open if other is not phase]
            self._announce(time.monotonic_ns())

    def _first_open(self, phase: OpenPhase | None) -> OpenPhase | None:
        """Return the phase, or the innermost around it that is still open in this recording."""
        while phase is not None and not any(other is phase for other in self._open):
            phase = phase.around
        return phase

    def _announce(self, now_ns: int) -> None:
        """Report the phase that time counts for from now on, if it has changed."""
        counted = self._counted()
        state = counted, self._has_others(counted)
        if state != self._announced:
            self._announced = state
            name = counted.name if counted is not None else ""
            self._inbox.phases.append(PhaseChange(now_ns, name, overlaps=state[1]))

    def _has_others(self, counted: OpenPhase | None) -> bool:
        """Return whether a phase is open that does not contain the counted one."""
        containing = 0
        while counted is not None:
            containing += 1
            counted = self._first_open(counted.around)
        return len(self._open) > containing

    def _counted(self) -> OpenPhase | None:
        """Return the phase opened first, or the innermost inside it: of several side by side, the one opened first."""
        counted = None
        while True:
            inside = next((phase for phase in self._open if self._first_open(phase.around) is counted), None)
            if inside is None:
                return counted
            counted = inside

    def _note_overlap(self, phase: OpenPhase) -> None:
        counted = self._counted()
        if counted is not None and counted is not phase:
            self.overlapping |= {counted.name, phase.name}
            names = ", ".join(sorted(self.overlapping))
            self._warnings.update(
                f"phases overlapped ({names}); time that they share is counted once, for the one opened first"
            )
