"""Data loading and evaluation: a wrapper around the step of a ``DataLoader``'s iterator.

Evaluation is a pass over batches in which nothing is trained. It is known at once by gradients being off while a batch
is loaded; while it goes on, by many more batches in a row without a backward pass than training has ever needed; and
otherwise when something else is loaded after it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from profiler.torch_hooks import cuda_events
from profiler.torch_hooks.events import Kind

if TYPE_CHECKING:
    from profiler.torch_hooks.manager import Dispatcher
    from profiler.torch_hooks.step_detector import Loop

_EVALUATE, _TRAIN = int(Kind.EVALUATE), int(Kind.TRAIN)


def around_next(hooks: "Dispatcher") -> Callable[[Any], Callable[..., Any]]:
    """Make the wrapper around ``_BaseDataLoaderIter.__next__``."""
    now = hooks.now

    def wrap(original: Any) -> Callable[..., Any]:
        def following(iterator: Any) -> Any:
            loop = None if hooks.emit is None else hooks.loop()
            if loop is None or loop.batches.is_loading:
                return original(iterator)
            batches, is_over = loop.batches, False
            batches.is_loading = True
            began = now()
            try:
                return original(iterator)
            except StopIteration:
                is_over = True
                raise
            finally:
                batches.is_loading = False
                batches.take(hooks, loop, iterator, began, now(), is_over=is_over)

        return following

    return wrap


class Batches:
    """What one thread has loaded since it last trained on something.

    Attributes:
        is_loading: Whether a batch is being loaded: a data set may use a loader of its own.
        is_evaluating: Whether an evaluation was announced that has not ended.
    """

    __slots__ = (
        "_count",
        "_has_trained",
        "_iterator",
        "_most",
        "_since_ns",
        "_untrained",
        "is_evaluating",
        "is_loading",
    )

    def __init__(self) -> None:
        self.is_loading = self.is_evaluating = self._has_trained = False
        self._iterator = 0
        self._count = 0
        self._most = 1
        self._since_ns = 0
        self._untrained: tuple[int, int] | None = None

    def take(
        self, hooks: "Dispatcher", loop: "Loop", iterator: Any, began: int, ended: int, *, is_over: bool
    ) -> None:
        """Take note of one batch, or of the end of a pass. Never raises."""
        try:
            self._follow(hooks, loop, id(iterator), began)
            self._count += not is_over
            cuda_events.ask(hooks, loop)
            loop.data_ns += ended - began
            loop.ready_ns = ended
            self._judge(hooks, loop, ended, is_over=is_over)
        except Exception as error:  # noqa: BLE001 - the training goes on, whatever failed here
            hooks.fail(error)

    def _follow(self, hooks: "Dispatcher", loop: "Loop", iterator: int, began: int) -> None:
        """Begin to count anew after something was trained, and where another pass begins."""
        has_trained = loop.pending is not None or loop.data_ns == 0
        if has_trained:
            self._most = max(self._most, self._count)
            self._untrained = None
        self.settle(hooks, loop)
        if has_trained or iterator != self._iterator:
            self.end(hooks, loop, began)
            self._has_trained = has_trained and iterator == self._iterator
            self._iterator, self._count, self._since_ns = iterator, 0, began

    def _judge(self, hooks: "Dispatcher", loop: "Loop", ended: int, *, is_over: bool) -> None:
        is_between = bool(loop.keys) and loop.pending is None
        is_untrained = self._count > 2 * self._most or not hooks.gradients_are_on()
        if is_between and is_untrained and not self.is_evaluating:
            self.is_evaluating = True
            loop.key = 0  # the next update takes the long path, and ends this
            self._send(hooks, _EVALUATE, self._since_ns)
        if not is_over:
            return
        if is_between and self._count and not self.is_evaluating and not self._has_trained:
            self._untrained = self._since_ns, ended
        self.end(hooks, loop, ended)
        self._iterator = 0

    def settle(self, hooks: "Dispatcher", loop: "Loop") -> None:
        """Take a finished pass, after which nothing was trained either, as the evaluation that it was."""
        if self._untrained is not None:
            (start, end), self._untrained = self._untrained, None
            self._send(hooks, _EVALUATE, start)
            self._send(hooks, _TRAIN, end)
            loop.data_ns = 0

    def end(self, hooks: "Dispatcher", loop: "Loop", time_ns: int) -> None:
        """End the evaluation that was announced, if one was: what was loaded for it is no part of a step."""
        if self.is_evaluating:
            self.is_evaluating = False
            self._send(hooks, _TRAIN, time_ns)
            loop.data_ns = 0

    @staticmethod
    def _send(hooks: "Dispatcher", kind: int, time_ns: int) -> None:
        if hooks.emit is not None:
            hooks.emit((kind, time_ns, None, (), 0, 0, 0, 0, None, None))
