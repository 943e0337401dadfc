"""Check of an energy counter: update interval, standstill, and agreement with the power readings."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from profiler.clock import Clock
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

DEFAULT_LIMIT_WATTS = 1_000.0
"""Power limit of a device that does not report one."""
_EXCESS = 0.25
"""Relative excess of a counter's gain over its integrated power that is accepted."""
_GAP_FACTOR = 2.0
_GUARD_SECONDS = 1.5
"""A counter that is constant for this long is replaced; some counters are updated only once per second."""
_SLOW_INTERVALS = 2.5
"""The same in units of its longest update interval."""
_RESET_STEP = 1e-3
_DURATIONS = (
    (86_400, "a day"),
    (3_600, "an hour"),
    (600, "10 min"),
    (60, "a minute"),
    (10, "10 s"),
    (1, "1 s"),
)


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
            # The power within the gap is unknown, so the gain across it cannot be compared.
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
        # Counter and power are compared only from change to change: between changes the counter lags behind the power.
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
        # Without power drawn, a constant counter is right.
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
        # The mean of the plausible intervals is more precise than their median, which is a multiple of the poll's.
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
        # Both ends of the comparison are uncertain by the lag of either source.
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
        numbers = f"its power readings add up to {integrated}, a difference of {100 * difference:.0f} %"
        return (f"{span} and {numbers}; the counter is used.",)

    def standstill(self) -> tuple[str, ...]:
        """Return a sentence if the counter was frozen under load."""
        if self.longest_flat_seconds < FROZEN_SECONDS or self._watts_range is None:
            return ()
        flat, watts = format_seconds(self.longest_flat_seconds), format_watts(self._watts_range[1])
        return (f"Its counter was frozen for {flat} while the device drew up to {watts}.",)


def _value(reading: Reading) -> float | None:
    return reading.energy_joules if reading.energy_joules is not None else reading.power_watts


def observe(sensor: Sensor, *, seconds: float, clock: Clock) -> dict[str, CounterCheck]:
    """Read a sensor every 10 ms for a while.

    Args:
        sensor: The sensor. Errors of its reads are ignored.
        seconds: Duration.
        clock: Clock of the readings.

    Returns:
        The check of each domain.
    """
    checks = {domain.name: CounterCheck() for domain in sensor.domains}
    end = clock.now_ns() + round(seconds * NANOSECONDS_PER_SECOND)
    while clock.now_ns() < end:
        for reading in _read_or_nothing(sensor):
            checks[reading.domain].add(reading)
        clock.sleep(_OBSERVE_PERIOD_SECONDS)
    return checks


def _read_or_nothing(sensor: Sensor) -> Sequence[Reading]:
    try:
        return sensor.read()
    except SensorError:
        return ()


