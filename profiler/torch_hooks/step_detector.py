"""Rules that turn backward passes and optimizer updates into steps.

R1  An optimizer is identified by its first parameter: a new optimizer over the same weights is the same.
R2  An update opens a new step if a root backward pass ended since the last update and its optimizer is already in
    the open step, or is new while all optimizers of the open step are gone; otherwise it joins the open step. Where
    no backward pass is ever seen, a repeated optimizer opens a step.
R3  An update inside a root backward pass takes effect at the end of that pass.
R4  A ``GradScaler.step`` without an update is a skipped step: its losses are dropped, unless another optimizer is
    updated before the next backward pass.
R5  Discarded gradients do not count: the sum of losses restarts where no optimizer of the step has a gradient left
    when a further backward pass of the same step begins. This is checked on one probe parameter per optimizer.
    Gradients set to zero are discarded too; on a device that cannot be read without waiting, only those set to None.
    Where no gradient was visible after the previous backward pass, as in sharded models, none was discarded.
"""

import threading
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from profiler.torch_hooks.context import HookContext
from profiler.torch_hooks.cuda_events import DeviceEvents
from profiler.torch_hooks.evaluation import Change, EvaluationDetector
from profiler.torch_hooks.events import EventId, Kind, PendingScalar, StepEvent
from profiler.torch_hooks.gradient_probes import GradientProbes

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PENDING_LOSSES = 1_024
"""Limit per step; a loop whose updates no hook sees would otherwise collect losses without end."""
_TOO_MANY = (PendingScalar(-1),)
"""Sentinel for more pending losses than that: always expired, so the step's loss is dropped instead of truncated."""
_NO_PENDING: tuple[PendingScalar, ...] = ()
_CAPTURED = (
    "an update was captured into a CUDA graph, and no hook sees the graph's replays: their steps are missing. Count "
    "them with prof.step(loss=...) after each replay"
)
_NO_UPDATE = "backward passes were seen and no update: no step is counted. Call prof.step() after each update"
_NEW = tuple.__new__  # see StepEvent


class BackwardPasses(NamedTuple):
    """Backward passes since the last update; the fields are those of :class:`StepEvent`."""

    loss: float | None
    pending_losses: tuple[PendingScalar, ...]
    backwards: int
    first_ns: int
    backward_ns: int
    last_ns: int
    ready_ns: int
    inner_ns: int


_NOTHING = BackwardPasses(None, (), 0, 0, 0, 0, 0, 0)


