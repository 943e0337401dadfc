"""Values and phases that the user's code reports during a run, from any thread."""

import threading
import time
from typing import Any, NamedTuple

from profiler.recording.inbox import Inbox, LoggedValue
from profiler.recording.rate_limit import RateLimit
from profiler.recording.warning_log import WarningLog
from profiler.torch_hooks.async_scalars import ScalarReader

_MOST_NAMES = 1_000


class _OpenPhase(NamedTuple):
    start_ns: int
    thread: int
    name: str


class Annotations:
    """Appends logged values and phase changes to the inbox. Never raises.

    Args:
        inbox: Queue to append to.
        scalars: Converts values to floats, or to slots for values that are still on a device.
        warnings: Receives warnings about unusable values.
    """

    def __init__(self, inbox: Inbox, scalars: ScalarReader, warnings: WarningLog) -> None:
        self._inbox = inbox
        self._scalars = scalars
        self._warnings = warnings
        self._phase_limit = RateLimit()
        self._value_limits: dict[str, RateLimit] = {}
        self._open: list[_OpenPhase] = []

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

    def enter_phase(self, name: str) -> bool:
        """Begin a phase. Return False when it is not recorded because phases follow each other too fast."""
        now = time.monotonic_ns()
        if not self._phase_limit.admits(now):
            self._warnings.warn("phases begin more than five times per second; most of them are not recorded")
            return False
        self._open.append(_OpenPhase(now, threading.get_ident(), name))
        self._inbox.phases.append((now, name))
        return True

    def leave_phase(self) -> None:
        """End the calling thread's innermost phase, or the innermost of all if the thread has none (async loops)."""
        thread = threading.get_ident()
        phases = tuple(self._open)
        candidates = [phase for phase in phases if phase.thread == thread] or phases
        if candidates:
            self._open.remove(candidates[-1])
        self._inbox.phases.append((time.monotonic_ns(), self._open[-1].name if self._open else ""))
