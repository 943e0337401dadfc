"""Power profile of a training step, learnt from a counter whose update interval is longer than the step.

Steps of a loop resemble each other, and the counter's ticks fall on different places in them: each gain of the counter
is one equation for the power in the parts of a step. Solved online by recursive least squares (Haykin, Adaptive Filter
Theory, chapter on RLS), they give the profile by which the counter's gain is divided at the end of a step.
"""

PARTS = 16
"""Number of equal parts of a step."""
_FORGETTING = 0.995
_PRIOR_SPREAD = 0.5
"""Prior standard deviation of a part's power, in units of mean power."""
_NOISE = 0.03
"""Standard deviation of one gain of the counter around the profile, as a share of it."""
_LEAST_POWER = 0.02
"""Lower bound of a part's power, as a share of the mean."""


class PowerProfile:
    """Mean power in each part of a step, relative to the mean of the step.

    Attributes:
        cumulative: Share of a step's energy before each part; one entry more than there are parts.
        gains: Number of counter gains it was learnt from.
    """

    __slots__ = ("_covariance", "_parts", "cumulative", "gains")

    def __init__(self) -> None:
        self._parts = [1.0] * PARTS
        self._covariance = [
            [_PRIOR_SPREAD**2 if row == column else 0.0 for column in range(PARTS)] for row in range(PARTS)
        ]
        self.cumulative = [part / PARTS for part in range(PARTS + 1)]
        self.gains = 0

    def before(self, phase: float) -> float:
        """Return the share of a step's energy before ``phase``, both from 0 to 1."""
        place = phase * PARTS
        part = int(place)
        if part >= PARTS:
            return 1.0
        first = self.cumulative[part]
        return first + (place - part) * (self.cumulative[part + 1] - first)

    def expected(self, exposures: list[float]) -> float:
        """Return the expected mean power of a gain with these exposures, relative to the mean power around it."""
        return sum(map(float.__mul__, self._parts, exposures))

    def learn(self, exposures: list[float], gain: float) -> None:
        """Update the profile with one gain of the counter.

        Args:
            exposures: Share of the gain's time spent in each part; the shares add up to 1.
            gain: Mean power over that time, relative to the mean power around it.
        """
        # Plain lists: sixteen parts are too few for numpy to pay, and numpy stays out of a recording.
        spread = [sum(map(float.__mul__, row, exposures)) for row in self._covariance]
        scale = _FORGETTING * _NOISE**2 + sum(map(float.__mul__, spread, exposures))
        error = gain - self.expected(exposures)
        for row, amount in enumerate(spread):
            factor = amount / scale
            self._parts[row] += factor * error
            own = self._covariance[row]
            self._covariance[row] = [
                (entry - factor * other) / _FORGETTING for entry, other in zip(own, spread, strict=True)
            ]
        self.gains += 1
        self._accumulate()

    def _accumulate(self) -> None:
        # The estimate may be negative where a part was seldom seen; energy never decreases.
        parts = [max(part, _LEAST_POWER) for part in self._parts]
        whole, done = sum(parts), 0.0
        for index, part in enumerate(parts):
            self.cumulative[index] = done / whole
            done += part
        self.cumulative[PARTS] = 1.0


def add_exposure(exposures: list[float], first: float, last: float, weight: float) -> None:
    """Add ``weight`` to the exposures, spread over the parts between two phases of a step."""
    if last <= first:
        return
    per_part = weight / ((last - first) * PARTS)
    place, end = first * PARTS, last * PARTS
    while place < end:
        part = min(int(place), PARTS - 1)
        upto = end if part == PARTS - 1 else min(part + 1.0, end)
        exposures[part] += (upto - place) * per_part
        place = upto
