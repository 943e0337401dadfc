"""What the curve so far says of the loss that is asked for next. Pure; numpy comes with the first fit."""

import math
from dataclasses import dataclass
from typing import Any

from profiler.budget import Goals
from profiler.errors import ProfilerError
from profiler.forecasting.binning import CurveBins
from profiler.records import Forecast, Interval, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A fit's answers.

    Attributes:
        joules: Joules of the last point that was fitted.
        floor: The level that infinite energy would approach.
        target: The loss asked for, else one a quarter of the way from the present level to the floor.
        forecast: What it costs, in joules since the start.
        at_budget: The level when the budget is used; None without one, or past it.
        is_tested: Whether the run is long enough to have tested forecasts on its own past.
        is_asked: Whether the user named the target.
    """

    joules: float
    floor: Interval
    target: float
    forecast: Forecast
    at_budget: Interval | None
    is_tested: bool
    is_asked: bool

    def is_out_of_reach(self, goals: Goals) -> bool:
        """Whether the asked loss has a probability under 5 % to be reached, within the budget if there is one."""
        if goals.target_loss is None or not self.is_tested or self.forecast.verdict is Verdict.REACHED:
            return False
        misses_budget = self.at_budget is not None and self.at_budget.low > goals.target_loss
        return misses_budget or self.forecast.verdict is Verdict.UNREACHABLE


def look(bins: CurveBins, told: dict[str, Any], goals: Goals) -> Outlook | None:
    """Fit the curve and ask it; None where it does not support a forecast yet.

    Args:
        bins: The curve.
        told: What is known of the learning rate, as keyword arguments of a fit.
        goals: What is asked for.
    """
    from profiler.forecasting.fit import fit_bins
    from profiler.reporting.forecast_section import next_target

    try:
        fit = fit_bins(bins, **told)
    except ProfilerError:
        return None
    target = goals.target_loss
    if target is None:
        target = next_target(fit)
    budget = goals.energy_budget or 0.0
    return Outlook(
        joules=fit.joules,
        floor=fit.floor,
        target=target,
        forecast=fit.joules_at(target),
        at_budget=fit.loss_at(budget) if fit.joules < budget < math.inf else None,
        is_tested=bool(fit.backtest),
        is_asked=goals.target_loss is not None,
    )
