"""Assembly of training steps from hook events, including losses that are still on their way from a device."""

from collections import deque
from collections.abc import Iterator

from profiler.torch_hooks.events import (
    Expired,
    Kind,
    PendingArray,
    PendingScalar,
    RepeatedUpdate,
    StepEvent,
    expand,
)
from profiler.torch_hooks.manager import HookManager
from profiler.units import NANOSECONDS_PER_SECOND

_PATIENCE_NS = 5 * NANOSECONDS_PER_SECOND
"""Time after which a loss that has not arrived from its device counts as not measured."""
_ARRAY_PATIENCE_NS = 60 * NANOSECONDS_PER_SECOND
"""The same for libraries that queue whole steps, so that a loss is ready long after its step was launched."""

_SETTLED_NS = NANOSECONDS_PER_SECOND // 4
"""Time after its last update at which a complete step is final although no next step has begun."""

_OPEN = int(Kind.OPEN)
_JOIN = int(Kind.JOIN)
_EVALUATE = int(Kind.EVALUATE)
_TRAIN = int(Kind.TRAIN)
_TURN = int(Kind.TURN)
_FOLLOW = int(Kind.FOLLOW)
_SPLIT = int(Kind.SPLIT)
_LEARNING_STEPS = 3
"""Steps after which the number of updates per step counts as known."""


class Step:
    """One training step. Times in monotonic nanoseconds; ``loss`` is None when it was not seen.

    ``turns`` is the number of its optimizers that had losses of their own, as in a GAN; ``is_amended`` is True if the
    user passed its loss to ``prof.step``.

    Where the device runs behind the host, all are times of the device except ``host_end_ns``, the host's own end.
    """

    __slots__ = (
        "backward_ns",
        "backwards",
        "data_ns",
        "end_ns",
        "events",
        "first_backward_ns",
        "host_end_ns",
        "inner_forward_ns",
        "is_amended",
        "learning_rate",
        "loss",
        "optimizer_ns",
        "ready_ns",
        "training",
        "turns",
    )

    def __init__(self, event: StepEvent, lag_ns: int = 0) -> None:
        (_, end_ns, self.loss, _, self.backwards, first_ns, self.backward_ns, self.optimizer_ns, self.learning_rate, _,
         self.data_ns, ready_ns, self.inner_forward_ns, _, self.training) = event  # fmt: skip
        self.host_end_ns = end_ns
        self.end_ns = end_ns + lag_ns
        self.first_backward_ns = first_ns + lag_ns if first_ns else 0
        self.ready_ns = ready_ns + lag_ns if ready_ns else 0
        self.events = self.turns = 1
        self.is_amended = False

    @classmethod
    def repeated(cls, update: RepeatedUpdate) -> "Step":
        """Return the step that a repeated update opens."""
        step = cls.__new__(cls)
        (end_ns, step.loss, first_ns, last_ns, step.learning_rate, step.training, step.backwards, paused_ns,
         step.inner_forward_ns, step.data_ns, step.ready_ns) = update  # fmt: skip
        step.end_ns = step.host_end_ns = end_ns
        step.first_backward_ns = first_ns
        step.backward_ns, step.optimizer_ns = last_ns - first_ns - paused_ns, end_ns - last_ns
        step.events = step.turns = 1
        step.is_amended = False
        return step

    def join(self, event: StepEvent, lag_ns: int = 0) -> None:
        """Add another update to this step."""
        self.add(Step(event, lag_ns))
        self.turns += event.kind == _TURN

    def add(self, other: "Step") -> None:
        """Add later updates to this step."""
        before_ns = self.end_ns
        self.host_end_ns = max(self.host_end_ns, other.host_end_ns)
        self.end_ns = max(before_ns, other.end_ns)
        if other.is_amended:
            self.loss = other.loss
        elif other.loss is not None:
            self.loss = other.loss + (self.loss or 0.0)
        self.backwards += other.backwards
        self.turns += other.turns if other.backwards else other.turns - 1
        if not self.first_backward_ns:
            self.first_backward_ns, self.ready_ns = other.first_backward_ns, other.ready_ns
        elif other.first_backward_ns:
            self.inner_forward_ns += max(other.first_backward_ns - max(before_ns, other.ready_ns), 0)
        self.inner_forward_ns += other.inner_forward_ns
        self.data_ns += other.data_ns
        self.backward_ns += other.backward_ns
        self.optimizer_ns += other.optimizer_ns
        self.events += other.events

    def amend(self, loss: float | None) -> None:
        """Replace the loss by the one that the user passed to ``prof.step``."""
        if loss is not None:
            self.loss, self.is_amended = loss, True
        self.events += 1

    def seconds_of(self, start_ns: int) -> tuple[int, int]:
        """Return the nanoseconds of loading and of forward passes in a step that begins at ``start_ns``."""
        first_ns, ready_ns, loaded = self.first_backward_ns, self.ready_ns, self.data_ns
        begun = max(start_ns, ready_ns)
        forward = self.inner_forward_ns + first_ns - begun if first_ns > begun else self.inner_forward_ns
        if loaded:
            left = self.end_ns - start_ns - forward - self.backward_ns - self.optimizer_ns
            loaded = max(min(loaded, left), 0)
        return loaded, forward


