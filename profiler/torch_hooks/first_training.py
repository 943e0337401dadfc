"""Hooks that wait for the first training of a process that is not recorded."""

import sys
from collections.abc import Callable
from typing import Any

from profiler.torch_hooks.monkeypatch import Patches


class FirstTraining:
    """Calls functions at the first root backward pass and at the first optimizer update of this process.

    A process that never trains, such as the worker of a data loader, is not affected.

    Args:
        on_backward: Called before the first backward pass, which then runs with the hooks that it has installed.
        on_update: Called after the first update.
    """

    def __init__(
        self, *, on_update: Callable[[], None], on_backward: Callable[[], None] | None = None
    ) -> None:
        self._on_update: Callable[[], None] | None = on_update
        self._on_backward = on_backward
        self._backward = Patches()
        self._updates = Patches()

    def install(self) -> None:
        """Install the hooks; torch must be imported."""
        self._updates.after_optimizer_steps(lambda *_: self._after_update())
        if self._on_backward is not None:
            self._backward.replace(sys.modules["torch.autograd"], "backward", self._around_backward)

    def remove(self) -> None:
        """Remove the hooks. Not from inside an update: torch iterates over its hooks then."""
        self._backward.remove()
        self._updates.remove()

    def _after_update(self) -> None:
        action, self._on_update = self._on_update, None
        if action is not None:
            action()

    def _around_backward(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def backward(*args: Any, **kwargs: Any) -> Any:
            action, self._on_backward = self._on_backward, None
            if action is None:
                return original(*args, **kwargs)
            self._backward.remove()
            action()
            return sys.modules["torch.autograd"].backward(*args, **kwargs)

        return backward
