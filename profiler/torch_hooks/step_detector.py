"""Rules that turn backward passes and optimizer updates into steps.

R1  An optimizer is identified by its first parameter: a new optimizer over the same weights is the same.
R2  An update opens a new step if a root backward pass ended since the last update and its optimizer is already in
    the open step, or is new while all optimizers of the open step are gone; otherwise it joins the open step. Where
    no backward pass is ever seen, a repeated optimizer opens a step. An optimizer that joins the open step after
    backward passes of its own, and is the next to open one, was no partner: its first update was a step of its own,
    if the optimizers before it had made two steps in a row and its losses do not reach their parameters, as those of
    a generator reach the discriminator's.
R3  An update inside a root backward pass takes effect at the end of that pass.
R4  A ``GradScaler.step`` without an update is a skipped step: its losses are dropped, unless another optimizer is
    updated before the next backward pass.
R5  Discarded gradients do not count: the sum of losses restarts where no optimizer of the step has a gradient left
    when a further backward pass of the same step begins. This is checked on one probe parameter per optimizer.
    Gradients set to zero are discarded too; on a device that cannot be read without waiting, only those set to None.
    Where no gradient was visible after the previous backward pass, as in sharded models, none was discarded.
R6  While no optimizer of torch exists, the backward passes since the last step are a step where R5 would discard their
    gradients, or where their parameters are gone: the loop has used them for an update of its own. Such a step ends
    with its last backward pass. The first update that a hook or ``prof.step`` reports ends this rule.
"""

import threading
import weakref
from typing import TYPE_CHECKING, Any

from profiler.torch_hooks.context import HookContext
from profiler.torch_hooks.cuda_events import DeviceEvents
from profiler.torch_hooks.evaluation import Change, EvaluationDetector
from profiler.torch_hooks.events import EventId, Kind, PendingScalar, StepEvent
from profiler.torch_hooks.gradient_probes import GradientProbes
from profiler.torch_hooks.loss_graphs import LossGraphs, leaves_of
from profiler.torch_hooks.no_grad_regions import NoGradRegions
from profiler.torch_hooks.rate_group import rate_group

if TYPE_CHECKING:
    from collections.abc import Callable

_MANY_OPTIMIZERS = 64
_MAX_PROBE_SEARCHES = 16
"""Limit per recording of searches of a graph for probes, where a step has more backward passes than any before."""
_MAX_SEARCHES = 3
"""Searches of a graph, each of which takes milliseconds, for an optimizer that follows others."""
MAX_PENDING_LOSSES = 1_024
"""Limit per step; a loop whose updates no hook sees would otherwise collect losses without end."""
_TOO_MANY = (PendingScalar(-1),)
"""Sentinel for more pending losses than that: always expired, so the step's loss is dropped instead of truncated."""
NO_PENDING: tuple[PendingScalar, ...] = ()
_CAPTURED = (
    "an update was captured into a CUDA graph, and no hook sees the graph's replays: their steps are missing. Count "
    "them with prof.step(loss=...) after each replay"
)
_NO_UPDATE = "backward passes were seen and no update: no step is counted. Call prof.step() after each update"
_INFERRED = (
    "steps inferred from backward passes: no torch.optim optimizer exists, so each backward pass whose gradients were "
    "cleared before the next is a step, and the update after it counts for the next step. Call prof.step() after each "
    "update to mark steps exactly"
)


def _none() -> None:
    """Weak reference to nothing."""


