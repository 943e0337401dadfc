"""Forecast of a running run for its target loss and its energy budget. numpy is imported with the first fit."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.budget import Budget
from profiler.errors import ProfilerError
from profiler.forecasting.binning import CurveBins
from profiler.forecasting.lr_trace import RateTrace
from profiler.records import CurveState, Forecast, Interval, Verdict

if TYPE_CHECKING:
    from profiler.monitoring.earlier_gains import EarlierGains


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveForecast:
    """Results of a fit of the loss curve so far.

    Attributes:
        joules: Energy at the last fitted point, in joules.
        floor: Loss that infinite energy would approach.
        target: Target loss of the user, or else the next lower loss that a report prices.
        forecast: Energy of the target, in joules since the start.
        at_budget: Loss when the budget is used; None without a budget, or if it is used already.
        is_tested: Whether the run is long enough for a backtest.
        is_asked: Whether the user gave the target.
    """

    joules: float
    floor: Interval
    target: float
    forecast: Forecast
    at_budget: Interval | None
    is_tested: bool
    is_asked: bool

    def is_reached(self, level: float | None) -> bool:
        """Return whether the present level, or an earlier one, is at the target."""
        return (level is not None and level <= self.target) or self.forecast.verdict is Verdict.REACHED

    def is_out_of_reach(self, budget: Budget) -> bool:
        """Return whether the user's target is reached with a probability under 5 %, within the budget if any."""
        if budget.target_loss is None or not self.is_tested or self.forecast.verdict is Verdict.REACHED:
            return False
        exceeds_budget = self.at_budget is not None and self.at_budget.low > budget.target_loss
        return exceeds_budget or self.forecast.verdict is Verdict.UNREACHABLE


def forecast_run(
    bins: CurveBins,
    rates: RateTrace,
    budget: Budget,
    *,
    alternating: bool = False,
    reinforced: bool = False,
    convolutional: bool = False,
    earlier: "EarlierGains | None" = None,
) -> LiveForecast | None:
    """Fit a curve and forecast the target; None if the curve supports no forecast.

    Args:
        bins: The curve.
        rates: Its learning rate.
        budget: The limits of the user.
        alternating: Whether several optimizers take turns, each with a loss of its own.
        reinforced: Whether this is the loss of reinforcement learning.
        convolutional: Whether convolutions over images or spectrograms are trained.
        earlier: Source of the gain of a planned anneal.
    """
    from profiler.forecasting.fit import fit_bins
    from profiler.reporting.forecast_section import next_target

    try:
        options = {
            "alternating": alternating,
            "reinforced": reinforced,
            "convolutional": convolutional,
            **rates.as_fit_kwargs(),
        }
        fit = fit_bins(bins, **options)
        priors = None if earlier is None else earlier.priors(fit, rates)
        if priors is not None:
            fit = fit_bins(bins, **options, priors=priors)
    except ProfilerError:
        return None
    if fit.state is CurveState.NOT_A_PROGRESS_MEASURE or (
        not fit.has_forecast and budget.target_loss is None
    ):
        return None
    target = next_target(fit) if budget.target_loss is None else budget.target_loss
    joules = budget.energy_joules or 0.0
    return LiveForecast(
        joules=fit.joules,
        floor=fit.floor,
        target=target,
        forecast=fit.joules_at(target),
        at_budget=fit.loss_at(joules) if fit.joules < joules < math.inf else None,
        is_tested=bool(fit.backtest),
        is_asked=budget.target_loss is not None,
    )
