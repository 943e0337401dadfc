"""Where a run stands at this moment: what a checkpoint keeps of it, so that a later run can go on from there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from profiler.hooks.events import Kind, StepEvent
from profiler.recording.recorder import Inbox, Recorder
from profiler.units import MICROJOULES_PER_JOULE

VERSION = 1
_TRIES = 20


def state(
    recorder: Recorder, inbox: Inbox, run_path: Path, resumed: Mapping[str, Any], *, is_alone: bool
) -> dict[str, Any]:
    """Describe the present step, counted from the first of the earliest run; joules where this process knows all.

    Args:
        recorder: The recording.
        inbox: What its thread has not taken in yet.
        run_path: The run's directory.
        resumed: What this run goes on from; empty when it is the first.
        is_alone: Whether no other process records for this run.
    """
    totals = recorder.totals
    joules = (totals.step_microjoules + totals.span_microjoules) / MICROJOULES_PER_JOULE
    before = resumed.get("joules", 0.0)
    return {
        "version": VERSION,
        "run": str(run_path.absolute()),
        "step": steps_by_now(recorder, inbox) + int(resumed.get("step") or 0),
        "joules": joules + before if is_alone and before is not None else None,
    }


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


def _opens(event: tuple[object, ...]) -> bool:
    seen = StepEvent.of(event)
    return seen.kind == Kind.OPEN and seen.skipped is None
