"""Inputs of sensor discovery: the machine, the process, and the type of a discovery table's rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from profiler.clock import MONOTONIC, Clock
from profiler.records import Domain
from profiler.sensors.base import Found, covers
from profiler.sensors.host import Host, describe_host

POWERCAP_ROOT = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The machine and the process as sensors see them; tests replace every part.

    Attributes:
        environ: Environment variables.
        powercap_root: Folder of the powercap zones.
        system_root: Root of the file system for all other files.
        clock: Clock of the readings.
        cuda_uuids: UUIDs of the process's CUDA devices in logical order; None until CUDA is initialised.
        measured: Domains of the sources that were opened before.
    """

    environ: Mapping[str, str]
    powercap_root: Path = POWERCAP_ROOT
    system_root: Path = Path("/")
    clock: Clock = MONOTONIC
    cuda_uuids: tuple[str, ...] | None = None
    measured: tuple[Domain, ...] = field(default=())

    def host(self) -> Host:
        """Describe the machine."""
        return describe_host(self.system_root, self.environ)

    @property
    def cpu_is_measured(self) -> bool:
        """True if a counted domain already covers the processors."""
        return any(d.billed and "cpu" in covers(d) for d in self.measured)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Row of the discovery table.

    Attributes:
        name: Name of the source in refusals.
        open: Opens its sensors. It may raise any exception; discovery turns that into a refusal.
        is_fallback: True for a source of CPU energy that is used only if no earlier source covers the processors.
    """

    name: str
    open: Callable[[Environment], Found]
    is_fallback: bool = False
