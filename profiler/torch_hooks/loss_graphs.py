"""Parameters that losses depend on, from their graphs: optimizers of one step may have losses of their own."""

from collections.abc import Iterable
from typing import Any

_MAX_NODES = 10_000
"""Limit of the search for parameters in a graph, which takes some milliseconds."""
_MAX_PASSES = 16
_MAX_REQUESTS = 64
"""Limit per recording; a loop may make new optimizers in every step."""


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
    """Parameters that a thread's backward passes reach between two updates.

    In a GAN, the backward pass of the discriminator's loss does not reach the generator, while those of micro-batches
    reach the same optimizers. Searching a graph takes too long for every step, so passes are collected on request.

    Attributes:
        is_collecting: True while the next pass is collected.
        step: Number of the step that the collected passes belong to; None until its first update.
    """

    __slots__ = ("_passes", "_requests", "is_collecting", "step")

    def __init__(self) -> None:
        self._passes: list[set[int]] = []
        self._requests = _MAX_REQUESTS
        self.step: int | None = None
        self.is_collecting = True

    def request(self) -> bool:
        """Collect the passes until the next update; return False if there have been too many requests."""
        if self._requests == 0:
            return False
        self._requests -= 1
        self._passes.clear()
        self.is_collecting, self.step = True, None
        return True

    def add(self, leaves: Iterable[Any], *, are_all: bool) -> None:
        """Add a backward pass; one whose leaves are not all known ends the comparison."""
        if not are_all:
            self._passes.clear()
        else:
            self._passes.append({id(leaf) for leaf in leaves})
        self.is_collecting = are_all and len(self._passes) < _MAX_PASSES

    def finish(self, step: int) -> None:
        """End collecting at the first update of the step of that number."""
        self.is_collecting, self.step = False, step

    def are_known(self, step: int) -> bool:
        """Return whether passes of the step of that number, or of one without an update yet, were collected."""
        return self.step in {None, step} and bool(self._passes)

    def are_separate(self, one: Any, other: Any) -> bool:
        """Return whether a pass reached parameters of only one of two optimizers, each of which some pass reached."""
        first, second = self._reached(_parameters(one)), self._reached(_parameters(other))
        return any(first) and any(second) and first != second

    def reach_beyond(self, one: Any, other: Any) -> bool:
        """Return whether a pass reached both optimizers, and the other at a parameter that is not the first's too."""
        own = _parameters(one)
        further = _parameters(other) - own
        return any(map(all, zip(self._reached(own), self._reached(further), strict=True)))

    def _reached(self, parameters: set[int]) -> list[bool]:
        return [not parameters.isdisjoint(leaves) for leaves in self._passes]


def _parameters(optimizer: Any) -> set[int]:
    return {id(p) for group in optimizer.param_groups for p in group["params"]}
