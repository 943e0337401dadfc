"""The learning rate of a run over its joules, past and planned, in constant memory and pure standard library.

It runs beside a training loop and reads a directory's rows alike, so that both see the same schedule.
"""

import math
from typing import Any, NamedTuple

from profiler.lr_plan import RatePlan

LIMIT = 2048
"""A fit reads a schedule at this many points; more would not be looked at."""
SAME = 1e-9
RECENT = 0.5
"""The part of the steps, counted from the end, whose mean energy is that of the steps to come."""
APART = 0.05
"""A rate is not the planned one when it is off by this part of the peak; a plan does not hold when this part is."""


class Point(NamedTuple):
    """The end of a step.

    Attributes:
        joules: Since the start of the run.
        rate: The learning rate; NaN where it is not known.
        step: Steps since the start of the run.
    """

    joules: float
    rate: float
    step: int


ORIGIN = Point(0.0, math.nan, 0)
Rate = tuple[list[float], list[float]]


class RateTrace:
    """A streaming accumulator of joules, learning rates and steps, with the plan of the rate if there is one.

    Attributes:
        plan: What is planned; it may be set at any time.
        before: Steps of the runs that this one goes on from; it may be set before the first step.
        origin_joules: Joules at which the first step of this one began; likewise.
        points: Kept points, at least ``spacing`` joules apart.
        spacing: In joules; it grows when there are too many points.
        last: The last point.
        lowest: The lowest rate seen.
        highest: The highest rate seen.
    """

    __slots__ = ("before", "highest", "last", "lowest", "origin_joules", "plan", "points", "spacing")

    def __init__(self, plan: RatePlan | None = None) -> None:
        self.plan = plan
        self.before = 0
        self.origin_joules = 0.0
        self.points: list[Point] = []
        self.spacing = 0.0
        self.last = ORIGIN
        self.lowest = math.inf
        self.highest = 0.0

    def add(self, joules: float, rate: float | None, step: int) -> None:
        """Add a step.

        Args:
            joules: Since the start of the run, not decreasing.
            rate: The learning rate; None, and what is no learning rate, stand for one that is not known.
            step: Its number, counted from 1.
        """
        if not math.isfinite(joules):
            return
        known = rate is not None and math.isfinite(rate) and rate >= 0.0
        self.last = Point(joules, rate if rate is not None and known else math.nan, self.before + step)
        if known:
            self.lowest, self.highest = min(self.lowest, self.last.rate), max(self.highest, self.last.rate)
        if not self.points or joules > self.points[-1].joules + self.spacing:
            self.points.append(self.last)
            if len(self.points) > LIMIT:
                self._thin()

    def _thin(self) -> None:
        first, last = self.points[0].joules, self.points[-1].joules
        self.spacing = max(2.0 * self.spacing, 2.0 * (last - first) / LIMIT)
        kept: list[Point] = []
        for point in self.points:
            if not kept or point.joules > kept[-1].joules + self.spacing:
                kept.append(point)
        self.points = kept

    @property
    def varies(self) -> bool:
        """Whether more than one rate was seen."""
        return self.highest > self.lowest * (1.0 + SAME)

    def told(self) -> dict[str, Any]:
        """What a fit is to be told of the rate, as its keyword arguments; nothing where it would say nothing."""
        plan = self.plan
        if plan is not None and plan.last_step > self.last.step and not self._contradiction():
            return {"planned_learning_rate": self._whole(plan)}
        return {"learning_rate": _split(self._recorded())} if self.varies else {}

    def _past(self) -> list[Point]:
        return self.points if self.points[-1:] == [self.last] else [*self.points, self.last]

    def _recorded(self) -> list[Point]:
        return [point for point in self._past() if not math.isnan(point.rate)]

    def _whole(self, plan: RatePlan) -> Rate:
        """The rate over the joules of the whole run: as it was recorded so far, and then as it is planned."""
        past = self._recorded() or [point._replace(rate=plan.rate_at(point.step)) for point in self._past()]
        if math.isinf(plan.last_step):
            return _split([*past, Point(2.0 * self.last.joules - self.origin_joules, plan.rates[0], 0)])
        ahead = [knot for knot in zip(plan.steps, plan.rates, strict=True) if knot[0] > self.last.step]
        return _split([*past, *(Point(self.joules_at(step), rate, step) for step, rate in ahead)])

    def joules_at(self, step: int) -> float:
        """Joules after a step that is still to come, if the steps go on as lately, with what lies between them."""
        since = self.before + math.ceil((1.0 - RECENT) * (self.last.step - self.before))
        origin = ORIGIN._replace(joules=self.origin_joules, step=self.before)
        begin = next((point for point in self.points if since <= point.step < self.last.step), origin)
        pace = (self.last.joules - begin.joules) / max(self.last.step - begin.step, 1)
        return self.last.joules + (step - self.last.step) * pace

    def notes(self) -> tuple[str, ...]:
        """Sentences that a reader of a forecast must know."""
        plan = self.plan
        if plan is None or not self.last.step:
            return ()
        if self.last.step > plan.last_step:
            went = f"went on to step {self.last.step:,}"
            return (f"The plan of the learning rate ends at step {plan.last_step:,} and the run {went}.",)
        return self._contradiction()

    def _contradiction(self) -> tuple[str, ...]:
        """Say where the recorded rate is not the planned one, if it is so in more than a few places."""
        plan = self.plan
        if plan is None:
            return ()
        most = APART * max(self.highest, *plan.rates)
        told = [point for point in self._recorded() if point.step >= plan.steps[0]]
        off = [point for point in told if abs(point.rate - plan.rate_at(point.step)) > most]
        if len(off) <= APART * len(told):
            return ()
        where = f"at step {off[-1].step:,} the rate was {off[-1].rate:.4g} and not {plan.rate_at(off[-1].step):.4g}"
        return (f"The plan of the learning rate ({plan.source}) is left aside: {where}.",)


def _split(points: list[Point]) -> Rate:
    return [point.joules for point in points], [point.rate for point in points]
