"""Facts that accompany the points of a curve: the metric, bounds, priors and the learning rate."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from profiler.forecasting.metric import Metric
from profiler.forecasting.priors import Priors
from profiler.forecasting.schedule import Schedule

if TYPE_CHECKING:
    from profiler.forecasting.states import StepAt

AHEAD = 0.01
"""A plan whose remaining part is shorter than this part of the joules so far has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitContext:
    """Information for a fit beside the points.

    Attributes:
        metric: Direction and best value of the metric.
        lower_bound: A value that the metric cannot be under; 0 where nothing is known.
        level: Probability inside intervals.
        priors: Assumptions before the curve is seen.
        schedule: The learning rate; None when it is unknown.
        planned: Whether the schedule reaches into the future.
        ended: Whether the learning rate fell to zero. The schedule is then ignored: nothing would be learned at zero.
        over: Whether the schedule has ended, at whatever rate, so that more steps need a new plan.
        spent: The schedule of a rate that fell to zero; None otherwise.
        origin_joules: Joules at which the first step began; all other joules here count from it.
        step_at: Steps against joules, for messages.
        alternating: Whether several optimizers take turns, each with a loss of its own.
        reinforced: Whether this is the loss of reinforcement learning.
    """

    metric: Metric
    lower_bound: float
    level: float
    priors: Priors
    schedule: Schedule | None
    planned: bool
    ended: bool = False
    over: bool = False
    spent: Schedule | None = None
    origin_joules: float = 0.0
    step_at: "StepAt | None" = None
    alternating: bool = False
    reinforced: bool = False

    def until(self, last_joules: float) -> "FitContext":
        """Return the context of a curve that ends at ``last_joules``."""
        schedule = self.schedule
        ahead = schedule is not None and self.planned and schedule.end > last_joules * (1.0 + AHEAD)
        if schedule is None or ahead:
            return self
        over = self.over or self.planned or schedule.is_spent
        if not schedule.is_spent:
            return replace(self, planned=False, over=over)
        return replace(self, schedule=None, planned=False, ended=True, over=over, spent=schedule)

    def before_the_end(self) -> "FitContext":
        """Return the context of an earlier part of the curve, whose recorded rates were a plan at that time."""
        schedule = self.schedule or self.spent
        return replace(
            self, schedule=schedule, planned=schedule is not None, ended=False, over=False, spent=None
        )
