"""Where a run stands at this moment: what a checkpoint keeps of it, so that a later run can go on from there."""

import time
from collections.abc import Mapping
from typing import Any

from profiler.distributed.layout import RunLayout
from profiler.recording.pipeline import Inbox, Recorder
from profiler.records import Progress
from profiler.torch_hooks.events import Kind, StepEvent
from profiler.units import MICROJOULES_PER_JOULE, NANOSECONDS_PER_SECOND

VERSION = 1
_TRIES = 20


def state(
    recorder: Recorder, inbox: Inbox, place: RunLayout, resumed: Mapping[str, Any], latest: Progress | None
) -> dict[str, Any]:
    """Describe the present step, counted from the first of the earliest run; joules where this process knows all.

    Args:
        recorder: The recording.
        inbox: What its thread has not taken in yet.
        place: Where it records.
        resumed: What this run goes on from; empty when it is the first.
        latest: What was known last while the run goes on; None before that, and once it has ended.
    """
    joules = joules_by_now(recorder, latest)
    before = resumed.get("joules", 0.0)
    return {
        "version": VERSION,
        "run": str(place.run_path.absolute()),
        "step": steps_by_now(recorder, inbox) + int(resumed.get("step") or 0),
        "joules": joules + before if not place.identity.is_distributed and before is not None else None,
    }


def joules_by_now(recorder: Recorder, latest: Progress | None) -> float:
    """Joules that were used, those included that are in no row yet: the last second's at the power of just before."""
    totals = recorder.totals
    written = (totals.step_microjoules + totals.span_microjoules) / MICROJOULES_PER_JOULE
    if latest is None or latest.total_joules is None:
        return written
    seconds = (time.monotonic_ns() - recorder.start_ns) / NANOSECONDS_PER_SECOND - latest.seconds
    return max(written, latest.total_joules + seconds * sum(latest.watts.values()))


def steps_by_now(recorder: Recorder, inbox: Inbox) -> int:
    """Steps that have ended, those included that the sampler's thread has not taken in yet.

    That thread moves steps from one queue to the next meanwhile: the count stands when it comes out the same twice.
    """
    before = -1
    for _ in range(_TRIES):
        try:
            count = recorder.steps_ended + sum(_opens(event) for event in tuple(inbox.events))
        except RuntimeError:  # a queue changed while it was walked through
            continue
        if count == before:
            return count
        before = count
    return max(before, 0)


def _opens(event: StepEvent) -> bool:
    return event.kind == Kind.OPEN and event.skipped is None
