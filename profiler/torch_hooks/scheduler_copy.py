"""Copies of schedulers that step without an optimizer, so that a schedule can be seen to its end."""

import copy
import functools
import inspect
import sys
import types
from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

_SHARED = (type, types.FunctionType, types.MethodType, functools.partial)
_COPYING = ("__copy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
_RANDOM = {"Random", "SystemRandom", "Generator", "RandomState"}
"""What generators of random numbers are called in Python, numpy and torch."""
_MOST_PARTS = 1_000
"""So many parts of each thing are looked at: tables of rates are long, and alike."""


class Stub:
    """Stands for the optimizer of a scheduler's copy: its groups without their parameters.

    Attributes:
        param_groups: What schedulers read and set.
        defaults: As the optimizer's.
    """

    def __init__(self, optimizer: Any) -> None:
        self.param_groups = [
            {name: value for name, value in group.items() if name != "params"} | {"params": []}
            for group in optimizer.param_groups
        ]
        self.defaults = dict(optimizer.defaults)
        self._opt_called = True
        self._step_count = 1

    def step(self) -> None:
        """Do nothing; the mark below keeps schedulers from warning that nothing was done."""

    step._wrapped_by_lr_sched = True  # type: ignore[attr-defined] # noqa: SLF001


def twin_of(scheduler: Any) -> Any:
    """Copy a scheduler, and those that it is made of, onto a stub of its optimizer.

    Plain data and plain objects to be called are copied. All else is shared, as functions are and whatever says itself
    how it is copied: to copy a model has effects.
    """
    optimizer = scheduler.optimizer
    return _copied(scheduler, {id(optimizer): Stub(optimizer)})


def is_twin(scheduler: Any) -> bool:
    """Whether a scheduler is such a copy."""
    return isinstance(scheduler.optimizer, Stub)


def rate_of(scheduler: Any) -> float | None:
    """The learning rate that a scheduler has set in the first group; None when it is no plain number."""
    rate = scheduler.optimizer.param_groups[0]["lr"]
    return float(rate) if isinstance(rate, float | int) else None


def _copied(value: Any, known: dict[int, Any]) -> Any:
    """Copy a value of a scheduler; ``known`` holds the copies made so far by the ids of their originals."""
    if id(value) in known:
        return known[id(value)]
    if isinstance(value, sys.modules["torch.optim.lr_scheduler"].LRScheduler):
        twin = known[id(value)] = object.__new__(type(value))
        twin.__dict__.update({name: _copied(part, known) for name, part in vars(value).items()})
        if "verbose" in twin.__dict__:
            twin.verbose = False
        return twin
    if isinstance(value, types.MethodType) and id(value.__self__) in known:
        return types.MethodType(value.__func__, known[id(value.__self__)])
    if isinstance(value, dict) or type(value) in {list, tuple, set}:
        return _filled(value, known)
    return copy.copy(value) if _is_plain_callable(value) else value


def _filled(value: Any, known: dict[int, Any]) -> Any:
    """Copy a container with all it holds, which may be itself."""
    if type(value) in {tuple, set}:
        return type(value)(_copied(part, known) for part in value)
    same = known[id(value)] = copy.copy(value)
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        same[key] = _copied(part, known)
    return same


def _is_plain_callable(value: Any) -> bool:
    """Whether it is an object to be called that is all in its attributes and says nothing of how it is copied."""
    kind = type(value)
    is_own = callable(value) and hasattr(value, "__dict__") and not isinstance(value, _SHARED)
    return is_own and all(getattr(kind, name, None) is getattr(object, name, None) for name in _COPYING)


def draws(value: Any, seen: set[int] | None = None) -> bool:
    """Whether what a scheduler calls can reach an iterator or a generator of random numbers, which to call moves on."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return False
    seen.add(id(value))
    is_drawn_from = hasattr(type(value), "__next__") or type(value).__name__ in _RANDOM
    return is_drawn_from or any(draws(part, seen) for part in islice(_parts(value), _MOST_PARTS))


def _parts(value: Any) -> Iterable[Any]:
    """What a value is made of, or uses when it is called."""
    if isinstance(value, types.FunctionType):
        used = inspect.getclosurevars(value)
        defaults = (value.__defaults__ or (), (value.__kwdefaults__ or {}).values())
        return chain(used.nonlocals.values(), used.globals.values(), *defaults)
    if isinstance(value, functools.partial):
        return (value.func, *value.args, *value.keywords.values())
    if isinstance(value, types.MethodType):
        return (value.__func__, *getattr(value.__self__, "__dict__", {}).values())
    if isinstance(value, dict):
        return value.values()
    if type(value) in {list, tuple, set}:
        return tuple(value)
    is_scheduler = isinstance(value, sys.modules["torch.optim.lr_scheduler"].LRScheduler)
    return tuple(vars(value).values()) if is_scheduler or _is_plain_callable(value) else ()
