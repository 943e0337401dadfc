"""The course of power over a training step, learnt from a counter that is renewed more slowly than the step.

Steps of a loop resemble each other, and the counter's ticks fall on ever other places in them: each gain of the counter
is then one equation about the power in the parts of a step. Solved online by recursive least squares (Haykin, Adaptive
Filter Theory, chapter on RLS), they give the shape by which the counter's gain is shared out around a step's end.
"""

PARTS = 16
"""Parts of equal length into which a step is cut."""
_FORGETTING = 0.995
_PRIOR_SPREAD = 0.5
"""Standard deviation of a part's power before anything is learnt, in mean powers."""
_NOISE = 0.03
"""Standard deviation of one gain of the counter from what the shape explains, as a share of it."""
_LEAST_POWER = 0.02
"""A part's power is never taken to be less than this share of the mean."""


class StepShape:
    """Mean power in each part of a step, relative to the mean of all.

    Attributes:
        cumulative: What share of a step's energy lies before each part; one entry more than there are parts.
        learnt: How many gains of the counter it was learnt from.
    """

    __slots__ = ("_covariance", "_parts", "cumulative", "learnt")

    def __init__(self) -> None:
        self._parts = [1.0] * PARTS
        self._covariance = [
            [_PRIOR_SPREAD**2 if row == column else 0.0 for column in range(PARTS)] for row in range(PARTS)
        ]
        self.cumulative = [part / PARTS for part in range(PARTS + 1)]
        self.learnt = 0

    def before(self, phase: float) -> float:
        """The share of a step's energy that lies before ``phase``, from 0 to 1."""
        place = phase * PARTS
        part = int(place)
        if part >= PARTS:
            return 1.0
        first = self.cumulative[part]
        return first + (place - part) * (self.cumulative[part + 1] - first)

    def expected(self, exposures: list[float]) -> float:
        """Mean power over such a time, relative to the mean power around."""
        return sum(map(float.__mul__, self._parts, exposures))

    def learn(self, exposures: list[float], gain: float) -> None:
        """Learn from one gain of the counter.

        Args:
            exposures: How much of the gain's time was spent in each part; the shares add up to 1.
            gain: Mean power over that time, relative to the mean power around.
        """
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
        self.learnt += 1
        self._sum_up()

    def _sum_up(self) -> None:
        parts = [max(part, _LEAST_POWER) for part in self._parts]
        whole, done = sum(parts), 0.0
        for index, part in enumerate(parts):
            self.cumulative[index] = done / whole
            done += part
        self.cumulative[PARTS] = 1.0


def add_exposure(exposures: list[float], first: float, last: float, weight: float) -> None:
    """Spread ``weight`` over the parts between two phases of a step."""
    if last <= first:
        return
    per_part = weight / ((last - first) * PARTS)
    place, end = first * PARTS, last * PARTS
    while place < end:
        part = min(int(place), PARTS - 1)
        upto = end if part == PARTS - 1 else min(part + 1.0, end)
        exposures[part] += (upto - place) * per_part
        place = upto
