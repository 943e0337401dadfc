"""RAPL energy counters of processors and memory, read through ``/sys/class/powercap``.

Layout and meaning: ``Documentation/power/powercap/powercap.rst`` and ``drivers/powercap/intel_rapl_common.c`` of the
Linux kernel. A zone is identified by the text of its ``name`` file, never by its number.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.clock import Clock
from profiler.errors import SensorUnavailableError
from profiler.records import Domain, Reading, Refusal
from profiler.sensors.base import Found, MeterSensor
from profiler.sensors.counter_check import StallDetector, times
from profiler.sensors.environment import Environment
from profiler.sensors.host import Host
from profiler.sensors.rapl import (
    FROZEN_REASON,
    ONE_COUNTER_NOTE,
    frozen_counters,
    note_missing_dram,
    rapl_domain,
)
from profiler.sensors.wraparound import MAX_PLATFORM_WATTS, MAX_SOCKET_WATTS, WrappingCounter
from profiler.units import MICROJOULES_PER_JOULE, format_joules

SOURCE = "powercap"

_ZONE = re.compile(r"(?P<control>intel-rapl(?:-[a-z]+)?)(?P<numbers>(?::\d+)+)")
_PACKAGE = re.compile(r"package-\d+(?:-die-\d+)?")
_MAX_POWER = "constraint_0_max_power_uw"
_POWER_LIMIT = "constraint_{}_power_limit_uw"
_MAX_CONSTRAINTS = 3
_CONSTRAINT_FACTOR = 2.0
"""A package may exceed its rated power and its power limits, which are averages, by less than this factor."""
_MIN_LIMIT_WATTS = 100.0
_LONGEST_POLL_SECONDS = 0.25
"""Longest usual time between two reads; longer ones are delays, across which wraparounds are estimated and reported."""
_MAX_DEPTH = 3
_MAX_VALUE_BYTES = 64
_MIRROR_TOLERANCE_UJ = MICROJOULES_PER_JOULE
"""Dies that share one counter differ by its gain between two reads; separate counters differ by far more."""

_UDEV_RULE = (
    'ACTION=="add", SUBSYSTEM=="powercap", KERNEL=="intel-rapl*:*", '
    'RUN+="/usr/bin/chgrp rapl /sys%p/energy_uj", RUN+="/usr/bin/chmod g+r /sys%p/energy_uj"'
)
_UNTIL_REBOOT = "sudo chmod a+r {root}/intel-rapl*/energy_uj"
_PERMANENT = (
    "sudo groupadd -f rapl && sudo usermod -aG rapl $USER && "
    f"echo '{_UDEV_RULE}' | sudo tee /etc/udev/rules.d/70-rapl.rules && "
    "sudo udevadm control --reload && sudo udevadm trigger --subsystem-match=powercap --action=add"
)
_UNMASK = (
    "Start the container with `docker run --security-opt systempaths=unconfined ...` (or `--privileged`) "
    "as a user that may read the counters, or profile outside the container."
)
_LOAD_MODULE = "Load the driver: sudo modprobe intel_rapl_msr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """Energy zone of the powercap tree.

    Attributes:
        identifier: Name of its folder: ``intel-rapl:0:1``.
        name: The part of the machine that it measures: ``package-0``, ``dram``, ``psys``, ...
        folder: Folder of its files.
        parent: Identifier of the zone above it, or None.
        max_range_uj: Largest value of the counter in microjoules, or None if it cannot be read.
    """

    identifier: str
    name: str
    folder: Path
    parent: str | None
    max_range_uj: int | None

    @property
    def energy_file(self) -> Path:
        """File of the counter, in microjoules."""
        return self.folder / "energy_uj"

    @property
    def is_package(self) -> bool:
        """True if it measures a whole package or die."""
        return _PACKAGE.fullmatch(self.name) is not None


def scan_zones(root: Path) -> tuple[Zone, ...]:
    """List the zones below ``root``, each once, however many links lead to it.

    Args:
        root: The class folder: flat with links, as the kernel creates it, or nested, as copies of it are.

    Returns:
        The zones with a readable name, sorted by identifier.
    """
    folders: dict[str, Path] = {}
    for folder in _zone_folders(root, _MAX_DEPTH):
        folders.setdefault(folder.name, folder)
    zones = (_zone(folder) for _, folder in sorted(folders.items()))
    return tuple(zone for zone in zones if zone is not None)


def _zone_folders(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(entry for entry in folder.iterdir() if entry.name.startswith("intel-rapl"))
    except OSError:
        return  # a dangling link or a folder without permission has no readable zone
    yield from (entry for entry in entries if _ZONE.fullmatch(entry.name))
    if depth > 1:
        for entry in entries:
            yield from _zone_folders(entry, depth - 1)


def _zone(folder: Path) -> Zone | None:
    try:
        name = (folder / "name").read_text().strip()
    except OSError:
        return None
    above, _, number = folder.name.rpartition(":")
    parent = above if _ZONE.fullmatch(above) else None
    return Zone(
        identifier=folder.name,
        name=name,
        folder=folder,
        parent=parent if number else None,
        max_range_uj=_max_range(folder),
    )


def _max_range(folder: Path) -> int | None:
    try:
        value = int((folder / "max_energy_range_uj").read_text())
    except (OSError, ValueError):
        return None
    return value if value > 0 else None


def without_duplicates(zones: Iterable[Zone], readable: frozenset[str]) -> tuple[Zone, ...]:
    """Keep one zone of those that measure the same part through different control types.

    ``intel-rapl-mmio`` is a second view of the package that ``intel-rapl`` shows. A readable view is preferred, then
    the one through model-specific registers.

    Args:
        zones: The zones found.
        readable: Identifiers of those with a readable counter.
    """
    zones = tuple(zones)
    names = {zone.identifier: zone.name for zone in zones}
    chosen: dict[tuple[str, ...], Zone] = {}
    for zone in sorted(
        zones, key=lambda z: (z.identifier not in readable, _control(z) != "intel-rapl", z.identifier)
    ):
        chosen.setdefault(_measured_part(zone, names), zone)
    return tuple(sorted(chosen.values(), key=lambda z: z.identifier))


def _measured_part(zone: Zone, names: dict[str, str]) -> tuple[str, ...]:
    if zone.parent is not None:
        return (names.get(zone.parent, zone.parent), zone.name)
    return (zone.name,) if zone.is_package else (zone.name, zone.identifier)


def _control(zone: Zone) -> str:
    return zone.identifier.partition(":")[0]


def plan_domains(
    zones: Sequence[Zone], mirrored: frozenset[str] = frozenset(), names: Mapping[str, str] | None = None
) -> tuple[tuple[Zone, Domain], ...]:
    """Assign a domain to each readable zone.

    Args:
        zones: Readable zones, each counter once.
        mirrored: Identifiers of dies that represent their whole package because its other dies show the same counter.
        names: Names of all zones by identifier, including parents that cannot be read.

    Returns:
        Each zone with its domain; the names are unique.
    """
    labels = dict(names or {})
    labels |= {
        z.identifier: z.name.partition("-die-")[0] if z.identifier in mirrored else z.name for z in zones
    }
    has_packages = any(zone.is_package for zone in zones)
    plan: dict[str, tuple[Zone, Domain]] = {}
    for zone in zones:
        label = labels.get(zone.parent or "", labels[zone.identifier])
        notes = (ONE_COUNTER_NOTE,) if zone.identifier in mirrored else ()
        source = f"powercap {zone.identifier} ({zone.name})"
        kind = "cpu" if zone.is_package else zone.name
        domain = rapl_domain(kind, label, source=source, has_packages=has_packages, notes=notes)
        plan.setdefault(domain.name, (zone, domain))
    return tuple(plan.values())


class EnergyFile:
    """An ``energy_uj`` file, kept open because opening takes longer than reading.

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
            ValueError: The content is not a complete number.
        """
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            text = os.pread(self._descriptor, _MAX_VALUE_BYTES, 0)
        except OSError:
            self.close()
            raise
        # A removed zone may return nothing or a part, and a truncated number would be a valid smaller one.
        if not text.endswith(b"\n"):
            self.close()
            raise ValueError(f"{self.path} is truncated: {text!r}")
        return int(text)

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meter:
    domain: Domain
    file: EnergyFile
    counter: WrappingCounter
    stall: StallDetector

    def read(self, clock: Clock) -> Reading | None:
        before = clock.now_ns()
        try:
            raw = self.file.read()
        except (OSError, ValueError):
            return None
        # The value belongs to a moment within the call: the middle halves the largest error.
        time_ns = (before + clock.now_ns()) // 2
        if self.domain.billed:
            self.stall.add(raw, time_ns)
        energy = self.counter.update(raw, time_ns)
        if energy is None:
            return None
        return Reading(domain=self.domain.name, time_ns=time_ns, energy_joules=energy / MICROJOULES_PER_JOULE)

    def warnings(self) -> Iterator[str]:
        name, counter = self.domain.name, self.counter
        if counter.ambiguous_wraps:
            yield (
                f"{name}: {times(counter.ambiguous_wraps)}, two reads were so far apart that the number of counter "
                "wraparounds between them had to be estimated from the power before."
            )
        if counter.restarts:
            yield (
                f"{name}: its counter was reset {times(counter.restarts)}. The energy around a reset is estimated from "
                "the power before."
            )
        if over := self.stall.duration():
            yield (
                f"{name}: its counter was frozen for over {over}. The energy in this time is estimated from the power "
                "before."
            )


def _wraps_too_often(zone: Zone) -> bool:
    """Return True if nothing shows how often a counter wrapped: at full power, twice within two polls."""
    counter = _wrapping_counter(zone)
    joules = counter.max_watts * _LONGEST_POLL_SECONDS
    return zone.max_range_uj is not None and zone.max_range_uj < 2 * joules * MICROJOULES_PER_JOULE


def _wrapping_counter(zone: Zone) -> WrappingCounter:
    max_watts = MAX_PLATFORM_WATTS if zone.name == "psys" else MAX_SOCKET_WATTS
    return WrappingCounter(zone.max_range_uj, max_watts=min(max_watts, _constraint_watts(zone) or max_watts))


def _constraint_watts(zone: Zone) -> float | None:
    """Return a power that a zone cannot exceed; None if its rated power is unknown.

    The power limits alone would not do, because a low limit may be raised during the run.
    """
    rated = _read_constraint(zone.folder / _MAX_POWER)
    if not rated:
        return None
    limits = [
        _read_constraint(zone.folder / _POWER_LIMIT.format(number)) for number in range(_MAX_CONSTRAINTS)
    ]
    return max(_CONSTRAINT_FACTOR * max(rated, *limits), _MIN_LIMIT_WATTS)


def _read_constraint(path: Path) -> float:
    try:
        return max(int(path.read_text()), 0) / MICROJOULES_PER_JOULE
    except (OSError, ValueError):
        return 0.0


class PowercapSensor(MeterSensor[_Meter]):
    """Reads zones of a powercap tree.

    Args:
        meters: The zones to read, each with its domain.
        clock: Clock of the readings.
    """

    def __init__(self, meters: Sequence[tuple[Zone, Domain]], *, clock: Clock) -> None:
        opened = [
            _Meter(
                domain=domain,
                file=EnergyFile(zone.energy_file),
                counter=_wrapping_counter(zone),
                stall=StallDetector(),
            )
            for zone, domain in meters
        ]
        super().__init__("powercap", opened, clock=clock)

    def _readings(self) -> Iterable[Reading | None]:
        return (meter.read(self._clock) for meter in self._meters)

    def close(self) -> None:
        """Close the files."""
        super().close()
        for meter in self._meters:
            meter.file.close()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Estimated wraparounds, counter resets and frozen counters since the sensor was opened."""
        return tuple(sentence for meter in self._meters for sentence in meter.warnings())


