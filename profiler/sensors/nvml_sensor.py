"""Reads NVIDIA boards that were found and opened."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from profiler.errors import SensorError
from profiler.records import Domain, Reading
from profiler.sensors.nvml_board import (
    FIELD_ENERGY,
    FIELD_POWER_AVERAGE,
    FIELD_POWER_INSTANT,
    FieldReader,
    Plan,
)
from profiler.sensors.nvml_samples import PowerBuffer
from profiler.units import NANOSECONDS_PER_SECOND, format_seconds

_RETRY_NS = NANOSECONDS_PER_SECOND
_RESTART_NS = 5 * NANOSECONDS_PER_SECOND
_MILLI = 1e-3


class GpuMeter:
    """One board while it is read.

    Args:
        nvml: The initialised ``pynvml`` module.
        handle: The board's handle.
        plan: How it is read.
        domain: What it is called.
        buffer: The power readings that it remembers, where those are read.

    Attributes:
        domain: What it is called.
        unread_ns: How long it could not be read, in nanoseconds.
    """

    __slots__ = (
        "_buffer",
        "_fields",
        "_handle",
        "_lost_ns",
        "_nvml",
        "_plan",
        "_sought_ns",
        "domain",
        "unread_ns",
    )

    def __init__(
        self, nvml: Any, handle: Any, plan: Plan, domain: Domain, buffer: PowerBuffer | None = None
    ) -> None:
        self._nvml = nvml
        self._plan = plan
        self._buffer = buffer
        self._sought_ns: int | None = None
        self._lost_ns = 0
        self.unread_ns = 0
        self.domain = domain
        self._use(handle)

    def _use(self, handle: Any) -> None:
        self._handle = handle
        self._fields = FieldReader(self._nvml, handle, self._plan.fields) if self._plan.fields else None
        if self._buffer is not None:
            self._buffer.use(handle)

    def read(self, clock: Callable[[], int]) -> Sequence[Reading] | None:
        """Read the board; None when that fails or its counter, if it has one, is not in the answer."""
        before = clock()
        try:
            if self._sought_ns is not None:
                self._find_again(before)
            readings = (
                self._present(before, clock) if self._buffer is None else self._past(self._buffer, clock)
            )
        except self._nvml.NVMLError:
            self._lose(before)
            return None
        if self._sought_ns is not None:
            self.unread_ns += before - self._lost_ns
            self._sought_ns = None
        return readings

    def _present(self, before_ns: int, clock: Callable[[], int]) -> Sequence[Reading] | None:
        energy, power = self._amounts()
        if (energy if self._plan.has_energy else power) is None:
            return None
        middle_ns = (before_ns + clock()) // 2
        return (Reading(domain=self.domain.name, time_ns=middle_ns, energy_joules=energy, power_watts=power),)

    def _past(self, buffer: PowerBuffer, clock: Callable[[], int]) -> Sequence[Reading]:
        name = self.domain.name
        return [Reading(domain=name, time_ns=at, power_watts=watts) for at, watts in buffer.read(clock)]

    def _lose(self, now_ns: int) -> None:
        if self._sought_ns is None:
            self._sought_ns = self._lost_ns = now_ns

    def _amounts(self) -> tuple[float | None, float | None]:
        seen = self._fields.read() if self._fields is not None else {}
        energy = seen.get(FIELD_ENERGY)
        power = seen.get(FIELD_POWER_INSTANT, seen.get(FIELD_POWER_AVERAGE))
        if self._plan.energy_call:
            energy = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        if self._plan.usage_call:
            power = self._nvml.nvmlDeviceGetPowerUsage(self._handle)
        return _scaled(energy), _scaled(power)

    def _find_again(self, now_ns: int) -> None:
        """Look a failed board up again, at most once a second: one that returns may have a new handle."""
        assert self._sought_ns is not None
        if now_ns - self._sought_ns >= _RETRY_NS:
            self._sought_ns = now_ns
            self._use(self._nvml.nvmlDeviceGetHandleByUUID(self.domain.device))


def _scaled(milli: int | None) -> float | None:
    return None if milli is None else milli * _MILLI


class NvmlSensor:
    """Reads every visible board.

    Counters are passed on as they are: one that restarts, as on reloading the driver, shows as a decrease.

    Args:
        nvml: The ``pynvml`` module, initialised; the sensor shuts it down.
        gpus: The boards.
        clock: Monotonic nanoseconds.
    """

    def __init__(self, nvml: Any, gpus: Sequence[GpuMeter], *, clock: Callable[[], int]) -> None:
        self._nvml = nvml
        self._gpus = tuple(gpus)
        self._clock = clock
        self._process = os.getpid()
        self._closed = False
        self._failed_ns: int | None = None

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The boards it reads."""
        return tuple(gpu.domain for gpu in self._gpus)

    def read(self) -> Sequence[Reading]:
        """Read every board once; one that fails is left out, and sought again a second later.

        Raises:
            SensorError: The sensor is closed, or no board could be read.
        """
        if self._closed:
            raise SensorError("the NVML sensor is closed")
        read = [readings for gpu in self._gpus if (readings := gpu.read(self._clock)) is not None]
        if not read:
            self._start_again()
            raise SensorError("no GPU could be read")
        self._failed_ns = None
        return read[0] if len(read) == 1 else [reading for readings in read for reading in readings]

    def _start_again(self) -> None:
        """Start NVML anew every few seconds while nothing can be read: a reloaded driver needs it."""
        now = self._clock()
        if self._failed_ns is None:
            self._failed_ns = now
        elif now - self._failed_ns >= _RESTART_NS:
            self._failed_ns = now
            shut_down(self._nvml)
            _start_quietly(self._nvml)

    @property
    def notices(self) -> tuple[str, ...]:
        """Boards that could not be read for a while."""
        return tuple(
            f"{gpu.domain.name} could not be read for {format_seconds(gpu.unread_ns / NANOSECONDS_PER_SECOND)} in all."
            for gpu in self._gpus
            if gpu.unread_ns >= NANOSECONDS_PER_SECOND
        )

    def close(self) -> None:
        """Shut NVML down, in the process that started it."""
        if not self._closed and os.getpid() == self._process:
            shut_down(self._nvml)
        self._closed = True


def shut_down(nvml: Any) -> None:
    """Release NVML, whatever state it is in."""
    try:
        nvml.nvmlShutdown()
    except nvml.NVMLError:
        return  # somebody else shut it down, or the driver is gone: nothing is left to release


def _start_quietly(nvml: Any) -> None:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return  # the driver is not back yet: the next try comes in a few seconds
