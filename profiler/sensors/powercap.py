"""The tree of energy zones under ``/sys/class/powercap``, and which of them to count.

Layout and meaning: ``Documentation/power/powercap/powercap.rst`` and ``drivers/powercap/intel_rapl_common.c``
of the Linux kernel. A zone is known by the text of its ``name`` file, never by its number.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.records import Domain
from profiler.sensors.rapl_domains import ONE_COUNTER_NOTE, rapl_domain

POWERCAP_ROOT = Path("/sys/class/powercap")

_ZONE = re.compile(r"(?P<control>intel-rapl(?:-[a-z]+)?)(?P<numbers>(?::\d+)+)")
_PACKAGE = re.compile(r"package-\d+(?:-die-\d+)?")
_MAX_DEPTH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """One zone of the tree.

    Attributes:
        identifier: Its folder's name: ``intel-rapl:0:1``.
        name: What it measures: ``package-0``, ``dram``, ``psys``, ...
        folder: Where its files are.
        parent: The identifier of the zone above it, or None.
        max_range_uj: The counter's largest value in microjoules, or None when it cannot be read.
    """

    identifier: str
    name: str
    folder: Path
    parent: str | None
    max_range_uj: int | None

    @property
    def energy_file(self) -> Path:
        """The file with the counter, in microjoules."""
        return self.folder / "energy_uj"

    @property
    def is_package(self) -> bool:
        """Whether it measures a whole package or die."""
        return _PACKAGE.fullmatch(self.name) is not None


def scan_zones(root: Path) -> tuple[Zone, ...]:
    """List the zones below ``root``, each once, however many links lead to it.

    Args:
        root: The class folder, flat with links as the kernel makes it or nested as copies of it are.

    Returns:
        The zones whose name can be read, in order of their identifiers.
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
        return  # a dangling link or a forbidden folder holds no zone that could be read
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
    """Keep one zone of those that measure the same thing through different control types.

    ``intel-rapl-mmio`` is a second view of the package that ``intel-rapl`` shows. A readable view is
    preferred, then the one through model-specific registers.

    Args:
        zones: The zones found.
        readable: Identifiers of those whose counter can be read.
    """
    zones = tuple(zones)
    names = {zone.identifier: zone.name for zone in zones}
    chosen: dict[tuple[str, ...], Zone] = {}
    for zone in sorted(
        zones, key=lambda z: (z.identifier not in readable, _control(z) != "intel-rapl", z.identifier)
    ):
        chosen.setdefault(_meaning(zone, names), zone)
    return tuple(sorted(chosen.values(), key=lambda z: z.identifier))


def _meaning(zone: Zone, names: dict[str, str]) -> tuple[str, ...]:
    if zone.parent is not None:
        return (names.get(zone.parent, zone.parent), zone.name)
    return (zone.name,) if zone.is_package else (zone.name, zone.identifier)


def _control(zone: Zone) -> str:
    return zone.identifier.partition(":")[0]


def plan_domains(
    zones: Sequence[Zone], mirrored: frozenset[str] = frozenset()
) -> tuple[tuple[Zone, Domain], ...]:
    """Name the domains that the readable zones measure and decide which count.

    Packages and memory count. Cores and the uncore are parts of a package. The platform (psys) contains the
    packages and counts only where it is all there is.

    Args:
        zones: Readable zones, each meter once.
        mirrored: Identifiers of dies that stand for their whole package, because its other dies show the same
            counter.

    Returns:
        Each zone with its domain; names are unique.
    """
    labels = {
        z.identifier: z.name.partition("-die-")[0] if z.identifier in mirrored else z.name for z in zones
    }
    seen = any(zone.is_package for zone in zones)
    plan: dict[str, tuple[Zone, Domain]] = {}
    for zone in zones:
        label = labels.get(zone.parent or "", labels[zone.identifier])
        notes = (ONE_COUNTER_NOTE,) if zone.identifier in mirrored else ()
        source = f"powercap {zone.identifier} ({zone.name})"
        kind = "cpu" if zone.is_package else zone.name
        domain = rapl_domain(kind, label, source=source, packages_seen=seen, notes=notes)
        plan.setdefault(domain.name, (zone, domain))
    return tuple(plan.values())
