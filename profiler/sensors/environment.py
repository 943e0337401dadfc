"""What a source may look at to find out whether it can be used."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from profiler.records import Domain
from profiler.sensors.base import Found
from profiler.sensors.host import Host, describe_host
from profiler.sensors.powercap import POWERCAP_ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The machine and the process, injected so that tests can stand in for both.

    Attributes:
        environ: The environment's variables.
        powercap_root: Where the powercap zones are.
        system_root: The root of the file system, for everything else.
        clock: Monotonic nanoseconds.
        cuda_uuids: The UUIDs of the process's CUDA devices in their logical order, where CUDA is initialised
            and so can say; None where it is not.
        measured: The domains that sources tried before this one cover.
    """

    environ: Mapping[str, str]
    powercap_root: Path = POWERCAP_ROOT
    system_root: Path = Path("/")
    clock: Callable[[], int] = time.monotonic_ns
    cuda_uuids: tuple[str, ...] | None = None
    measured: tuple[Domain, ...] = field(default=())

    def host(self) -> Host:
        """Describe the machine."""
        return describe_host(self.system_root, self.environ)

    @property
    def processor_is_measured(self) -> bool:
        """Whether a billed domain covers the processors already."""
        return any(d.billed and d.name.partition(":")[0] in ("cpu", "psys") for d in self.measured)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One row of the discovery table.

    Attributes:
        name: How refusals name it.
        open: Finds its sensors. It may raise anything; discovery turns that into a refusal.
        only_if: Whether it is wanted, given what was found before it.
    """

    name: str
    open: Callable[[Surroundings], Found]
    only_if: Callable[[Surroundings], bool] = lambda _: True
