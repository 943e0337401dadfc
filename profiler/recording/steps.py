"""From hook events to steps: joins what belongs together, waits for losses still on their way from a device."""

from collections import deque
from collections.abc import Callable

from profiler.hooks.events import Kind, Slot, StepEvent
from profiler.units import NANOSECONDS_PER_SECOND

_PATIENCE_NS = 5 * NANOSECONDS_PER_SECOND
"""After this long a loss that has not arrived from its device is taken as not measured."""

_SETTLED_NS = NANOSECONDS_PER_SECOND // 4
"""A step that looks complete is final this long after its last update, even if no next step has begun."""

_OPEN = int(Kind.OPEN)
_LEARNING_STEPS = 3
"""Steps after which the number of updates a step has is taken as known."""


class Step:
    """One training step. Times in monotonic nanoseconds; ``loss`` is None when it was not seen."""

    __slots__ = (
        "backward_ns",
        "backwards",
        "end_ns",
        "events",
        "first_backward_ns",
        "learning_rate",
        "loss",
        "optimizer_ns",
    )

    def __init__(self, event: StepEvent) -> None:
        self.end_ns = event.end_ns
        self.loss = event.loss
        self.backwards = event.backwards
        self.first_backward_ns = event.first_backward_ns
        self.backward_ns = event.backward_ns
        self.optimizer_ns = event.optimizer_ns
        self.learning_rate = event.learning_rate
        self.events = 1

    def join(self, event: StepEvent) -> None:
        """Add a further update to this step."""
        self.end_ns = max(self.end_ns, event.end_ns)
        if event.loss is not None:
            self.loss = event.loss + (self.loss or 0.0)
        self.backwards += event.backwards
        self.first_backward_ns = self.first_backward_ns or event.first_backward_ns
        self.backward_ns += event.backward_ns
        self.optimizer_ns += event.optimizer_ns
        self.events += 1

    def amend(self, loss: float | None) -> None:
        """Take the loss that the user handed over."""
        self.loss = loss if loss is not None else self.loss
        self.events += 1


class StepMerger:
    """Turns a queue of hook events into finished steps."""

    def __init__(
        self, events: deque[tuple[object, ...]], poll: Callable[[Slot], float | None], start_ns: int
    ) -> None:
        self._events = events
        self._poll = poll
        self._start_ns = start_ns
        self._open: Step | None = None
        self._largest = 0
        self._closed = 0
        self._closed_early = False
        self.lost_losses = 0

    @property
    def is_quiet(self) -> bool:
        """Whether no step is under way as far as events tell."""
        return self._open is None and not self._events

    @property
    def open_end_ns(self) -> int | None:
        """When the last update of the open step ended; None while no step is open."""
        return self._open.end_ns if self._open is not None else None

    def take(self, now_ns: int, *, final: bool = False) -> list[Step]:
        """Return the steps that are finished by now, in order; with ``final``, the open one too."""
        done: list[Step] = []
        while self._events:
            event = StepEvent._make(self._events[0])
            if event.slots or event.skipped is not None or type(event.learning_rate) is Slot:
                arrived = self._arrived(event, give_up=final or now_ns - event.end_ns > _PATIENCE_NS)
                if arrived is None:
                    return done
                event = arrived
            self._events.popleft()
            if event.end_ns >= self._start_ns and not event.skipped:
                self._accept(event, done)
        if self._open is not None and (final or self._looks_complete(now_ns)):
            self._close(done)
            self._closed_early = True
        return done

    def _looks_complete(self, now_ns: int) -> bool:
        step = self._open
        known = self._closed >= _LEARNING_STEPS and step is not None and step.events >= self._largest
        return known and step is not None and now_ns - step.end_ns > _SETTLED_NS

    def _arrived(self, event: StepEvent, *, give_up: bool) -> StepEvent | None:
        """Put in what was on its way from a device; None while it is not all here."""
        waiting = [s for s in (*event.slots, event.learning_rate, event.skipped) if type(s) is Slot]
        values = {slot: self._poll(slot) for slot in waiting}
        if None in values.values() and not give_up:
            return None
        rate = event.learning_rate
        return event._replace(
            loss=self._sum(event, values),
            learning_rate=values[rate] if type(rate) is Slot else rate,
            skipped=Slot(1) if event.skipped is not None and values[event.skipped] else None,
        )

    def _sum(self, event: StepEvent, values: dict[Slot, float | None]) -> float | None:
        parts = [values[slot] for slot in event.slots]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            self.lost_losses += 1
            return None
        return sum(known) + (event.loss or 0.0) if parts else event.loss

    def _accept(self, event: StepEvent, done: list[Step]) -> None:
        if event.kind == _OPEN or (self._open is None and not self._closed_early):
            self._close(done)
            self._open = Step(event)
            self._closed_early = False
        elif self._open is not None and event.kind == Kind.JOIN:
            self._open.join(event)
        elif self._open is not None:
            self._open.amend(event.loss)

    def _close(self, done: list[Step]) -> None:
        if self._open is not None:
            done.append(self._open)
            self._largest = max(self._largest, self._open.events)
            self._closed += 1
            self._open = None