class StepDetector:
    """Step state of one thread. The hooks call its methods; all of them run on that thread.

    Attributes:
        in_backward: Whether a root backward pass is running.
        is_loading: Whether a batch is being loaded; a data set may use a loader of its own.
        steps: Number of steps opened.
    """

    __slots__ = (
        "__weakref__",
        "_context",
        "_data_ns",
        "_device_events",
        "_evaluation",
        "_fast_key",
        "_has_manual_step",
        "_has_seen_backward",
        "_inner_updates",
        "_is_single_backward",
        "_loss",
        "_open_keys",
        "_optimizers",
        "_passes",
        "_pending_losses",
        "_probes",
        "_ready_ns",
        "_skipped_keys",
        "_skipped_passes",
        "_updates",
        "in_backward",
        "is_loading",
        "steps",
    )

    def __init__(self, context: HookContext) -> None:
        self._context = context
        self.in_backward = False
        self.reset()

    def reset(self) -> None:
        """Start a new recording; a running backward pass is still known to run."""
        self.steps = 0
        self.is_loading = False
        self._passes: BackwardPasses | None = None
        self._loss: float | None = None
        self._pending_losses = _NO_PENDING
        self._skipped_passes: BackwardPasses | None = None  # of a skipped optimizer, until the next update
        self._fast_key = 0  # optimizer whose next update may take the short path; 0 for none
        self._open_keys: set[int] = set()
        self._skipped_keys: set[int] = set()  # skipped since the last update
        self._has_manual_step = False  # prof.step was called for the open step
        self._has_seen_backward = False
        self._is_single_backward = False  # no step had more than one backward pass so far
        self._optimizers: dict[int, weakref.ref[Any]] = {}
        self._updates = 0
        self._inner_updates: list[Any] = []
        self._data_ns = self._ready_ns = 0
        self._probes = GradientProbes()
        self._evaluation = EvaluationDetector()
        self._device_events: DeviceEvents | None = None

    # Backward passes

    def before_backward(self, tensors: Any, gradients: Any) -> None:
        """Read the loss of a root backward pass, since the training may change it in place afterwards."""
        losses = self._context.losses
        try:
            if self._passes is not None:
                self._drop_discarded_gradients(self._passes)
            if (
                type(tensors) is losses.tensor_type
                and gradients is None
                and tensors.is_cpu
                and not losses.has_scaled
            ):
                self._loss, self._pending_losses = tensors.item(), _NO_PENDING
            else:
                self.poll_events()
                self._loss, self._pending_losses = losses.read(tensors, gradients)
        except Exception as error:  # noqa: BLE001 - the training must not notice
            self._loss, self._pending_losses = None, _NO_PENDING
            self._context.scalars.warn(f"a loss could not be read ({type(error).__name__})")
        self.in_backward = True

    def _drop_discarded_gradients(self, passes: BackwardPasses) -> None:
        self._is_single_backward = False
        if self._probes.were_discarded(self._open_keys):  # R5
            self._passes = BackwardPasses(None, (), 0, *passes[3:])

    def on_backward(self, tensors: Any, began_ns: int, ended_ns: int) -> None:
        """Account for a root backward pass from ``tensors`` that has ended."""
        if self._passes is None and self._is_single_backward:
            self._passes = _NEW(
                BackwardPasses,
                (
                    self._loss,
                    self._pending_losses,
                    1,
                    began_ns,
                    ended_ns - began_ns,
                    ended_ns,
                    self._ready_ns,
                    0,
                ),
            )
        else:
            self._add_backward(tensors, began_ns, ended_ns)
        if self._inner_updates:
            optimizers, self._inner_updates = self._inner_updates, []
            for optimizer in optimizers:  # R3
                self._update(optimizer, ended_ns)

    def _add_backward(self, tensors: Any, began_ns: int, ended_ns: int) -> None:
        if not self._has_seen_backward:
            self._probes.watch_graph(tensors)
            self._has_seen_backward = self._is_single_backward = True
        old, loss = self._passes or _NOTHING, self._loss
        is_first = old.last_ns == 0
        pending = (*old.pending_losses, *self._pending_losses)
        self._passes = BackwardPasses(
            loss=loss if old.loss is None else old.loss if loss is None else old.loss + loss,
            pending_losses=pending if len(pending) <= MAX_PENDING_LOSSES else _TOO_MANY,
            backwards=old.backwards + 1,
            first_ns=old.first_ns or began_ns,
            backward_ns=old.backward_ns + ended_ns - began_ns,
            last_ns=ended_ns,
            ready_ns=self._ready_ns if is_first else old.ready_ns,
            inner_ns=0 if is_first else old.inner_ns + began_ns - max(old.last_ns, self._ready_ns),
        )
        self._probes.remember(self._open_keys)

    def abort_backward(self) -> None:
        """Ignore the updates inside a backward pass that raised."""
        self._inner_updates.clear()

    # Updates

    def on_optimizer_step(self, optimizer: Any, ended_ns: int) -> None:
        """Account for an update, by a short path if it only repeats the previous step."""
        if self.in_backward:
            self.defer_update(optimizer)
            return
        passes = self._passes
        try:
            group = optimizer.param_groups[0]
            key, rate = id(group["params"][0]), group["lr"]
        except (AttributeError, IndexError, KeyError):
            key, rate = 0, None
        emit = self._context.emit
        if (
            passes is None
            or key != self._fast_key
            or type(rate) is not float
            or self._context.losses.has_scaled
            or emit is None
        ):
            self._update(optimizer, ended_ns)
            return
        loss, pending_losses, backwards, first_ns, backward_ns, last_ns, ready_ns, inner_ns = passes
        data_ns = self._data_ns
        if data_ns:
            self._data_ns = 0
        self._passes = None
        self._has_manual_step = False
        self.steps += 1
        emit(
            _NEW(
                StepEvent,
                (
                    _OPEN,
                    ended_ns,
                    loss,
                    pending_losses,
                    backwards,
                    first_ns,
                    backward_ns,
                    ended_ns - last_ns,
                    rate,
                    None,
                    data_ns,
                    ready_ns,
                    inner_ns,
                    None,
                ),
            )
        )

    def defer_update(self, optimizer: Any) -> None:
        """Account for an update at the end of the running backward pass (R3)."""
        self._inner_updates.append(optimizer)

    def _update(self, optimizer: Any, ended_ns: int) -> None:
        self._updates += 1
        group = optimizer.param_groups[0] if optimizer.param_groups else {}
        key = _key(optimizer)
        known = self._optimizers.get(key)
        if known is None or known() is None:
            self._add_optimizer(key, optimizer)
        if self._is_capturing():
            self._context.scalars.warn(_CAPTURED)
            self._passes = None
            return
        self._passes, self._skipped_passes = self._passes or self._skipped_passes, None  # R4
        self._announce(self._evaluation.end(self._passes.first_ns if self._passes else ended_ns))
        read = self._context.scalars.read
        # A fused optimizer skips its update on the device and calls the hook all the same.
        skipped = read(optimizer.found_inf) if "found_inf" in optimizer.__dict__ else None
        if skipped and not isinstance(skipped, PendingScalar):
            self.skip_update(optimizer)
            return
        kind = Kind.OPEN if self._opens_step(key) else Kind.JOIN
        rate = group.get("lr")
        flag = skipped if isinstance(skipped, PendingScalar) else None
        self._send(kind, ended_ns, None if rate is None else read(rate), flag)

    def _add_optimizer(self, key: int, optimizer: Any) -> None:
        are_gone = all(self._optimizers[other]() is None for other in self._open_keys)
        if self._passes is not None and are_gone:  # R2
            self._open_keys.clear()
        self._optimizers[key] = weakref.ref(optimizer)
        self._probes.watch_optimizer(key, optimizer)
        for device in {p.device for group in optimizer.param_groups for p in group["params"]}:
            self._device_events = self._context.add_device(device) or self._device_events

    def _opens_step(self, key: int) -> bool:
        """Enter the optimizer ``key`` into the open step, and return whether it opened a new one (R2)."""
        has_gradients = self._passes is not None or not self._has_seen_backward
        if self._open_keys:
            opens = key in self._open_keys and has_gradients
        else:
            opens = has_gradients or not self._has_manual_step
        if opens:
            self._open_keys.clear()
        self._has_manual_step = False
        self._open_keys |= {key, *self._skipped_keys}
        self._skipped_keys.clear()
        self._fast_key = key if len(self._open_keys) == 1 and self._device_events is None else 0
        return opens

    def _send(
        self, kind: Kind, ended_ns: int, learning_rate: Any = None, skipped: PendingScalar | None = None
    ) -> None:
        """Send an update with the backward passes before it, and start collecting anew."""
        passes = self._passes or _NOTHING
        data_ns, self._data_ns, self._passes = self._data_ns, 0, None
        self.steps += kind == Kind.OPEN
        emit = self._context.emit
        if emit is not None:
            emit(
                StepEvent(
                    kind=int(kind),
                    end_ns=ended_ns,
                    loss=passes.loss,
                    pending_losses=passes.pending_losses,
                    backwards=passes.backwards,
                    first_backward_ns=passes.first_ns,
                    backward_ns=passes.backward_ns,
                    optimizer_ns=ended_ns - passes.last_ns if passes.backwards else 0,
                    learning_rate=learning_rate,
                    skipped=skipped,
                    data_ns=data_ns,
                    ready_ns=passes.ready_ns,
                    inner_forward_ns=passes.inner_ns,
                    device_end=self.record_event(ended_ns),
                )
            )

    # Gradient scalers

    @property
    def updates(self) -> int:
        """Number of updates that did not take the short path, which includes all of a gradient scaler."""
        return self._updates

    def skip_update(self, optimizer: Any) -> None:
        """Account for an update that was skipped because gradients were not finite (R4)."""
        key = _key(optimizer)
        if (
            self._passes is None and self._skipped_passes is None
        ):  # another optimizer of this step was updated
            self._open_keys.add(key)
            return
        self._skipped_keys.add(key)
        self._skipped_passes, self._passes = self._passes or self._skipped_passes, None

    # Manual steps

    def on_manual_step(self, loss: float | PendingScalar | None, now_ns: int) -> None:
        """End a step, or amend the loss of the step that an optimizer ended."""
        is_seen = bool(self._open_keys) and not self._has_manual_step
        is_early = is_seen and self._passes is not None
        self._has_manual_step = True
        if isinstance(loss, PendingScalar):
            self._passes = (self._passes or _NOTHING)._replace(loss=None, pending_losses=(loss,))
        elif loss is not None:
            self._passes = (self._passes or _NOTHING)._replace(loss=loss, pending_losses=())
        if not is_early:  # otherwise the update is still to come and carries the loss
            self._send(Kind.AMEND if is_seen else Kind.OPEN, now_ns)

    # Data loading

    def on_batch(self, iterator: int, began_ns: int, ended_ns: int, *, is_last: bool) -> None:
        """Account for a loaded batch, or for the end of a pass over the data."""
        has_trained = self._passes is not None or self._data_ns == 0
        self._announce(self._evaluation.start_batch(iterator, began_ns, has_trained=has_trained))
        self.poll_events()
        self._data_ns += ended_ns - began_ns
        self._ready_ns = ended_ns
        self._announce(
            self._evaluation.finish_batch(
                ended_ns,
                is_last=is_last,
                is_between_steps=bool(self._open_keys) and self._passes is None,
                are_gradients_enabled=self._context.are_gradients_enabled(),
            )
        )

    def _announce(self, changes: tuple[Change, ...]) -> None:
        """Send the starts and ends of evaluations."""
        for kind, time_ns in changes:
            if kind == Kind.EVALUATE:
                self._fast_key = 0  # the next update must end the evaluation, which the short path does not
            else:
                self._data_ns = 0  # loading for an evaluation is not part of a step
            emit = self._context.emit
            if emit is not None:
                emit(StepEvent(int(kind), time_ns, None, (), 0, 0, 0, 0, None, None))

    def close(self) -> None:
        """Send what is still unsent when a recording ends."""
        self.poll_events()
        if self._passes is None and self._data_ns:
            self._announce(self._evaluation.close_pass())
        if self._passes is not None and not self.steps:
            self._context.scalars.warn(_NO_UPDATE)

    # Device times

    def use_device_events(self, events: DeviceEvents) -> None:
        """Time updates by the events of a device, which the short path does not record."""
        self._device_events = self._context.device_events = events
        self._fast_key = 0

    def record_event(self, ended_ns: int) -> EventId | None:
        """Record a device event behind an update that ended on the host just now. Never raises."""
        events = self._device_events
        try:
            return None if events is None else events.record_event(ended_ns)
        except Exception as error:  # noqa: BLE001 - the training must not notice
            self._drop_device_events(error)
            return None

    def poll_events(self) -> None:
        """Collect completed device events. Never raises."""
        events = self._device_events
        try:
            if events is not None:
                events.poll_events()
        except Exception as error:  # noqa: BLE001 - the training must not notice
            self._drop_device_events(error)

    @property
    def has_device_events(self) -> bool:
        """True if this thread's updates are timed on a device."""
        return self._device_events is not None

    def _is_capturing(self) -> bool:
        events = self._device_events
        try:
            return events is not None and events.is_capturing()
        except Exception as error:  # noqa: BLE001 - the training must not notice
            self._drop_device_events(error)
            return False

    def _drop_device_events(self, error: Exception) -> None:
        self._device_events = None
        self._context.drop_device_events(error)


