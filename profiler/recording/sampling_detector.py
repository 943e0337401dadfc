"""Detection of counters that only add up sampled power, from their gains and the power readings beside them."""

import math

_MEMORY = 0.99
_FEWEST_GAINS = 10
_VARIES = 0.03
"""Power that changes by less than this share from gain to gain is not informative."""
_SAME = 0.05
"""Mean square of (power - gain) over that of changes between gains, below which both are the same reading."""
_DEPARTS = 0.05
"""Power that departs from the gains by more than this share was not what they were made of."""


class SamplingDetector:
    """Running comparison of each gain, as mean power, with the power reading that came with it.

    Attributes:
        level: Mean power, in watts.
    """

    __slots__ = ("_changes", "_count", "_departures", "_last", "_squares", "level")

    def __init__(self) -> None:
        self.level = 0.0
        self._last = 0.0
        self._count = 0
        self._squares = self._changes = self._departures = 0.0

    def add(self, gain_watts: float, power_watts: float | None) -> None:
        """Add a gain, as mean power over its time, and the power that was read with it."""
        # A plain mean at first, then exponential forgetting: a change of load must not stay in the statistics.
        self._count += 1
        weight = max(1 - _MEMORY, 1 / self._count)
        self.level += weight * (gain_watts - self.level)
        self._squares += weight * ((gain_watts - self.level) ** 2 - self._squares)
        if self._count > 1:
            self._changes += weight * ((gain_watts - self._last) ** 2 - self._changes)
        if power_watts is not None:
            self._departures += weight * ((gain_watts - power_watts) ** 2 - self._departures)
        self._last = gain_watts

    @property
    def hidden_watts(self) -> float:
        """Root mean square departure of momentary power from the gains."""
        return math.sqrt(self._departures)

    @property
    def ignorance(self) -> float:
        """Lack of evidence, from 1 before the first gain to 0."""
        return max(1 - self._count / _FEWEST_GAINS, 0.0)

    @property
    def amplitude(self) -> float:
        """Standard deviation of the gains, in units of their mean."""
        return math.sqrt(self._squares) / self.level if self.level > 0 else 0.0

    @property
    def is_sampled(self) -> bool | None:
        """True if the counter merely adds up power readings; None while power has not varied enough to decide."""
        if self._count < _FEWEST_GAINS or self.level <= 0:
            return None
        # Where power varies, a counter made of the readings follows them closely and an integrating one does not.
        # Where it is constant, only a disagreement is informative.
        if self._changes > (_VARIES * self.level) ** 2:
            return self._departures < _SAME * self._changes
        return False if self.hidden_watts > _DEPARTS * self.level else None