def open_powercap(environment: Environment) -> Found:
    """Open every readable zone.

    Raises:
        SensorUnavailableError: There is no zone, or none that this user may read; with reason and remedy.
    """
    root = environment.powercap_root
    zones = scan_zones(root)
    if not zones or not hasattr(os, "pread"):
        raise no_zones_error(root, environment.host())
    values, failures = _read_each(zones)
    # Some hypervisors and firmwares show a counter that never moves. Counted, it would report a machine without energy.
    for identifier in _frozen(zones, values, environment):
        del values[identifier]
        failures[identifier] = ValueError(FROZEN_REASON)
    for zone in zones:
        if zone.identifier in values and _wraps_too_often(zone):
            del values[zone.identifier]
            failures[zone.identifier] = ValueError(
                f"its counter wraps around every {format_joules((zone.max_range_uj or 0) / MICROJOULES_PER_JOULE)}, "
                "possibly more than once between two reads"
            )
    distinct = without_duplicates(zones, frozenset(values))
    refusals = tuple(
        unreadable_refusal(z, failures[z.identifier]) for z in distinct if z.identifier in failures
    )
    readable = [zone for zone in distinct if zone.identifier in values]
    if not readable:
        raise SensorUnavailableError(refusals[0].reason, remedy=refusals[0].remedy)
    meters = _plan(readable, values, {zone.identifier: zone.name for zone in zones})
    return Found(
        sensors=(PowercapSensor(meters, clock=environment.clock),), refusals=_distinct_refusals(refusals)
    )


