"""Sources of energy readings, and how the usable ones are found.

A new source is one file here and one row in ``SOURCES``.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from profiler.errors import MissingDependencyError, SensorUnavailableError
from profiler.records import Domain, Reading, Refusal
from profiler.sensors.base import Found, Noticing, Sensor
from profiler.sensors.calibration import describe
from profiler.sensors.environment import Source, Surroundings
from profiler.sensors.estimated import open_modelled
from profiler.sensors.nvml import open_nvml
from profiler.sensors.perf import open_perf
from profiler.sensors.powercap import POWERCAP_ROOT
from profiler.sensors.rapl import open_powercap

__all__ = [
    "SOURCES",
    "Domain",
    "Found",
    "Noticing",
    "Reading",
    "Refusal",
    "Sensor",
    "Source",
    "Surroundings",
    "discover",
]

SOURCES = (
    Source(name="nvml", open=open_nvml),
    Source(name="powercap", open=open_powercap),
    Source(name="perf", open=open_perf, only_if=lambda s: not s.processor_is_measured),
    Source(name="modelled", open=open_modelled, only_if=lambda s: not s.processor_is_measured),
)
"""Tried in this order; a later one may depend on what earlier ones found."""

_REPORT = "This is a fault of energy-profiler: please report it with this line."


def discover(
    *,
    environ: Mapping[str, str],
    powercap_root: Path = POWERCAP_ROOT,
    system_root: Path = Path("/"),
    clock: Callable[[], int] = time.monotonic_ns,
    cuda_uuids: Sequence[str] | None = None,
    sources: Sequence[Source] = SOURCES,
    observe_seconds: float = 0.0,
    sleep: Callable[[float], object] = time.sleep,
) -> Found:
    """Find everything that can be read on this machine.

    Nothing is raised: what fails is refused with its reason.

    Args:
        environ: The environment's variables: which GPUs are visible, what container this is.
        powercap_root: Where the powercap zones are.
        system_root: The root of the file system, for everything else.
        clock: Monotonic nanoseconds, for the readings' times.
        cuda_uuids: The UUIDs of the process's CUDA devices in logical order, when CUDA is initialised.
        sources: The sources to try, in order.
        observe_seconds: How long to watch the GPUs that are found, so that their domains state how often they are
            renewed, and whether counter and power agree. Half a second settles the first; five the second.
        sleep: Waits for so many seconds.

    Returns:
        The sensors, opened, and why each other source is not used.
    """
    surroundings = Surroundings(
        environ=environ,
        powercap_root=powercap_root,
        system_root=system_root,
        clock=clock,
        cuda_uuids=tuple(cuda_uuids) if cuda_uuids is not None else None,
    )
    sensors: list[Sensor] = []
    refusals: list[Refusal] = []
    for source in sources:
        found = _open(source, replace(surroundings, measured=_domains(sensors)))
        sensors += found.sensors
        refusals += found.refusals
    found = Found(sensors=tuple(sensors), refusals=tuple(refusals))
    return (
        describe(found, seconds=observe_seconds, clock=clock, sleep=sleep) if observe_seconds > 0 else found
    )


def _open(source: Source, surroundings: Surroundings) -> Found:
    try:
        return source.open(surroundings) if source.only_if(surroundings) else Found()
    except SensorUnavailableError as error:
        refusal = Refusal(source=source.name, reason=error.reason, remedy=error.remedy)
    except MissingDependencyError as error:
        refusal = Refusal(
            source=source.name, reason=f"{error.package} is not installed", remedy=error.install
        )
    except Exception as error:  # noqa: BLE001 - whatever a sensor does, the training must not notice
        refusal = Refusal(source=source.name, reason=f"{type(error).__name__}: {error}", remedy=_REPORT)
    return Found(refusals=(refusal,))


def _domains(sensors: Sequence[Sensor]) -> tuple[Domain, ...]:
    return tuple(domain for sensor in sensors for domain in sensor.domains)
