"""Reads the processor's energy counters as perf events, where powercap may not be read."""

import errno
import os
import platform
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from profiler.errors import SensorError, SensorUnavailableError
from profiler.records import Domain, Reading
from profiler.sensors.base import Found
from profiler.sensors.environment import Surroundings
from profiler.sensors.perf_events import PMU, PowerEvent, PowerMeter, list_events, plan_meters
from profiler.sensors.rapl_domains import say_missing_memory

_SYSCALLS = {"x86_64": 298, "aarch64": 241}
_ATTRIBUTE = struct.Struct("=IIQQQQQIIQ")
"""``struct perf_event_attr`` in its first published size: type, size, config, sample_period, sample_type, read_format,
flags, wakeup_events, bp_type, config1."""
_CLOSE_ON_EXEC = 8
_COUNT = struct.Struct("=Q")
_EVERY_PROCESS = -1
_NO_GROUP = -1
_REMEDY = (
    "Allow system-wide events: sudo sysctl kernel.perf_event_paranoid=0 -- or for this Python alone: "
    "sudo setcap cap_perfmon+ep $(readlink -f $(command -v python3))"
)
_CONTAINER_REMEDY = (
    "Start the container with `docker run --cap-add PERFMON --security-opt seccomp=unconfined ...`"
)


class EventCounter(Protocol):
    """An open event."""

    def read(self) -> int:
        """Return the counts since it was opened.

        Raises:
            OSError: It cannot be read.
        """
        ...

    def close(self) -> None:
        """Release it. Safe to call twice."""
        ...


OpenEvent = Callable[[PowerEvent, int], EventCounter]
"""Opens an event on a hardware thread, for every process; raises OSError."""


class KernelCounter:
    """An event opened with ``perf_event_open``.

    Args:
        descriptor: Its file descriptor.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def read(self) -> int:
        """Return the counts since it was opened; the kernel resolves the hardware's wraps."""
        if self._descriptor is None:
            raise OSError(errno.EBADF, "the event is closed")
        data = os.read(self._descriptor, _COUNT.size)
        if len(data) != _COUNT.size:
            raise OSError(errno.EIO, f"the event gave {len(data)} bytes")
        return int(_COUNT.unpack(data)[0])

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def open_kernel_event(event: PowerEvent, cpu: int) -> KernelCounter:
    """Open an event of the power PMU on one hardware thread.

    Raises:
        OSError: The kernel refuses, or is of a kind whose call number is not known here.
    """
    return KernelCounter(perf_event_open(event.pmu_type, event.config, pid=_EVERY_PROCESS, cpu=cpu))


def perf_event_open(event_type: int, config: int, *, pid: int, cpu: int) -> int:
    """Call the kernel's ``perf_event_open(2)``.

    Returns:
        A file descriptor.

    Raises:
        OSError: The kernel refuses, or is of a kind whose call number is not known here.
    """
    import ctypes

    number = _SYSCALLS.get(platform.machine())
    if number is None or not hasattr(os, "uname"):
        raise OSError(errno.ENOSYS, "perf events are not known on this kind of machine")
    packed = _ATTRIBUTE.pack(event_type, _ATTRIBUTE.size, config, 0, 0, 0, 0, 0, 0, 0)
    attribute = ctypes.create_string_buffer(packed, _ATTRIBUTE.size)
    kernel = ctypes.CDLL(None, use_errno=True)
    arguments = (ctypes.c_long(a) for a in (pid, cpu, _NO_GROUP, _CLOSE_ON_EXEC))
    descriptor = kernel.syscall(ctypes.c_long(number), attribute, *arguments)
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(descriptor)


class PerfSensor:
    """Reads opened energy events.

    Args:
        meters: What each measures, with its open event.
        clock: Monotonic nanoseconds.
    """

    def __init__(
        self, meters: Sequence[tuple[PowerMeter, EventCounter]], *, clock: Callable[[], int]
    ) -> None:
        self._meters = tuple(meters)
        self._domains = say_missing_memory(meter.domain for meter, _ in meters)
        self._clock = clock
        self._closed = False

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The domains it reads."""
        return self._domains

    def read(self) -> Sequence[Reading]:
        """Read every event once; one that cannot be read is left out.

        Raises:
            SensorError: The sensor is closed, or no event could be read.
        """
        if self._closed:
            raise SensorError("the perf sensor is closed")
        readings = [r for meter, counter in self._meters if (r := self._read(meter, counter)) is not None]
        if not readings:
            raise SensorError("no energy event could be read")
        return readings

    def close(self) -> None:
        """Close the events."""
        self._closed = True
        for _, counter in self._meters:
            counter.close()

    def _read(self, meter: PowerMeter, counter: EventCounter) -> Reading | None:
        before = self._clock()
        try:
            counts = counter.read()
        except OSError:
            return None
        time_ns = (before + self._clock()) // 2
        joules = counts * meter.event.joules_per_count
        return Reading(domain=meter.domain.name, time_ns=time_ns, energy_joules=joules)


def open_perf(surroundings: Surroundings, open_event: OpenEvent = open_kernel_event) -> Found:
    """Open every energy event.

    Args:
        surroundings: The machine.
        open_event: Opens one event; replaced in tests.

    Raises:
        SensorUnavailableError: There is none, or this user may open none; with the reason and the remedy.
    """
    root = surroundings.system_root
    events = list_events(root)
    if not events:
        raise SensorUnavailableError(f"the kernel offers no energy events (/{PMU})")
    meters = plan_meters(root, events, dies_mirror=surroundings.host().vendor == "AuthenticAMD")
    opened, error = _open_all(meters, open_event)
    if not any(meter.domain.billed for meter, _ in opened):
        for _, counter in opened:
            counter.close()
        raise _why_not(root, error, contained=surroundings.host().container is not None)
    return Found(sensors=(PerfSensor(opened, clock=surroundings.clock),))


def _open_all(
    meters: Sequence[PowerMeter], open_event: OpenEvent
) -> tuple[list[tuple[PowerMeter, EventCounter]], OSError | None]:
    opened: list[tuple[PowerMeter, EventCounter]] = []
    first_error: OSError | None = None
    for meter in meters:
        try:
            opened.append((meter, open_event(meter.event, meter.cpu)))
        except OSError as error:
            first_error = first_error or error
    return opened, first_error


def _why_not(root: Path, error: OSError | None, *, contained: bool) -> SensorUnavailableError:
    if not isinstance(error, PermissionError):
        return SensorUnavailableError(f"the kernel refuses its energy events: {error}")
    try:
        level = (root / "proc/sys/kernel/perf_event_paranoid").read_text().strip()
    except OSError:
        level = "unknown"
    return SensorUnavailableError(
        f"this user may not open system-wide events (kernel.perf_event_paranoid is {level})",
        remedy=_CONTAINER_REMEDY if contained else _REMEDY,
    )
