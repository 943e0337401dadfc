"""Recording of hook events and of the steps that the recorder makes of them."""

from collections import deque
from contextlib import contextmanager

from profiler.recording.steps import StepAssembler
from profiler.torch_hooks.manager import hook_manager


class Recording:
    """Events that the hooks sent, and the steps and evaluations made of them."""

    def __init__(self):
        self.events = deque()
        self.steps = []
        self.evaluations = []
        self.warnings = set()

    @property
    def truth(self):
        """Loss and number of backward passes of each step, as the test loops return them."""
        return [(step.loss, step.backwards) for step in self.steps]


@contextmanager
def recorded(*, times_loading=True):
    hooks = hook_manager()
    recording = Recording()
    sink = recording.events.append
    hooks.attach(sink, times_loading=times_loading)
    try:
        yield recording
    finally:
        hooks.detach(sink)
        recording.warnings = set(hooks.scalars.warnings)
        assembler = StepAssembler(deque(recording.events), hooks, 0)
        recording.steps = assembler.finished_steps(hooks.context.now(), final=True)
        recording.evaluations = list(assembler.evaluations)
