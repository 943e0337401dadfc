"""Queues from the training thread to the recorder's thread."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from profiler.torch_hooks.events import PendingScalar, RepeatedUpdate, StepEvent

_CAPACITY = 500_000
"""165 MB of steps, and more than 8 minutes of the fastest training."""
_FULL = 1_000
"""Waiting steps after which the queue is drained at once, because the slots that losses arrive in are reused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedValue:
    """A value from ``prof.log``; a slot while it is still on its way from a device."""

    time_ns: int
    name: str
    value: float | PendingScalar


class PhaseChange(NamedTuple):
    """Change of the user's phase that time counts for; empty for none.

    Attributes:
        time_ns: Time of the change.
        name: The phase from then on.
        overlaps: True if phases of other tasks or threads are open beside it.
    """

    time_ns: int
    name: str
    overlaps: bool


@dataclass(slots=True, kw_only=True)
class Inbox:
    """Step events, phase changes and logged values that the recorder has not read yet.

    Appending to a deque is atomic, so a step never takes a lock. When nothing is drained, because a sensor hangs, the
    oldest items are dropped.
    """

    events: deque[StepEvent | RepeatedUpdate] = field(default_factory=lambda: deque(maxlen=_CAPACITY))
    phases: deque[PhaseChange] = field(default_factory=lambda: deque(maxlen=_CAPACITY))
    metrics: deque[LoggedValue] = field(default_factory=lambda: deque(maxlen=_CAPACITY))

    @property
    def is_full(self) -> bool:
        """True if so many steps wait that they should be drained now."""
        return len(self.events) > _FULL

    @property
    def overflows(self) -> set[str]:
        """Kinds of items whose queue is at its capacity, so that some may have been dropped."""
        is_full = {
            "steps": len(self.events) == self.events.maxlen,
            "phases": len(self.phases) == self.phases.maxlen,
            "logged values": len(self.metrics) == self.metrics.maxlen,
        }
        return {kind for kind, full in is_full.items() if full}
