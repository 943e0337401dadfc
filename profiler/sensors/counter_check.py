"""Check of an energy counter: update interval, standstill, and agreement with the power readings."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from profiler.errors import SensorError
from profiler.records import Reading
from profiler.sensors.base import Sensor
from profiler.units import NANOSECONDS_PER_SECOND, format_joules, format_seconds, format_watts

FROZEN_SECONDS = 1.0
"""A counter that is constant for this long while the device draws power is frozen."""
_GAP_SECONDS = 1.0
"""Longest time between two readings over which power is integrated."""
_RELATIVE_TOLERANCE = 0.10
_POWER_LAG_SECONDS = 1.0
"""Power readings may be averages over the last second."""
_COUNTER_LAG_SECONDS = 0.15
"""Observed lag of a counter: 26 % after half a second, none after five seconds (measured on one board)."""
_INTERVALS_KEPT = 32
_MIN_INTERVALS = 3
_MIN_UNCHANGED = 3
_MIN_UNCHANGED_SHARE = 0.1
"""Minimum ratio of unchanged readings to changes. Below it, equal readings are coincidences."""
_MAX_INTERVAL = 1.75
"""In medians: during a longer interval, an update was missed."""
_OBSERVE_PERIOD_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Gain of a counter and integral of the power readings over the same time.

    Attributes:
        seconds: Length of the time.
        counter_joules: Gain of the counter, in joules.
        integrated_joules: Integral of the power readings, in joules.
        tolerance_joules: Largest insignificant difference, in joules.
    """

    seconds: float
    counter_joules: float
    integrated_joules: float
    tolerance_joules: float

    @property
    def agrees(self) -> bool:
        """True if the difference is within the tolerance."""
        return abs(self.counter_joules - self.integrated_joules) <= self.tolerance_joules


