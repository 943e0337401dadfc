"""Whether a counter can be trusted: how often it is renewed, whether it moves, whether it agrees with the power."""

from collections import deque
from dataclasses import dataclass

from profiler.records import Reading
from profiler.units import NANOSECONDS_PER_SECOND, format_joules, format_seconds, format_watts

FROZEN_SECONDS = 1.0
"""A counter that stands this long while power is drawn does not count."""
_GAP_SECONDS = 1.0
"""Power is not integrated across a longer silence."""
_RELATIVE_TOLERANCE = 0.10
_POWER_LAG_SECONDS = 1.0
"""Power readings may be averages over the last second."""
_COUNTER_LAG_SECONDS = 0.15
"""What a counter has been seen to lag behind in its first second: 26 % of half a second, nothing after five."""
_INTERVALS_KEPT = 32
_FEWEST_INTERVALS = 3
_FEWEST_STANDS = 3
_LEAST_STANDING = 0.1
"""A value that stands less often than this share of its changes was met twice by chance."""
_LONGEST_INTERVAL = 1.75
"""In medians: a longer interval has skipped a change that was not seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A counter beside the integral of the power readings over the same time.

    Attributes:
        seconds: The time that both cover.
        counter_joules: What the counter gained.
        integrated_joules: What the power readings add up to.
        tolerance_joules: How far apart the two may be without meaning anything.
    """

    seconds: float
    counter_joules: float
    integrated_joules: float
    tolerance_joules: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is within what both are uncertain by."""
        return abs(self.counter_joules - self.integrated_joules) <= self.tolerance_joules


class CounterWatch:
    """Follows the readings of one domain.

    Attributes:
        restarts: How often the counter decreased.
        longest_stand_seconds: The longest time that it stood while power was drawn.
    """

    def __init__(self) -> None:
        self._last: Reading | None = None
        self._changed_ns: int | None = None
        self._changed_joules = 0.0
        self._stands = self._changes = 0
        self._intervals: deque[float] = deque(maxlen=_INTERVALS_KEPT)
        self._pending_joules = 0.0
        self._counter_joules = 0.0
        self._integrated_joules = 0.0
        self._seconds = 0.0
        self._watts_range: tuple[float, float] | None = None
        self.restarts = 0
        self.longest_stand_seconds = 0.0

    def add(self, reading: Reading) -> None:
        """Take one reading; they come in order of time."""
        last, self._last = self._last, reading
        if reading.power_watts is not None:
            low, high = self._watts_range or (reading.power_watts, reading.power_watts)
            self._watts_range = (min(low, reading.power_watts), max(high, reading.power_watts))
        if last is None:
            return
        seconds = (reading.time_ns - last.time_ns) / NANOSECONDS_PER_SECOND
        if seconds > _GAP_SECONDS:
            self._break_off()
            return
        self._pending_joules += seconds * ((last.power_watts or 0.0) + (reading.power_watts or 0.0)) / 2
        self._compare(last, reading)

    def _compare(self, last: Reading, reading: Reading) -> None:
        before, after = _shown(last), _shown(reading)
        if before is None or after is None:
            return
        if reading.energy_joules is not None and after < before:
            self.restarts += 1
            self._break_off()
        elif after != before:
            self._change(reading)
        else:
            self._stand(reading)

    def _change(self, reading: Reading) -> None:
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

    def _stand(self, reading: Reading) -> None:
        self._stands += 1
        if self._changed_ns is not None and reading.power_watts and reading.energy_joules is not None:
            seconds = (reading.time_ns - self._changed_ns) / NANOSECONDS_PER_SECOND
            self.longest_stand_seconds = max(self.longest_stand_seconds, seconds)

    def _break_off(self) -> None:
        self._changed_ns = None
        self._pending_joules = 0.0

    @property
    def update_period_seconds(self) -> float | None:
        """How often the value is renewed; None while it has not been read often enough to tell."""
        is_staircase = self._stands >= _FEWEST_STANDS and self._stands >= _LEAST_STANDING * self._changes
        if not is_staircase or len(self._intervals) < _FEWEST_INTERVALS:
            return None
        typical = sorted(self._intervals)[len(self._intervals) // 2]
        seen = [interval for interval in self._intervals if interval <= _LONGEST_INTERVAL * typical]
        return sum(seen) / len(seen)

    @property
    def seconds_followed(self) -> float:
        """The time that the update period was found in."""
        return sum(self._intervals)

    @property
    def mean_watts(self) -> float:
        """Mean power between the counter's changes so far; 0 before there are two."""
        return self._counter_joules / self._seconds if self._seconds > 0 else 0.0

    @property
    def comparison(self) -> Comparison | None:
        """The counter beside the power so far; None where either is missing."""
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

    def findings(self) -> tuple[str, ...]:
        """Return what a reader must know to trust the counter, as sentences."""
        return (*self.disagreement(), *self.stillness())

    def disagreement(self) -> tuple[str, ...]:
        """Say that counter and power do not agree, with both numbers; nothing while they do."""
        seen = self.comparison
        if seen is None or seen.agrees:
            return ()
        apart = abs(seen.counter_joules / seen.integrated_joules - 1)
        gained, added = format_joules(seen.counter_joules), format_joules(seen.integrated_joules)
        span = f"Over {format_seconds(seen.seconds)} its counter gained {gained}"
        return (f"{span} and its power readings add up to {added}, {apart:.0%} apart; the counter is used.",)

    def stillness(self) -> tuple[str, ...]:
        """Say that the counter stood still under load; nothing while it did not."""
        if self.longest_stand_seconds < FROZEN_SECONDS or self._watts_range is None:
            return ()
        stood, watts = format_seconds(self.longest_stand_seconds), format_watts(self._watts_range[1])
        return (f"Its counter stood still for {stood} while up to {watts} were drawn.",)


def _shown(reading: Reading) -> float | None:
    return reading.energy_joules if reading.energy_joules is not None else reading.power_watts
