"""Energy sensors and their discovery.

A new source is one module in this package and one row in ``SOURCES``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from profiler.clock import MONOTONIC, Clock
from profiler.errors import MissingDependencyError, SensorUnavailableError
from profiler.records import Domain, Reading, Refusal
from profiler.sensors.amd import open_amd
from profiler.sensors.apple import open_apple
from profiler.sensors.base import Found, Sensor
from profiler.sensors.cray import open_cray
from profiler.sensors.environment import POWERCAP_ROOT, Environment, Source
from profiler.sensors.estimated import open_estimated
from profiler.sensors.external import open_external
from profiler.sensors.hwmon import open_hwmon
from profiler.sensors.nvml import open_nvml
from profiler.sensors.perf import open_perf
from profiler.sensors.powercap import open_powercap

__all__ = [
    "EXTERNAL",
    "SOURCES",
    "Domain",
    "Environment",
    "Found",
    "Reading",
    "Refusal",
    "Sensor",
    "Source",
    "discover",
]

EXTERNAL = Source(name="external", open=open_external)
SOURCES = (
    Source(name="nvml", open=open_nvml),
    Source(name="amdsmi", open=open_amd),
    Source(name="apple", open=open_apple),
    Source(name="powercap", open=open_powercap),
    Source(name="perf", open=open_perf, is_fallback=True),
    Source(name="cray", open=open_cray),
    Source(name="hwmon", open=open_hwmon),
    EXTERNAL,
    Source(name="modelled", open=open_estimated, is_fallback=True),
)
"""Sources in the order in which they are tried."""

_REPORT = "This is a bug in energy-profiler: please report it with this line."


def discover(
    *,
    environ: Mapping[str, str],
    powercap_root: Path = POWERCAP_ROOT,
    system_root: Path = Path("/"),
    clock: Clock = MONOTONIC,
    cuda_uuids: Sequence[str] | None = None,
    sources: Sequence[Source] = SOURCES,
) -> Found:
    """Open every sensor that can be read on this machine.

    No exception is raised: a source that fails is returned as a refusal with its reason.

    Args:
        environ: Environment variables; they select the visible GPUs and identify containers.
        powercap_root: Folder of the powercap zones.
        system_root: Root of the file system for all other files.
        clock: Clock of the readings.
        cuda_uuids: UUIDs of the process's CUDA devices in logical order, if CUDA is initialised.
        sources: The sources to try, in order.

    Returns:
        The open sensors, and the sources that are not used with reasons.
    """
    environment = Environment(
        environ=environ,
        powercap_root=powercap_root,
        system_root=system_root,
        clock=clock,
        cuda_uuids=tuple(cuda_uuids) if cuda_uuids is not None else None,
    )
    sensors: list[Sensor] = []
    refusals: list[Refusal] = []
    for source in sources:
        measured = tuple(domain for sensor in sensors for domain in sensor.domains)
        found = _open(source, replace(environment, measured=measured))
        sensors += found.sensors
        refusals += found.refusals
    return Found(sensors=tuple(sensors), refusals=tuple(refusals))


def _open(source: Source, environment: Environment) -> Found:
    if source.is_fallback and environment.cpu_is_measured:
        return Found()
    try:
        return source.open(environment)
    except SensorUnavailableError as error:
        refusal = Refusal(source=source.name, reason=error.reason, remedy=error.remedy)
    except MissingDependencyError as error:
        refusal = Refusal(
            source=source.name, reason=f"{error.package} is not installed", remedy=error.install
        )
    except Exception as error:  # noqa: BLE001 - no fault of a sensor may affect the training
        refusal = Refusal(source=source.name, reason=f"{type(error).__name__}: {error}", remedy=_REPORT)
    return Found(refusals=(refusal,))
