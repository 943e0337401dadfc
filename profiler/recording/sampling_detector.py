"""What a counter's gains and the momentary power beside them tell about the sensor behind both."""

import math

_MEMORY = 0.99
_FEWEST = 10
_VARIES = 0.03
"""Power that changes by less than this share from gain to gain tells nothing."""
_SAME = 0.05
"""The mean square of (power - gain) over that of changes from gain to gain, below which both are the same reading."""
_DEPARTS = 0.05
"""Power that departs from the gains by more than this share was not what they were made of."""


class Resemblance:
    """Running comparison of each gain, as mean power, with the power reading that came with it.

    Attributes:
        level: Mean power, in watts.
    """

    __slots__ = ("_changes", "_departures", "_last", "_seen", "_squares", "level")

    def __init__(self) -> None:
        self.level = 0.0
        self._last = 0.0
        self._seen = 0
        self._squares = self._changes = self._departures = 0.0

    def add(self, gain_watts: float, power_watts: float | None) -> None:
        """Take in a gain, as mean power over its time, and the power read with it."""
        self._seen += 1
        weight = max(1 - _MEMORY, 1 / self._seen)
        self.level += weight * (gain_watts - self.level)
        self._squares += weight * ((gain_watts - self.level) ** 2 - self._squares)
        if self._seen > 1:
            self._changes += weight * ((gain_watts - self._last) ** 2 - self._changes)
        if power_watts is not None:
            self._departures += weight * ((gain_watts - power_watts) ** 2 - self._departures)
        self._last = gain_watts

    @property
    def hidden_watts(self) -> float:
        """How far momentary power departs from the gains."""
        return math.sqrt(self._departures)

    @property
    def unknown(self) -> float:
        """How little is known of that, from 1 before the first gain to 0."""
        return max(1 - self._seen / _FEWEST, 0.0)

    @property
    def amplitude(self) -> float:
        """Standard deviation of the gains, in mean powers."""
        return math.sqrt(self._squares) / self.level if self.level > 0 else 0.0

    @property
    def is_sampled(self) -> bool | None:
        """Whether the counter merely adds up the power readings; None while power has not varied enough to tell."""
        if self._seen < _FEWEST or self.level <= 0:
            return None
        if self._changes > (_VARIES * self.level) ** 2:
            return self._departures < _SAME * self._changes
        return False if self.hidden_watts > _DEPARTS * self.level else None
