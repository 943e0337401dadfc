"""The learning rate of a run over its joules, in constant memory and pure standard library.

It runs beside a training loop and reads a directory's rows alike, so that both see the same schedule.
"""

import math

LIMIT = 2048
"""A fit reads a schedule at this many points; more would not be looked at."""
SPENT = 0.01
"""Under this part of its peak a rate has come to its end."""
SAME = 1e-9

ENDED = "The learning rate came down to zero; one raised again would bend the curve."


class RateTrace:
    """A streaming accumulator of (joules, learning rate) points.

    Attributes:
        points: Kept points, at least ``spacing`` joules apart.
        spacing: In joules; it grows when there are too many points.
        last: The last point; None before the first.
        lowest: The lowest rate seen.
        highest: The highest rate seen.
    """

    __slots__ = ("highest", "last", "lowest", "points", "spacing")

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []
        self.spacing = 0.0
        self.last: tuple[float, float] | None = None
        self.lowest = math.inf
        self.highest = 0.0

    def add(self, joules: float, rate: float) -> None:
        """Add a point: joules since the start of the run, not decreasing. What is no learning rate is left out."""
        if not (math.isfinite(joules) and math.isfinite(rate) and rate >= 0.0):
            return
        self.last = (joules, rate)
        self.lowest, self.highest = min(self.lowest, rate), max(self.highest, rate)
        if not self.points or joules > self.points[-1][0] + self.spacing:
            self.points.append(self.last)
            if len(self.points) > LIMIT:
                self._thin()

    def _thin(self) -> None:
        first, last = self.points[0][0], self.points[-1][0]
        self.spacing = max(2.0 * self.spacing, 2.0 * (last - first) / LIMIT)
        kept: list[tuple[float, float]] = []
        for point in self.points:
            if not kept or point[0] > kept[-1][0] + self.spacing:
                kept.append(point)
        self.points = kept

    @property
    def varies(self) -> bool:
        """Whether more than one rate was seen."""
        return self.highest > self.lowest * (1.0 + SAME)

    @property
    def has_ended(self) -> bool:
        """Whether the rate varied and is almost zero now."""
        return self.last is not None and self.varies and self.last[1] < SPENT * self.highest

    def known(self) -> tuple[list[float], list[float]] | None:
        """Return joules and rates for a fit; None where they would say nothing: never seen, constant, or at an end."""
        if self.last is None or not self.varies or self.has_ended:
            return None
        points = self.points if self.points[-1] == self.last else [*self.points, self.last]
        return [joules for joules, _ in points], [rate for _, rate in points]

    def notes(self) -> tuple[str, ...]:
        """Sentences that a reader of a forecast must know."""
        return (ENDED,) if self.has_ended else ()
