"""Acting at the moment a module is imported, without importing it: the training decides when torch is loaded.

What a script sets before it imports torch (``OMP_NUM_THREADS``, ``CUDA_VISIBLE_DEVICES``) counts only until then.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class LateModule:
    """Stands for a module that may be imported later; until then it has no attributes."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(sys.modules.get(self._name, object), attribute)
        setattr(self, attribute, value)
        return value


def when_imported(name: str, action: Callable[[], None]) -> Callable[[], None]:
    """Call ``action`` once, as soon as the module ``name`` is imported; now, where it is already.

    Args:
        name: A top-level module.
        action: Must not raise: it runs inside somebody's ``import`` statement.

    Returns:
        What takes the wish back.
    """
    if name in sys.modules:
        action()
        return lambda: None
    watch = _Watch(name, action)
    sys.meta_path.insert(0, watch)
    return watch.end


class _Watch(MetaPathFinder):
    """Lets the other finders find the module, and follows its loader."""

    def __init__(self, name: str, action: Callable[[], None]) -> None:
        self._name = name
        self._action = action
        self._is_searching = False
        self._has_acted = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target  # what is watched is a top-level module
        if fullname != self._name or self._is_searching:
            return None
        self._is_searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._is_searching = False
        with suppress(AttributeError, TypeError):  # a loader that cannot be followed must still load
            self._follow(spec.loader if spec else None)
        return spec

    def _follow(self, loader: Any) -> None:
        if loader is None or isinstance(loader, type):
            return
        load = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            with suppress(
                AttributeError
            ):  # several specs may share one loader, and the first import is the one
                del loader.exec_module
            load(module)
            if not self._has_acted:
                self._has_acted = True
                self.end()
                self._action()

        loader.exec_module = exec_module

    def end(self) -> None:
        """Stop watching. Safe to call twice."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
