"""Copies of schedulers that step without an optimizer, so that a schedule can be seen to its end."""

import copy
import functools
import sys
import types
from typing import Any

_SHARED = (type, types.FunctionType, types.MethodType, functools.partial)


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

    Plain data and objects to be called are copied. All else is shared, as functions are and a model must be.
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
    if isinstance(value, dict):
        same = copy.copy(value)
        for key, part in value.items():
            same[key] = _copied(part, known)
        return same
    if type(value) in {list, tuple, set}:
        return type(value)(_copied(part, known) for part in value)
    is_object = callable(value) and hasattr(value, "__dict__") and not isinstance(value, _SHARED)
    return copy.copy(value) if is_object else value
