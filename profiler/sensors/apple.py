"""Apple silicon read through ``zeus-apple-silicon``: cumulative energies of the processor, the GPU and the memory."""

from collections.abc import Sequence
from typing import Any

from profiler.clock import Clock
from profiler.errors import MissingDependencyError, SensorError, SensorUnavailableError
from profiler.records import Domain, Provenance, Reading
from profiler.sensors.base import Found
from profiler.sensors.environment import Environment

_SOURCE = "Apple IOReport ({metrics})"
_GAIN_UNCERTAINTY = 0.05
"""Relative standard deviation, chosen by this project; Apple states no tolerance and calls the values estimates."""
_MILLI = 1e-3
_METRICS = {
    "mps:0": ("gpu_mj", "gpu_sram_mj"),
    "cpu:package-0": ("cpu_total_mj",),
    "dram:package-0": ("dram_mj",),
    "ane:package-0": ("ane_mj",),
}
"""Metrics of each domain; the first one must be known, the others are added where they are."""
_RECORDED = ("ane:package-0",)
_RECORDED_NOTE = "The neural engine, which torch does not use: recorded, not counted."


class AppleSensor:
    """Reads the energies of one Mac.

    Args:
        monitor: An ``AppleEnergyMonitor``.
        domains: The domains that the machine reports.
        clock: Clock of the readings.
    """

    def __init__(self, monitor: Any, domains: Sequence[Domain], *, clock: Clock) -> None:
        self._monitor = monitor
        self._domains = tuple(domains)
        self._clock = clock
        self._closed = False

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The domains that the machine reports."""
        return self._domains

    def read(self) -> Sequence[Reading]:
        """Read every domain once, in one call.

        Raises:
            SensorError: The sensor is closed, or the call fails.
        """
        if self._closed:
            raise SensorError("the sensor of Apple silicon is closed")
        before = self._clock.now_ns()
        try:
            metrics = self._monitor.get_cumulative_energy()
        except RuntimeError as error:
            raise SensorError(f"IOReport cannot be read: {error}") from error
        time_ns = (before + self._clock.now_ns()) // 2
        found = [
            Reading(domain=domain.name, time_ns=time_ns, energy_joules=joules)
            for domain in self._domains
            if (joules := _joules(metrics, domain.name)) is not None
        ]
        if not found:
            raise SensorError("IOReport returned no energy")
        return found

    def close(self) -> None:
        """Refuse further reads."""
        self._closed = True


def _joules(metrics: Any, name: str) -> float | None:
    first, *others = (getattr(metrics, metric, None) for metric in _METRICS[name])
    return None if first is None else (first + sum(filter(None, others))) * _MILLI


def open_apple(environment: Environment) -> Found:
    """Open the energy counters of a Mac with Apple silicon; nothing is found on other machines.

    Raises:
        MissingDependencyError: zeus-apple-silicon is not installed.
        SensorUnavailableError: IOReport cannot be read, or reports no energy.
    """
    host = environment.host()
    if (host.system, host.machine.lower()) != ("Darwin", "arm64"):
        return Found()
    try:
        from zeus_apple_silicon import AppleEnergyMonitor
    except ImportError as error:
        raise MissingDependencyError(
            "zeus-apple-silicon",
            needed_for="reading Apple silicon",
            install='pip install "energy-profiler[apple]"',
        ) from error
    try:
        monitor = AppleEnergyMonitor()
        metrics = monitor.get_cumulative_energy()
    except RuntimeError as error:
        raise SensorUnavailableError(f"IOReport cannot be read: {error}") from error
    domains = [_domain(name) for name in _METRICS if _joules(metrics, name) is not None]
    if not domains:
        raise SensorUnavailableError("IOReport reports no energy on this Mac")
    return Found(sensors=(AppleSensor(monitor, domains, clock=environment.clock),))


def _domain(name: str) -> Domain:
    is_recorded = name in _RECORDED
    return Domain(
        name=name,
        source=_SOURCE.format(metrics=" + ".join(metric.removesuffix("_mj") for metric in _METRICS[name])),
        provenance=Provenance.COUNTER,
        billed=not is_recorded,
        gain_uncertainty=_GAIN_UNCERTAINTY,
        notes=(_RECORDED_NOTE,) if is_recorded else (),
    )
