"""Keeping torch.compile from tracing a hook.

``torch.compiler.disable`` does this, but it imports the whole compiler, which takes longer than many a run's start.
The two marks it leaves are set directly: an attribute that stops a trace at the call, and the code object's
execution strategy, which leaves the frame and what it calls alone.
"""

import sys
from collections.abc import Callable
from typing import Any


def untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark ``function`` so that torch.compile neither traces nor compiles it, and return it."""
    torch = sys.modules["torch"]
    try:
        frames = torch._C._dynamo.eval_frame  # noqa: SLF001 - no public door that does not import the compiler
        skip = frames._FrameAction.SKIP  # noqa: SLF001
        frames.set_code_exec_strategy(function.__code__, frames._FrameExecStrategy(skip, skip))  # noqa: SLF001
    except AttributeError:
        disabled: Callable[..., Any] = torch.compiler.disable(function)
        return disabled
    function._torchdynamo_disable = True  # type: ignore[attr-defined] # noqa: SLF001
    function._torchdynamo_disable_msg = "energy profiler hook"  # type: ignore[attr-defined] # noqa: SLF001
    return function
