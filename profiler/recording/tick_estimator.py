"""When a staircase really moved: the moments at which a sensor renews its value, from readings that only bracket them.

A change lies between the last reading that did not show it and the first that did. Sensors renew their values on a
steady beat, so the brackets of many changes, moved onto one beat, have only a few milliseconds in common.
"""

from collections import deque

from profiler.units import NANOSECONDS_PER_SECOND

_MEMORY = 64
"""Brackets kept."""
_TRIES = 4
"""Corrections of the period for one change; where they do not suffice, the beat is not steady."""
_FEWEST_FITTED, _MOST_FITTED = 4, 32
"""Brackets from which on a line is fitted to them, and from which on the period is only corrected where it must be."""
_TELLING = 0.9
"""A bracket this long, in periods, says nothing of the beat."""
_SURE = 8
"""Brackets from which on the period is known well."""
_SHARP = 0.1
_FARTHEST = 0.25
"""The period stays within this share of what was said of it."""
_SHARPEST = 0.06
"""No change is taken to be known better than this, in periods: about what is reached on simulated sensors."""
_TOLERANCE = 0.0005
"""How far off its beat a change may be, in periods, before the beat is corrected."""


class TickClock:
    """Follows the beat on which one domain's value is renewed.

    Attributes:
        width_ns: How wide the interval is in which the last change is known to lie.
    """

    __slots__ = ("_beat", "_brackets", "_line", "_nominal", "_period", "_seen_ns", "width_ns")

    def __init__(self) -> None:
        self._brackets: deque[tuple[int, int, int]] = deque(maxlen=_MEMORY)
        self._seen_ns: int | None = None
        self._period = self._nominal = self._line = 0.0
        self._beat = 0
        self.width_ns = 0

    @property
    def knows(self) -> bool:
        """Whether the beat's period is known."""
        return self._period > 0

    @property
    def period_seconds(self) -> float | None:
        """The beat's period; None while unknown."""
        return self._period / NANOSECONDS_PER_SECOND if self.knows else None

    def learn(self, period_ns: float) -> None:
        """Take what is known of the time between two renewals; the first word counts."""
        if not self.knows:
            self._period = self._nominal = period_ns

    @property
    def period_ns(self) -> float:
        """The beat's period in nanoseconds; 0 while unknown."""
        return self._period

    @property
    def line_ns(self) -> float:
        """A moment on the beat."""
        return self._line

    @property
    def is_sure(self) -> bool:
        """Whether the beat was followed for long enough to foretell it."""
        return len(self._brackets) >= _SURE

    def seconds_between(self, before_ns: int, after_ns: int) -> float | None:
        """The time between two neighbouring changes; None while the beat is not well known, or one was missed."""
        if not self.is_sure or self.width_ns > _SHARP * self._period:
            return None
        return self.period_seconds if round((after_ns - before_ns) / self._period) == 1 else None

    def sighted(self, time_ns: int, period_ns: float) -> None:
        """A renewal is known to have been at ``time_ns``, and the beat's period is said."""
        self._period = self._nominal = period_ns
        self._line = float(time_ns)
        self.width_ns = 0

    def held(self, time_ns: int) -> None:
        """At ``time_ns`` the value was still the one seen before."""
        self._seen_ns = time_ns

    def changed(self, time_ns: int) -> int:
        """At ``time_ns`` a new value was seen: return when it most likely appeared."""
        low, self._seen_ns = self._seen_ns, time_ns
        if low is None:
            return time_ns
        told = self.knows and time_ns - low < _TELLING * self._period
        best = self._follow(low, time_ns) if told else (low + time_ns) / 2
        if not told:
            self.width_ns = time_ns - low
        return min(max(round(best), low + 1), time_ns)

    def _follow(self, low: int, high: int) -> float:
        """Move on by whole periods to the new bracket, and return the middle of what all brackets have in common."""
        middle = (low + high) / 2
        beats = max(round((middle - self._line) / self._period), 1) if self._brackets else 1
        self._beat += beats
        self._brackets.append((self._beat, low, high))
        self._fit()
        for _ in range(_TRIES):
            first, first_beat, last, last_beat = self._common()
            if last - first > -_TOLERANCE * self._period or first_beat == last_beat:
                break
            # Moved on by a longer period, the older of the two bounds that exclude each other rises more.
            self._period += (last - first) / (last_beat - first_beat)
        else:
            first, last = self._forget()
        if abs(self._period - self._nominal) > _FARTHEST * self._nominal:
            # Half the period explains every change too: begin again from what was said.
            self._period = self._nominal
            self._brackets.clear()
            first, last = float(low), float(high)
        self.width_ns = round(max(last - first, _SHARPEST * self._period))
        self._line = (first + last) / 2
        return self._line

    def _fit(self) -> None:
        """Set the period to that of the line through the middles of the brackets, weighted by their sharpness."""
        if not _FEWEST_FITTED <= len(self._brackets) <= _MOST_FITTED:
            return
        now, anchor = self._beat, self._brackets[-1][1]
        weights = beats = times = squares = products = 0.0
        for beat, low, high in self._brackets:
            weight = 1.0 / (high - low) ** 2
            back, time = beat - now, (low + high) / 2 - anchor
            weights += weight
            beats += weight * back
            times += weight * time
            squares += weight * back * back
            products += weight * back * time
        spread = weights * squares - beats * beats
        if spread > 0:
            self._period = (weights * products - beats * times) / spread

    def _common(self) -> tuple[float, int, float, int]:
        """The latest beginning and the earliest end of all brackets, moved on to now, and their beats."""
        now, period = self._beat, self._period
        first, first_beat, last, last_beat = float("-inf"), now, float("inf"), now
        for beat, low, high in self._brackets:
            ahead = (now - beat) * period
            if low + ahead > first:
                first, first_beat = low + ahead, beat
            if high + ahead < last:
                last, last_beat = high + ahead, beat
        return first, first_beat, last, last_beat

    def _forget(self) -> tuple[float, float]:
        """Keep the newest half of the brackets, or only the last where those agree on nothing either."""
        for _ in range((len(self._brackets) + 1) // 2):
            self._brackets.popleft()
        first, _, last, _ = self._common()
        if first < last:
            return first, last
        newest = self._brackets[-1]
        self._brackets.clear()
        self._brackets.append(newest)
        return float(newest[1]), float(newest[2])
