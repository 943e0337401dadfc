"""The rules that turn backward passes and optimizer updates into steps. One :class:`Loop` for each thread.

R1  An optimizer is known by its first parameter: a new optimizer over the same weights is the same.
R2  An update opens a new step when a root backward pass ended since the last update and its optimizer is already in
    the open step, or is new while those of the open step are gone; else it joins the open step. Where no backward
    pass is ever seen, a repeated optimizer opens one.
R3  An update inside a root backward pass happens at that pass's end.
R4  A ``GradScaler.step`` without an update is a skipped step: its losses are dropped, unless another optimizer is
    updated before the next backward pass.
R5  Gradients thrown away do not count: the sum of losses starts again where no optimizer of the step has a gradient
    left, by a probe parameter of each, when a further backward pass of the same step begins. Gradients that were set
    to zero are gone too; on a device that cannot be asked without waiting for it, only those set to None are. Where
    no gradient was to be seen after the backward pass before, as in sharded models, none was thrown away.
"""

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from profiler.torch_hooks.dataloader import Batches
from profiler.torch_hooks.events import Slot

if TYPE_CHECKING:
    from profiler.torch_hooks.cuda_events import DeviceStamps


class Pending(NamedTuple):
    """The backward passes since the last update; the hooks make it as a plain tuple."""

    loss: float | None
    slots: tuple[Slot, ...]
    backwards: int
    first_ns: int
    backward_ns: int
    last_ns: int
    ready_ns: int
    inner_ns: int


NOTHING = Pending(None, (), 0, 0, 0, 0, 0, 0)
_UNKNOWN = 0
"""Stands for the optimizer before the first one is met."""

_MOST_SLOTS = 1_024
"""So many losses on their way are kept for a step; a loop whose updates nobody sees would collect them for ever."""
_TOO_MANY = (Slot(-1),)
"""Stands for more than that: no ring ever gives this slot, so that their sum is lost and not a part of it."""
_NODES = 1_000
"""How far into a graph parameters are looked for."""


