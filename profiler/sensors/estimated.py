"""Estimated CPU and memory power, for machines on which neither has a readable counter."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from profiler._codecarbon import cpu_tdp
from profiler.clock import Clock
from profiler.errors import MissingDependencyError, SensorError
from profiler.records import Domain, Provenance, Reading
from profiler.sensors.base import Found
from profiler.sensors.environment import Environment
from profiler.sensors.host import Host
from profiler.units import NANOSECONDS_PER_SECOND

IDLE_SHARE_OF_TDP = 0.12
FULL_SHARE_OF_TDP = 1.02
"""Ends of the load curve measured by Teads and published by Boavizta; linear in between."""
WATTS_PER_UNKNOWN_THREAD = 4.0
"""codecarbon's power per hardware thread of a processor that is not in its table."""
GAIN_UNCERTAINTY = 0.30
"""Relative standard deviation. Against measured load sweeps on four processors, such models were off by up to about
50 %, which is taken as the ends of a 90 % interval."""
BYTES_PER_GB = 1024**3
_ACCURACY = "good to about 50 %"

CpuTimes = Callable[[], tuple[float, float]]
"""Returns the busy and the total time of all hardware threads since the machine started, in any unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuPowerModel:
    """Linear model of the power of all sockets.

    Attributes:
        full_watts: The thermal design power (TDP) of all sockets, in watts.
        notes: Sentences that state its basis.
    """

    full_watts: float
    notes: tuple[str, ...]

    def watts(self, load: float) -> float:
        """Return the power in watts at a load between 0 and 1."""
        return self.full_watts * (IDLE_SHARE_OF_TDP + (FULL_SHARE_OF_TDP - IDLE_SHARE_OF_TDP) * load)


class EstimatedSensor:
    """Estimates the power from the mean load between two reads and accumulates the energy.

    Args:
        cpu: Power model of the processors.
        ram_watts: Constant power of the memory in watts, and a sentence that states its basis; None if another sensor
            measures the memory.
        cpu_times: Source of the load.
        clock: Clock of the readings.
    """

    def __init__(
        self,
        *,
        cpu: CpuPowerModel,
        ram_watts: tuple[float, str] | None,
        cpu_times: CpuTimes,
        clock: Clock,
    ) -> None:
        self._model = cpu
        self._ram_watts = ram_watts[0] if ram_watts else 0.0
        processor = _domain("cpu:package-0", "load model of the processor", cpu.notes)
        memory = (_domain("dram:package-0", "memory model", (ram_watts[1],)),) if ram_watts else ()
        self._domains = (processor, *memory)
        self._cpu_times = cpu_times
        self._clock = clock
        self._last_ns = clock.now_ns()
        self._last_times = cpu_times()
        self._load = 0.0
        self._cpu_joules = 0.0
        self._ram_joules = 0.0
        self._closed = False

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The processors as one domain, and the memory if it is estimated."""
        return self._domains

    def read(self) -> Sequence[Reading]:
        """Add the energy since the last read, at the mean load since then.

        Raises:
            SensorError: The sensor is closed, or the load cannot be read.
        """
        if self._closed:
            raise SensorError("the estimating sensor is closed")
        try:
            times = self._cpu_times()
        except (OSError, RuntimeError) as error:
            raise SensorError(f"the processor's load cannot be read: {error}") from error
        now = self._clock.now_ns()
        # The model is linear, so the mean load gives the same energy as the course of the load.
        watts = self._model.watts(self._load_since(times))
        seconds = (now - self._last_ns) / NANOSECONDS_PER_SECOND
        self._last_ns = now
        self._cpu_joules += watts * seconds
        self._ram_joules += self._ram_watts * seconds
        amounts = ((self._cpu_joules, watts), (self._ram_joules, self._ram_watts))
        return tuple(
            Reading(domain=domain.name, time_ns=now, energy_joules=joules, power_watts=power)
            for domain, (joules, power) in zip(self._domains, amounts, strict=False)
        )

    def close(self) -> None:
        """Refuse further reads."""
        self._closed = True

    def _load_since(self, times: tuple[float, float]) -> float:
        """Return the load since the last read, or the last known load if the kernel's tick has not advanced."""
        busy, total = (new - old for new, old in zip(times, self._last_times, strict=True))
        # The kernel counts in ticks of 1 to 10 ms: between two ticks a load would be 0 / 0.
        if total > 0:
            self._load = min(max(busy / total, 0.0), 1.0)
            self._last_times = times
        return self._load


