"""Detection of gradients that were discarded between two backward passes of a step, by a few probe parameters."""

import weakref
from collections.abc import Iterable
from typing import Any

_UNKNOWN = 0
"""Key of the probes that are used before the first optimizer is known."""
_MAX_NODES = 1_000
"""Limit of the search for parameters in a graph."""


class GradientProbes:
    """Probe parameters of each optimizer of one thread, held weakly."""

    def __init__(self) -> None:
        self._probes: dict[int, tuple[weakref.ref[Any], ...]] = {}
        self._versions: list[int] = []

    def watch_optimizer(self, key: int, optimizer: Any) -> None:
        """Use the first parameter with a gradient as the probe of the optimizer ``key``."""
        parameters = (p for group in optimizer.param_groups for p in group["params"])
        found = next((p for p in parameters if p.grad is not None), None)
        self._probes[key] = (weakref.ref(found),) if found is not None else ()

    def watch_graph(self, tensors: Any) -> None:
        """Use the parameters in the graph of a loss as probes until an optimizer is known."""
        loss = tensors[0] if isinstance(tensors, (list, tuple)) and tensors else tensors
        nodes, seen = [getattr(loss, "grad_fn", None)], set[Any]()
        for node in nodes:
            if node is not None and node not in seen and len(seen) < _MAX_NODES:
                seen.add(node)
                nodes += [following for following, _ in node.next_functions]
        leaves = [getattr(node, "variable", None) for node in seen]
        self._probes[_UNKNOWN] = tuple(weakref.ref(leaf) for leaf in leaves if leaf is not None)

    def remember(self, keys: Iterable[int]) -> None:
        """Remember the state of the gradients of some optimizers after a backward pass."""
        self._versions = [_version(probe.grad) for probe in self._of(keys) if probe.grad is not None]

    def were_discarded(self, keys: Iterable[int]) -> bool:
        """Return whether the remembered gradients of some optimizers are all gone: set to None or to zero.

        False where there was none to remember, as in sharded models.
        """
        gradients = [probe.grad for probe in self._of(keys)]
        left = [gradient for gradient in gradients if gradient is not None]
        are_untouched = [_version(gradient) for gradient in left] == self._versions
        are_gone = not left or not (are_untouched or any(map(_is_left, left)))
        return bool(gradients and self._versions) and are_gone

    def _of(self, keys: Iterable[int]) -> list[Any]:
        references = [one for key in keys or (_UNKNOWN,) for one in self._probes.get(key, ())]
        return [probe for reference in references if (probe := reference()) is not None]


def _version(gradient: Any) -> int:
    """Return the number of in-place changes; -1 for a tensor of inference mode, which does not count them."""
    return -1 if gradient.is_inference() else int(gradient._version)  # noqa: SLF001 - no public name


def _is_left(gradient: Any) -> bool:
    """Return whether a changed gradient holds more than zeros; True where reading it would wait for a device."""
    is_readable = type(gradient).__name__ == "Tensor" and gradient.is_cpu and not gradient.is_sparse
    return not is_readable or bool(gradient.any())
