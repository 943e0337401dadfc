"""Estimated update times of a sensor whose value changes on a regular tick, from readings that only bracket them.

A change lies between the last reading without it and the first reading with it. Sensors update on a regular tick, so
the brackets of many changes, shifted onto one tick, have only a few milliseconds in common.
"""

import math
from collections import deque

from profiler.units import NANOSECONDS_PER_SECOND

_MEMORY = 64
"""Number of brackets kept."""
_MAX_CORRECTIONS = 4
"""Corrections of the period per change; if they do not suffice, the tick is not regular."""
_FEWEST_FITTED, _MOST_FITTED = 4, 32
"""Numbers of brackets between which the period is fitted; above, it is only corrected where brackets contradict it."""
_INFORMATIVE = 0.9
"""A bracket longer than this, in periods, does not constrain the tick."""
_RELIABLE_AFTER = 8
"""Number of brackets after which the period is well known."""
_SHARP = 0.1
_PREDICTABLE = 0.12
"""Largest uncertainty of a tick, in periods, that was predicted from those before a gap."""
_PERIOD_ERROR = 3.0
"""Error of the period, over the ticks that were followed, in units of the uncertainty of one tick."""
_LARGEST_DEVIATION = 0.25
"""Relative deviation from the nominal period beyond which an estimate is rejected."""
_BEST_RESOLUTION = 0.06
"""Smallest uncertainty of a change, in periods: about what is reached on simulated sensors."""
_LONGEST_UNKNOWN_NS = NANOSECONDS_PER_SECOND
"""Longest bracket of a change while the period is unknown; update intervals of counters are shorter."""
_TOLERANCE = 0.0005
"""Deviation of a change from its tick, in periods, that needs no correction."""


