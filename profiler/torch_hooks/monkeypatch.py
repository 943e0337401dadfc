"""Installing hooks, and removing them so that nothing is left."""

import functools
import sys
from collections.abc import Callable
from typing import Any

from profiler.torch_hooks.dynamo import untraced


class Patches:
    """Attributes of torch that were replaced, and hooks that were registered."""

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any, Any]] = []
        self._handles: list[Any] = []

    def replace(self, owner: Any, name: str, around: Callable[[Any], Any]) -> None:
        """Replace ``owner.name``, where it is the owner's and not inherited, by ``around(original)``."""
        original = owner.__dict__.get(name)
        if original is None:
            return
        ours = functools.update_wrapper(untraced(around(original)), original)
        setattr(owner, name, ours)
        self._replaced.append((owner, name, original, ours))

    def after_optimizer_steps(self, hook: Callable[[Any, Any, Any], None]) -> None:
        """Call ``hook(optimizer, args, kwargs)`` after every step of every optimizer."""
        register = sys.modules["torch.optim.optimizer"].register_optimizer_step_post_hook
        self._handles.append(register(untraced(hook)))

    def remove(self) -> None:
        """Undo everything. An attribute that somebody replaced after us stays theirs, and ours passes through."""
        for owner, name, original, ours in reversed(self._replaced):
            if owner.__dict__.get(name) is ours:
                setattr(owner, name, original)
        for handle in self._handles:
            handle.remove()
        self._replaced.clear()
        self._handles.clear()
