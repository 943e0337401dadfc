"""The energy counters of processors and memory (RAPL), through powercap."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.errors import SensorError, SensorUnavailableError
from profiler.records import Domain, Reading, Refusal
from profiler.sensors.base import Found
from profiler.sensors.environment import Surroundings
from profiler.sensors.powercap import Zone, plan_domains, scan_zones, without_duplicates
from profiler.sensors.rapl_domains import say_missing_memory
from profiler.sensors.rapl_errors import why_no_zones, why_unreadable
from profiler.sensors.wraparound import MAX_PLATFORM_WATTS, MAX_SOCKET_WATTS, WrappingCounter
from profiler.units import MICROJOULES_PER_JOULE

_LONGEST_VALUE = 64
_MIRROR_TOLERANCE_UJ = MICROJOULES_PER_JOULE
"""Dies that show one counter differ by what it gains between two reads, separate ones by far more."""


class EnergyFile:
    """One ``energy_uj`` file, kept open, since opening costs more than reading.

    Args:
        path: The file.
    """

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def read(self) -> int:
        """Return the counter in microjoules.

        Raises:
            OSError: The file cannot be opened or read. The next read opens it again.
            ValueError: What was read is no whole value.
        """
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            text = os.pread(self._descriptor, _LONGEST_VALUE, 0)
        except OSError:
            self.close()
            raise
        if not text.endswith(b"\n"):
            self.close()
            raise ValueError(f"{self.path} was cut short: {text!r}")
        return int(text)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meter:
    domain: Domain
    file: EnergyFile
    counter: WrappingCounter

    def read(self, clock: Callable[[], int]) -> Reading | None:
        before = clock()
        try:
            raw = self.file.read()
        except (OSError, ValueError):
            return None
        time_ns = (before + clock()) // 2
        energy = self.counter.update(raw, time_ns)
        if energy is None:
            return None
        return Reading(domain=self.domain.name, time_ns=time_ns, energy_joules=energy / MICROJOULES_PER_JOULE)

    def notices(self) -> Iterator[str]:
        """Say what its readings cannot tell."""
        if self.counter.ambiguous_wraps:
            often = f"{self.domain.name}: {self.counter.ambiguous_wraps} times, the time between two reads was so long"
            yield f"{often} that how often its counter wrapped had to be estimated from the power before."
        if self.counter.restarts:
            yield f"{self.domain.name}: its counter started again {self.counter.restarts} times."


def _counter(zone: Zone) -> WrappingCounter:
    most = MAX_PLATFORM_WATTS if zone.name == "psys" else MAX_SOCKET_WATTS
    return WrappingCounter(zone.max_range_uj, max_watts=most)


class PowercapSensor:
    """Reads every zone of a powercap tree.

    Args:
        meters: The zones to read, with what each is called.
        clock: Monotonic nanoseconds.
    """

    def __init__(self, meters: Sequence[tuple[Zone, Domain]], *, clock: Callable[[], int]) -> None:
        self._meters = tuple(
            _Meter(domain=domain, file=EnergyFile(zone.energy_file), counter=_counter(zone))
            for zone, domain in meters
        )
        self._clock = clock
        self._closed = False

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The domains it reads."""
        return tuple(meter.domain for meter in self._meters)

    def read(self) -> Sequence[Reading]:
        """Read every zone once; one that cannot be read or believed is left out.

        Raises:
            SensorError: The sensor is closed, or no zone could be read.
        """
        if self._closed:
            raise SensorError("the powercap sensor is closed")
        readings = [reading for meter in self._meters if (reading := meter.read(self._clock)) is not None]
        if not readings:
            raise SensorError("no powercap zone could be read")
        return readings

    def close(self) -> None:
        """Close the files."""
        self._closed = True
        for meter in self._meters:
            meter.file.close()

    @property
    def notices(self) -> tuple[str, ...]:
        """Wraps that had to be estimated, and counters that started again."""
        return tuple(sentence for meter in self._meters for sentence in meter.notices())


def open_powercap(surroundings: Surroundings) -> Found:
    """Find every counter that powercap shows.

    Raises:
        SensorUnavailableError: There is none that this user may read; with the reason and the remedy.
    """
    root = surroundings.powercap_root
    zones = scan_zones(root)
    if not zones or not hasattr(os, "pread"):
        raise why_no_zones(root, surroundings.host())
    values, failures = _try_all(zones)
    distinct = without_duplicates(zones, frozenset(values))
    refusals = tuple(why_unreadable(z, failures[z.identifier]) for z in distinct if z.identifier in failures)
    readable = [zone for zone in distinct if zone.identifier in values]
    if not readable:
        raise SensorUnavailableError(refusals[0].reason, remedy=refusals[0].remedy)
    meters = _plan(readable, values)
    return Found(
        sensors=(PowercapSensor(meters, clock=surroundings.clock),), refusals=_one_a_reason(refusals)
    )


def _try_all(zones: Sequence[Zone]) -> tuple[dict[str, int], dict[str, Exception]]:
    """Read each counter once: what the readable ones show, and why the others cannot be read."""
    values: dict[str, int] = {}
    failures: dict[str, Exception] = {}
    for zone in zones:
        file = EnergyFile(zone.energy_file)
        try:
            values[zone.identifier] = file.read()
        except (OSError, ValueError) as error:
            failures[zone.identifier] = error
        finally:
            file.close()
    return values, failures


def _plan(zones: Sequence[Zone], values: dict[str, int]) -> list[tuple[Zone, Domain]]:
    dropped, mirrored = _mirrors(zones, values)
    kept = [z for z in zones if z.identifier not in dropped and z.parent not in dropped]
    plan = plan_domains(kept, mirrored)
    domains = say_missing_memory(domain for _, domain in plan)
    return [(zone, domain) for (zone, _), domain in zip(plan, domains, strict=True)]


def _mirrors(zones: Sequence[Zone], values: dict[str, int]) -> tuple[frozenset[str], frozenset[str]]:
    """Find dies of one package that show one counter: those to leave out, and those that stand for all."""
    dies: dict[str, list[str]] = defaultdict(list)
    for zone in zones:
        if zone.is_package and "-die-" in zone.name:
            dies[zone.name.partition("-die-")[0]].append(zone.identifier)
    dropped: set[str] = set()
    standing: set[str] = set()
    for first, *others in dies.values():
        same = {other for other in others if values[first] > 0 and _one_meter(values[first], values[other])}
        dropped |= same
        if others and len(same) == len(others):
            standing.add(first)
    return frozenset(dropped), frozenset(standing)


def _one_meter(one_uj: int, other_uj: int) -> bool:
    return abs(one_uj - other_uj) <= _MIRROR_TOLERANCE_UJ


def _one_a_reason(refusals: Sequence[Refusal]) -> tuple[Refusal, ...]:
    return tuple({(refusal.source, refusal.reason): refusal for refusal in refusals}.values())