def _read_each(zones: Sequence[Zone]) -> tuple[dict[str, int], dict[str, Exception]]:
    """Read each counter once; return values and errors by identifier."""
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


def _frozen(zones: Sequence[Zone], values: dict[str, int], environment: Environment) -> frozenset[str]:
    """Return the identifiers of frozen zones, without integrated GPUs, which may be powered off."""
    files = {
        zone.identifier: EnergyFile(zone.energy_file)
        for zone in zones
        if zone.identifier in values and (zone.is_package or zone.name in ("core", "dram", "psys"))
    }
    try:
        first = {identifier: values[identifier] for identifier in files}
        return frozen_counters(first, files, environment.clock)
    finally:
        for file in files.values():
            file.close()


def _plan(
    zones: Sequence[Zone], values: dict[str, int], names: Mapping[str, str]
) -> list[tuple[Zone, Domain]]:
    dropped, mirrored = _mirrors(zones, values)
    # Parts of a dropped die would be counted in addition to those of the die that represents the package.
    kept = [z for z in zones if z.identifier not in dropped and z.parent not in dropped]
    plan = plan_domains(kept, mirrored, names)
    domains = note_missing_dram(domain for _, domain in plan)
    return [(zone, domain) for (zone, _), domain in zip(plan, domains, strict=True)]


