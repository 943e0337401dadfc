"""Calls into the user's code on the training thread, between two steps."""

import threading
from collections.abc import Callable
from contextlib import suppress

from profiler.recording.warning_log import WarningLog
from profiler.torch_hooks.events import RepeatedUpdate, StepEvent
from profiler.torch_hooks.manager import HookManager


class StepCallback:
    """Runs requested actions once, at the end of the next step or of the run. Costs nothing per step until then.

    Exceptions of an action become warnings, except ``SystemExit`` and other exits, which propagate out of the step.
    At the end of the run ``SystemExit`` is suppressed: there is no loop left to end.
    """

    def __init__(self, hooks: HookManager, warnings: WarningLog) -> None:
        self._hooks = hooks
        self._warnings = warnings
        self._actions: dict[str, Callable[[], object]] = {}
        self._sink = self._on_event
        self._lock = threading.Lock()
        self._is_closed = False

    def schedule(self, name: str, action: Callable[[], object]) -> None:
        """Run ``action`` when the next step ends; do nothing after the run has ended. Thread-safe.

        Args:
            name: Keyword of the user that requested it, for warnings. An action of the same name is replaced.
            action: Called on the training thread.
        """
        with self._lock:
            if self._is_closed:
                return
            if not self._actions:
                self._hooks.join(self._sink)
            self._actions[name] = action

    def leave(self) -> None:
        """Run no more actions when a step ends; those that are left run in :meth:`close`."""
        self._hooks.leave(self._sink)

    def close(self) -> None:
        """Run the actions that no step was left for, and accept no more."""
        with self._lock:
            self._is_closed = True
        with suppress(SystemExit):
            self._on_event()

    def _on_event(self, _event: StepEvent | RepeatedUpdate | None = None) -> None:
        with self._lock:
            self._hooks.leave(self._sink)
            actions, self._actions = self._actions, {}
        for name, action in actions.items():
            try:
                action()
            except Exception as error:  # noqa: BLE001 - becomes a warning, and the training continues
                self._warnings.warn(f"{name} failed ({type(error).__name__}: {error}); training continues")
