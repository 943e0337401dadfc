"""Replacement of torch's attributes by wrappers, and their removal."""

import functools
import sys
from collections.abc import Callable
from typing import Any


class Patches:
    """Replaced attributes and registered hooks of torch."""

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any, Any]] = []
        self._handles: list[Any] = []

    def replace(self, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        """Replace ``owner.name`` by ``wrap(original)`` if ``owner`` defines it itself."""
        original = owner.__dict__.get(name)
        if original is None:
            return
        wrapper = functools.update_wrapper(untraced(wrap(original)), original)
        setattr(owner, name, wrapper)
        self._replaced.append((owner, name, original, wrapper))

    def after_optimizer_steps(self, hook: Callable[[Any, Any, Any], None]) -> None:
        """Call ``hook(optimizer, args, kwargs)`` after every step of every optimizer."""
        register = sys.modules["torch.optim.optimizer"].register_optimizer_step_post_hook
        self._handles.append(register(untraced(hook)))

    def remove(self) -> None:
        """Undo everything. An attribute that other code replaced later is kept; the wrapper below it passes through."""
        for owner, name, original, wrapper in reversed(self._replaced):
            if owner.__dict__.get(name) is wrapper:
                setattr(owner, name, original)
        for handle in self._handles:
            handle.remove()
        self._replaced.clear()
        self._handles.clear()


def untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark ``function`` so that torch.compile neither traces nor compiles it, and return it.

    ``torch.compiler.disable`` would import the whole compiler, which takes longer than the start of many runs. The two
    marks that it leaves are set directly: an attribute that stops a trace at the call, and the execution strategy of
    the code object, which excludes the frame and the frames that it calls.
    """
    torch = sys.modules["torch"]
    try:
        frames = torch._C._dynamo.eval_frame  # noqa: SLF001 - the public API imports the compiler
        skip = frames._FrameAction.SKIP  # noqa: SLF001
        frames.set_code_exec_strategy(function.__code__, frames._FrameExecStrategy(skip, skip))  # noqa: SLF001
    except AttributeError:
        disabled: Callable[..., Any] = torch.compiler.disable(function)
        return disabled
    function._torchdynamo_disable = True  # type: ignore[attr-defined] # noqa: SLF001
    function._torchdynamo_disable_msg = "energy profiler hook"  # type: ignore[attr-defined] # noqa: SLF001
    return function
