"""A metric against energy: its points, the learning rate beside them, and the fit of both."""

import math
from typing import TYPE_CHECKING, Any

from profiler import lr_plan
from profiler.errors import RunDamagedError, UsageError
from profiler.forecasting.accumulator import RunCurve
from profiler.forecasting.lr_trace import RateTrace
from profiler.storage.schema import RUN_FILE

if TYPE_CHECKING:
    import pandas as pd

    from profiler.forecasting import CurveFit
    from profiler.storage.reader import StoredRun

    Column = pd.Series[float]

_COLUMNS = (
    "cumulative_joules",
    "total_joules",
    "loss",
    "learning_rate",
    "step",
    "step_count",
    "nonfinite_count",
)


def metric_points(run: "StoredRun", metric: str = "loss") -> "tuple[Column, Column, Column]":
    """Return joules since the start, values, and the number of steps that each value is the mean of.

    The loss of a row of steps belongs to the middle of the row's joules.

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
    """Return the learning rate over joules, recorded and planned."""
    return run_curve(run).rates


def run_curve(run: "StoredRun") -> RunCurve:
    """Feed the stored steps of a run to the accumulator that also runs beside a training."""
    curve = RunCurve(RateTrace(_plan(run)))
    steps = run.steps[run.steps["cumulative_joules"].notna()]
    for values in zip(*(steps[name].tolist() for name in _COLUMNS), strict=True):
        row = dict(zip(_COLUMNS, values, strict=True))
        # An empty cell is a missing loss; in a row with non-finite losses it is the mean of no finite ones.
        if math.isnan(row["loss"]) and not row["nonfinite_count"]:
            row["loss"] = None
        curve.add(**row)
    return curve


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
        options: Keyword arguments of :func:`profiler.forecasting.fit_curve`.

    Raises:
        ForecastRefusedError: The curve does not support a forecast.
        UsageError: There is no such metric.
    """
    from profiler.forecasting import CurveBins, fit_bins, fit_curve

    points = [column.to_numpy() for column in metric_points(run, metric)]
    origin = trace.origin_joules
    given = not options.keys().isdisjoint(("learning_rate", "planned_learning_rate"))
    rates = {} if given else trace.as_fit_kwargs()
    if "learning_rate" not in rates:
        return fit_curve(points[0], points[1], weights=points[2], origin_joules=origin, **rates, **options)
    # The rates of the trace are at other joules than the metric, which only a fit of bins accepts.
    bins = CurveBins(origin)
    for joules, value, weight in zip(*(column.tolist() for column in points), strict=True):
        bins.add(joules, value, weight)
    return fit_bins(bins, **rates, **options)
