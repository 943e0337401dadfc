"""Copies of schedulers that step without their optimizer."""

import copy
import functools
import inspect
import sys
import types
from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

from profiler.torch_hooks.rate_group import rate_group

_SHARED = (type, types.FunctionType, types.MethodType, functools.partial)
_COPY_METHODS = ("__copy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
_GENERATORS = {"Random", "SystemRandom", "Generator", "RandomState"}
"""Names of the random-number generators of Python, numpy and torch."""
_MAX_PARTS = 1_000
"""Limit of the search in each object: tables of rates are long and uniform."""


class StubOptimizer:
    """Optimizer of a scheduler's copy: the original's groups without their parameters.

    Attributes:
        param_groups: Options that schedulers read and set.
        defaults: The original's defaults.
        rate_group: Index of the group whose rate is recorded.
    """

    def __init__(self, optimizer: Any) -> None:
        self.param_groups = [
            {name: value for name, value in group.items() if name != "params"} | {"params": []}
            for group in optimizer.param_groups
        ]
        self.defaults = dict(optimizer.defaults)
        is_stub = isinstance(optimizer, StubOptimizer)  # which has no parameters to choose by
        self.rate_group: int = optimizer.rate_group if is_stub else rate_group(optimizer)
        self._opt_called = True
        self._step_count = 1

    def step(self) -> None:
        """Do nothing."""

    # Without this mark schedulers warn that the optimizer was not stepped.
    step._wrapped_by_lr_sched = True  # type: ignore[attr-defined] # noqa: SLF001


def copy_scheduler(scheduler: Any) -> Any:
    """Copy a scheduler and the schedulers that it is made of onto a stub of its optimizer.

    Plain data and plain callable objects are copied. Everything else is shared, such as functions and objects that
    define how they are copied: copying a model has effects.
    """
    optimizer = scheduler.optimizer
    return _copied(scheduler, {id(optimizer): StubOptimizer(optimizer)})


def is_copy(scheduler: Any) -> bool:
    """Return whether a scheduler is the result of :func:`copy_scheduler`."""
    return isinstance(scheduler.optimizer, StubOptimizer)


def current_rate(scheduler: Any, group: int) -> float | None:
    """Return the learning rate of a parameter group; None if it is not a plain number."""
    rate = scheduler.optimizer.param_groups[group]["lr"]
    return float(rate) if isinstance(rate, float | int) else None


def _copied(value: Any, copies: dict[int, Any]) -> Any:
    """Copy a value of a scheduler; ``copies`` maps the ids of originals to the copies made so far."""
    if id(value) in copies:
        return copies[id(value)]
    if isinstance(value, sys.modules["torch.optim.lr_scheduler"].LRScheduler):
        twin = copies[id(value)] = object.__new__(type(value))
        twin.__dict__.update({name: _copied(part, copies) for name, part in vars(value).items()})
        # The steps of a copy must not print.
        if "verbose" in twin.__dict__:
            twin.verbose = False
        return twin
    # A method that stays bound to the original would change the original.
    if isinstance(value, types.MethodType) and id(value.__self__) in copies:
        return types.MethodType(value.__func__, copies[id(value.__self__)])
    if isinstance(value, dict) or type(value) in {list, tuple, set}:
        return _copied_container(value, copies)
    return copy.copy(value) if is_plain_callable(value) else value


def _copied_container(value: Any, copies: dict[int, Any]) -> Any:
    """Copy a container with its contents; it may contain itself."""
    if type(value) in {tuple, set}:
        return type(value)(_copied(part, copies) for part in value)
    result = copies[id(value)] = copy.copy(value)
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        result[key] = _copied(part, copies)
    return result


def is_plain_callable(value: Any) -> bool:
    """Return whether a value is a callable object with attributes and without copy methods of its own."""
    kind = type(value)
    is_own = callable(value) and hasattr(value, "__dict__") and not isinstance(value, _SHARED)
    return is_own and all(getattr(kind, name, None) is getattr(object, name, None) for name in _COPY_METHODS)


def has_side_effects(value: Any, seen: set[int] | None = None) -> bool:
    """Return whether a scheduler can reach an iterator or a random-number generator, which a simulation advances."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return False
    seen.add(id(value))
    is_advanced = hasattr(type(value), "__next__") or type(value).__name__ in _GENERATORS
    return is_advanced or any(has_side_effects(part, seen) for part in islice(_parts(value), _MAX_PARTS))


def _parts(value: Any) -> Iterable[Any]:
    """Return the objects that a value is made of or uses when it is called."""
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
    return tuple(vars(value).values()) if is_scheduler or is_plain_callable(value) else ()
