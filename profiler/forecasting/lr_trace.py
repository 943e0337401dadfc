"""The learning rate of a run over its joules, recorded and planned, in constant memory and pure standard library."""

import copy
import math
from bisect import bisect_right
from collections.abc import Sequence
from operator import le
from typing import TYPE_CHECKING, Any, NamedTuple

from profiler.lr_plan import RatePlan

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LIMIT = 2048
"""Most points kept: a fit resolves no more."""
SAME = 1e-9
RECENT = 0.5
"""Part of the steps, counted from the end, whose mean energy predicts that of future steps."""
APART = 0.05
"""Tolerance of a planned rate, as a part of the peak, and the largest part of the points that may exceed it."""


SAME_PEAK = 1e-3
FEWEST_POINTS = 8
LEAST_DECAY = 0.05
"""Least decay, as a part of the peak, that shows the shape of a schedule."""
MATCH = 0.01
"""Largest departure of a recorded rate from a recognised decay, as a part of the peak."""


class Point(NamedTuple):
    """End of a step.

    Attributes:
        joules: Since the start of the run.
        rate: The learning rate; NaN if unknown.
        step: Steps since the start of the run.
    """

    joules: float
    rate: float
    step: int


ORIGIN = Point(0.0, math.nan, 0)
Rate = tuple[list[float], list[float]]


