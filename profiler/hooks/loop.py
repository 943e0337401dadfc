"""The rules that turn backward passes and optimizer updates into steps. One :class:`Loop` for each thread.

R1  An optimizer is known by its first parameter: a new optimizer over the same weights is the same.
R2  An update opens a new step when a root backward pass ended since the last update and its optimizer is already in
    the open step, or is new while those of the open step are gone; else it joins the open step. Where no backward
    pass is ever seen, a repeated optimizer opens one.
R3  An update inside a root backward pass happens at that pass's end.
R4  A ``GradScaler.step`` without an update is a skipped step: its losses are dropped.
R5  Gradients thrown away do not count: the sum of losses starts again where no optimizer of the step has a gradient
    left, by a probe parameter of each, when a further backward pass of the same step begins.
"""

import weakref
from typing import Any, NamedTuple

from profiler.hooks.events import Slot


class Pending(NamedTuple):
    """The backward passes since the last update; the hooks make it as a plain tuple."""

    loss: float | None
    slots: tuple[Slot, ...]
    backwards: int
    first_ns: int
    backward_ns: int
    last_ns: int


NOTHING = Pending(None, (), 0, 0, 0, 0)
_UNKNOWN = 0
"""Stands for the optimizer before the first one is met."""

_NODES = 1_000
"""How far into a graph parameters are looked for."""


class Loop:
    """What one thread has done since its last update, and which optimizers are in its open step.

    Attributes:
        busy: Whether a root backward pass is running.
        pending: A :class:`Pending`, or None right after an update.
        key: The optimizer of the open step while it is the only one in it, else 0.
        keys: The optimizers of the open step.
        manual: Whether ``prof.step`` has already spoken for the open step.
        updates: Updates seen, to notice a ``GradScaler.step`` that made none.
        inner_updates: Optimizers that stepped inside the running backward pass.
        owners: Each optimizer met, weakly.
        probes: A parameter of each, weakly, that had a gradient when it was met.
    """

    __slots__ = (
        "__weakref__",
        "busy",
        "ever_backward",
        "inner_updates",
        "key",
        "keys",
        "manual",
        "owners",
        "pending",
        "probes",
        "updates",
    )

    def __init__(self) -> None:
        self.busy = False
        self.reset()

    def reset(self) -> None:
        """Forget everything but a running backward pass: another recording begins."""
        self.pending: tuple[Any, ...] | None = None
        self.key = 0
        self.keys: set[int] = set()
        self.manual = False
        self.ever_backward = False
        self.owners: dict[int, weakref.ref[Any]] = {}
        self.probes: dict[int, tuple[weakref.ref[Any], ...]] = {}
        self.updates = 0
        self.inner_updates: list[Any] = []

    def opens(self, key: int) -> bool:
        """Enter the optimizer ``key`` into the open step and say whether it opened a new one (R2)."""
        new_gradients = self.pending is not None or not self.ever_backward
        opens = (key in self.keys and new_gradients) if self.keys else (new_gradients or not self.manual)
        if opens:
            self.keys.clear()
        self.manual = False
        self.keys.add(key)
        self.key = key if len(self.keys) == 1 else 0
        return opens

    def add(self, tensors: Any, loss: float | None, slots: tuple[Slot, ...], began: int, ended: int) -> None:
        """Add one root backward pass, which started from ``tensors``, to those since the last update."""
        if not self.ever_backward:
            self._watch(tensors)
        old = self.pending or NOTHING
        total = loss if old[0] is None else old[0] if loss is None else old[0] + loss
        spent = old[4] + ended - began
        self.pending = (total, (*old[1], *slots), old[2] + 1, old[3] or began, spent, ended)
        self.ever_backward = True

    def forget_dropped_gradients(self) -> None:
        """Restart the sum of losses where the gradients collected so far were thrown away (R5)."""
        if self.pending is None:
            return
        references = [one for key in self.keys or (_UNKNOWN,) for one in self.probes.get(key, ())]
        probes = [probe for reference in references if (probe := reference()) is not None]
        if probes and all(probe.grad is None for probe in probes):
            self.pending = (None, (), 0, *self.pending[3:])

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
