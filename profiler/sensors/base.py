"""What a sensor is, and how one is found."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from profiler.records import Domain, Reading, Refusal


@runtime_checkable
class Sensor(Protocol):
    """A source of readings. One object a source, however many domains it has.

    A sensor is opened, read and closed by one thread at a time. It never writes to a stream, never starts a
    thread or a process, and never touches the network.
    """

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The domains it reads, fixed for its life."""
        ...

    def read(self) -> Sequence[Reading]:
        """Read every domain once.

        Returns:
            One reading a domain, or of a domain that remembers its readings all since the last read, in order. A domain
            that cannot be read this time is left out: a gap is a gap. An energy that decreases says that its counter
            started again: what passed in between is not known.

        Raises:
            SensorError: Nothing could be read.
        """
        ...

    def close(self) -> None:
        """Release the source. Safe to call twice."""
        ...


@runtime_checkable
class Noticing(Protocol):
    """A sensor that remembers what its readings cannot tell."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What happened since it was opened that a reader of its joules must know, as sentences."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a source's opener found: its sensors, and why anything it could have had is missing."""

    sensors: tuple[Sensor, ...] = ()
    refusals: tuple[Refusal, ...] = field(default=())
