"""Detection of gradients that were discarded between two backward passes of a step, by a few probe parameters."""

import weakref
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any


class GradientProbes:
    """Probe parameters of each optimizer of one thread, held weakly."""

    __slots__ = ("_had_gradients", "_probes", "_selected", "_versions")

    def __init__(self) -> None:
        self._probes: dict[int, tuple[weakref.ref[Any], ...]] = {}
        self._selected: tuple[weakref.ref[Any], ...] = ()
        self._versions: Sequence[int | None] | None = None
        self._had_gradients = False

    def watch_optimizer(self, key: int, optimizer: Any) -> None:
        """Use the first parameter with a gradient as the probe of the optimizer ``key``."""
        parameters = (p for group in optimizer.param_groups for p in group["params"])
        found = next((p for p in parameters if p.grad is not None), None)
        self._probes[key] = (weakref.ref(found),) if found is not None else ()

    def forget_optimizer(self, key: int) -> None:
        """Drop the probe of an optimizer that is gone."""
        self._probes.pop(key, None)

    def watch_leaves(self, leaves: Iterable[Any]) -> None:
        """Use the leaves of a loss as probes until an optimizer is known."""
        self._selected = tuple(weakref.ref(leaf) for leaf in leaves)

    def watch_reached(self, leaves: Sequence[Any]) -> bool:
        """Use the leaves of a loss as probes if it reaches none of the present ones, and return whether it does not."""
        present = self.selected()
        is_other = bool(present) and not any(leaf is probe for leaf in leaves for probe in present)
        if is_other:
            self.watch_leaves(leaves)
        return is_other

    def selected(self) -> list[Any]:
        """Return the selected probe parameters that still exist."""
        return [probe for reference in self._selected if (probe := reference()) is not None]

    def select(self, keys: Iterable[int]) -> None:
        """Select the probes of the optimizers of the open step."""
        self._selected = tuple(probe for key in keys for probe in self._probes.get(key, ()))
        self._versions = None

    def remember(self) -> None:
        """Remember the gradients of the selected probes after a backward pass."""
        if len(self._selected) == 1:  # by far the most frequent case, once per micro-batch
            try:
                self._versions = (self._selected[0]().grad._version,)  # type: ignore[union-attr] # noqa: SLF001
            except (AttributeError, RuntimeError):  # no probe, no gradient, or one that counts no versions
                pass
            else:
                self._had_gradients = True
                return
        versions: list[int | None] = []
        for reference in self._selected:
            gradient = getattr(reference(), "grad", None)
            versions.append(None if gradient is None else _version(gradient))
        self._versions = versions
        self._had_gradients = versions.count(None) < len(versions)

    def forget(self) -> None:
        """Compare by value next time: the last backward pass was not remembered."""
        self._versions = None

    def are_gone(self) -> bool:
        """Return whether there were probes and all of them have been deleted, as where each step makes new tensors."""
        return bool(self._selected) and not self.selected()

    def were_discarded(self) -> bool:
        """Return whether the gradients of the last backward pass are all gone: set to None or to zero.

        False where there was none to see, as in sharded models.
        """
        if not self._had_gradients:
            return False
        if len(self._selected) == 1 and self._versions:
            try:
                if self._selected[0]().grad._version == self._versions[0]:  # type: ignore[union-attr] # noqa: SLF001
                    return False
            except (AttributeError, RuntimeError):
                pass
        is_alive, changed = False, []
        for reference, version in zip(self._selected, self._versions or repeat(None), strict=False):
            probe = reference()
            if probe is None:
                continue
            is_alive, gradient = True, probe.grad
            if gradient is not None:
                if version is not None and _version(gradient) == version:
                    return False
                changed.append(gradient)
        return is_alive and not any(map(_is_left, changed))


def _version(gradient: Any) -> int:
    """Return the number of in-place changes; -1 for a tensor of inference mode, which does not count them."""
    try:
        return int(gradient._version)  # noqa: SLF001 - no public name
    except RuntimeError:
        return -1


def _is_left(gradient: Any) -> bool:
    """Return whether a changed gradient holds more than zeros; True where reading it would wait for a device."""
    is_readable = type(gradient).__name__ == "Tensor" and gradient.is_cpu and not gradient.is_sparse
    return not is_readable or bool(gradient.any())
