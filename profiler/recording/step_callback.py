"""Something of the user's to do on the training thread, between two steps."""

import threading
from collections.abc import Callable
from contextlib import suppress

from profiler.torch_hooks.events import StepEvent
from profiler.torch_hooks.manager import HookManager


class NextStep:
    """Calls what was asked for once: at the end of the next step, or of the run. Until then it costs a step nothing.

    What it raises is said and not raised into the loop, but for ``SystemExit`` and the like, which end a training and
    come out of its step. At the end of the run there is nothing left to be ended.

    Args:
        hooks: The process's hooks.
        notice: Says a fault of what was called.
    """

    def __init__(self, hooks: HookManager, notice: Callable[[str], None]) -> None:
        self._hooks = hooks
        self._notice = notice
        self._action: Callable[[], object] | None = None
        self._sink = self._arrived
        self._lock = threading.Lock()
        self._is_over = False

    def call(self, action: Callable[[], object]) -> None:
        """Call ``action`` when the next step ends; never, where the run has ended meanwhile. On any thread."""
        with self._lock:
            if not self._is_over:
                self._action = action
                self._hooks.join(self._sink)

    def close(self) -> None:
        """The run has ended: call now what no step came for."""
        with self._lock:
            self._is_over = True
        with suppress(SystemExit):
            self._arrived()

    def _arrived(self, _event: StepEvent | None = None) -> None:
        self._hooks.detach(self._sink)
        action, self._action = self._action, None
        if action is None:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001 - said, and the training goes on
            self._notice(f"on_budget failed ({type(error).__name__}: {error}); training goes on")