class RateTrace:
    """Streaming accumulator of joules, learning rates and steps, with the plan of the rate if there is one.

    Attributes:
        plan: The planned rate; may be set at any time.
        has_ended: True if the scheduler has ended; likewise.
        refusal: Reason why a scheduler gives no plan; empty where there is none. Likewise.
        total_steps: Declared steps of the whole run; likewise.
        before: Steps of the runs that this one resumes; set it before the first step.
        origin_joules: Joules at which the first step of this run began; set it before the first step.
        points: Kept points, at least ``spacing`` joules apart.
        spacing: Least distance of kept points in joules; grows when there are too many.
        last: The last point.
        lowest: Lowest recorded rate.
        highest: Highest recorded rate.
    """

    __slots__ = (
        "before",
        "has_ended",
        "highest",
        "last",
        "lowest",
        "origin_joules",
        "plan",
        "points",
        "refusal",
        "spacing",
        "total_steps",
    )

    def __init__(self, plan: RatePlan | None = None, total_steps: int | None = None) -> None:
        self.plan = plan
        self.has_ended = False
        self.refusal = ""
        self.total_steps = total_steps
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
            rate: The learning rate; None, NaN and negative values count as unknown.
            step: Number of the step, counted from 1.
        """
        if not math.isfinite(joules):
            return
        self.last = self._point(joules, rate, step)
        if not math.isnan(self.last.rate):
            self.lowest, self.highest = min(self.lowest, self.last.rate), max(self.highest, self.last.rate)
        if not self.points or joules > self.points[-1].joules + self.spacing:
            self.points.append(self.last)
            if len(self.points) > LIMIT:
                self._thin()

    def _point(self, joules: float, rate: float | None, step: int) -> Point:
        is_known = rate is not None and 0.0 <= rate < math.inf
        return Point(joules, rate if rate is not None and is_known else math.nan, self.before + step)

    def extend(self, joules: Sequence[float], rates: Sequence[float | None], steps: Sequence[int]) -> None:
        """Add several steps, given as columns, as :meth:`add` does."""
        if not math.isfinite(sum(joules)) or not all(map(le, joules, joules[1:])):
            for row in zip(joules, rates, steps, strict=True):
                self.add(*row)
            return
        different = rates[:1] if rates.count(rates[0]) == len(rates) else rates
        known = [rate for rate in different if rate is not None and 0.0 <= rate < math.inf]
        if known:
            self.lowest, self.highest = min(self.lowest, *known), max(self.highest, *known)
        self._keep(joules, rates, steps)

    def extend_arrays(
        self,
        joules: "npt.NDArray[np.float64]",
        rates: "npt.NDArray[np.float64]",
        steps: "npt.NDArray[np.int64]",
    ) -> None:
        """Add several steps, given as arrays of equal length, as :meth:`add` does; NaN is an unknown rate."""
        import numpy as np

        if not joules.size:
            return
        if not np.isfinite(joules).all() or (joules[1:] < joules[:-1]).any():
            self.extend(joules.tolist(), rates.tolist(), steps.tolist())
            return
        known = rates[(rates >= 0.0) & (rates < math.inf)]
        if known.size:
            self.lowest = min(self.lowest, float(known.min()))
            self.highest = max(self.highest, float(known.max()))
        if self.points or len(joules) > LIMIT:
            # An item of a memory view is a Python number.
            self._keep(joules.data, rates.data, steps.data)
            return
        # All of few points are kept, apart from repeated joules.
        rates = np.where((rates >= 0.0) & (rates < math.inf), rates, math.nan)
        columns = (joules, rates, steps + self.before)
        is_kept = np.append(True, joules[1:] > joules[:-1])
        self.points = list(map(Point, *(column[is_kept].tolist() for column in columns)))
        self.last = Point(*(column[-1].item() for column in columns))

    def _keep(self, joules: Sequence[float], rates: Sequence[float | None], steps: Sequence[int]) -> None:
        """Keep points that are far enough apart, of steps whose joules do not decrease."""
        # The next kept point is found by bisection.
        index, least = 0, self.points[-1].joules + self.spacing if self.points else -math.inf
        while (index := bisect_right(joules, least, index)) < len(joules):
            self.points.append(self._point(joules[index], rates[index], steps[index]))
            if len(self.points) > LIMIT:
                self._thin()
            index, least = index + 1, self.points[-1].joules + self.spacing
        self.last = self._point(joules[-1], rates[-1], steps[-1])

    def copy(self) -> "RateTrace":
        """Return an independent copy."""
        other = copy.copy(self)
        other.points = self.points.copy()
        return other

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
        """True if more than one rate was recorded."""
        return self.highest > self.lowest * (1.0 + SAME)

    def as_fit_kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments of a fit that describe the rate; none where it carries no information."""
        plan = self._known_plan() or self.guess()
        if plan is not None and plan.last_step > self.last.step and not self._contradiction():
            return {"planned_learning_rate": self._whole(plan)}
        if not self.varies:
            return {}
        known = {"learning_rate": _split(self._recorded())}
        return {**known, "schedule_ended": True} if self.is_over else known

    @property
    def is_over(self) -> bool:
        """True if the schedule or the declared steps of the run have ended."""
        is_planned = self.plan is not None and not self._contradiction()
        ends = (self.total_steps, self.plan.last_step if self.plan is not None and is_planned else None)
        return self.has_ended or self.last.step in ends

    def _known_plan(self) -> RatePlan | None:
        return None if self.plan is None else self.plan.scaled(self.highest or 1.0)

    def guess(self) -> RatePlan | None:
        """Return the plan that continues a linear or cosine decay to ``total_steps``; None if neither fits.

        It is for schedules that assign the rate by hand, which cannot be simulated.
        """
        total, points = self.total_steps, self._recorded()
        if self.plan is not None or not total or total <= self.last.step or not self.varies:
            return None
        peak = self.highest
        at_peak = [k for k, point in enumerate(points) if point.rate >= (1.0 - SAME_PEAK) * peak]
        decay = points[at_peak[-1] + 1 :]
        if len(decay) < FEWEST_POINTS or decay[-1].rate > (1.0 - LEAST_DECAY) * peak:
            return None
        drops = [1.0 - point.rate / peak for point in decay]
        best: tuple[float, RatePlan] | None = None
        # A cosine begins at the first point near the peak, a decay after a constant phase at the last one.
        for first in (points[at_peak[0]].step, points[at_peak[-1]].step):
            for shape in ("linear", "cosine"):
                falls = [_fall(shape, (point.step - first) / (total - first)) for point in decay]
                depth = sum(d * f for d, f in zip(drops, falls, strict=True)) / sum(f * f for f in falls)
                worst = max(abs(d - depth * f) for d, f in zip(drops, falls, strict=True))
                if worst <= MATCH and depth <= 1.0 + MATCH and (best is None or worst < best[0]):
                    best = worst, _decay(shape, first, total, peak, min(depth, 1.0))
        return None if best is None else best[1]

    def _past(self) -> list[Point]:
        return self.points if self.points[-1:] == [self.last] else [*self.points, self.last]

    def _recorded(self) -> list[Point]:
        return [point for point in self._past() if not math.isnan(point.rate)]

    def _whole(self, plan: RatePlan) -> Rate:
        """Return the rate over the joules of the whole run: recorded up to now, planned after."""
        past = self._recorded() or [point._replace(rate=plan.rate_at(point.step)) for point in self._past()]
        if math.isinf(plan.last_step):
            return _split([*past, Point(2.0 * self.last.joules - self.origin_joules, plan.rates[0], 0)])
        ahead = [knot for knot in zip(plan.steps, plan.rates, strict=True) if knot[0] > self.last.step]
        return _split([*past, *(Point(self.joules_at(step), rate, step) for step, rate in ahead)])

    def joules_at(self, step: int) -> float:
        """Return the joules after a future step, if steps and the gaps between them cost as much as recently."""
        since = self.before + math.ceil((1.0 - RECENT) * (self.last.step - self.before))
        origin = ORIGIN._replace(joules=self.origin_joules, step=self.before)
        begin = next((point for point in self.points if since <= point.step < self.last.step), origin)
        pace = (self.last.joules - begin.joules) / max(self.last.step - begin.step, 1)
        return self.last.joules + (step - self.last.step) * pace

    def notes(self) -> tuple[str, ...]:
        """Return caveats of the plan, as sentences."""
        guess = self.guess()
        if guess is not None:
            return (f"The future learning rate is a guess: the recorded rates match {guess.source}.",)
        total = self.total_steps
        if total is not None and self.last.step > total:
            return (f"The run has {self.last.step:,} steps, more than the {total:,} of total_steps.",)
        plan = self._known_plan()
        if plan is None and self.refusal and self.varies:
            return (f"The rest of the learning rate is not known ({self.refusal}).",)
        if plan is None or not self.last.step:
            return ()
        if self.last.step > plan.last_step:
            steps = f"ends at step {plan.last_step:,}, but the run has {self.last.step:,} steps"
            return (f"The plan of the learning rate {steps}; the rate after it is not known.",)
        return self._contradiction()

    def _contradiction(self) -> tuple[str, ...]:
        """Return a caveat if the recorded rate contradicts the plan at more than a few points."""
        plan = self._known_plan()
        if plan is None or self.plan is None:
            return ()
        most = APART * max(self.highest, *plan.rates)
        compared = [point for point in self._recorded() if point.step >= plan.steps[0]]
        if self.plan.relative:
            # A plan in words need not mention the warm-up.
            peak = next((point.step for point in compared if point.rate == self.highest), 0)
            compared = [point for point in compared if point.step >= peak]
        off = [point for point in compared if abs(point.rate - plan.rate_at(point.step)) > most]
        if len(off) <= APART * len(compared):
            return ()
        where = (
            f"at step {off[-1].step:,} the rate was {off[-1].rate:.4g}, not {plan.rate_at(off[-1].step):.4g}"
        )
        return (f"The plan of the learning rate ({plan.source}) is ignored: {where}.",)


def _fall(shape: str, progress: float) -> float:
    return 0.5 * (1.0 - math.cos(math.pi * progress)) if shape == "cosine" else progress


def _decay(shape: str, first: int, total: int, peak: float, depth: float) -> RatePlan:
    def rate(step: int) -> float:
        return peak * (1.0 - depth * _fall(shape, (step - first) / (total - first)))

    source = f"a {shape} decay to {100 * (1.0 - depth):.0f} % of the peak at step {total:,}"
    return RatePlan.sampled(rate, first, total, source)


def _split(points: list[Point]) -> Rate:
    return [point.joules for point in points], [point.rate for point in points]
