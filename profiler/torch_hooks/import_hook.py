"""Action at the import of a module, which is itself not imported: the training decides when torch is loaded.

Settings such as ``OMP_NUM_THREADS`` and ``CUDA_VISIBLE_DEVICES`` take effect only until torch is imported.
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
    """Proxy of a module that may be imported later; it has no attributes until then."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(sys.modules.get(self._name, object), attribute)
        setattr(self, attribute, value)
        return value


def when_imported(name: str, action: Callable[[], None]) -> Callable[[], None]:
    """Call ``action`` once, when the module ``name`` is imported; immediately if it already is.

    Args:
        name: A top-level module.
        action: Must not raise: it runs inside the ``import`` statement.

    Returns:
        A function that cancels the request.
    """
    if sys.modules.get(name) is not None:
        action()
        return lambda: None
    watch = _ImportWatch(name, action)
    sys.meta_path.insert(0, watch)
    return watch.cancel


class _ImportWatch(MetaPathFinder):
    """Finder that delegates to the other finders and wraps the loader of one module."""

    def __init__(self, name: str, action: Callable[[], None]) -> None:
        self._name = name
        self._action = action
        self._is_searching = False
        self._has_acted = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target  # the watched module is a top-level one
        if fullname != self._name or self._is_searching:
            return None
        self._is_searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._is_searching = False
        with suppress(AttributeError, TypeError):  # a loader that cannot be wrapped must still load
            self._wrap_loader(spec.loader if spec else None)
        return spec

    def _wrap_loader(self, loader: Any) -> None:
        if loader is None or isinstance(loader, type):
            return
        load = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            with suppress(AttributeError):  # several specs may share one loader; the first import counts
                del loader.exec_module
            load(module)
            if not self._has_acted:
                self._has_acted = True
                self.cancel()
                self._action()

        loader.exec_module = exec_module

    def cancel(self) -> None:
        """Stop watching. Safe to call twice."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
