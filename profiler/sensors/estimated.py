"""Processor and memory power from tables and load, for machines where neither has a readable counter."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.errors import MissingDependencyError, SensorError
from profiler.records import Domain, Provenance, Reading
from profiler.sensors.base import Found
from profiler.sensors.environment import Surroundings
from profiler.sensors.host import Host
from profiler.sensors.tdp_table import find_table, match_cpu, read_table
from profiler.units import NANOSECONDS_PER_SECOND

IDLE_SHARE_OF_TDP = 0.12
FULL_SHARE_OF_TDP = 1.02
"""The ends of the load curve measured by Teads and published by Boavizta; between them: linear."""
WATTS_PER_UNKNOWN_THREAD = 4.0
"""codecarbon's power per hardware thread of a processor that it does not know."""
GAIN_UNCERTAINTY = 0.30
"""One standard deviation: against measured sweeps of the load on four processors such models were off by up
to about 50 %, which is taken as the ends of a 90 % interval."""
BYTES_PER_GB = 1024**3
_ACCURACY = "good to about 50 %"

_FIRST_LINE = 256
_IDLE = slice(3, 5)
_UNITS = slice(0, 8)
"""Columns of the first line of ``/proc/stat`` (proc_stat(5)): idle and waiting for input or output, and all but what
guests have, which users have as well."""

CpuTimes = Callable[[], tuple[float, float]]
"""Returns the busy and the total time of all hardware threads together, since the machine started, in any unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerModel:
    """How much the processors draw.

    Attributes:
        full_watts: The power that stands for the thermal design power of all sockets.
        notes: What it rests on.
    """

    full_watts: float
    notes: tuple[str, ...]

    def watts(self, load: float) -> float:
        """Return the power at a load between 0 and 1, in watts."""
        return self.full_watts * (IDLE_SHARE_OF_TDP + (FULL_SHARE_OF_TDP - IDLE_SHARE_OF_TDP) * load)


class ModelledSensor:
    """Estimates the power from the load between two reads, and adds it up.

    Args:
        cpu: The processors' model.
        ram_watts: The memory's constant power in watts, and the sentence it rests on.
        cpu_times: Where the load comes from.
        clock: Monotonic nanoseconds.
        release: Called when it is closed.
    """

    def __init__(
        self,
        *,
        cpu: PowerModel,
        ram_watts: tuple[float, str],
        cpu_times: CpuTimes,
        clock: Callable[[], int],
        release: Callable[[], object] = bool,
    ) -> None:
        self._model = cpu
        self._ram_watts = ram_watts[0]
        self._domains = (
            _domain("cpu:package-0", "load model of the processor", cpu.notes),
            _domain("dram:package-0", "memory model", (ram_watts[1],)),
        )
        self._cpu_times = cpu_times
        self._release = release
        self._clock = clock
        self._last_ns = clock()
        self._last_times = cpu_times()
        self._load = 0.0
        self._cpu_joules = 0.0
        self._ram_joules = 0.0
        self._closed = False

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The processors as one domain, and the memory."""
        return self._domains

    def read(self) -> Sequence[Reading]:
        """Add the energy since the last read, at the load since then.

        Raises:
            SensorError: The sensor is closed, or the load cannot be read.
        """
        if self._closed:
            raise SensorError("the modelled sensor is closed")
        try:
            times = self._cpu_times()
        except (OSError, RuntimeError) as error:
            raise SensorError(f"the processor's load cannot be read: {error}") from error
        now = self._clock()
        watts = self._model.watts(self._load_since(times))
        seconds = (now - self._last_ns) / NANOSECONDS_PER_SECOND
        self._last_ns = now
        self._cpu_joules += watts * seconds
        self._ram_joules += self._ram_watts * seconds
        amounts = ((self._cpu_joules, watts), (self._ram_joules, self._ram_watts))
        return tuple(
            Reading(domain=domain.name, time_ns=now, energy_joules=joules, power_watts=power)
            for domain, (joules, power) in zip(self._domains, amounts, strict=True)
        )

    def close(self) -> None:
        """End the model."""
        self._closed = True
        self._release()

    def _load_since(self, times: tuple[float, float]) -> float:
        """Return the load since the last read, or the last known one when the kernel's tick has not moved."""
        busy, total = (new - old for new, old in zip(times, self._last_times, strict=True))
        if total > 0:
            self._load = min(max(busy / total, 0.0), 1.0)
            self._last_times = times
        return self._load


def open_modelled(surroundings: Surroundings) -> Found:
    """Build the model of this machine.

    Raises:
        MissingDependencyError: psutil is not installed.
    """
    try:
        import psutil
    except ImportError as error:
        raise MissingDependencyError(
            "psutil", needed_for="the processor model", install="pip install psutil"
        ) from error
    host = surroundings.host()
    cpu_times, release = _machine_times(surroundings.system_root)
    sensor = ModelledSensor(
        cpu=model_cpu(host),
        ram_watts=model_ram(psutil.virtual_memory().total, host),
        cpu_times=cpu_times,
        clock=surroundings.clock,
        release=release,
    )
    return Found(sensors=(sensor,))


