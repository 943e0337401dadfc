"""What a little better costs now, as energy."""

from profiler.errors import UsageError
from profiler.forecasting.result import CurveFit
from profiler.records import Interval, Verdict

PERCENT = 0.01


def price_of_percent(fit: CurveFit) -> Interval:
    """Return the further joules that take one percent off the level (off the error, for a metric that rises)."""
    return fit.joules_down_to(fit.metric.value(fit.metric.error(fit.level) * (1.0 - PERCENT)))


def price_of_halving(fit: CurveFit) -> Interval:
    """Return the further joules that halve the distance to the median floor, as a multiple of all spent so far."""
    more = fit.joules_down_to(0.5 * (fit.level + fit.floor.median))
    return Interval(
        low=more.low / fit.joules,
        median=more.median / fit.joules,
        high=more.high / fit.joules,
        level=more.level,
    )


def spent_since(fit: CurveFit, loss: float) -> Interval:
    """Return the joules spent since a level was reached.

    Args:
        fit: The fitted curve.
        loss: The level, in the unit of the metric.

    Raises:
        UsageError: The level was not reached.
    """
    forecast = fit.joules_at(loss)
    if forecast.verdict is not Verdict.REACHED:
        raise UsageError(f"{loss:g} was not reached: the curve is at {fit.level:.4g}.")
    return Interval(
        low=fit.joules - forecast.high,
        median=fit.joules - forecast.median,
        high=fit.joules - forecast.low,
        level=forecast.level,
    )
