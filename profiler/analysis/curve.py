"""A metric against energy: its points, the learning-rate trace beside them, and the fit of both."""

from typing import TYPE_CHECKING, Any

from profiler import lr_plan
from profiler.errors import RunDamagedError, UsageError
from profiler.forecasting.lr_trace import RateTrace
from profiler.storage.schema import RUN_FILE

if TYPE_CHECKING:
    import pandas as pd

    from profiler.forecasting import CurveFit
    from profiler.storage.reader import StoredRun

    Column = pd.Series[float]


def metric_points(run: "StoredRun", metric: str = "loss") -> "tuple[Column, Column, Column]":
    """Return joules since the start, values, and the number of steps that each value is the mean of.

    The loss of a row of steps is placed at the middle of the row's joules.

    Raises:
        UsageError: The run has no such metric.
    """
    if metric == "loss":
        seen = run.steps[run.steps["loss"].notna() | (run.steps["nonfinite_count"] > 0)]
        weights = (seen["step_count"] - seen["nonfinite_count"]).clip(lower=1).astype("float64")
        return seen["cumulative_joules"] - seen["total_joules"] / 2, seen["loss"], weights
    chosen = run.metrics[run.metrics["name"] == metric]
    if chosen.empty:
        known = ", ".join(["loss", *sorted(run.metrics["name"].unique())])
        raise UsageError(f"this run has no metric {metric!r}; it has: {known}.")
    return chosen["cumulative_joules"], chosen["value"], chosen["value"] * 0.0 + 1.0


def learning_rate_trace(run: "StoredRun") -> RateTrace:
    """Return the learning rate over joules, recorded and planned, thinned as it was while recording."""
    trace = RateTrace(_plan(run))
    seen = run.steps[run.steps["cumulative_joules"].notna()]
    first = seen[:1]
    trace.origin_joules = float((first["cumulative_joules"] - first["total_joules"]).sum())
    columns = (seen[name].tolist() for name in ("cumulative_joules", "learning_rate", "step"))
    for joules, rate, step in zip(*columns, strict=True):
        trace.add(joules, rate, step)
    return trace


def _plan(run: "StoredRun") -> lr_plan.RatePlan | None:
    try:
        return lr_plan.RatePlan.read(run.meta)
    except (KeyError, TypeError, ValueError) as error:
        raise RunDamagedError(run.path / RUN_FILE, f"{lr_plan.SECTION} is broken ({error!r}).") from None


def planned_joules(run: "StoredRun", trace: RateTrace) -> float | None:
    """Return the joules expected at the end of ``total_steps``; None if not declared or already reached."""
    total = int(run.meta.get(lr_plan.TOTAL, 0))
    return trace.joules_at(total) if trace.last.step and total > trace.last.step else None


def fit_metric(run: "StoredRun", trace: RateTrace, metric: str = "loss", **options: Any) -> "CurveFit":
    """Fit a metric against the joules since the first step, with the learning rate where it is informative.

    Args:
        run: The run.
        trace: Its :func:`learning_rate_trace`.
        metric: ``loss``, or a name given to ``prof.log``.
        options: Passed on to :func:`profiler.forecasting.fit_curve`.

    Raises:
        ForecastRefusedError: The curve does not support a forecast.
        UsageError: There is no such metric.
    """
    from profiler.forecasting import CurveBins, fit_bins, fit_curve

    points = [column.to_numpy() for column in metric_points(run, metric)]
    given = not options.keys().isdisjoint(("learning_rate", "planned_learning_rate"))
    rates = {} if given else trace.told()
    if "learning_rate" not in rates:
        origin = trace.origin_joules
        return fit_curve(points[0], points[1], weights=points[2], origin_joules=origin, **rates, **options)
    bins = CurveBins(trace.origin_joules)
    for joules, value, weight in zip(*(column.tolist() for column in points), strict=True):
        bins.add(joules, value, weight)
    return fit_bins(bins, **rates, **options)