class Loop:
    """What one thread has done since its last update, and which optimizers are in its open step.

    Attributes:
        busy: Whether a root backward pass is running.
        is_plain: Whether steps have had one backward pass each, so that the short path may be taken.
        pending: A :class:`Pending`, or None right after an update.
        key: The optimizer of the open step while the short path may be taken for its next update, else 0.
        keys: The optimizers of the open step.
        aside: What was pending when the first optimizer of a step was skipped; of use until the next update.
        skipped: The optimizers that were skipped since the last update.
        manual: Whether ``prof.step`` has already spoken for the open step.
        steps: Steps opened.
        updates: Updates seen, to notice a ``GradScaler.step`` that made none.
        inner_updates: Optimizers that stepped inside the running backward pass.
        owners: Each optimizer met, weakly.
        probes: A parameter of each, weakly, that had a gradient when it was met.
        data_ns: Time spent loading batches since the last update.
        ready_ns: When the last batch was there.
        batches: What was loaded since something was trained.
        stamps: The device's own times, where updates run on one that runs behind the host.
    """

    __slots__ = (
        "__weakref__",
        "_versions",
        "aside",
        "batches",
        "busy",
        "data_ns",
        "ever_backward",
        "inner_updates",
        "is_plain",
        "key",
        "keys",
        "manual",
        "owners",
        "pending",
        "probes",
        "ready_ns",
        "skipped",
        "stamps",
        "steps",
        "updates",
    )

    def __init__(self) -> None:
        self.busy = False
        self.reset()

    def reset(self) -> None:
        """Forget everything but a running backward pass: another recording begins."""
        self.pending: tuple[Any, ...] | None = None
        self.aside: tuple[Any, ...] | None = None
        self.key = 0
        self.keys: set[int] = set()
        self.skipped: set[int] = set()
        self.manual = False
        self.ever_backward = self.is_plain = False
        self.owners: dict[int, weakref.ref[Any]] = {}
        self.probes: dict[int, tuple[weakref.ref[Any], ...]] = {}
        self.steps = 0
        self.updates = 0
        self.inner_updates: list[Any] = []
        self.data_ns = self.ready_ns = 0
        self.batches = Batches()
        self.stamps: DeviceStamps | None = None
        self._versions: list[int] = []

    def opens(self, key: int) -> bool:
        """Enter the optimizer ``key`` into the open step and say whether it opened a new one (R2)."""
        new_gradients = self.pending is not None or not self.ever_backward
        opens = (key in self.keys and new_gradients) if self.keys else (new_gradients or not self.manual)
        if opens:
            self.keys.clear()
        self.manual = False
        self.keys |= {key, *self.skipped}
        self.skipped.clear()
        self.key = key if len(self.keys) == 1 and self.stamps is None else 0
        return opens

    def skip(self, key: int) -> None:
        """Leave the update of the optimizer ``key`` out (R4)."""
        if self.pending is None and self.aside is None:  # another optimizer of this step was updated
            self.keys.add(key)
            return
        self.skipped.add(key)
        self.aside, self.pending = self.pending or self.aside, None

    def recall(self) -> None:
        """Let an update have what was pending when another optimizer of its step was skipped (R4)."""
        self.pending, self.aside = self.pending or self.aside, None

    def add(self, tensors: Any, loss: float | None, slots: tuple[Slot, ...], began: int, ended: int) -> None:
        """Add one root backward pass, which started from ``tensors``, to those since the last update."""
        if not self.ever_backward:
            self._watch(tensors)
            self.ever_backward = self.is_plain = True
        old = Pending._make(self.pending or NOTHING)
        is_first = old.last_ns == 0
        slots = (*old.slots, *slots)
        self.pending = (
            loss if old.loss is None else old.loss if loss is None else old.loss + loss,
            slots if len(slots) <= _MOST_SLOTS else _TOO_MANY,
            old.backwards + 1,
            old.first_ns or began,
            old.backward_ns + ended - began,
            ended,
            self.ready_ns if is_first else old.ready_ns,
            0 if is_first else old.inner_ns + began - max(old.last_ns, self.ready_ns),
        )
        self._versions = [_version(probe.grad) for probe in self._probes() if probe.grad is not None]

    def forget_dropped_gradients(self) -> None:
        """Restart the sum of losses where the gradients collected so far were thrown away (R5)."""
        self.is_plain = False
        gradients = [probe.grad for probe in self._probes()]
        left = [gradient for gradient in gradients if gradient is not None]
        untouched = [_version(gradient) for gradient in left] == self._versions
        is_gone = not left or not (untouched or any(map(_is_left, left)))
        if self.pending is not None and gradients and self._versions and is_gone:
            self.pending = (None, (), 0, *self.pending[3:])

    def _probes(self) -> list[Any]:
        references = [one for key in self.keys or (_UNKNOWN,) for one in self.probes.get(key, ())]
        return [probe for reference in references if (probe := reference()) is not None]

    def meet(self, key: int, optimizer: Any) -> None:
        """Remember an optimizer at its first update. It replaces those of the open step if they are all gone (R2)."""
        if self.pending is not None and all(self.owners[other]() is None for other in self.keys):
            self.keys.clear()
        self.owners[key] = weakref.ref(optimizer)
        parameters = (p for group in optimizer.param_groups for p in group["params"])
        found = next((p for p in parameters if p.grad is not None), None)
        self.probes[key] = (weakref.ref(found),) if found is not None else ()

    def _watch(self, tensors: Any) -> None:
        """Take the parameters in the first graph as probes, for the time before an optimizer is met."""
        loss = tensors[0] if isinstance(tensors, (list, tuple)) and tensors else tensors
        nodes, seen = [getattr(loss, "grad_fn", None)], set[Any]()
        for node in nodes:
            if node is not None and node not in seen and len(seen) < _NODES:
                seen.add(node)
                nodes += [following for following, _ in node.next_functions]
        leaves = [getattr(node, "variable", None) for node in seen]
        self.probes[_UNKNOWN] = tuple(weakref.ref(leaf) for leaf in leaves if leaf is not None)


def _version(gradient: Any) -> int:
    """How often a gradient was changed in place; -1 for one made in inference mode, which does not count that."""
    return -1 if gradient.is_inference() else int(gradient._version)  # noqa: SLF001 - no public name


def _is_left(gradient: Any) -> bool:
    """Whether a gradient that was changed since its backward pass is more than zeros, as far as the host may ask."""
    is_readable = type(gradient).__name__ == "Tensor" and gradient.is_cpu and not gradient.is_sparse
    return not is_readable or bool(gradient.any())
