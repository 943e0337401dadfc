"""The metrics of a stored run, each with its fit and forecast; the headline's comes first."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from profiler.analysis.curve import last_value, metric_points
from profiler.analysis.earlier_runs import Neighbours
from profiler.analysis.fits import fit_run
from profiler.budget import Budget
from profiler.errors import ForecastRefusedError, UsageError
from profiler.forecasting.curve import MIN_POINTS
from profiler.records import CurveState
from profiler.reporting.forecast_section import outlook_of
from profiler.reporting.metric_choice import LOSS, Headline, best_of, goal_of, headline
from profiler.reporting.records import MetricReport, Outlook
from profiler.reporting.text import counted, one_line

if TYPE_CHECKING:
    from profiler.forecasting import CurveFit
    from profiler.forecasting.lr_trace import RateTrace
    from profiler.storage.reader import StoredRun

MOST_FITTED = 8
"""Metrics that are fitted, since each fit takes about 0.1 s; further ones are listed with their last value."""

Found = list[tuple[MetricReport, "CurveFit | None"]]


_STATES = {
    "too_few_points": CurveState.TOO_EARLY,
    "span_too_short": CurveState.TOO_EARLY,
    "constant": CurveState.FLAT,
    "nothing_finite": CurveState.DIVERGED,
    "diverging": CurveState.RISING,
}
"""State of a curve whose fit is refused, by the code of the refusal."""


def refused_metric(
    name: str,
    goal: str | None,
    error: ForecastRefusedError,
    *,
    has_points: bool,
    last: float | None = None,
) -> MetricReport:
    """Return the report of a metric whose fit was refused, with the reason.

    Args:
        name: Name of the metric.
        goal: Its direction.
        error: The refusal.
        has_points: True if at least one value was recorded.
        last: The last recorded value.
    """
    state = _STATES.get(error.code) if has_points or error.code == "nothing_finite" else None
    return MetricReport(name=name, goal=goal, outlook=None, state=state, refused=str(error), last=last)


def fitted_metric(
    name: str, goal: str | None, outlook: Outlook, *, last: float | None = None
) -> MetricReport:
    """Return the report of a metric with its forecast."""
    return MetricReport(name=name, goal=goal, outlook=outlook, state=outlook.state, refused="", last=last)


def metrics_of(
    run: "StoredRun",
    trace: "RateTrace",
    targets: Sequence[float] = (),
    metric: str | None = None,
    goal: str | None = None,
    *,
    best: float | None = None,
    neighbours: Neighbours | None = None,
) -> tuple[Found, str]:
    """Fit the loss and every logged metric.

    Args:
        run: The run.
        trace: Its :func:`profiler.analysis.curve.learning_rate_trace`.
        targets: Levels of the headline's metric to price.
        metric: The headline's metric, where the user names it.
        goal: Its direction, where the user states it.
        best: Its best possible value, where the user states it; only for a metric that rises.
        neighbours: Runs beside it that were read before.

    Returns:
        The metrics with their fits, and one sentence that explains the choice of the headline's metric.

    Raises:
        UsageError: The run has no such metric, the goal is neither ``min`` nor ``max``, or ``best`` contradicts it.
    """
    names = [str(name) for name in run.metrics["name"].unique() if name != LOSS]
    chosen = headline(names, metric, goal)
    if metric is None and chosen.name != LOSS:
        chosen = _with_points(run, chosen)
    ordered = dict.fromkeys((chosen.name, LOSS, *names))
    if best is not None and chosen.goal != "max":
        raise UsageError(
            f"a best value is for a metric that rises: is {chosen.name} one? Then add goal 'max'."
        )
    neighbours = neighbours or Neighbours()
    found: Found = []
    for number, name in enumerate(ordered):
        asked = tuple(dict.fromkeys(targets)) if name == chosen.name else ()
        if name == LOSS:
            asked = tuple(dict.fromkeys((*asked, *Budget.from_run_json(run.meta).targets)))
        direction = chosen.goal if name == chosen.name else "min" if name == LOSS else goal_of(name)
        stated = best if name == chosen.name else None
        found.append(
            _metric(
                run,
                name,
                direction,
                asked,
                best=stated,
                trace=trace,
                neighbours=neighbours,
                is_fitted=number < MOST_FITTED,
            )
        )
    return found, chosen.note


def _with_points(run: "StoredRun", chosen: Headline) -> Headline:
    """Return the loss instead of a metric that was logged too rarely for a forecast, such as once at the end."""
    points, losses = (metric_points(run, name)[1].count() for name in (chosen.name, LOSS))
    if points >= MIN_POINTS or points >= losses:
        return chosen
    number = counted(points, "finite value")
    note = f"{one_line(chosen.name)} has {number}, too few for a forecast, so the loss is at the top."
    return Headline(name=LOSS, goal="min", note=note)


def _metric(
    run: "StoredRun",
    name: str,
    goal: str | None,
    asked: Sequence[float],
    *,
    best: float | None,
    trace: "RateTrace",
    neighbours: Neighbours,
    is_fitted: bool,
) -> "tuple[MetricReport, CurveFit | None]":
    values = metric_points(run, name)[1].dropna()
    last = last_value(run, name)
    if best is None and goal == "max":
        # Without a value, any best one leads to the refusal that states the reason.
        best = best_of(name, float(values.max())) if len(values) else 1.0
    refused = ""
    if goal is None:
        refused = f"The direction of {name} is unknown: select it with --metric and --goal min or max."
    elif goal == "max" and best is None:
        option = f"--metric {shlex.quote(one_line(name))} --best VALUE"
        refused = f"No forecast: the best possible value of {name} is not known. State it with {option}."
    elif not is_fitted:
        refused = f"Only the first {MOST_FITTED} metrics are fitted: select this one with --metric."
    if refused:
        return MetricReport(name=name, goal=goal, outlook=None, state=None, refused=refused, last=last), None

    options: dict[str, Any] = {} if goal == "min" else {"goal": "max", "best": best}
    try:
        fit = fit_run(run, name, trace=trace, neighbours=neighbours, **options)
    except ForecastRefusedError as error:
        return refused_metric(name, goal, error, has_points=len(values) > 0, last=last), None
    notes = trace.notes() if name == LOSS else ()
    outlook = outlook_of(fit, asked, notes, metric=name, trace=trace)
    return fitted_metric(name, goal, outlook, last=last), fit
