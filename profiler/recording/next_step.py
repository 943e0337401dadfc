"""Something of the user's to do on the training thread, between two steps."""

from collections.abc import Callable

from profiler.hooks.dispatcher import Dispatcher


class NextStep:
    """Calls what was asked for once: at the end of the next step, or of the run. Until then it costs a step nothing.

    Args:
        hooks: The process's hooks.
        notice: Says a fault of what was called; it is not raised into the loop.
    """

    def __init__(self, hooks: Dispatcher, notice: Callable[[str], None]) -> None:
        self._hooks = hooks
        self._notice = notice
        self._action: Callable[[], object] | None = None
        self._sink = self._arrived

    def call(self, action: Callable[[], object]) -> None:
        """Call ``action`` when the next step ends."""
        self._action = action
        if self._hooks.failure is None:
            self._hooks.attach(self._sink)

    def close(self) -> None:
        """The run has ended: call now what no step came for."""
        self._arrived()

    def _arrived(self, _event: tuple[object, ...] = ()) -> None:
        self._hooks.detach(self._sink)
        action, self._action = self._action, None
        if action is None:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001 - said, and the training goes on
            self._notice(f"on_budget failed ({type(error).__name__}: {error}); training goes on")
