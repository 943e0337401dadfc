"""Detection of reinforcement learning: environments that are stepped between the updates of a training.

A program that only imports such a library, or that collects a fixed data set before it trains, is none of it.
"""

import functools
import operator
import sys
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

_BASES = (
    ("stable_baselines3", "stable_baselines3.common.vec_env.base_vec_env", "VecEnv"),
    ("gymnasium", "gymnasium.core", "Env"),
    ("gymnasium", "gymnasium.vector.vector_env", "VectorEnv"),
)
"""Library, module and class that its environments derive from."""
_METHODS = ("step", "step_async")


class EnvironmentWatch:
    """Waits for the first step of an environment after the first update. Costs nothing before and after it.

    Attributes:
        libraries: Imported libraries of reinforcement learning if such a step was made; else empty.
    """

    __slots__ = ("_watched", "libraries")

    def __init__(self) -> None:
        self._watched: dict[tuple[type[Any], str], _WatchedMethod] = {}
        self.libraries: tuple[str, ...] = ()

    def reset(self) -> None:
        """Start a new recording."""
        self.remove()
        self.libraries = ()

    def start(self) -> None:
        """Watch the methods of all environment classes that exist now, because an update was made.

        Raises:
            Exception: Anything that a class raised because it cannot be watched; the others are.
        """
        if self.libraries:
            return
        failure: Exception | None = None
        bases = [getattr(sys.modules.get(module), name, None) for _, module, name in _BASES]
        for base in bases:
            for cls in _with_subclasses(base) if isinstance(base, type) else ():
                try:
                    self._watch(cls)
                except Exception as error:  # noqa: BLE001 - a metaclass may raise anything
                    failure = error
        if failure is not None:
            raise failure

    def _watch(self, cls: type[Any]) -> None:
        for name in _METHODS:
            original = cls.__dict__.get(name)
            if isinstance(original, FunctionType) and (cls, name) not in self._watched:
                method = _WatchedMethod(original, self._on_step)
                setattr(cls, name, method)
                self._watched[cls, name] = method

    def _on_step(self) -> None:
        if self._watched:
            names = dict.fromkeys(library for library, module, _ in _BASES if module in sys.modules)
            self.libraries = tuple(names)
            self.remove()

    def remove(self) -> None:
        """Restore the methods. One that other code replaced later is kept; the wrapper below it passes through."""
        watched, self._watched = self._watched, {}
        for (cls, name), method in watched.items():
            if cls.__dict__.get(name) is method:
                setattr(cls, name, method.original)


class _WatchedMethod:
    """Method that reports its calls.

    A class of the main module may be pickled by value, to start environments in other processes; the pickle then holds
    the original method.
    """

    def __init__(self, original: FunctionType, report: Callable[[], None]) -> None:
        self.original, self._report = original, report
        functools.update_wrapper(self, original)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._report()
        return self.original(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return operator.itemgetter(0), ((self.original,),)


def _with_subclasses(cls: type[Any]) -> set[type[Any]]:
    found, waiting = {cls}, [cls]
    while waiting:
        for child in type.__subclasses__(waiting.pop()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found