class CounterCheck:
    """Accumulates the readings of one domain.

    Attributes:
        restarts: Number of decreases of the counter.
        longest_flat_seconds: Longest time without a change of the counter while the device drew power.
    """

    def __init__(self) -> None:
        self._last: Reading | None = None
        self._changed_ns: int | None = None
        self._changed_joules = 0.0
        self._unchanged = self._changes = 0
        self._intervals: deque[float] = deque(maxlen=_INTERVALS_KEPT)
        self._pending_joules = 0.0
        self._counter_joules = 0.0
        self._integrated_joules = 0.0
        self._seconds = 0.0
        self._watts_range: tuple[float, float] | None = None
        self.restarts = 0
        self.longest_flat_seconds = 0.0

    def add(self, reading: Reading) -> None:
        """Process one reading; readings must be in order of time."""
        last, self._last = self._last, reading
        if reading.power_watts is not None:
            low, high = self._watts_range or (reading.power_watts, reading.power_watts)
            self._watts_range = (min(low, reading.power_watts), max(high, reading.power_watts))
        if last is None:
            return
        seconds = (reading.time_ns - last.time_ns) / NANOSECONDS_PER_SECOND
        if seconds > _GAP_SECONDS:
            self._start_over()
            return
        self._pending_joules += seconds * ((last.power_watts or 0.0) + (reading.power_watts or 0.0)) / 2
        self._compare(last, reading)

    def _compare(self, last: Reading, reading: Reading) -> None:
        before, after = _value(last), _value(reading)
        if before is None or after is None:
            return
        if reading.energy_joules is not None and after < before:
            self.restarts += 1
            self._start_over()
        elif after != before:
            self._add_change(reading)
        else:
            self._add_unchanged(reading)

    def _add_change(self, reading: Reading) -> None:
        self._changes += 1
        if self._changed_ns is not None:
            seconds = (reading.time_ns - self._changed_ns) / NANOSECONDS_PER_SECOND
            self._intervals.append(seconds)
            self._seconds += seconds
            self._integrated_joules += self._pending_joules
            self._counter_joules += (reading.energy_joules or 0.0) - self._changed_joules
        self._changed_ns = reading.time_ns
        self._changed_joules = reading.energy_joules or 0.0
        self._pending_joules = 0.0

    def _add_unchanged(self, reading: Reading) -> None:
        self._unchanged += 1
        if self._changed_ns is not None and reading.power_watts and reading.energy_joules is not None:
            seconds = (reading.time_ns - self._changed_ns) / NANOSECONDS_PER_SECOND
            self.longest_flat_seconds = max(self.longest_flat_seconds, seconds)

    def _start_over(self) -> None:
        self._changed_ns = None
        self._pending_joules = 0.0

    @property
    def update_period_seconds(self) -> float | None:
        """Update interval of the value; None if there are too few readings to determine it."""
        is_staircase = (
            self._unchanged >= _MIN_UNCHANGED and self._unchanged >= _MIN_UNCHANGED_SHARE * self._changes
        )
        if not is_staircase or len(self._intervals) < _MIN_INTERVALS:
            return None
        typical = sorted(self._intervals)[len(self._intervals) // 2]
        seen = [interval for interval in self._intervals if interval <= _MAX_INTERVAL * typical]
        return sum(seen) / len(seen)

    @property
    def seconds_followed(self) -> float:
        """Time from which the update interval was determined."""
        return sum(self._intervals)

    @property
    def mean_watts(self) -> float:
        """Mean power between the first and the last change of the counter, in watts; 0 before there are two."""
        return self._counter_joules / self._seconds if self._seconds > 0 else 0.0

    @property
    def comparison(self) -> Comparison | None:
        """Comparison of the counter with the power so far; None if either is missing."""
        if self._watts_range is None or self._counter_joules <= 0 or self._integrated_joules <= 0:
            return None
        low, high = self._watts_range
        edges = _POWER_LAG_SECONDS * (high - low) + _COUNTER_LAG_SECONDS * high
        return Comparison(
            seconds=self._seconds,
            counter_joules=self._counter_joules,
            integrated_joules=self._integrated_joules,
            tolerance_joules=_RELATIVE_TOLERANCE * self._integrated_joules + edges,
        )

    def warnings(self) -> tuple[str, ...]:
        """Return the problems of the counter as sentences."""
        return (*self.disagreement(), *self.standstill())

    def disagreement(self) -> tuple[str, ...]:
        """Return a sentence with both energies if counter and power disagree."""
        compared = self.comparison
        if compared is None or compared.agrees:
            return ()
        difference = abs(compared.counter_joules / compared.integrated_joules - 1)
        gained = format_joules(compared.counter_joules)
        integrated = format_joules(compared.integrated_joules)
        span = f"Over {format_seconds(compared.seconds)} its counter gained {gained}"
        numbers = f"its power readings add up to {integrated}, a difference of {difference:.0%}"
        return (f"{span} and {numbers}; the counter is used.",)

    def standstill(self) -> tuple[str, ...]:
        """Return a sentence if the counter was frozen under load."""
        if self.longest_flat_seconds < FROZEN_SECONDS or self._watts_range is None:
            return ()
        flat, watts = format_seconds(self.longest_flat_seconds), format_watts(self._watts_range[1])
        return (f"Its counter was frozen for {flat} while the device drew up to {watts}.",)


def _value(reading: Reading) -> float | None:
    return reading.energy_joules if reading.energy_joules is not None else reading.power_watts


def observe(
    sensor: Sensor, *, seconds: float, clock: Callable[[], int], sleep: Callable[[float], object]
) -> dict[str, CounterCheck]:
    """Read a sensor every 10 ms for a while.

    Args:
        sensor: The sensor. Errors of its reads are ignored.
        seconds: Duration.
        clock: Returns monotonic nanoseconds.
        sleep: Waits for a number of seconds.

    Returns:
        The check of each domain.
    """
    checks = {domain.name: CounterCheck() for domain in sensor.domains}
    end = clock() + round(seconds * NANOSECONDS_PER_SECOND)
    while clock() < end:
        for reading in _read_or_nothing(sensor):
            checks[reading.domain].add(reading)
        sleep(_OBSERVE_PERIOD_SECONDS)
    return checks


def _read_or_nothing(sensor: Sensor) -> Sequence[Reading]:
    try:
        return sensor.read()
    except SensorError:
        return ()
