"""Aliasing between a sensor's update interval and the step period.

A sensor that samples power only at its ticks may see the same part of every step, and nothing averages that error out.
For each harmonic of the step period the ticks are added as unit vectors at their phase in the step. If they spread
over the step the sum stays small; if they lock to it the sum grows with their number, and a harmonic of that amplitude
is mistaken for a part of the mean (undersampling). The harmonics of an on-off load fall as 2 / (pi h).
"""

import cmath
import math

_HARMONICS = 16
_LONGEST_STEP = 16.0
"""In update intervals: a longer step is sampled often enough."""
_FEWEST_TICKS = 8
_PADDING = 1.25
"""Margin for steps that are not a pure on-off load."""
LOCKED = 0.5
"""Mean length of the unit vectors from which the ticks count as locked to the step."""


class Aliasing:
    """Phases of one sensor's ticks in the steps of one loop.

    Attributes:
        ticks: Number of ticks added.
    """

    __slots__ = ("_sums", "ticks")

    def __init__(self) -> None:
        self._sums = [0j] * _HARMONICS
        self.ticks = 0

    def add(self, start_ns: int, end_ns: int, tick_ns: float, period_ns: float) -> None:
        """Add a step.

        Args:
            start_ns: Start of the step.
            end_ns: End of the step.
            tick_ns: Time of any tick.
            period_ns: Time between ticks.
        """
        length = end_ns - start_ns
        if not 0 < length <= _LONGEST_STEP * period_ns:
            return
        # The first tick at or after the start; any tick is a reference, since their spacing is constant.
        tick = tick_ns + math.ceil((start_ns - tick_ns) / period_ns) * period_ns
        while tick < end_ns:
            # Powers of the fundamental's vector are the vectors of the harmonics.
            turn = cmath.rect(1.0, math.tau * (tick - start_ns) / length)
            vector = turn
            for index in range(_HARMONICS):
                self._sums[index] += vector
                vector *= turn
            self.ticks += 1
            tick += period_ns

    @property
    def concentration(self) -> float:
        """Mean length of the first harmonic's vectors: 0 if ticks spread over the step, 1 if they lock to it."""
        return abs(self._sums[0]) / self.ticks if self.ticks >= _FEWEST_TICKS else 0.0

    @property
    def strongest(self) -> float:
        """Largest mean length of any harmonic's vectors."""
        return max(map(abs, self._sums)) / self.ticks if self.ticks >= _FEWEST_TICKS else 0.0

    @property
    def share(self) -> float:
        """Standard deviation of the sampled mean, in amplitudes of the power over a step."""
        if self.ticks < _FEWEST_TICKS:
            return 0.0
        parts = (
            _PADDING * 2 / (math.pi * h) * abs(total) / self.ticks
            for h, total in enumerate(self._sums, start=1)
        )
        return math.sqrt(sum(part**2 for part in parts))