_OPEN = int(Kind.OPEN)


def _key(optimizer: Any) -> int:
    """Return the identity of an optimizer (R1)."""
    parameters = optimizer.param_groups[0].get("params") if optimizer.param_groups else None
    return id(parameters[0]) if parameters else id(optimizer)


class StepDetectors:
    """Step detectors of all threads.

    Attributes:
        context: State that they share.
        local: The calling thread's detector is its attribute ``detector``, if it has one.
        root: Detector whose thread most recently entered a root backward pass.
        current_graph_task: ``torch._C._current_graph_task_id``: -1 unless the thread is inside a backward pass.
    """

    def __init__(self, context: HookContext) -> None:
        self.context = context
        self.local = threading.local()
        self.root: StepDetector | None = None
        self.current_graph_task: Callable[[], int] = lambda: -1
        self._all: weakref.WeakSet[StepDetector] = weakref.WeakSet()

    def current(self) -> StepDetector | None:
        """Return the calling thread's detector; None on a thread of autograd, which runs another's backward pass."""
        try:
            found: StepDetector | None = self.local.detector
        except AttributeError:
            if self.current_graph_task() != -1:
                return None
            found = self.local.detector = StepDetector(self.context)
            self._all.add(found)
        return found

    def existing(self) -> StepDetector | None:
        """Return the calling thread's detector; None if it has none yet."""
        return getattr(self.local, "detector", None)

    def reset(self) -> None:
        """Start a new recording on all threads."""
        for detector in tuple(self._all):
            detector.reset()