class BackwardPasses:
    """Backward passes since the last update. The fields are those of :class:`StepEvent`.

    Attributes:
        is_pending: Whether there were any, or a loss was passed to ``prof.step``.
        last_ns: End of the last of them.
        paused_ns: Time between the first and the last of them that was in none.
    """

    __slots__ = (
        "backwards",
        "first_ns",
        "inner_ns",
        "is_pending",
        "last_ns",
        "loss",
        "paused_ns",
        "pending_losses",
        "ready_ns",
    )

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start collecting anew."""
        self.is_pending = False
        self.loss: float | None = None
        self.pending_losses = NO_PENDING
        self.backwards = self.first_ns = self.last_ns = self.paused_ns = self.ready_ns = self.inner_ns = 0

    @property
    def backward_ns(self) -> int:
        """Time inside them."""
        return self.last_ns - self.first_ns - self.paused_ns

    def discard_losses(self) -> None:
        """Restart the sum of losses; the time spent stays."""
        self.loss, self.pending_losses, self.backwards = None, NO_PENDING, 0

    def set_loss(self, loss: float | PendingScalar) -> None:
        """Replace the losses by one that was passed to ``prof.step``."""
        self.is_pending = True
        if isinstance(loss, PendingScalar):
            self.loss, self.pending_losses = None, (loss,)
        else:
            self.loss, self.pending_losses = loss, NO_PENDING

    def add(
        self,
        loss: float | None,
        pending_losses: tuple[PendingScalar, ...],
        began_ns: int,
        ended_ns: int,
        ready_ns: int,
    ) -> None:
        """Add a backward pass; ``ready_ns`` is the time at which the last batch arrived."""
        if self.last_ns:
            self.paused_ns += began_ns - self.last_ns
            self.inner_ns += began_ns - max(self.last_ns, ready_ns)
        else:  # only a loss was passed to prof.step
            self.first_ns, self.ready_ns = began_ns, ready_ns
        self.last_ns = ended_ns
        self.backwards += 1
        if loss is not None:
            self.loss = loss if self.loss is None else self.loss + loss
        if pending_losses:
            pending = (*self.pending_losses, *pending_losses)
            self.pending_losses = pending if len(pending) <= MAX_PENDING_LOSSES else _TOO_MANY


class StepDetector:
    """Step state of one thread. The hooks call its methods; all of them run on that thread.

    Attributes:
        in_backward: Whether a root backward pass is running.
        inner_updates: Optimizers that were updated inside it.
        is_inferring: Whether steps are inferred from backward passes (R6).
        is_loading: Whether a batch is being loaded; a data set may use a loader of its own.
        most_passes: Largest number of backward passes of one step; 2 until the probes are found and remembered.
        passes: Backward passes since the last update.
        ready_ns: Time at which the last batch arrived.
        regions: Regions without gradients.
        steps: Number of steps opened.
        thread_id: Identifier of the thread, as from ``threading.get_ident()``; None after its end.
        updates: Number of calls of the optimizer hook, to notice a ``GradScaler.step`` that made no update.
    """

    __slots__ = (
        "__weakref__",
        "_context",
        "_data_ns",
        "_device_events",
        "_evaluation",
        "_graphs",
        "_has_manual_step",
        "_has_run",
        "_has_seen_backward",
        "_late_keys",
        "_may_infer",
        "_next_data_ns",
        "_now",
        "_open_keys",
        "_opened_step",
        "_optimizers",
        "_own_losses",
        "_partner_requests",
        "_partners",
        "_probe_searches",
        "_probes",
        "_rate_group",
        "_rate_groups",
        "_repeated",
        "_run_keys",
        "_run_step",
        "_skipped_keys",
        "_skipped_passes",
        "_training",
        "_undecided",
        "_usual_passes",
        "in_backward",
        "inner_updates",
        "is_inferring",
        "is_loading",
        "most_passes",
        "passes",
        "ready_ns",
        "regions",
        "steps",
        "thread_id",
        "updates",
    )

    def __init__(self, context: HookContext) -> None:
        self._context = context
        self.thread_id: int | None = threading.get_ident()
        self.in_backward = False
        self.reset()

    def reset(self) -> None:
        """Start a new recording; a running backward pass is still known to run."""
        self._now = self._context.now
        self.steps = 0
        self.is_loading = False
        self.updates = 0
        self.passes = BackwardPasses()
        self._skipped_passes: BackwardPasses | None = None  # of a skipped optimizer, until the next update
        self._repeated = _none  # weak reference to the optimizer whose next update may take the short path
        self._open_keys: set[int] = set()
        self._late_keys: set[int] = set()  # those of the open step since another optimizer followed (R2)
        self._has_run = False  # the optimizers before these had made two steps in a row
        self._opened_step = 0  # number of the last step that was opened other than by the short path
        self._run_keys: set[int] = set()  # optimizers of the last finished step, and of those before it
        self._run_step = 0  # number of the first of these steps
        self._skipped_keys: set[int] = set()  # skipped since the last update
        self._has_manual_step = False  # prof.step was called for the open step
        self._has_seen_backward = False
        self.most_passes = 2
        self._usual_passes = 0  # most_passes while a search of the graphs increases it; otherwise 0
        self._optimizers: dict[int, weakref.ref[Any]] = {}
        self._rate_groups: dict[int, int] = {}  # optimizer: index of the group whose rate is recorded
        self._rate_group = 0  # that of the optimizer of `_repeated`
        self.inner_updates: list[Any] = []
        self._training: int | None = None  # None before the first update
        self._undecided: list[weakref.ref[Any]] = []  # new optimizers that may be partners (T3 in trainings)
        self._may_infer = True  # no update was reported so far (R6)
        self.is_inferring = False
        self._data_ns = self.ready_ns = 0
        self._next_data_ns = 0  # loading for the pending passes of an inferred step
        self._probes = GradientProbes()
        self._probe_searches = _MAX_PROBE_SEARCHES
        self._graphs = LossGraphs()
        self._own_losses: dict[int, bool] = {}  # of optimizers whose backward pass precedes another's update
        self._partners: dict[int, bool] = {}  # optimizer: its losses reach those of its step
        self._partner_requests: dict[int, int] = {}  # searches of graphs for the others
        self._evaluation = EvaluationDetector()
        self.regions = NoGradRegions(self._is_trained, self._start_evaluation, self._context.fail)
        self._device_events: DeviceEvents | None = None

    # Backward passes

    def read_loss(self, tensors: Any, gradients: Any) -> tuple[float | None, tuple[PendingScalar, ...]]:
        """Return the loss known on the host, and those still on their way, of a backward pass that begins now."""
        self.poll_events()
        return self._context.losses.read(tensors, gradients)

    def remember_gradients(self, tensors: Any, inputs: Any) -> None:
        """Remember the gradients after a backward pass of ``tensors``, restricted to ``inputs`` unless None."""
        is_first = not self._has_seen_backward
        if is_first or (self._graphs.is_collecting and self.passes.backwards == 1):
            leaves, are_all = leaves_of(tensors, inputs)
            self._graphs.add(leaves, are_all=are_all)
            if is_first:
                self._has_seen_backward, self.most_passes = True, 1
                self._probes.watch_leaves(leaves)
        self._probes.remember()

    def check_gradients(self, passes: BackwardPasses, tensors: Any, inputs: Any) -> None:
        """Discard the losses whose gradients were discarded (R5), before another backward pass of the step."""
        has_more = passes.backwards >= self.most_passes
        if has_more:
            self.most_passes = passes.backwards + 1
            self._probes.forget()
        if self._may_infer and self._infer_step():
            return
        has_more = has_more and bool(self._open_keys) and self._probe_searches > 0
        if has_more or self._graphs.is_collecting:
            leaves, are_all = leaves_of(tensors, inputs)
            if self._graphs.is_collecting:
                self._graphs.add(leaves, are_all=are_all)
            if has_more:
                self._probe_searches -= 1
                if self._probes.watch_reached(leaves):
                    return  # the gradients of the passes before may be those of other parameters
        if self._probes.were_discarded():
            passes.discard_losses()

    def _infer_step(self) -> bool:
        """Send the pending backward passes as a step if they were one (R6); return whether it did."""
        if not self.is_inferring and (self.updates or self._open_keys):
            self._may_infer = False
            return False
        are_gone = self._probes.are_gone()
        if not are_gone and not self._probes.were_discarded():
            return False
        if not self.is_inferring:
            self.is_inferring = self._may_infer = not self._context.has_optimizer()
            if not self.is_inferring:
                return False
            self._context.scalars.warn(_INFERRED)
        self._send_inferred()
        self._has_seen_backward = not are_gone  # the next pass has new parameters to probe
        return True

    def _send_inferred(self, *, ends_evaluation: bool = True) -> None:
        passes = self.passes
        if not self._context.inferred_steps:
            self._context.watch_environments()
        self._context.inferred_steps += 1
        if ends_evaluation:
            self._announce(self._evaluation.end(self._now()))
        loaded_ns, self._data_ns = self._data_ns, self._next_data_ns
        self._send(Kind.OPEN, passes.last_ns)
        self._next_data_ns = loaded_ns

    def end_inference(self) -> None:
        """Take steps from reported updates from now on."""
        self._may_infer = self.is_inferring = False

    def end_inner_updates(self, ended_ns: int) -> None:
        """Account for the updates inside a backward pass (R3)."""
        optimizers, self.inner_updates = self.inner_updates, []
        for optimizer in optimizers:
            self._update(optimizer, ended_ns)

    # Updates

    def on_optimizer_step(self, optimizer: Any, ended_ns: int) -> None:
        """Account for an update, by a short path if it only repeats the previous step."""
        self.updates += 1
        passes, context = self.passes, self._context
        emit = context.emit
        try:
            rate = optimizer.param_groups[self._rate_group]["lr"]
        except (AttributeError, IndexError, KeyError):
            rate = None
        if (
            self._repeated() is not optimizer
            or not passes.is_pending
            or passes.pending_losses
            or type(rate) is not float
            or self.in_backward
            or emit is None
            or (context.losses.has_scaled and "found_inf" in optimizer.__dict__)
        ):
            if self.in_backward:
                self.defer_update(optimizer)
            else:
                self._update(optimizer, ended_ns)
            return
        data_ns = self._data_ns
        if data_ns:
            self._data_ns = 0
        passes.is_pending = self._has_manual_step = False
        self.steps += 1
        emit(
            (
                ended_ns,
                passes.loss,
                passes.first_ns,
                passes.last_ns,
                rate,
                self._training or 0,
                passes.backwards,
                passes.paused_ns,
                passes.inner_ns,
                data_ns,
                passes.ready_ns,
            )
        )

    def defer_update(self, optimizer: Any) -> None:
        """Account for an update at the end of the running backward pass (R3)."""
        self.inner_updates.append(optimizer)

    def _update(self, optimizer: Any, ended_ns: int) -> None:
        self.end_inference()
        key = _key(optimizer)
        known = self._optimizers.get(key)
        if known is None or known() is None:
            self._add_optimizer(key, optimizer)
        if self._is_capturing():
            self._context.scalars.warn(_CAPTURED)
            self.passes.is_pending = False
            return
        if self._skipped_passes is not None:  # R4
            if not self.passes.is_pending:
                self.passes = self._skipped_passes
            elif key in self._skipped_keys:  # they were skipped in an earlier step
                self._skipped_keys.clear()
            self._skipped_passes = None
        passes = self.passes
        self._announce(self._evaluation.end(passes.first_ns if passes.is_pending else ended_ns))
        read = self._context.scalars.read
        # A fused optimizer skips its update on the device and calls the hook all the same.
        skipped = read(optimizer.found_inf) if "found_inf" in optimizer.__dict__ else None
        if skipped and not isinstance(skipped, PendingScalar):
            self.skip_update(optimizer)
            return
        kind = self._enter(key, optimizer)
        groups: list[dict[str, Any]] = optimizer.param_groups
        if self._rate_groups[key] >= len(groups):  # another optimizer of the same parameters
            self._rate_groups[key] = rate_group(optimizer)
        self._rate_group = self._rate_groups[key]
        rate = groups[self._rate_group].get("lr") if groups else None
        flag = skipped if isinstance(skipped, PendingScalar) else None
        self._send(kind, ended_ns, None if rate is None else read(rate), flag)

    def _add_optimizer(self, key: int, optimizer: Any) -> None:
        are_gone = all(self._optimizers.get(other, _none)() is None for other in self._open_keys)
        if self.passes.is_pending and are_gone:  # R2
            self._open_keys.clear()
            self._late_keys.clear()
        self._forget_optimizers()
        self._optimizers[key] = weakref.ref(optimizer)
        # Chosen once: groups that are added later must not make the recorded rate jump.
        self._rate_groups[key] = rate_group(optimizer)
        self._probes.watch_optimizer(key, optimizer)
        self.regions.forget_modules()
        self._context.watch_environments()
        self._classify(optimizer)
        for device in {p.device for group in optimizer.param_groups for p in group["params"]}:
            self._device_events = self._context.add_device(device) or self._device_events

    def rate_group_of(self, optimizer: Any) -> int | None:
        """Return the index of the parameter group whose rate is recorded; None before the first update."""
        key = _key(optimizer)
        return self._rate_groups[key] if self._optimizers.get(key, _none)() is not None else None

    def _forget_optimizers(self) -> None:
        """Drop optimizers that are gone; a loop may make a new one per step."""
        if len(self._optimizers) < _MANY_OPTIMIZERS:
            return
        for key in [key for key, one in self._optimizers.items() if one() is None]:
            if key not in self._open_keys:
                del self._optimizers[key]
                del self._rate_groups[key]
                self._own_losses.pop(key, None)
                self._partners.pop(key, None)
                self._partner_requests.pop(key, None)
                self._probes.forget_optimizer(key)

    def _classify(self, optimizer: Any) -> None:
        """Find the training of a new optimizer, if that can be decided yet."""
        trainings = self._context.trainings
        is_first = self._training is None
        found = trainings.classify(optimizer, self._training)
        if found is None:
            self._undecided = [one for one in self._undecided if one() is not None]
            self._undecided.append(weakref.ref(optimizer))
            return
        self._training = found
        if is_first:  # a generator whose loss passes through a discriminator is its partner
            trainings.add_parameters(self._probes.selected(), found)

    def _resolve_undecided(self, optimizer: Any, *, starts: bool) -> None:
        """Decide on the new optimizers, which are partners unless one of them starts a training."""
        undecided = [found for one in self._undecided if (found := one()) is not None]
        self._undecided.clear()
        trainings = self._context.trainings
        if starts and any(one is optimizer for one in undecided):
            self._training = trainings.start(optimizer)
            undecided = [one for one in undecided if one is not optimizer]
        for one in undecided:
            trainings.add_partner(one, self._training or 0)

    def _enter(self, key: int, optimizer: Any) -> Kind:
        """Enter an optimizer into the open step or a new one (R2), and return the kind of the event."""
        has_gradients = self.passes.is_pending or not self._has_seen_backward
        if self._open_keys:
            opens = key in self._open_keys and has_gradients
        else:
            opens = has_gradients or not self._has_manual_step
        is_late = opens and key in self._late_keys
        is_partner = is_late and self._is_partner(key, optimizer)
        if self._undecided and (opens or all(one() is not optimizer for one in self._undecided)):
            self._resolve_undecided(optimizer, starts=not is_partner)
        splits = is_late and self._has_run and not is_partner
        if opens:
            self._finish_step(splits=splits)
        if self._graphs.step is None:
            self._finish_search(opens=opens)
        if opens:
            kind = Kind.SPLIT if splits else Kind.OPEN
        elif has_gradients and self._open_keys:
            kind = Kind.FOLLOW
            self._follow(key)
        else:
            kind = Kind.TURN if self._open_keys and self._has_own_loss(key, optimizer) else Kind.JOIN
            if self._late_keys:
                self._late_keys.add(key)
        self._has_manual_step = False
        self._open_keys |= {key, *self._skipped_keys}
        self._skipped_keys.clear()
        may_split = self._late_keys and self._has_run and not self._partners.get(key)
        self._probes.select(self._late_keys if may_split else self._open_keys)
        is_alone = len(self._open_keys) == 1 and self._device_events is None
        self._repeated = weakref.ref(optimizer) if is_alone else _none
        return kind

    def _finish_step(self, *, splits: bool) -> None:
        """Remember the optimizers of the open step, or of the second of the two that it is split into."""
        if splits:
            self.steps += 1
            self._run_keys, self._late_keys = self._late_keys, self._run_keys
            self._run_step = self.steps
        elif self._open_keys != self._run_keys:
            self._run_keys, self._open_keys = self._open_keys, self._run_keys
            self._run_step = self._opened_step
        self._open_keys.clear()
        self._late_keys.clear()
        self._opened_step = self.steps + 1

    def _follow(self, key: int) -> None:
        """Account for an optimizer that joins the open step with gradients of its own."""
        if not self._late_keys:
            first = self._run_step if self._open_keys == self._run_keys else self._opened_step
            self._has_run = self.steps > first
        self._late_keys.add(key)
        if key in self._partners:
            return
        requests = self._partner_requests[key] = self._partner_requests.get(key, 0) + 1
        if requests > _MAX_SEARCHES:  # another optimizer was updated next each time
            self._partners[key] = True
        else:
            self._request_search()

    def _is_partner(self, key: int, optimizer: Any) -> bool:
        """Return whether the loss of an optimizer that followed others reaches their parameters too."""
        known = self._partners.get(key)
        if known is not None:
            return known
        self._partner_requests.pop(key, None)
        if not self._graphs.are_known(self.steps):
            return False
        known = any(
            self._graphs.reach_beyond(optimizer, other)
            for other in self._existing(self._open_keys - self._late_keys)
        )
        self._partners[key] = known
        return known

    def _has_own_loss(self, key: int, optimizer: Any) -> bool:
        """Return whether a loss before the open step reached this optimizer and not another one, or the reverse."""
        known = self._own_losses.get(key)
        if known is not None:
            return known
        if not self._graphs.are_known(self.steps):
            self._request_search()
            return False
        known = any(
            self._graphs.are_separate(optimizer, other) for other in self._existing(self._open_keys - {key})
        )
        self._own_losses[key] = known
        return known

    def _existing(self, keys: set[int]) -> list[Any]:
        """Return the optimizers of these keys that still exist."""
        return [found for key in keys if (found := self._optimizers.get(key, _none)()) is not None]

    def _request_search(self) -> None:
        """Search the graphs of the backward passes before the next update."""
        if self._graphs.request() and not self._usual_passes:
            self._usual_passes = self.most_passes
            self.most_passes = max(self.most_passes, 2)  # so that the first pass is looked at

    def _finish_search(self, *, opens: bool) -> None:
        """End the search of graphs at the first update after it."""
        self._graphs.finish(self.steps + opens)
        if self._usual_passes:
            self.most_passes = max(self._usual_passes, self.passes.backwards if self.passes.is_pending else 0)
            self._usual_passes = 0

    def _send(
        self, kind: Kind, ended_ns: int, learning_rate: Any = None, skipped: PendingScalar | None = None
    ) -> None:
        """Send an update with the backward passes before it, and start collecting anew."""
        passes = self.passes
        if not passes.is_pending:
            passes.clear()
        passes.is_pending = False
        data_ns, self._data_ns = self._data_ns, 0
        self.steps += kind is Kind.OPEN or kind is Kind.SPLIT
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
                    training=self._training or 0,
                )
            )

    # Gradient scalers

    def skip_update(self, optimizer: Any) -> None:
        """Account for an update that was skipped because gradients were not finite (R4)."""
        key = _key(optimizer)
        self._repeated = _none  # the short path does not handle skipped updates
        if self.passes.is_pending:
            self._skipped_passes, self.passes = self.passes, BackwardPasses()
        # Another optimizer of this step was updated, and this one was not.
        if self._skipped_passes is None or (self._open_keys and key not in self._open_keys):
            self._open_keys.add(key)
            self._probes.select(self._open_keys)
        else:
            self._skipped_keys.add(key)

    # Manual steps

    def on_manual_step(self, loss: float | PendingScalar | None, now_ns: int) -> None:
        """End a step, or amend the loss of the step that an optimizer ended."""
        self.end_inference()
        if not self.steps:
            self._context.watch_environments()
        self._announce(self._evaluation.end(now_ns))
        is_seen = bool(self._open_keys) and not self._has_manual_step
        is_early = is_seen and self.passes.is_pending
        self._has_manual_step = True
        if loss is not None:
            if not self.passes.is_pending:
                self.passes.clear()
            self.passes.set_loss(loss)
        if not is_early:  # otherwise the update is still to come and carries the loss
            self._send(Kind.AMEND if is_seen else Kind.OPEN, now_ns)

    # Data loading

    def on_batch(self, iterator: int, began_ns: int, ended_ns: int, *, is_last: bool) -> None:
        """Account for a loaded batch, or for the end of a pass over the data."""
        is_inferring, passes = self.is_inferring, self.passes
        has_trained = (
            passes.last_ns > self.ready_ns if is_inferring else passes.is_pending or self._data_ns == 0
        )
        self._announce_pass(self._evaluation.start_batch(iterator, began_ns, has_trained=has_trained))
        self.poll_events()
        self._data_ns += ended_ns - began_ns
        self.ready_ns = ended_ns
        self._announce_pass(
            self._evaluation.finish_batch(
                ended_ns,
                is_last=is_last,
                is_between_steps=self._is_between_steps,
                are_gradients_enabled=self._context.are_gradients_enabled(),
            )
        )

    def _announce_pass(self, changes: tuple[Change, ...]) -> None:
        """Send the changes that a loaded batch reveals, after the step that was inferred before them."""
        is_evaluation = any(kind is Kind.EVALUATE for kind, _ in changes)
        if is_evaluation and self.is_inferring and self.passes.is_pending:
            self._send_inferred(ends_evaluation=False)
        self._announce(changes)

    # Forward passes without gradients

    @property
    def _is_between_steps(self) -> bool:
        return self.is_inferring or (bool(self._open_keys) and not self.passes.is_pending)

    def enter_no_grad(self, guard: Any) -> None:
        """Account for the start of a region without gradients. Never raises."""
        if self.in_backward or not self._is_between_steps:
            return
        try:
            self.regions.enter(guard, self.steps, self._now())
        except Exception as error:  # noqa: BLE001 - the training must not notice
            self._context.fail(error)

    def exit_no_grad(self, guard: Any) -> None:
        """Account for the end of a region without gradients. Never raises."""
        try:
            if self.regions.exit(guard):
                self._evaluation.extend_region(self._now())
        except Exception as error:  # noqa: BLE001 - the training must not notice
            self._context.fail(error)

    def on_eval(self, module: Any) -> None:
        """Account for ``module.eval()``. Never raises."""
        try:
            if self._is_between_steps:
                self.regions.on_eval(module, self.steps)
        except Exception as error:  # noqa: BLE001 - the training must not notice
            self._context.fail(error)

    def remove_hook(self) -> None:
        """Remove the global hook that waits for a forward pass, if there is one."""
        self.regions.remove_hook()

    def _is_trained(self, module: Any) -> bool:
        parameter = next((one for one in module.parameters() if one.requires_grad), None)
        if parameter is None:
            return False
        is_probe = self.is_inferring and any(one is parameter for one in self._probes.selected())
        return is_probe or self._context.trainings.knows(parameter)

    def _start_evaluation(self, began_ns: int) -> None:
        if self._evaluation.is_in_progress:  # the step before it is sent at its end
            return
        if self.is_inferring and self.passes.is_pending:
            self._send_inferred()
        self._announce(self._evaluation.start_region(began_ns))

    def _announce(self, changes: tuple[Change, ...]) -> None:
        """Send the starts and ends of evaluations."""
        for kind, time_ns in changes:
            if kind == Kind.EVALUATE:
                self._repeated = (
                    _none  # the next update must end the evaluation, which the short path does not
                )
            else:
                self._data_ns = 0  # loading for an evaluation is not part of a step
            emit = self._context.emit
            if emit is not None:
                emit(StepEvent(int(kind), time_ns, None, (), 0, 0, 0, 0, None, None))

    def close(self) -> None:
        """Send what is still unsent when a recording ends."""
        self.poll_events()
        self._announce(self._evaluation.close_region())
        if self._data_ns and not self.passes.is_pending:
            self._announce(self._evaluation.close_pass())
        if self.is_inferring and self.passes.is_pending:
            self._send_inferred()
        if self.passes.is_pending and not self.steps:
            self._context.scalars.warn(_NO_UPDATE)

    # Device times

    def use_device_events(self, events: DeviceEvents) -> None:
        """Time updates by the events of a device, which the short path does not record."""
        self._device_events = self._context.device_events = events
        self._repeated = _none

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


def _key(optimizer: Any) -> int:
    """Return the identity of an optimizer (R1)."""
    parameters = optimizer.param_groups[0].get("params") if optimizer.param_groups else None
    return id(parameters[0]) if parameters else id(optimizer)


class _Owner:
    """Reference of a thread to its detector. Ends with the thread, whose identifier may then be used again."""

    __slots__ = ("detector",)

    def __init__(self, detector: StepDetector) -> None:
        self.detector = detector

    def __del__(self) -> None:
        self.detector.thread_id = None


class StepDetectors:
    """Step detectors of all threads.

    The hooks compare the thread of ``root`` with their own before they call :meth:`current`, because access to
    thread-local data takes a microsecond or two when the caches are cold.

    Attributes:
        context: State that they share.
        root: Detector whose thread most recently entered a root backward pass.
        current_graph_task: ``torch._C._current_graph_task_id``: -1 unless the thread is inside a backward pass.
    """

    __slots__ = ("_all", "_local", "context", "current_graph_task", "root")

    def __init__(self, context: HookContext) -> None:
        self.context = context
        self._local = threading.local()
        self.root: StepDetector | None = None
        self.current_graph_task: Callable[[], int] = lambda: -1
        self._all: weakref.WeakSet[StepDetector] = weakref.WeakSet()

    def current(self) -> StepDetector | None:
        """Return the calling thread's detector; None on a thread of autograd, which runs another's backward pass."""
        found = self.existing()
        if found is None:
            if self.current_graph_task() != -1:
                return None
            found = StepDetector(self.context)
            self._local.owner = _Owner(found)
            self._all.add(found)
        return found

    def existing(self) -> StepDetector | None:
        """Return the calling thread's detector; None if it has none yet."""
        owner: _Owner | None = getattr(self._local, "owner", None)
        return None if owner is None else owner.detector

    def reset(self) -> None:
        """Start a new recording on all threads."""
        for detector in tuple(self._all):
            detector.reset()

    def remove_hooks(self) -> None:
        """Remove the global hooks of all threads."""
        for detector in tuple(self._all):
            detector.remove_hook()
