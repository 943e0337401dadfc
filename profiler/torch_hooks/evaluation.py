"""Detection of evaluations from the batches that a thread loads.

An evaluation is a pass over batches without any training; forward passes without gradients (no_grad_regions.py) are
one too. A pass is detected at once if gradients are disabled while a batch is loaded; during the pass, if there are
many more consecutive batches without a backward pass than training has ever needed; and otherwise when something else
is loaded after it.
"""

from profiler.torch_hooks.events import Kind

_NONE: tuple["Change", ...] = ()
Change = tuple[Kind, int]
"""``Kind.EVALUATE`` or ``Kind.TRAIN`` with the monotonic time at which it takes effect, in nanoseconds."""


class EvaluationDetector:
    """Batches that one thread has loaded since it last trained."""

    __slots__ = (
        "_batches",
        "_finished_pass",
        "_follows_training",
        "_is_evaluating",
        "_is_region",
        "_iterator",
        "_most_batches",
        "_region_end_ns",
        "_since_ns",
    )

    def __init__(self) -> None:
        self._is_evaluating = self._follows_training = self._is_region = False
        self._region_end_ns = 0
        self._iterator = 0
        self._batches = 0
        self._most_batches = 1
        self._since_ns = 0
        self._finished_pass: tuple[int, int] | None = None

    @property
    def is_in_progress(self) -> bool:
        """True during an evaluation."""
        return self._is_evaluating

    def start_batch(self, iterator: int, began_ns: int, *, has_trained: bool) -> tuple[Change, ...]:
        """Account for the start of loading a batch, and return the changes that it reveals.

        Args:
            iterator: Identity of the loader's iterator.
            began_ns: Time at which loading began.
            has_trained: Whether something was trained since the previous batch.
        """
        if has_trained:
            self._most_batches = max(self._most_batches, self._batches)
            self._finished_pass = None
        changes = self.close_pass()
        if has_trained or iterator != self._iterator:
            changes += self.end(began_ns)
            self._follows_training = has_trained and iterator == self._iterator
            self._iterator, self._batches, self._since_ns = iterator, 0, began_ns
        return changes

    def finish_batch(
        self, ended_ns: int, *, is_last: bool, is_between_steps: bool, are_gradients_enabled: bool
    ) -> tuple[Change, ...]:
        """Account for a loaded batch, or for the end of a pass (``is_last``), and return the changes."""
        changes = _NONE
        self._batches += not is_last
        is_untrained = self._batches > 2 * self._most_batches or not are_gradients_enabled
        if is_between_steps and is_untrained and not self._is_evaluating:
            self._is_evaluating = True
            changes = ((Kind.EVALUATE, self._since_ns),)
        if not is_last:
            return changes
        if is_between_steps and self._batches and not self._is_evaluating and not self._follows_training:
            self._finished_pass = self._since_ns, ended_ns
        self._iterator = 0
        return changes + self.end(ended_ns)

    def close_pass(self) -> tuple[Change, ...]:
        """Return a finished pass that was not followed by training, as the evaluation that it was."""
        if self._finished_pass is None:
            return _NONE
        (start_ns, end_ns), self._finished_pass = self._finished_pass, None
        return (Kind.EVALUATE, start_ns), (Kind.TRAIN, end_ns)

    def end(self, time_ns: int) -> tuple[Change, ...]:
        """End an evaluation that is in progress."""
        if not self._is_evaluating:
            return _NONE
        end_ns = self._region_end_ns if self._is_region and self._region_end_ns else time_ns
        self._is_evaluating = self._is_region = False
        return ((Kind.TRAIN, min(end_ns, time_ns)),)

    def start_region(self, began_ns: int) -> tuple[Change, ...]:
        """Begin an evaluation at a forward pass without gradients; none may be in progress."""
        self._is_evaluating = self._is_region = True
        self._region_end_ns = 0
        return ((Kind.EVALUATE, began_ns),)

    def close_region(self) -> tuple[Change, ...]:
        """End an evaluation that a forward pass began, where the recording ends."""
        return self.end(self._region_end_ns) if self._is_region and self._region_end_ns else _NONE

    def extend_region(self, ended_ns: int) -> None:
        """Extend such an evaluation to the end of a region without gradients."""
        self._region_end_ns = ended_ns
