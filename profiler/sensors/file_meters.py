"""Sensors that consist of text files: shared reading, validation and warnings."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from profiler.records import Domain, Provenance, Reading
from profiler.sensors.base import MeterSensor, covers
from profiler.sensors.counter_check import StallDetector, times
from profiler.sensors.wraparound import MAX_PLATFORM_WATTS, WrappingCounter
from profiler.units import MICROJOULES_PER_JOULE

_SLOWEST_SECONDS = 0.5
"""Update interval of a file whose driver does not document it."""
CONTAINS = "Contains the counted parts"
"""Beginning of the note of a domain whose parts are counted."""
STALE_SECONDS = 6.0
"""Time without a change after which a file is reported as frozen."""


class Value(Protocol):
    """An energy in joules or a power in watts."""

    def read(self) -> float:
        """Return the present value.

        Raises:
            OSError: A file cannot be read.
            ValueError: The content is not a number.
        """
        ...


@dataclass(frozen=True, slots=True)
class NumberFile:
    """A file with one number, multiplied by ``scale``."""

    path: Path
    scale: float = 1e-6

    def read(self) -> float:
        """Return the scaled number. Raises OSError or ValueError."""
        return float(self.path.read_text()) * self.scale


@dataclass(frozen=True, slots=True)
class Product:
    """Product of two values, such as volts and amperes."""

    one: Value
    other: Value

    def read(self) -> float:
        """Return the product. Raises OSError or ValueError."""
        return self.one.read() * self.other.read()


@dataclass(frozen=True, slots=True)
class Sum:
    """Sum of several values."""

    values: tuple[Value, ...]

    def read(self) -> float:
        """Return the sum. Raises OSError or ValueError."""
        return sum(value.read() for value in self.values)


@dataclass(slots=True, kw_only=True)
class FileMeter:
    """One domain that is read from files.

    Attributes:
        domain: The domain. Its provenance determines whether the value is an energy or a power.
        value: The value to read.
        implausible: Number of rejected values.
    """

    domain: Domain
    value: Value
    implausible: int = 0
    _counter: WrappingCounter = field(init=False)
    _stall: StallDetector = field(default_factory=lambda: StallDetector(STALE_SECONDS), init=False)

    def __post_init__(self) -> None:
        lag = 2 * (self.domain.update_period_seconds or _SLOWEST_SECONDS)
        self._counter = WrappingCounter(None, max_watts=MAX_PLATFORM_WATTS, lag_seconds=lag)

    @property
    def is_power(self) -> bool:
        """True if the value is a power."""
        return self.domain.provenance is Provenance.INTEGRATED

    def fetch(self) -> float | None:
        """Read the value; None if it cannot be read, or is negative or not finite."""
        try:
            value = self.value.read()
        except (OSError, ValueError):
            return None
        if not (math.isfinite(value) and value >= 0):
            self.implausible += 1
            return None
        return value

    def reading(self, value: float, time_ns: int) -> Reading | None:
        """Return the reading of a value; None if the value is implausible."""
        self._stall.add(value, time_ns)
        if self.is_power:
            if value > MAX_PLATFORM_WATTS:
                self.implausible += 1
                return None
            return Reading(domain=self.domain.name, time_ns=time_ns, power_watts=value)
        energy_uj = self._counter.update(round(value * MICROJOULES_PER_JOULE), time_ns)
        if energy_uj is None:
            self.implausible += 1
            return None
        return Reading(
            domain=self.domain.name, time_ns=time_ns, energy_joules=energy_uj / MICROJOULES_PER_JOULE
        )

    def warnings(self) -> Sequence[str]:
        """Return problems as sentences without the name of the domain."""
        found = []
        if over := self._stall.duration():
            found.append(f"the value was frozen for over {over}, so that its energy may be stale.")
        if self._counter.restarts:
            found.append(
                f"the counter was reset {times(self._counter.restarts)}. "
                "The energy around a reset is estimated from the power before."
            )
        if self.implausible:
            found.append(f"an implausible value was ignored {times(self.implausible)}.")
        return found


class FileSensor(MeterSensor[FileMeter]):
    """Reads meters from files.

    Args:
        source: Name of the source, for errors.
        meters: The meters.
        clock: Clock of the readings.
    """

    def _readings(self) -> Iterable[Reading | None]:
        before = self._clock.now_ns()
        values = self.fetch()
        time_ns = (before + self._clock.now_ns()) // 2
        return (
            None if value is None else meter.reading(value, time_ns)
            for meter, value in zip(self._meters, values, strict=True)
        )

    def fetch(self) -> list[float | None]:
        """Read the values of all meters."""
        return [meter.fetch() for meter in self._meters]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Frozen files, resets and implausible values, one sentence for all domains with the same problem."""
        names: dict[str, list[str]] = defaultdict(list)
        for meter in self._meters:
            for sentence in meter.warnings():
                names[sentence].append(meter.domain.name)
        return tuple(f"{', '.join(domains)}: {sentence}" for sentence, domains in names.items())


def count_parts(domains: Sequence[Domain], measured: Sequence[Domain], source: str) -> list[Domain]:
    """Decide which domains of a source are counted, given those that other sources measure.

    A part is counted unless another source already counts that part of the node. A domain that contains parts (kind
    ``node``) is counted only if no part is.

    Args:
        domains: Domains of the source; ``billed`` marks those that may be counted.
        measured: Domains of the sources opened before.
        source: Name of the source, for notes.
    """
    counted = [domain for domain in measured if domain.billed]
    covered = frozenset[str]().union(*(_parts(domain) for domain in counted))
    parts = [
        domain if not (domain.billed and _parts(domain) & covered) else _recorded(domain, _ALREADY)
        for domain in domains
        if not domain.kind.is_container
    ]
    has_parts = bool(counted) or any(domain.billed for domain in parts)
    containers = [
        _recorded(domain, f"{CONTAINS} ({source}).") if has_parts and domain.billed else domain
        for domain in domains
        if domain.kind.is_container
    ]
    return [*containers, *parts]


_ALREADY = "Another sensor measures this part more directly: recorded, not counted."


def _parts(domain: Domain) -> frozenset[str]:
    """Return the parts of a node that a domain measures, for the exclusion of double counting."""
    if domain.kind.name == "dram":
        return frozenset({"dram"})
    return covers(domain) | (frozenset({"accelerators"}) if domain.kind.is_accelerator else frozenset())


def _recorded(domain: Domain, note: str) -> Domain:
    return replace(domain, billed=False, notes=(*domain.notes, note))
