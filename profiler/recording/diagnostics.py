"""What a reader of the record must know, gathered from everybody who may have found something out."""

from collections.abc import Iterable, Iterator

from profiler.recording.meter import Meters
from profiler.recording.pipeline import Recorder
from profiler.sensors.base import Sensor
from profiler.torch_hooks.manager import HookManager


def findings(
    hooks: HookManager, sensors: Iterable[Sensor], meters: Meters, recorder: Recorder
) -> Iterator[str]:
    """Yield what was found out by now, as sentences."""
    if hooks.failure is not None:
        yield f"the hooks failed and were removed ({hooks.failure}); later steps are not seen"
    yield from tuple(hooks.scalars.warnings)
    for sensor in sensors:
        yield from getattr(sensor, "warnings", ())
    yield from recorder.merger.findings()
    yield from meters.findings()
    decision = recorder.decision
    if decision is not None:
        yield from decision.notices
        for device in decision.missing:
            yield f"nothing measures {device}: totals are incomplete"
