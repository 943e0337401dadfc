"""Parameters that losses depend on, from their graphs: optimizers of one step may have losses of their own."""

from collections.abc import Iterable
from typing import Any

_MAX_NODES = 10_000
"""Limit of the search for parameters in a graph, which takes some milliseconds."""
_MAX_PASSES = 16


def leaves_of(tensors: Any, inputs: Any = None) -> tuple[list[Any], bool]:
    """Return the leaves that a backward pass gives gradients, and whether these are all of them.

    Args:
        tensors: The tensor that is differentiated, or a sequence of them, of which the first is examined.
        inputs: The ``inputs`` of the pass, which restrict it to these leaves.
    """
    if inputs is not None:
        return (list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]), True
    loss = tensors[0] if isinstance(tensors, (list, tuple)) and tensors else tensors
    nodes, seen = [getattr(loss, "grad_fn", None)], set[Any]()
    for node in nodes:
        if node is not None and node not in seen and len(seen) < _MAX_NODES:
            seen.add(node)
            nodes += [following for following, _ in node.next_functions]
    leaves = (getattr(node, "variable", None) for node in seen)
    return [leaf for leaf in leaves if leaf is not None], len(seen) < _MAX_NODES


class LossGraphs:
    """Leaves of the backward passes before the first update of a thread.

    In a GAN, the pass of the discriminator's loss does not reach the generator, while passes of micro-batches reach
    the same optimizers.

    Attributes:
        is_full: Whether further passes are ignored.
    """

    __slots__ = ("_passes", "is_full")

    def __init__(self) -> None:
        self._passes: list[set[int]] = []
        self.is_full = False

    def add(self, leaves: Iterable[Any], *, are_all: bool) -> None:
        """Add a backward pass; one whose leaves are not all known ends the comparison."""
        if not are_all:
            self._passes.clear()
        elif not self.is_full:
            self._passes.append({id(leaf) for leaf in leaves})
        self.is_full = self.is_full or not are_all or len(self._passes) == _MAX_PASSES

    def are_separate(self, one: Any, other: Any) -> bool:
        """Return whether a pass reached parameters of only one of two optimizers, each of which some pass reached."""
        first, second = self._reached(one), self._reached(other)
        return any(first) and any(second) and first != second

    def _reached(self, optimizer: Any) -> list[bool]:
        parameters = {id(p) for group in optimizer.param_groups for p in group["params"]}
        return [not parameters.isdisjoint(leaves) for leaves in self._passes]
