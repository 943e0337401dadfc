"""The rules that turn backward passes and optimizer updates into steps. One :class:`Loop` for each thread.

R1  An optimizer is known by its first parameter: a new optimizer over the same weights is the same.
R2  An update opens a new step when a root backward pass ended since the last update and its optimizer is already in
    the open step; else it joins the open step. Where no backward pass is ever seen, a repeated optimizer opens one.
R3  An update inside a root backward pass happens at that pass's end.
R4  A ``GradScaler.step`` without an update is a skipped step: its losses are dropped.
R5  Gradients thrown away do not count: where a probe parameter has no gradient when a further backward pass of the
    same step begins, the sum of losses starts again.
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
    """

    __slots__ = (
        "busy",
        "ever_backward",
        "inner_updates",
        "key",
        "keys",
        "manual",
        "pending",
        "probe",
        "updates",
    )

    def __init__(self) -> None:
        self.busy = False
        self.pending: tuple[Any, ...] | None = None
        self.key = 0
        self.keys: set[int] = set()
        self.manual = False
        self.ever_backward = False
        self.probe: Any = None
        self.updates = 0
        self.inner_updates: list[Any] = []

    def opens(self, key: int) -> bool:
        """Enter the optimizer ``key`` into the open step and say whether it opened a new one (R2)."""
        again = key in self.keys
        opens = not self.keys or (again and (self.pending is not None or not self.ever_backward))
        if opens:
            self.keys.clear()
            self.manual = False
        self.keys.add(key)
        self.key = key if len(self.keys) == 1 else 0
        return opens

    def add(self, loss: float | None, slots: tuple[Slot, ...], began: int, ended: int) -> None:
        """Add one root backward pass to those since the last update."""
        old = self.pending or NOTHING
        total = loss if old[0] is None else old[0] if loss is None else old[0] + loss
        spent = old[4] + ended - began
        self.pending = (total, (*old[1], *slots), old[2] + 1, old[3] or began, spent, ended)
        self.ever_backward = True

    def forget_dropped_gradients(self) -> None:
        """Restart the sum of losses where the gradients collected so far were thrown away (R5)."""
        probe = self.probe() if self.probe is not None else None
        if self.pending is not None and probe is not None and probe.grad is None:
            self.pending = (None, (), 0, *self.pending[3:])

    def choose_probe(self, optimizer: Any) -> None:
        """Remember a parameter that has a gradient now, weakly, so that a dropped gradient can be noticed."""
        if self.probe is None or self.probe() is None:
            parameters = (p for group in optimizer.param_groups for p in group["params"])
            found = next((p for p in parameters if p.grad is not None), None)
            self.probe = weakref.ref(found) if found is not None else None
