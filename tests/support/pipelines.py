"""Stand-ins for what surrounds the recording pipeline: the process's hooks, and the consumer of its rows."""

from profiler.recording.inbox import Inbox
from profiler.recording.meter import Meters
from profiler.recording.pipeline import Pipeline
from profiler.storage.schema import StepRow


def rows_of(columns):
    """Return columns of ``steps.csv`` as rows."""
    names = list(columns)
    return [
        StepRow(**dict(zip(names, values, strict=True))) for values in zip(*columns.values(), strict=True)
    ]


class ScriptedHooks:
    """Hooks whose devices, and scalars that arrive from them, are set by a test."""

    def __init__(self, devices=("cuda:0",)):
        self.devices = set(devices)
        self.libraries = ()
        self.is_convolutional = False
        self.arrived = {}

    def poll(self, waiting):
        return self.arrived.get(waiting)

    def poll_flags(self):
        """Do nothing: no device runs behind the host."""


class RowCollector:
    """Monitor that keeps the rows of steps and the progress."""

    def __init__(self):
        self.rows = []
        self.progress = []

    def observe(self, rows):
        self.rows += rows_of(rows)

    def advance(self, progress):
        self.progress.append(progress)


def build_pipeline(domains, writer, *, devices=("cuda:0",), election=None, monitor=None):
    """Return a pipeline without threads whose hooks, inbox and monitor a test can reach."""
    hooks, inbox, monitor = ScriptedHooks(devices), Inbox(), monitor or RowCollector()
    pipeline = Pipeline(
        meters=Meters(domains, election), writer=writer, inbox=inbox, hooks=hooks, monitor=monitor
    )
    return pipeline, inbox, hooks, monitor
