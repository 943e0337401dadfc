"""Separate trainings of a process, such as the folds of a cross-validation, by the parameters that they update.

T1  An optimizer that shares a parameter with a known one belongs to the same training.
T2  One that shares none starts a new training if all optimizers of the present one are gone.
T3  Otherwise it may be a partner, as in a GAN: it starts a new training, with the other new ones, only if its next
    update opens a step before any known optimizer is updated, and its loss does not reach the parameters of those.

Parameters that are added to a known optimizer are not examined. The index of a thread's training never decreases: an
optimizer of an earlier training that is updated again takes part in the present one.
"""

import sys
import threading
import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

_CONVOLUTION = 4
"""Fewest dimensions of the weights of a convolution over images or spectrograms."""
_LEAST_CONVOLVED = 0.002
"""Least share of such weights: a vision transformer has 0.3 to 0.7 %, a language model that reads images far less."""
_ENDED = -1
"""Key of the largest size among the trainings whose optimizers are gone."""


class _Known(NamedTuple):
    """A parameter, its training, and the elements that it adds to it; 0 while it only took part in the loss."""

    parameter: weakref.ref[Any]
    training: int
    size: int | None = 0


class Trainings:
    """Trainings of all threads.

    Attributes:
        is_convolutional: True if a relevant share of the trained weights are those of convolutions over images or
            spectrograms.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Start a new recording."""
        self.is_convolutional = False
        self._count = 0
        self._parameters: dict[int, _Known] = {}
        self._optimizers: dict[int, list[weakref.ref[Any]]] = {}
        self._sizes: dict[int, int | None] = {}

    @property
    def parameter_count(self) -> int | None:
        """Number of trained parameters of the largest training; None if unknown, as for sharded ones."""
        sizes = tuple(self._sizes.values())
        return max((size or 0 for size in sizes), default=None) if None not in sizes else None

    def classify(self, optimizer: Any, present: int | None) -> int | None:
        """Return the training of a new optimizer, or None while it may be a partner (T3).

        Args:
            optimizer: The optimizer.
            present: Training of its thread; None before the first.
        """
        with self._lock:
            shared = [index for p in _parameters(optimizer) if (index := self._training_of(p)) is not None]
            if shared:
                index = max(*shared, -1 if present is None else present)
            elif present is None or all(one() is None for one in self._optimizers.get(present, ())):
                index = self._new()
            else:
                return None
            self._assign(optimizer, index)
            return index

    def start(self, optimizer: Any) -> int:
        """Return the index of a new training for an optimizer that turned out to have no partner."""
        with self._lock:
            index = self._new()
            self._assign(optimizer, index)
            return index

    def add_partner(self, optimizer: Any, index: int) -> None:
        """Assign an optimizer to a training because it takes turns with others."""
        with self._lock:
            self._assign(optimizer, index)

    def add_parameters(self, parameters: Iterable[Any], index: int) -> None:
        """Assign parameters to a training because they took part in its loss."""
        with self._lock:
            for parameter in parameters:
                if self._training_of(parameter) != index:
                    self._parameters[id(parameter)] = _Known(weakref.ref(parameter), index)

    def knows(self, parameter: Any) -> bool:
        """Return whether a parameter belongs to a training."""
        return self._training_of(parameter) is not None

    def _new(self) -> int:
        self._forget_ended()
        self._count += 1
        return self._count - 1

    def _forget_ended(self) -> None:
        """Drop what is gone, because a program may train a new model in each of many steps, as in Reptile."""
        self._parameters = {key: one for key, one in self._parameters.items() if one.parameter() is not None}
        self._optimizers = {
            index: ones for index, ones in self._optimizers.items() if any(one() is not None for one in ones)
        }
        ended = [size for index, size in self._sizes.items() if index not in self._optimizers]
        sizes = {index: size for index, size in self._sizes.items() if index in self._optimizers}
        known = [size for size in ended if size is not None]
        if ended:
            sizes[_ENDED] = max(known) if len(known) == len(ended) else None
        self._sizes = sizes

    def _assign(self, optimizer: Any, index: int) -> None:
        existing = [one for one in self._optimizers.get(index, ()) if one() is not None]
        self._optimizers[index] = [*existing, weakref.ref(optimizer)]
        for parameter in _parameters(optimizer):
            self._parameters[id(parameter)] = _Known(weakref.ref(parameter), index, _size(parameter))
        self.is_convolutional = self.is_convolutional or _is_convolutional(optimizer)
        # The largest number at any one time: a partner that is made anew in each step is not added each time.
        largest, present = self._sizes.get(index, 0), self._present_size(index)
        self._sizes[index] = None if largest is None or present is None else max(largest, present)

    def _present_size(self, index: int) -> int | None:
        members = (one for one in self._parameters.values() if one.training == index)
        sizes = [one.size for one in members if one.parameter() is not None]
        return None if None in sizes else sum(size or 0 for size in sizes)

    def _training_of(self, parameter: Any) -> int | None:
        found = self._parameters.get(id(parameter))
        return (
            found.training if found is not None and found.parameter() is parameter else None
        )  # ids are reused


def _size(parameter: Any) -> int | None:
    """Return the number of elements of a parameter; None for a part of sharded parameters (FSDP, ZeRO)."""
    name = type(parameter).__name__
    is_whole = name != "FlatParameter" and isinstance(parameter, sys.modules["torch"].nn.Parameter)
    try:
        return int(parameter.numel()) if is_whole else None
    except Exception:  # noqa: BLE001 - a lazy parameter has no shape yet; other types may raise anything
        return None


def _is_convolutional(optimizer: Any) -> bool:
    """Return whether enough of the trained elements are weights of convolutions over images or spectrograms."""
    convolved = total = 0
    for parameter in _parameters(optimizer):
        try:
            elements = int(parameter.numel()) if parameter.requires_grad else 0
            convolved += elements if parameter.dim() >= _CONVOLUTION else 0
        except Exception:  # noqa: BLE001, S112 - a lazy parameter has no shape yet; other types may raise anything
            continue
        total += elements
    return convolved > _LEAST_CONVOLVED * total


def _parameters(optimizer: Any) -> Iterable[Any]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])