class TickEstimator:
    """Period and phase of the tick on which one domain's value is updated.

    Attributes:
        width_ns: Width of the interval in which the last change is known to lie.
    """

    __slots__ = (
        "_brackets",
        "_followed_ns",
        "_index",
        "_last_seen_ns",
        "_nominal",
        "_period",
        "_tick",
        "width_ns",
    )

    def __init__(self) -> None:
        self._brackets: deque[tuple[int, int, int]] = deque(maxlen=_MEMORY)
        self._last_seen_ns: int | None = None
        self._period = self._nominal = self._tick = 0.0
        self._index = 0
        self._followed_ns = self.width_ns = 0

    @property
    def has_period(self) -> bool:
        """True if the period is known."""
        return self._period > 0

    @property
    def period_seconds(self) -> float | None:
        """The period; None while unknown."""
        return self._period / NANOSECONDS_PER_SECOND if self.has_period else None

    @property
    def period_ns(self) -> float:
        """The period in nanoseconds; 0 while unknown."""
        return self._period

    @property
    def tick_ns(self) -> float:
        """Time of the last tick."""
        return self._tick

    @property
    def is_reliable(self) -> bool:
        """True if enough ticks were followed to predict the next."""
        return len(self._brackets) >= _RELIABLE_AFTER

    def set_nominal_period(self, period_ns: float) -> None:
        """Set the nominal period; later calls are ignored."""
        if not self.has_period:
            self._period = self._nominal = period_ns

    def set_tick(self, time_ns: int, period_ns: float) -> None:
        """Set the time of a tick that the sensor itself reports, with the nominal period."""
        self._period = self._nominal = period_ns
        self._tick = float(time_ns)
        self.width_ns = 0

    def interval_seconds(self, before_ns: int, after_ns: int) -> float | None:
        """Return the time between two successive changes; None if the tick is uncertain or a change was missed."""
        if not self.is_reliable or self.width_ns > _SHARP * self._period:
            return None
        return self.period_seconds if round((after_ns - before_ns) / self._period) == 1 else None

    def unchanged_at(self, time_ns: int) -> None:
        """Record a reading that still shows the previous value."""
        self._last_seen_ns = time_ns

    def changed_at(self, time_ns: int) -> int:
        """Record a reading that shows a new value. Return the most likely time of the change."""
        low, self._last_seen_ns = self._last_seen_ns, time_ns
        if low is None:
            return time_ns
        if (
            not self.is_reliable
            and _INFORMATIVE * self._period <= time_ns - low < _INFORMATIVE * self._nominal
        ):
            # Successive first readings looked like ticks; at such a period no later bracket would correct it.
            self._restart()
        if self.has_period and time_ns - low < _INFORMATIVE * self._period:
            best = self._follow(low, time_ns)
        elif (predicted := self._predict(time_ns)) is not None:
            best = predicted
        else:
            # A sensor that was not read for several periods has updated its value in the last of them too, so the
            # value cannot be older than one period, however long the gap between the readings is.
            longest = self._period if self.has_period else _LONGEST_UNKNOWN_NS
            self.width_ns = min(time_ns - low, round(longest))
            best = time_ns - self.width_ns / 2
        return min(max(round(best), low + 1), time_ns)

    def _follow(self, low: int, high: int) -> float:
        """Advance by whole periods to the new bracket. Return the middle of what all brackets have in common."""
        middle = (low + high) / 2
        # Rounded to whole periods, because readings that were late may have missed ticks.
        ticks = max(round((middle - self._tick) / self._period), 1) if self._brackets else 1
        self._index += ticks
        self._brackets.append((self._index, low, high))
        self._fit()
        for _ in range(_MAX_CORRECTIONS):
            first, first_index, last, last_index = self._intersection()
            if last - first > -_TOLERANCE * self._period or first_index == last_index:
                break
            # Two bounds exclude each other. A longer period shifts the older of them further ahead, so this
            # correction makes them meet.
            self._period += (last - first) / (last_index - first_index)
        else:
            first, last = self._drop_oldest()
        if abs(self._period - self._nominal) > _LARGEST_DEVIATION * self._nominal:
            # Half the period explains every change too, so start again from the nominal one.
            self._restart()
            first, last = float(low), float(high)
        self.width_ns = self._followed_ns = round(max(last - first, _BEST_RESOLUTION * self._period))
        self._tick = (first + last) / 2
        return self._tick

    def _restart(self) -> None:
        self._period = self._nominal
        self._brackets.clear()

    def _predict(self, time_ns: int) -> float | None:
        """Return the last tick before a late reading, by the ticks before the gap; None where these do not show it."""
        if not self.is_reliable:
            return None
        periods = math.floor((time_ns - self._tick) / self._period)
        tick = self._tick + periods * self._period
        # The error of the period is that of a few ticks over those that were followed, and grows with the gap.
        followed = self._index - self._brackets[0][0]
        width = self._followed_ns * (1 + _PERIOD_ERROR * periods / followed)
        since = time_ns - tick
        is_ambiguous = not width < since < self._period - width
        if periods < 1 or width > _PREDICTABLE * self._period or is_ambiguous:
            return None
        self.width_ns = round(width)
        return tick

    def _fit(self) -> None:
        """Fit the period by least squares through the middles of the brackets, weighted by their sharpness."""
        if not _FEWEST_FITTED <= len(self._brackets) <= _MOST_FITTED:
            return
        now, anchor = self._index, self._brackets[-1][1]
        weights = indices = times = squares = products = 0.0
        for index, low, high in self._brackets:
            # The variance of a middle grows with the square of the width of its bracket.
            weight = 1.0 / (high - low) ** 2
            back, time = index - now, (low + high) / 2 - anchor
            weights += weight
            indices += weight * back
            times += weight * time
            squares += weight * back * back
            products += weight * back * time
        spread = weights * squares - indices * indices
        if spread > 0:
            self._period = (weights * products - indices * times) / spread

    def _intersection(self) -> tuple[float, int, float, int]:
        """Return the latest start and the earliest end of all brackets, shifted to now, each with its tick's index."""
        now, period = self._index, self._period
        first, first_index, last, last_index = float("-inf"), now, float("inf"), now
        for index, low, high in self._brackets:
            ahead = (now - index) * period
            if low + ahead > first:
                first, first_index = low + ahead, index
            if high + ahead < last:
                last, last_index = high + ahead, index
        return first, first_index, last, last_index

    def _drop_oldest(self) -> tuple[float, float]:
        """Keep the newest half of the brackets, or only the last one if those contradict each other too."""
        # The tick has shifted, as after a reset of the device, and the newest brackets show its present place.
        for _ in range((len(self._brackets) + 1) // 2):
            self._brackets.popleft()
        first, _, last, _ = self._intersection()
        if first < last:
            return first, last
        newest = self._brackets[-1]
        self._brackets.clear()
        self._brackets.append(newest)
        return float(newest[1]), float(newest[2])
