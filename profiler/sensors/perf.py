"""RAPL energy counters read as perf events of the kernel's ``power`` PMU, for users who may not read powercap.

Layout: ``Documentation/ABI/testing/sysfs-bus-event_source-devices-events`` and ``arch/x86/events/rapl.c`` of the Linux
kernel, which also resolves the wraparounds.
"""

import errno
import os
import platform
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.clock import Clock
from profiler.errors import SensorUnavailableError
from profiler.records import Domain, Reading
from profiler.sensors.base import Found, MeterSensor
from profiler.sensors.counter_check import StallDetector
from profiler.sensors.environment import Environment
from profiler.sensors.rapl import (
    FROZEN_REASON,
    ONE_COUNTER_NOTE,
    OpenCounter,
    frozen_counters,
    note_missing_dram,
    rapl_domain,
)

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

_SYSCALLS = {"x86_64": 298, "aarch64": 241}
_ATTRIBUTE = struct.Struct("=IIQQQQQIIQ")
"""``struct perf_event_attr`` in its first published size: type, size, config, sample_period, sample_type, read_format,
flags, wakeup_events, bp_type, config1."""
_CLOSE_ON_EXEC = 8
_COUNT = struct.Struct("=Q")
_ALL_PROCESSES = -1
_NO_GROUP = -1
_REMEDY = (
    "Allow system-wide events: sudo sysctl kernel.perf_event_paranoid=0 -- or for this Python alone: "
    "sudo setcap cap_perfmon+ep $(readlink -f $(command -v python3))"
)
_CONTAINER_REMEDY = (
    "Start the container with `docker run --cap-add PERFMON --security-opt seccomp=unconfined ...`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerEvent:
    """Event of the PMU.

    Attributes:
        name: ``energy-pkg``, ``energy-ram``, ...
        pmu_type: Number of the PMU in the kernel.
        config: Number of the event in the PMU.
        joules_per_count: Energy of one count, in joules.
    """

    name: str
    pmu_type: int
    config: int
    joules_per_count: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerMeter:
    """Event of one package, to be opened on one of its hardware threads.

    Attributes:
        event: The event.
        cpu: Number of the hardware thread.
        domain: The domain that it measures.
    """

    event: PowerEvent
    cpu: int
    domain: Domain


def list_events(root: Path) -> tuple[PowerEvent, ...]:
    """List the energy events that the kernel offers; empty without the PMU.

    Args:
        root: Root of the file system.

    Returns:
        The events, without those that cannot be read or parsed.
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
    """Choose the events to open and their hardware threads.

    Args:
        root: Root of the file system.
        events: The events.
        dies_mirror: True if all dies of a package show one counter, as on AMD's first generations of Zen.

    Returns:
        The meters; each domain once.
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
    has_packages = any(_KINDS[event.name] == "cpu" for event in events)
    return tuple(
        PowerMeter(
            event=event,
            cpu=cpu,
            domain=rapl_domain(
                _KINDS[event.name],
                label,
                source=f"perf {event.name} on cpu {cpu}",
                has_packages=has_packages,
                notes=notes,
            ),
        )
        for event in events
    )


def _packages(root: Path) -> list[tuple[int, int, int]]:
    """Return ``(cpu, package, die)`` of each hardware thread on which the PMU counts, one per package or die."""
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
    """Parse the kernel's list format: ``"0-1,18"`` becomes ``[0, 1, 18]``.

    Raises:
        ValueError: The text is empty or not such a list.
    """
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return cpus


OpenEvent = Callable[[PowerEvent, int], OpenCounter]
"""Opens an event on a hardware thread for all processes; raises OSError."""


class KernelCounter:
    """Event opened with ``perf_event_open``.

    Args:
        descriptor: Its file descriptor.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def read(self) -> int:
        """Return the counts since it was opened.

        Raises:
            OSError: The event is closed, or the kernel returned a short read.
        """
        if self._descriptor is None:
            raise OSError(errno.EBADF, "the event is closed")
        data = os.read(self._descriptor, _COUNT.size)
        if len(data) != _COUNT.size:
            raise OSError(errno.EIO, f"the event returned {len(data)} bytes")
        return int(_COUNT.unpack(data)[0])

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def open_kernel_event(event: PowerEvent, cpu: int) -> KernelCounter:
    """Open an event of the power PMU on one hardware thread.

    Raises:
        OSError: The kernel refuses, or the machine type is not supported.
    """
    return KernelCounter(perf_event_open(event.pmu_type, event.config, pid=_ALL_PROCESSES, cpu=cpu))


def perf_event_open(event_type: int, config: int, *, pid: int, cpu: int) -> int:
    """Call ``perf_event_open(2)``.

    Returns:
        A file descriptor.

    Raises:
        OSError: The kernel refuses, or the machine type is not supported.
    """
    import ctypes

    number = _SYSCALLS.get(platform.machine())
    if number is None or not hasattr(os, "uname"):
        raise OSError(errno.ENOSYS, "perf events are not supported on this type of machine")
    packed = _ATTRIBUTE.pack(event_type, _ATTRIBUTE.size, config, 0, 0, 0, 0, 0, 0, 0)
    attribute = ctypes.create_string_buffer(packed, _ATTRIBUTE.size)
    kernel = ctypes.CDLL(None, use_errno=True)
    arguments = (ctypes.c_long(a) for a in (pid, cpu, _NO_GROUP, _CLOSE_ON_EXEC))
    descriptor = kernel.syscall(ctypes.c_long(number), attribute, *arguments)
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meter:
    domain: Domain
    event: PowerEvent
    counter: OpenCounter
    stall: StallDetector

    def read(self, clock: Clock) -> Reading | None:
        before = clock.now_ns()
        try:
            counts = self.counter.read()
        except OSError:
            return None
        # The value belongs to a moment within the call: the middle halves the largest error.
        time_ns = (before + clock.now_ns()) // 2
        if self.domain.billed:
            self.stall.add(counts, time_ns)
        joules = counts * self.event.joules_per_count
        return Reading(domain=self.domain.name, time_ns=time_ns, energy_joules=joules)


class PerfSensor(MeterSensor[_Meter]):
    """Reads open energy events.

    Args:
        meters: Each meter with its open event.
        clock: Clock of the readings.
    """

    def __init__(self, meters: Sequence[tuple[PowerMeter, OpenCounter]], *, clock: Clock) -> None:
        domains = note_missing_dram(meter.domain for meter, _ in meters)
        opened = [
            _Meter(domain=domain, event=meter.event, counter=counter, stall=StallDetector())
            for domain, (meter, counter) in zip(domains, meters, strict=True)
        ]
        super().__init__("perf", opened, clock=clock)

    def _readings(self) -> Iterable[Reading | None]:
        return (meter.read(self._clock) for meter in self._meters)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Frozen counters since the sensor was opened."""
        return tuple(
            f"{meter.domain.name}: its counter was frozen for over {over}. "
            "The energy in this time is estimated from the power before."
            for meter in self._meters
            if (over := meter.stall.duration())
        )

    def close(self) -> None:
        """Close the events."""
        super().close()
        for meter in self._meters:
            meter.counter.close()


def open_perf(environment: Environment, open_event: OpenEvent = open_kernel_event) -> Found:
    """Open every energy event.

    Args:
        environment: The machine.
        open_event: Opens one event; replaced in tests.

    Raises:
        SensorUnavailableError: There is no event, or this user may open none; with reason and remedy.
    """
    root = environment.system_root
    events = list_events(root)
    if not events:
        raise SensorUnavailableError(f"the kernel offers no energy events (/{PMU})")
    host = environment.host()
    meters = plan_meters(root, events, dies_mirror=host.vendor == "AuthenticAMD")
    opened: list[tuple[PowerMeter, OpenCounter]] = []
    first_error: OSError | None = None
    for meter in meters:
        try:
            opened.append((meter, open_event(meter.event, meter.cpu)))
        except OSError as error:
            first_error = first_error or error
    frozen = _frozen(opened, environment)
    alive = [(meter, counter) for meter, counter in opened if meter.domain.name not in frozen]
    if not any(meter.domain.billed for meter, _ in alive):
        for _, counter in opened:
            counter.close()
        if frozen:
            raise SensorUnavailableError(f"energy events cannot be used: {FROZEN_REASON}")
        raise _open_error(root, first_error, in_container=host.container is not None)
    return Found(sensors=(PerfSensor(alive, clock=environment.clock),))


def _frozen(opened: Sequence[tuple[PowerMeter, OpenCounter]], environment: Environment) -> frozenset[str]:
    """Return the names of counted domains whose event does not count."""
    counters = {meter.domain.name: counter for meter, counter in opened if meter.domain.billed}
    return frozen_counters(dict.fromkeys(counters, 0), counters, environment.clock)


def _open_error(root: Path, error: OSError | None, *, in_container: bool) -> SensorUnavailableError:
    if not isinstance(error, PermissionError):
        return SensorUnavailableError(f"the kernel refuses its energy events: {error}")
    try:
        level = (root / "proc/sys/kernel/perf_event_paranoid").read_text().strip()
    except OSError:
        level = "unknown"
    return SensorUnavailableError(
        f"this user may not open system-wide events (kernel.perf_event_paranoid is {level})",
        remedy=_CONTAINER_REMEDY if in_container else _REMEDY,
    )
