"""User callback on the training thread, between two steps."""

import threading
from collections.abc import Callable
from contextlib import suppress

from profiler.recording.warning_log import WarningLog
from profiler.torch_hooks.events import StepEvent
from profiler.torch_hooks.manager import HookManager


class StepCallback:
    """Runs a requested action once, at the end of the next step or of the run. Costs nothing per step until then.

    Exceptions of the action become warnings, except ``SystemExit`` and other exits, which propagate out of the step.
    At the end of the run ``SystemExit`` is suppressed: there is no loop left to end.
    """

    def __init__(self, hooks: HookManager, warnings: WarningLog) -> None:
        self._hooks = hooks
        self._warnings = warnings
        self._action: Callable[[], object] | None = None
        self._sink = self._on_event
        self._lock = threading.Lock()
        self._is_closed = False

    def schedule(self, action: Callable[[], object]) -> None:
        """Run ``action`` when the next step ends; do nothing after the run has ended. Thread-safe."""
        with self._lock:
            if not self._is_closed:
                self._action = action
                self._hooks.join(self._sink)

    def close(self) -> None:
        """Run the action that no step was left for, and accept no more."""
        with self._lock:
            self._is_closed = True
        with suppress(SystemExit):
            self._on_event()

    def _on_event(self, _event: StepEvent | None = None) -> None:
        self._hooks.detach(self._sink)
        action, self._action = self._action, None
        if action is None:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001 - becomes a warning, and the training goes on
            self._warnings.warn(f"on_budget failed ({type(error).__name__}: {error}); training continues")