class StepAssembler:
    """Turns a queue of hook events into finished steps.

    Args:
        events: Queue of hook events.
        hooks: Source of the values that were on their way from a device.
        start_ns: Start of the window; earlier events are ignored.

    Attributes:
        evaluations: Queue of evaluation starts (True) and ends, each with its time.
        lost_losses: Number of updates whose losses did not all arrive.
        alternating_steps: Number of steps in which several optimizers had losses of their own.
    """

    def __init__(
        self,
        events: deque[StepEvent | RepeatedUpdate],
        hooks: HookManager,
        start_ns: int,
    ) -> None:
        self._events = events
        self._hooks = hooks
        self._start_ns = start_ns
        self._open: Step | None = None
        self._follower: Step | None = None  # updates of the open step, or a step of their own (Kind.FOLLOW)
        self._largest = 0
        self._closed = 0
        self._closed_early = False
        self._began_as_follower = False  # of a step that was closed early
        self._lag_ns = 0
        self.evaluations: deque[tuple[int, bool]] = deque()
        self.lost_losses = 0
        self.alternating_steps = 0
        self._is_final = False

    @property
    def is_quiet(self) -> bool:
        """True if no step is open and no event waits."""
        return self._open is None and not self._events

    @property
    def open_end_ns(self) -> int | None:
        """Time at which the host ended the last update of the open step; None while no step is open."""
        last = self._follower or self._open
        return None if last is None else last.host_end_ns

    def finished_steps(self, now_ns: int, *, final: bool = False) -> list[Step]:
        """Remove and return the finished steps, in order; with ``final``, the open one too."""
        self._is_final = final
        done: list[Step] = []
        events = self._events
        while events:
            event = events[0]
            step = self._open
            if not isinstance(event, StepEvent):
                if (
                    not self._lag_ns
                    and step is not None
                    and step.training == event[5]
                    and event[0] >= self._start_ns
                ):
                    events.popleft()
                    self._close(done)
                    self._open = Step.repeated(event)
                    self._closed_early = self._began_as_follower = False
                    continue
                event = expand(event)
            # Unpacking the tuple once takes less time than reading four of its attributes.
            kind, end_ns, _, pending, _, _, _, _, rate, skipped, _, _, _, device_end, training = event
            is_complete = not pending and device_end is None and skipped is None
            if not is_complete or type(rate) is PendingScalar:
                resolved = self._resolve(event, give_up=final or now_ns - event.end_ns > _patience(event))
                if resolved is None:
                    return done
                event, skipped = resolved, resolved.skipped
            events.popleft()
            if end_ns < self._start_ns or skipped:
                if kind == _SPLIT:
                    self._split(done, training)
                continue
            # The usual event is handled here, because a call per step costs time; _accept has the others.
            if kind == _OPEN and not self._lag_ns and (step is None or step.training == training):
                self._close(done)
                self._open = Step(event)
                self._closed_early = self._began_as_follower = False
            else:
                self._accept(event, done, now_ns - end_ns if final else self._lag_ns)
        if self._open is not None and (final or self._looks_complete(now_ns)):
            self._close(done)
            self._closed_early = True
        return done

    def findings(self) -> Iterator[str]:
        """Yield warnings about the steps, after the final call of :meth:`finished_steps`."""
        if self._is_final and self.lost_losses:
            yield (
                f"{self.lost_losses:,} losses were not read from their device in time, so their steps have none. "
                "The device or the sampler was delayed, or a step has too many backward passes: then pass its "
                "loss with prof.step(loss=...)"
            )

    def _looks_complete(self, now_ns: int) -> bool:
        step, follower = self._open, self._follower
        # A step is complete for certain only when the next one opens. One with as many events as any before is closed
        # early, so that a pause after it, such as a validation, does not delay its row.
        if step is None or self._closed < _LEARNING_STEPS:
            return False
        if follower is None:
            return step.events >= self._largest and now_ns - step.end_ns > _SETTLED_NS
        is_usual = step.events + follower.events == self._largest
        return is_usual and now_ns - follower.end_ns > _SETTLED_NS

    def _resolve(self, event: StepEvent, *, give_up: bool) -> StepEvent | None:
        """Return the event with the values that were on their way from a device; None while some are missing."""
        waiting = [
            s
            for s in (*event.pending_losses, event.learning_rate, event.skipped)
            if isinstance(s, PendingScalar)
        ]
        found = {slot: self._hooks.poll(slot) for slot in waiting}
        ended = None if event.device_end is None else self._hooks.poll(event.device_end)
        if (None in found.values() or (ended is None and event.device_end is not None)) and not give_up:
            return None
        if isinstance(ended, int | float):
            self._lag_ns = max(int(ended) - event.end_ns, 0)
        values = {slot: None if isinstance(value, Expired) else value for slot, value in found.items()}
        rate = event.learning_rate
        return event._replace(
            loss=self._sum(event, values),
            learning_rate=values[rate] if type(rate) is PendingScalar else rate,
            skipped=PendingScalar(1) if event.skipped is not None and values[event.skipped] else None,
        )

    def _sum(self, event: StepEvent, values: dict[PendingScalar, float | None]) -> float | None:
        parts = [values[slot] for slot in event.pending_losses]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            self.lost_losses += 1
            return None
        return sum(known) + (event.loss or 0.0) if parts else event.loss

    def _accept(self, event: StepEvent, done: list[Step], most_ns: int) -> None:
        # An event without a time of its own on the device is assumed to lag as much as the last one that had one.
        lag_ns = max(min(self._lag_ns, most_ns), 0) if self._lag_ns else 0
        if event.kind in (_EVALUATE, _TRAIN):
            self.evaluations.append((event.end_ns, event.kind == _EVALUATE))
        elif event.kind in (_OPEN, _SPLIT):
            if event.kind == _SPLIT:
                self._split(done, event.training)
            elif self._open is not None and self._open.training != event.training:
                self._merge_follower()
                self._open.turns = 1  # the optimizer that joined it was not a partner but the next training's
            self._open_step(event, lag_ns, done)
        elif self._open is None:
            # A follower that comes after its step was closed early cannot join it any more.
            if not self._closed_early or event.kind == _FOLLOW:
                self._open_step(event, lag_ns, done)
        elif event.kind == _FOLLOW and self._follower is None:
            self._follower = Step(event, lag_ns)
        elif event.kind in (_JOIN, _TURN, _FOLLOW):
            (self._follower or self._open).join(event, lag_ns)
        else:
            (self._follower or self._open).amend(event.loss)

    def _open_step(self, event: StepEvent, lag_ns: int, done: list[Step]) -> None:
        self._close(done)
        self._open = Step(event, lag_ns)
        self._closed_early = False
        self._began_as_follower = event.kind == _FOLLOW

    def _split(self, done: list[Step], training: int) -> None:
        """Make the followers of the open step a step of their own, of the training of the update after them."""
        follower, self._follower = self._follower, None
        if follower is not None:
            self._close(done)
            follower.training = training
            self._open = follower
        elif self._open is not None and self._began_as_follower:
            self._open.training = training

    def _merge_follower(self) -> None:
        follower, self._follower = self._follower, None
        if follower is not None and self._open is not None:
            self._open.add(follower)

    def _close(self, done: list[Step]) -> None:
        if self._open is not None:
            if self._follower is not None:
                self._merge_follower()
            step, self._open = self._open, None
            done.append(step)
            self._largest = max(self._largest, step.events)
            self._closed += 1
            self.alternating_steps += step.turns > 1


def _patience(event: StepEvent) -> int:
    """Return the time to wait for the values of an event, in nanoseconds."""
    is_array = any(isinstance(loss, PendingArray) for loss in event.pending_losses)
    return _ARRAY_PATIENCE_NS if is_array else _PATIENCE_NS
