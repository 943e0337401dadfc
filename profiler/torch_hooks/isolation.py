"""Schedulers whose copy may step on another thread while the training runs.

They consist of numbers of their own and of pure functions. What cannot be shown to be pure counts as not isolated.
"""

import dis
import functools
import inspect
import sys
import types
from collections.abc import Iterable
from typing import Any

from profiler.torch_hooks.scheduler_copy import StubOptimizer, is_plain_callable

_MODULES = ("math", "cmath", "numpy")
_BUILTINS = (
    *(
        abs,
        all,
        any,
        bool,
        divmod,
        enumerate,
        float,
        int,
        len,
        list,
        max,
        min,
        pow,
        range,
        round,
        sum,
        tuple,
        zip,
    ),
)
_TRUSTED = ("torch.optim.", f"{__package__}.", "math", "cmath")
"""Modules whose functions use their arguments only, and the hooks, which ignore copies."""
_EFFECTS = frozenset(
    (
        *("append", "add", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "reverse"),
        *("setdefault", "sort", "update", "random", "seed"),
    )
)
"""Names of methods and modules in a function that may change data or draw random numbers."""
_WRITES = (
    "STORE_GLOBAL",
    "STORE_DEREF",
    "STORE_ATTR",
    "STORE_SUBSCR",
    "DELETE_",
    "IMPORT_",
    "YIELD_",
    "SEND",
)
"""Instructions of a function that change data of others, or that suspend it."""
_UNUSED_METHODS = ("__init__", "state_dict", "load_state_dict")


def is_isolated(value: Any, seen: set[int] | None = None) -> bool:
    """Return whether stepping a scheduler's copy neither changes nor reads anything beside it that can change.

    Args:
        value: The copy, or a part of it.
        seen: Parts that have been or are being examined.
    """
    seen = set() if seen is None else seen
    if id(value) in seen:
        return True
    seen.add(id(value))
    parts = _parts(value)
    return parts is not None and all(is_isolated(part, seen) for part in parts)


def _parts(value: Any) -> Iterable[Any] | None:
    """Return the objects that a value is made of and uses; None where it is not known to be pure."""
    if value is None or isinstance(value, bool | int | float | str):
        return ()
    if isinstance(value, types.BuiltinFunctionType | type | types.ModuleType):
        return () if _is_pure_name(value) else None
    if isinstance(value, StubOptimizer):
        return value.param_groups
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple | set) else _parts_of_callable(value)


def _is_pure_name(value: Any) -> bool:
    if isinstance(value, types.ModuleType):
        return value.__name__ in _MODULES
    return value in _BUILTINS or str(value.__module__).startswith(_TRUSTED)


def _parts_of_callable(value: Any) -> Iterable[Any] | None:
    if isinstance(value, types.FunctionType):
        return _parts_of_function(value)
    if isinstance(value, functools.partial):
        return (value.func, *value.args, *value.keywords.values())
    if isinstance(value, types.MethodType):
        return (value.__func__, value.__self__)
    is_scheduler = isinstance(value, sys.modules["torch.optim.lr_scheduler"].LRScheduler)
    if not (is_scheduler or is_plain_callable(value)):
        return None
    methods = (
        part
        for kind in type(value).__mro__
        if kind is not object
        for name, part in vars(kind).items()
        if isinstance(part, types.FunctionType) and name not in _UNUSED_METHODS
    )
    return (*methods, *vars(value).values())


def _parts_of_function(function: types.FunctionType) -> Iterable[Any] | None:
    if str(function.__module__).startswith(_TRUSTED):
        return ()
    codes = [function.__code__]
    for code in codes:
        codes += [one for one in code.co_consts if isinstance(one, types.CodeType)]
        writes = any(one.opname.startswith(_WRITES) for one in dis.get_instructions(code))
        if writes or not _EFFECTS.isdisjoint(code.co_names):
            return None
    used = inspect.getclosurevars(function)
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    return (*used.nonlocals.values(), *used.globals.values(), *used.builtins.values(), *defaults)
