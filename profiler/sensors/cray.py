"""Energy counters of HPE Cray nodes in ``/sys/cray/pm_counters``.

Format: HPE Cray System Management documentation, "User Access to Compute Node Power Data". Each file holds a value, its
unit and a time stamp (``"5521440 J 1594315453239262 us"``). ``freshness`` changes with every scan of the counters, ten
times per second, and ``generation`` whenever a power cap is changed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.clock import Clock
from profiler.errors import SensorUnavailableError
from profiler.records import Domain, Provenance
from profiler.sensors.base import Found
from profiler.sensors.environment import Environment
from profiler.sensors.file_meters import FileMeter, FileSensor, count_parts

VARIABLE = "ENERGY_PROFILER_CRAY_PM_COUNTERS"
"""Environment variable with the folder of the counters."""
_FOLDER = Path("sys/cray/pm_counters")
_UPDATE_SECONDS = 0.1
_GAIN_UNCERTAINTY = 0.05
"""Relative standard deviation, chosen by this project; HPE states no tolerance."""
_ACCELERATOR = re.compile(r"accel(\d+)_energy")
_JOULES_BY_UNIT = {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "kJ": 1e3}
_MAX_TRIES = 3
_MAX_WAIT_SECONDS, _POLL_SECONDS = 0.5, 0.01
_ACCELERATOR_NOTE = "One module of the node, which may have several devices; all modules are counted."


@dataclass(frozen=True, slots=True)
class PmCounter:
    """An energy file."""

    path: Path

    def read(self) -> float:
        """Return the energy in joules.

        Raises:
            OSError: The file cannot be read.
            ValueError: The content is not an energy.
        """
        value, unit, *_ = self.path.read_text().split()
        if unit not in _JOULES_BY_UNIT:
            raise ValueError(f"{self.path} has the unknown unit {unit!r}")
        return float(value) * _JOULES_BY_UNIT[unit]


class CraySensor(FileSensor):
    """Reads the energy counters of a node, all from the same scan.

    Args:
        folder: Folder of the counters.
        meters: The meters.
        clock: Clock of the readings.
    """

    def __init__(self, folder: Path, meters: Sequence[FileMeter], *, clock: Clock) -> None:
        super().__init__("Cray pm_counters", meters, clock=clock)
        self._freshness = folder / "freshness"
        self._generation = folder / "generation"
        self._first_generation = _text(self._generation)
        self._cap_changed = False

    def fetch(self) -> list[float | None]:
        """Read all counters; repeat if they were updated in between."""
        before, values = _text(self._freshness), super().fetch()
        for _ in range(_MAX_TRIES - 1):
            after = _text(self._freshness)
            if after == before:
                break
            before, values = after, super().fetch()
        generation = _text(self._generation)
        self._cap_changed |= bool(generation) and generation != self._first_generation
        return values

    @property
    def warnings(self) -> tuple[str, ...]:
        """Problems of the counters, and a change of the power cap."""
        changed = ("The power cap of this node was changed during the run.",) if self._cap_changed else ()
        return (*super().warnings, *changed)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def open_cray(environment: Environment) -> Found:
    """Open the counters of a Cray node; nothing is found on other machines.

    Raises:
        SensorUnavailableError: The folder exists or is named by the environment variable, and has no readable counter.
    """
    named = environment.environ.get(VARIABLE)
    folder = Path(named) if named else environment.system_root / _FOLDER
    if not named and not folder.is_dir():
        return Found()
    domains = _domains(folder)
    meters = [
        FileMeter(domain=domain, value=PmCounter(path))
        for path, domain in zip(
            domains,
            count_parts(list(domains.values()), environment.measured, "Cray pm_counters"),
            strict=True,
        )
    ]
    if not meters:
        raise SensorUnavailableError(f"{folder} has no readable energy counter")
    if not _is_fresh(folder / "freshness", environment.clock):
        raise SensorUnavailableError(f"the counters in {folder} are stale: freshness does not change")
    return Found(sensors=(CraySensor(folder, meters, clock=environment.clock),))


def _is_fresh(path: Path, clock: Clock) -> bool:
    """Return True if the counters are updated, or if that cannot be checked."""
    before = _text(path)
    for _ in range(round(_MAX_WAIT_SECONDS / _POLL_SECONDS)):
        if not before or _text(path) != before:
            return True
        clock.sleep(_POLL_SECONDS)
    return False


def _domains(folder: Path) -> dict[Path, Domain]:
    """Return the domain of each readable counter, the node first."""
    names = {"energy": "node", "cpu_energy": "cpu:node", "memory_energy": "dram:node"}
    try:
        accelerators = sorted(
            (int(match[1]), path.name)
            for path in folder.iterdir()
            if (match := _ACCELERATOR.fullmatch(path.name))
        )
    except OSError as error:
        raise SensorUnavailableError(f"{folder} cannot be read: {error.strerror}") from error
    names |= {name: f"accel:{number}" for number, name in accelerators}
    present = {name: domain for name, domain in names.items() if _is_readable(PmCounter(folder / name))}
    return {
        folder / name: Domain(
            name=domain,
            source=f"Cray pm_counters ({name})",
            provenance=Provenance.COUNTER,
            parent="node" if "energy" in present and domain != "node" else None,
            update_period_seconds=_UPDATE_SECONDS,
            gain_uncertainty=_GAIN_UNCERTAINTY,
            notes=(_ACCELERATOR_NOTE,) if domain.startswith("accel:") else (),
        )
        for name, domain in present.items()
    }


def _is_readable(counter: PmCounter) -> bool:
    try:
        return counter.read() >= 0
    except (OSError, ValueError):
        return False
