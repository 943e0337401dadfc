"""Where a run stands while it goes on. Cheap enough for several times a second."""

from profiler.recording.meter import Meters
from profiler.recording.pipeline import Recorder
from profiler.records import Progress
from profiler.units import MICROJOULES_PER_JOULE, NANOSECONDS_PER_SECOND


def progress_of(recorder: Recorder, meters: Meters, now_ns: int) -> Progress:
    """Read off what is known by now. Only the thread that owns the recorder may ask.

    Energy is taken at the last moment that all billed domains have been seen at, a step that is not finished included.
    """
    seen = [timeline.latest_ns for timeline in meters.ledger.timelines if timeline.latest_ns is not None]
    at_ns = max(min([*seen, now_ns]), recorder.start_ns)
    bill = meters.ledger.bill(at_ns)
    return Progress(
        seconds=(at_ns - recorder.start_ns) / NANOSECONDS_PER_SECOND,
        steps=recorder.totals.steps,
        step_joules=recorder.totals.step_microjoules / MICROJOULES_PER_JOULE,
        total_joules=None if bill.total is None else bill.total / MICROJOULES_PER_JOULE,
        modelled_joules=bill.modelled / MICROJOULES_PER_JOULE,
        watts={name: meters.timelines[name].recent_watts() for name in meters.ledger.domains},
    )
