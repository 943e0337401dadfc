"""A recorder of steps: what the hooks send, read as the recorder reads it."""

from collections import deque
from contextlib import contextmanager

from profiler.recording.steps import StepMerger
from profiler.torch_hooks.manager import dispatcher


class Recording:
    """What the hooks sent, as it is read by the recorder."""

    def __init__(self):
        self.events = deque()
        self.steps = []
        self.evaluations = []
        self.unreadable = set()

    @property
    def truth(self):
        """Loss and backward passes of each step, to compare with what a loop says of itself."""
        return [(step.loss, step.backwards) for step in self.steps]


@contextmanager
def recorded(*, times_loading=True):
    hooks = dispatcher()
    recording = Recording()
    sink = recording.events.append
    hooks.attach(sink, times_loading=times_loading)
    try:
        yield recording
    finally:
        hooks.detach(sink)
        recording.unreadable = set(hooks.scalars.unreadable)
        merger = StepMerger(deque(recording.events), hooks.poll, 0)
        recording.steps = merger.take(hooks.now(), final=True)
        recording.evaluations = list(merger.evaluations)