class StatTimes:
    """The machine's times from ``/proc/stat``, kept open: opening costs more than reading.

    Args:
        path: The file.

    Raises:
        OSError: There is no such file.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)

    def __call__(self) -> tuple[float, float]:
        """Return busy and total ticks.

        Raises:
            OSError: The file cannot be read.
        """
        line = os.pread(self._file.fileno(), _FIRST_LINE, 0).split(b"\n", 1)[0]
        ticks = [int(word) for word in line.split()[1:]][_UNITS]
        total = sum(ticks)
        return total - sum(ticks[_IDLE]), total

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()


def _machine_times(root: Path) -> tuple[CpuTimes, Callable[[], object]]:
    """Where the machine's times come from, and what releases it."""
    try:
        stat = StatTimes(root / "proc/stat")
    except OSError:  # no Linux
        return _psutil_times, bool
    return stat, stat.close


def _psutil_times() -> tuple[float, float]:
    """Return busy and total seconds of the machine, counted as psutil's ``cpu_percent`` counts them."""
    import psutil

    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # Linux counts a guest's time in the user's as well.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - idle, total


def model_cpu(host: Host) -> PowerModel:
    """Model the processors of a machine from its table entry, or by its threads."""
    by_threads = WATTS_PER_UNKNOWN_THREAD * host.threads
    tdp, source = _design_power(host)
    guess = (
        f"{WATTS_PER_UNKNOWN_THREAD:g} W for each of {host.threads} hardware threads (codecarbon's default)"
    )
    if tdp is None:
        return _power_model(by_threads, f"{source}: {guess}")
    if host.virtual:
        share = f"a virtual machine's share of a processor: {guess}, at most the {tdp:g} W of {source}"
        return _power_model(min(by_threads, tdp), share)
    return _power_model(tdp * host.sockets, f"{host.sockets} x {tdp:g} W of {source}")


def _power_model(full_watts: float, basis: str) -> PowerModel:
    scale = f"{IDLE_SHARE_OF_TDP:g} (idle) to {FULL_SHARE_OF_TDP:g} (full load)"
    note = f"Estimated, not measured: {basis}, scaled from {scale} by the whole machine's load; {_ACCURACY}."
    return PowerModel(full_watts=full_watts, notes=(note,))


def _design_power(host: Host) -> tuple[float | None, str]:
    """Return the processor's design power in watts, if it is known, and from where it is or why it is not."""
    if not host.cpu_model:
        return None, "the processor does not tell its name"
    path = find_table()
    if path is None:
        return None, "codecarbon's table of processors is not installed (pip install codecarbon)"
    try:
        match = match_cpu(host.cpu_model, read_table(path))
    except OSError as error:
        return None, f"codecarbon's table of processors cannot be read ({error})"
    if match is None:
        return None, f"codecarbon's table does not know {host.cpu_model!r}"
    return match[1], f"{match[0]} in codecarbon's table of processors"


def model_ram(total_bytes: int, host: Host) -> tuple[float, str]:
    """Estimate the memory's power by codecarbon's rule for its modules.

    Args:
        total_bytes: The installed memory.
        host: The machine.

    Returns:
        Watts, and the sentence they rest on.
    """
    modules = estimate_dimm_count(total_bytes / BYTES_PER_GB)
    each, least = (5.0, 10.0) if host.is_x86 else (1.5, 3.0)
    # Further modules add less each: 10 % less from the fifth on, 20 % from the ninth, 30 % from the 17th.
    full = min(modules, 4) + 0.9 * _between(modules, 4, 8) + 0.8 * _between(modules, 8, 16)
    watts = max(least, each * (full + 0.7 * _between(modules, 16, 32)))
    count = f"{modules} memory modules, guessed from {total_bytes / BYTES_PER_GB:.0f} GB"
    rule = f"{each:g} W each and less for many (codecarbon 3's rule), whatever the load"
    return watts, f"Estimated, not measured: {count}, at {rule}; {_ACCURACY}."


def _between(value: int, low: int, high: int) -> int:
    return min(max(value - low, 0), high - low)


_MODULES_BY_GB = ((2, 1), (16, 2), (64, 4), (128, 8))
_MODULE_SIZES_GB = (128, 64, 32, 16)


def estimate_dimm_count(total_gb: float) -> int:
    """Guess how many memory modules make up a size, as ``codecarbon.external.ram`` does."""
    for limit, modules in _MODULES_BY_GB:
        if total_gb <= limit:
            return modules
    size = next(size for size in _MODULE_SIZES_GB if size <= total_gb / 8)
    return min(math.ceil(total_gb / size), 32)


def _domain(name: str, source: str, notes: tuple[str, ...]) -> Domain:
    return Domain(
        name=name,
        source=source,
        provenance=Provenance.MODELLED,
        gain_uncertainty=GAIN_UNCERTAINTY,
        notes=notes,
    )
