"""Whether a sensor that looks only at times sees always the same part of a step: then nothing averages its error out.

For each harmonic of the step's period the sensor's looks are added up as unit vectors at their phases. Where they
spread over the step the sum stays small; where they lock to it the sum grows with their number, and a harmonic of the
power of that amplitude is taken for a part of the mean (undersampling; for the square course of an on-off load the
amplitudes fall as 2 / (pi h)).
"""

import cmath
import math

_HARMONICS = 16
_LONGEST_STEP = 16.0
"""In periods of the sensor: a longer step is looked at often enough."""
_FEWEST_LOOKS = 8
_PADDING = 1.25
"""Steps are no pure on-off course."""
LOCKED = 0.5
"""From this mean length of the unit vectors on the looks are locked to the step."""


class Aliasing:
    """The looks of one sensor into the steps of one loop.

    Attributes:
        looks: How many there were.
    """

    __slots__ = ("_sums", "looks")

    def __init__(self) -> None:
        self._sums = [0j] * _HARMONICS
        self.looks = 0

    def add(self, start_ns: int, end_ns: int, tick_ns: float, period_ns: float) -> None:
        """Take a step in.

        Args:
            start_ns: The step's start.
            end_ns: Its end.
            tick_ns: Any moment at which the sensor renewed its value.
            period_ns: Time between two such moments.
        """
        length = end_ns - start_ns
        if not 0 < length <= _LONGEST_STEP * period_ns:
            return
        look = tick_ns + math.ceil((start_ns - tick_ns) / period_ns) * period_ns
        while look < end_ns:
            turn = cmath.rect(1.0, math.tau * (look - start_ns) / length)
            vector = turn
            for index in range(_HARMONICS):
                self._sums[index] += vector
                vector *= turn
            self.looks += 1
            look += period_ns

    @property
    def concentration(self) -> float:
        """Mean length of the unit vectors of the first harmonic: 0 when looks spread over the step, 1 when locked."""
        return abs(self._sums[0]) / self.looks if self.looks >= _FEWEST_LOOKS else 0.0

    @property
    def strongest(self) -> float:
        """The longest mean of any harmonic's unit vectors."""
        return max(map(abs, self._sums)) / self.looks if self.looks >= _FEWEST_LOOKS else 0.0

    @property
    def share(self) -> float:
        """Standard deviation of the mean that is seen, in amplitudes of the power's course over a step."""
        if self.looks < _FEWEST_LOOKS:
            return 0.0
        parts = (
            _PADDING * 2 / (math.pi * h) * abs(total) / self.looks
            for h, total in enumerate(self._sums, start=1)
        )
        return math.sqrt(sum(part**2 for part in parts))
