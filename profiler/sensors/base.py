"""Interface of sensors."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

from profiler.clock import Clock
from profiler.errors import SensorError
from profiler.records import Domain, Reading, Refusal

MODULE_NOTE = "On this module the counter includes the processor and memory beside the GPU."


def covers(domain: Domain) -> frozenset[str]:
    """Return the parts of a node that a domain measures completely: ``cpu``, ``accelerators``."""
    return domain.kind.covers | (frozenset({"cpu"}) if MODULE_NOTE in domain.notes else frozenset())


@runtime_checkable
class Sensor(Protocol):
    """A source of energy readings for one or more domains.

    A sensor is opened, read and closed by one thread at a time. It never writes to a stream, starts a thread or a
    process, or uses the network.

    A sensor may also have a property ``warnings`` of type ``tuple[str, ...]``: sentences about events since it was
    opened that its readings do not show, such as a counter reset. The recording reports each sentence once. An
    attribute ``hardware`` may hold ``boards``, the model of each domain's device by name, and ``driver``, the driver's
    version.
    """

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The domains that it reads; they never change."""
        ...

    def read(self) -> Sequence[Reading]:
        """Read every domain once.

        Returns:
            One reading per domain; for a domain that buffers its readings, all since the last call, in order. A domain
            that cannot be read this time is omitted. A decrease of the energy means that the counter was reset and the
            energy since the previous reading is unknown.

        Raises:
            SensorError: No domain could be read.
        """
        ...

    def close(self) -> None:
        """Release the source. May be called twice."""
        ...


class Meter(Protocol):
    """One domain of a :class:`MeterSensor`."""

    @property
    def domain(self) -> Domain:
        """The domain."""
        ...


_M = TypeVar("_M", bound=Meter)


class MeterSensor(ABC, Generic[_M]):
    """Sensor of several meters, each of one domain.

    Args:
        source: Name of the source, for errors.
        meters: The meters.
        clock: Clock of the readings.
    """

    def __init__(self, source: str, meters: Sequence[_M], *, clock: Clock) -> None:
        self._source = source
        self._meters = tuple(meters)
        self._clock = clock
        self._closed = False

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The domains of the meters."""
        return tuple(meter.domain for meter in self._meters)

    def read(self) -> Sequence[Reading]:
        """Read every meter once. A meter without a plausible value is omitted.

        Raises:
            SensorError: The sensor is closed, or no meter could be read.
        """
        if self._closed:
            raise SensorError(f"the {self._source} sensor is closed")
        found = [reading for reading in self._readings() if reading is not None]
        if not found:
            raise SensorError(f"no meter of {self._source} could be read")
        return found

    @abstractmethod
    def _readings(self) -> Iterable[Reading | None]:
        """Read every meter; None for one without a plausible value."""

    def close(self) -> None:
        """Refuse further reads."""
        self._closed = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Result of opening a source: its sensors, and the parts of it that cannot be used."""

    sensors: tuple[Sensor, ...] = ()
    refusals: tuple[Refusal, ...] = ()
