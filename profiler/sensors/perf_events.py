"""The kernel's ``power`` PMU: the processor's energy counters as perf events, without wraps.

Layout: ``Documentation/ABI/testing/sysfs-bus-event_source-devices-events`` and ``arch/x86/events/rapl.c`` of the Linux
kernel. This module finds events; ``perf.py`` reads them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.records import Domain
from profiler.sensors.rapl_domains import ONE_COUNTER_NOTE, rapl_domain

PMU = Path("sys/bus/event_source/devices/power")
_CPUS = Path("sys/devices/system/cpu")
_KINDS = {
    "energy-pkg": "cpu",
    "energy-ram": "dram",
    "energy-psys": "psys",
    "energy-cores": "core",
    "energy-gpu": "uncore",
}
_CODE = "event="


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerEvent:
    """One event of the PMU.

    Attributes:
        name: ``energy-pkg``, ``energy-ram``, ...
        pmu_type: The PMU's number in the kernel.
        config: The event's number in the PMU.
        joules_per_count: What one count is worth.
    """

    name: str
    pmu_type: int
    config: int
    joules_per_count: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerMeter:
    """One event on one package, to be opened on one of its hardware threads.

    Attributes:
        event: The event.
        cpu: The hardware thread's number.
        domain: What it measures.
    """

    event: PowerEvent
    cpu: int
    domain: Domain


def list_events(root: Path) -> tuple[PowerEvent, ...]:
    """List the energy events that the kernel offers below ``root``, the root of the file system.

    Events that cannot be read or understood are left out; no PMU at all is an empty list.
    """
    try:
        pmu_type = int((root / PMU / "type").read_text())
    except (OSError, ValueError):
        return ()
    events = (_event(root / PMU / "events", name, pmu_type) for name in _KINDS)
    return tuple(event for event in events if event is not None)


def _event(folder: Path, name: str, pmu_type: int) -> PowerEvent | None:
    try:
        code = (folder / name).read_text().strip()
        scale = float((folder / f"{name}.scale").read_text())
        config = int(code.removeprefix(_CODE), 16)
    except (OSError, ValueError):
        return None
    if not code.startswith(_CODE) or not 0 < scale < 1:
        return None
    return PowerEvent(name=name, pmu_type=pmu_type, config=config, joules_per_count=scale)


def plan_meters(root: Path, events: Sequence[PowerEvent], *, dies_mirror: bool) -> tuple[PowerMeter, ...]:
    """Decide which events to open on which hardware threads.

    Args:
        root: The root of the file system.
        events: The events.
        dies_mirror: Whether the dies of a package show one counter, as on AMD's first generations of Zen.

    Returns:
        The meters, each domain once.
    """
    packages = _packages(root)
    dies = Counter(package for _, package, _ in packages)
    meters: dict[str, PowerMeter] = {}
    for cpu, package, die in packages:
        several = dies[package] > 1
        label = f"package-{package}" + (f"-die-{die}" if several and not dies_mirror else "")
        notes = (ONE_COUNTER_NOTE,) if several and dies_mirror else ()
        for meter in _meters_of(events, cpu, label, notes):
            meters.setdefault(meter.domain.name, meter)
    return tuple(meters.values())


def _meters_of(
    events: Sequence[PowerEvent], cpu: int, label: str, notes: tuple[str, ...]
) -> tuple[PowerMeter, ...]:
    seen = any(_KINDS[event.name] == "cpu" for event in events)
    return tuple(
        PowerMeter(
            event=event,
            cpu=cpu,
            domain=rapl_domain(
                _KINDS[event.name],
                label,
                source=f"perf {event.name} on cpu {cpu}",
                packages_seen=seen,
                notes=notes,
            ),
        )
        for event in events
    )


def _packages(root: Path) -> list[tuple[int, int, int]]:
    """Return ``(cpu, package, die)`` for each hardware thread on which the PMU counts: one a package or die."""
    try:
        cpus = parse_cpu_list((root / PMU / "cpumask").read_text())
    except (OSError, ValueError):
        cpus = [0]
    return [
        (cpu, _topology(root, cpu, "physical_package_id"), _topology(root, cpu, "die_id")) for cpu in cpus
    ]


def _topology(root: Path, cpu: int, name: str) -> int:
    try:
        return max(int((root / _CPUS / f"cpu{cpu}" / "topology" / name).read_text()), 0)
    except (OSError, ValueError):
        return 0


def parse_cpu_list(text: str) -> list[int]:
    """Read the kernel's list of processors: ``"0-1,18"`` is ``[0, 1, 18]``.

    Raises:
        ValueError: The text is no such list, or an empty one.
    """
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return cpus