def _mirrors(zones: Sequence[Zone], values: dict[str, int]) -> tuple[frozenset[str], frozenset[str]]:
    """Find dies of a package that show one counter; return the dies to drop and the dies that represent all."""
    dies: dict[str, list[str]] = defaultdict(list)
    for zone in zones:
        if zone.is_package and "-die-" in zone.name:
            dies[zone.name.partition("-die-")[0]].append(zone.identifier)
    dropped: set[str] = set()
    representatives: set[str] = set()
    for first, *others in dies.values():
        same = {other for other in others if values[first] > 0 and _is_same(values[first], values[other])}
        dropped |= same
        if others and len(same) == len(others):
            representatives.add(first)
    return frozenset(dropped), frozenset(representatives)


def _is_same(one_uj: int, other_uj: int) -> bool:
    return abs(one_uj - other_uj) <= _MIRROR_TOLERANCE_UJ


def _distinct_refusals(refusals: Sequence[Refusal]) -> tuple[Refusal, ...]:
    return tuple({(refusal.source, refusal.reason): refusal for refusal in refusals}.values())


def permission_remedy(root: Path) -> str:
    """Return the commands that let a user read the counters below ``root``."""
    until_reboot = _UNTIL_REBOOT.format(root=root)
    return f"Until the next boot: {until_reboot} -- permanently, then log in again: {_PERMANENT}"


def unreadable_refusal(zone: Zone, error: Exception) -> Refusal:
    """Explain why the counter of one zone cannot be read.

    Args:
        zone: The zone.
        error: The exception raised by reading it.
    """
    if isinstance(error, PermissionError):
        reason = f"energy_uj of {zone.name} can be read by root only (the kernel's default since 5.10)"
        return Refusal(source=SOURCE, reason=reason, remedy=permission_remedy(zone.folder.parent))
    return Refusal(source=SOURCE, reason=f"energy_uj of {zone.name} cannot be read: {error}")


def no_zones_error(root: Path, host: Host) -> SensorUnavailableError:
    """Explain why a machine shows no zone; each cause has its own remedy."""
    if host.system != "Linux":
        return SensorUnavailableError(
            f"{host.system or 'this system'} does not expose the processor's energy counters"
        )
    if host.virtual:
        where = "a virtual machine" + (f" ({host.container} container)" if host.container else "")
        return SensorUnavailableError(
            f"this is {where}, and hypervisors do not expose the processor's energy counters",
            remedy="Profile on the host itself to measure the processor.",
        )
    if host.container or _has_masked_zones(root):
        kind = f"{host.container} container" if host.container else "container"
        return SensorUnavailableError(f"this {kind} hides {root}", remedy=_UNMASK)
    if not host.is_x86:
        return SensorUnavailableError(f"processors of type {host.machine} have no RAPL counters")
    return SensorUnavailableError(
        f"{root} has no energy zones: the kernel's RAPL driver is not loaded", remedy=_LOAD_MODULE
    )


def _has_masked_zones(root: Path) -> bool:
    """Return True if there are zones without content, as container runtimes leave them."""
    try:
        return any(entry.name.startswith("intel-rapl") for entry in root.iterdir())
    except OSError:
        return False