class CounterGuard:
    """Replaces implausible readings of a cumulative counter whose device also reports its power.

    - While the counter is constant for longer than 1.5 s although power is drawn, the power readings are
      integrated instead. When the counter changes again, its value is used, but the energy never decreases. A counter
      that is frozen from the first reading on continues from the integrated energy, because its next value may include
      energy from before.
    - A gain is a jump if it exceeds 1.25 times the integrated power, or the present power over one second if that is
      more, by the energy of 0.15 s at the power limit. The integrated power is used instead. Across a gap in the
      readings, up to twice the power limit is accepted.
    - A decrease is a reset, and is returned as a decrease.

    Args:
        limit_watts: Power limit of the device, in watts.

    Attributes:
        resets: Number of resets.
        jumps: Number of rejected gains.
        frozen_seconds: Total time in which power was integrated because the counter was frozen.
    """

    __slots__ = (
        "_allowed",
        "_changed_joules",
        "_changed_ns",
        "_energy",
        "_has_changed",
        "_integral",
        "_last_ns",
        "_limit",
        "_longest_interval",
        "_offset",
        "_raw",
        "_watts",
        "frozen_seconds",
        "jumps",
        "resets",
    )

    def __init__(self, limit_watts: float = DEFAULT_LIMIT_WATTS) -> None:
        self._limit = limit_watts
        self._raw: float | None = None
        self._energy = self._offset = 0.0
        self._watts: float | None = None
        self._last_ns = self._changed_ns = 0
        self._changed_joules = self._integral = self._allowed = self._longest_interval = 0.0
        self._has_changed = False
        self.resets = self.jumps = 0
        self.frozen_seconds = 0.0

    def update(self, joules: float, watts: float | None, time_ns: int) -> float:
        """Process one reading.

        Args:
            joules: The counter.
            watts: The power at the same time; None if unknown.
            time_ns: Monotonic time of the reading in nanoseconds.

        Returns:
            The plausible energy in joules, which starts at the counter's first value.
        """
        if self._raw is None:
            self._energy = joules
            self._mark_change(joules, time_ns)
        else:
            self._integrate(watts, time_ns)
            if joules == self._raw:
                self._hold(time_ns)
            elif joules < self._raw:
                self._reset(joules, time_ns)
            else:
                self._advance(joules, watts, time_ns)
        self._watts, self._last_ns = watts, time_ns
        return self._energy

    def _integrate(self, watts: float | None, time_ns: int) -> None:
        seconds = (time_ns - self._last_ns) / NANOSECONDS_PER_SECOND
        known = [power for power in (self._watts, watts) if power is not None]
        # The trapezoidal rule; where one end is unknown, the other one holds for the interval.
        joules = seconds * sum(known) / len(known) if known else 0.0
        self._integral += joules
        # Power readings at the ends of a gap do not bound the power within it.
        is_gap = not known or seconds > _GAP_SECONDS
        self._allowed += _GAP_FACTOR * self._limit * seconds if is_gap else (1 + _EXCESS) * joules

    def _hold(self, time_ns: int) -> None:
        seconds = (time_ns - self._changed_ns) / NANOSECONDS_PER_SECOND
        if seconds < max(_GUARD_SECONDS, _SLOW_INTERVALS * self._longest_interval) or self._integral <= 0:
            return
        # Never below the energy already returned: rows that contain it may be written.
        energy = max(self._energy, self._changed_joules + self._integral)
        if energy > self._energy:
            # The time since the change is included once, when the counter is first found frozen.
            since_ns = self._last_ns if self._energy > self._changed_joules else self._changed_ns
            self.frozen_seconds += (time_ns - since_ns) / NANOSECONDS_PER_SECOND
        self._energy = energy

    def _reset(self, joules: float, time_ns: int) -> None:
        self.resets += 1
        self._has_changed = True
        self._offset = 0.0
        # A reset must be returned as a decrease even where the new value is larger than the corrected energy.
        self._energy = max(min(joules, self._energy - _RESET_STEP), 0.0)
        self._mark_change(joules, time_ns)

    def _advance(self, joules: float, watts: float | None, time_ns: int) -> None:
        assert self._raw is not None
        power = max(self._watts or 0.0, watts or 0.0)
        # Power readings may lag by a second, and a counter may be updated only once per second.
        allowed = max(self._allowed, (1 + _EXCESS) * _POWER_LAG_SECONDS * power)
        # The last update before a change may have shown less energy than was used by then.
        allowed += _COUNTER_LAG_SECONDS * self._limit
        is_jump = joules - self._raw > allowed
        was_frozen_from_start = not self._has_changed and self._energy > self._changed_joules
        self._has_changed = True
        if is_jump or was_frozen_from_start:
            self.jumps += is_jump and not was_frozen_from_start
            self._energy = max(self._energy, self._changed_joules + self._integral)
            # From now on only gains count: the absolute value contains energy that was estimated or rejected.
            self._offset = self._energy - joules
        else:
            self._energy = max(self._energy, joules + self._offset)
            # Bounded, so that one standstill does not make the guard blind to the next.
            self._longest_interval = max(
                self._longest_interval,
                min((time_ns - self._changed_ns) / NANOSECONDS_PER_SECOND, _GUARD_SECONDS),
            )
        self._mark_change(joules, time_ns)

    def _mark_change(self, joules: float, time_ns: int) -> None:
        self._raw, self._changed_ns, self._changed_joules = joules, time_ns, self._energy
        self._integral = self._allowed = 0.0

    def warnings(self) -> tuple[str, ...]:
        """Return the events as sentences, whose text changes only at a few thresholds."""
        found = []
        if self.resets:
            found.append(
                f"Its energy counter was reset {times(self.resets)}, as by a driver reload. "
                "The energy around a reset is estimated from the power before."
            )
        if self.jumps:
            found.append(
                f"Its energy counter jumped {times(self.jumps)} by more than its power allows. "
                "The jump is not counted: its power readings were integrated instead."
            )
        over = over_seconds(self.frozen_seconds)
        if over:
            found.append(
                f"Its energy counter was frozen for over {over} in total while power was drawn. "
                "Its power readings were integrated instead."
            )
        return tuple(found)


class StallDetector:
    """Measures the time in which a frequently updated value does not change.

    Args:
        limit_seconds: Time from which the value counts as frozen.
    """

    __slots__ = ("_changed_ns", "_limit", "_stalled_ns", "_value")

    def __init__(self, limit_seconds: float = FROZEN_SECONDS) -> None:
        self._limit = limit_seconds
        self._value: float | None = None
        self._changed_ns = self._stalled_ns = 0

    def add(self, value: float, time_ns: int) -> None:
        """Process one reading."""
        if value != self._value:
            self._value, self._changed_ns = value, time_ns
        else:
            self._stalled_ns = max(self._stalled_ns, time_ns - self._changed_ns)

    def duration(self) -> str:
        """Return the longest standstill in words that change only at a few thresholds; empty if it was not frozen."""
        seconds = self._stalled_ns / NANOSECONDS_PER_SECOND
        if seconds < self._limit:
            return ""
        return over_seconds(seconds) if seconds >= 10 * self._limit else f"{self._limit:g} s"


def times(count: int) -> str:
    """Return a count in words that change only once, for warnings that are reported when their text changes."""
    return "once" if count == 1 else "several times"


def over_seconds(seconds: float) -> str:
    """Return the largest of a few durations that ``seconds`` reaches, in words; empty below one second."""
    return next((text for limit, text in _DURATIONS if seconds >= limit), "")
