"""Recording of ranks that a framework starts as processes of its own, and of children that train unrecorded.

torch calls :func:`observe` at the end of its import, through the entry point ``torch.backends``, in processes that
inherited the environment of a recording. Hooks wait there for the first training, so that workers of data loaders,
compilers and tokenizers are not affected. Forked children have the same hooks (``energy_profiler.py``).
"""

import os
import sys

from profiler.distributed.inheritance import Inheritance, child_layout, inherited
from profiler.torch_hooks.first_training import FirstTraining


def observe() -> None:
    """Wait for the first training of this process, if a recording process started it."""
    inheritance = inherited(os.environ)
    if inheritance is not None:
        child = _Child(inheritance)
        FirstTraining(on_update=child.mark, on_backward=child.join).install()


class _Child:
    """A process that may train. None of its methods raises into the training."""

    def __init__(self, inheritance: Inheritance) -> None:
        self._inheritance = inheritance

    def join(self) -> None:
        """Record this process as a rank of the run, from its first backward pass on."""
        if _is_recording():
            return
        try:
            place = child_layout(self._inheritance, os.environ)
            if place is not None:
                from profiler.energy_profiler import join_run

                join_run(place)
        except Exception:  # noqa: BLE001 - the mark below reports that it is not recorded
            return

    def mark(self) -> None:
        """Leave a mark for the recording process, unless this process is recorded."""
        if not _is_recording():
            try:
                self._inheritance.mark()
            except OSError:  # without a mark the run only lacks a sentence about this process
                return


def _is_recording() -> bool:
    """Return whether a profiler of this process is recording."""
    module = sys.modules.get("profiler.energy_profiler")
    return module is not None and module.running() is not None