def open_estimated(environment: Environment) -> Found:
    """Build the power model of this machine.

    Raises:
        MissingDependencyError: psutil is not installed.
    """
    try:
        import psutil
    except ImportError as error:
        raise MissingDependencyError(
            "psutil", needed_for="the processor model", install="pip install psutil"
        ) from error
    host = environment.host()
    has_dram = any(domain.kind.name == "dram" for domain in environment.measured)
    sensor = EstimatedSensor(
        cpu=model_cpu(host),
        ram_watts=None if has_dram else model_ram(psutil.virtual_memory().total, host),
        cpu_times=machine_cpu_times,
        clock=environment.clock,
    )
    return Found(sensors=(sensor,))


def machine_cpu_times() -> tuple[float, float]:
    """Return the busy and the total seconds of the machine, computed as psutil's ``cpu_percent`` does."""
    import psutil

    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # Linux includes the time of guests in the time of users as well.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - idle, total


def model_cpu(host: Host) -> CpuPowerModel:
    """Model the processors from their design power or, if that is unknown, from the number of threads."""
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


def _power_model(full_watts: float, basis: str) -> CpuPowerModel:
    scale = f"{IDLE_SHARE_OF_TDP:g} (idle) to {FULL_SHARE_OF_TDP:g} (full load)"
    note = f"Estimated, not measured: {basis}, scaled from {scale} by the whole machine's load; {_ACCURACY}."
    return CpuPowerModel(full_watts=full_watts, notes=(note,))


def _design_power(host: Host) -> tuple[float | None, str]:
    """Return the processor's design power in watts with its source, or None with the reason."""
    if not host.cpu_model:
        return None, "the processor does not report its name"
    try:
        match = cpu_tdp(host.cpu_model)
    except MissingDependencyError:
        return None, "codecarbon's table of processors is not installed (pip install codecarbon)"
    except OSError as error:
        return None, f"codecarbon's table of processors cannot be read ({error})"
    if match is None:
        return None, f"codecarbon's table does not contain {host.cpu_model!r}"
    return match[1], f"{match[0]} in codecarbon's table of processors"


def model_ram(total_bytes: int, host: Host) -> tuple[float, str]:
    """Estimate the memory's power by the rule of codecarbon 3 (``codecarbon.external.ram``).

    Args:
        total_bytes: Installed memory in bytes.
        host: The machine.

    Returns:
        Watts, and a sentence that states their basis.
    """
    modules = estimate_dimm_count(total_bytes / BYTES_PER_GB)
    each, minimum = (5.0, 10.0) if host.is_x86 else (1.5, 3.0)
    # Further modules add less: 10 % less from the fifth on, 20 % from the ninth, 30 % from the 17th.
    full = min(modules, 4) + 0.9 * _between(modules, 4, 8) + 0.8 * _between(modules, 8, 16)
    watts = max(minimum, each * (full + 0.7 * _between(modules, 16, 32)))
    count = f"{modules} memory modules, guessed from {total_bytes / BYTES_PER_GB:.0f} GB"
    rule = f"{each:g} W each and less for many (codecarbon 3's rule), whatever the load"
    return watts, f"Estimated, not measured: {count}, at {rule}; {_ACCURACY}."


def _between(value: int, low: int, high: int) -> int:
    return min(max(value - low, 0), high - low)


_MODULES_BY_GB = ((2, 1), (16, 2), (64, 4), (128, 8))
_MODULE_SIZES_GB = (128, 64, 32, 16)


def estimate_dimm_count(total_gb: float) -> int:
    """Guess the number of memory modules from the total size, as ``codecarbon.external.ram`` does."""
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
