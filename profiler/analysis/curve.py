"""A metric against energy: its points, the learning rate beside them, and the fit of both."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from profiler import lr_plan
from profiler.errors import RunDamagedError, UsageError
from profiler.forecasting.lr_trace import RateTrace
from profiler.storage.schema import ALTERNATING_STEPS, CONVOLUTIONAL, LIBRARIES, RUN_FILE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from profiler.forecasting import CurveFit
    from profiler.storage.reader import StoredRun

    Column = pd.Series[float]
    FloatArray = npt.NDArray[np.float64]

_TRAINING = "training"
FEWEST_ROUNDS = 10
"""Fewest models whose losses can show that each continues the one before."""
_CONTINUED = 0.75
"""Least share of the later models that begin nearer to the end of the one before than to the start of the first."""
_FALLING = -0.7
"""Largest rank correlation between the numbers of the models and the levels at which they begin."""
_END = 4
"""Part of the rows of a model, as a divisor, whose mean is its end level."""


def trainings(run: "StoredRun") -> tuple[int, ...]:
    """Return the indices of the trainings in the process, in order; one without the column ``training``.

    Models that continue each other, as in the rounds of federated learning, are one training.
    """
    found = _models(run)
    return found[:1] if _are_rounds(run.steps, len(found)) else found


def _models(run: "StoredRun") -> tuple[int, ...]:
    if _TRAINING not in run.steps:
        return (0,)
    return tuple(int(index) for index in run.steps[_TRAINING].dropna().unique()) or (0,)


def rounds(run: "StoredRun") -> int:
    """Return the number of models that continue each other, as in federated rounds; 0 if they do not."""
    models = len(_models(run))
    return models if _are_rounds(run.steps, models) else 0


def _are_rounds(steps: "pd.DataFrame", models: int) -> bool:
    """Return whether each model continues the one before.

    Trials of a sweep and folds begin at the level of the first one. A model that starts with the weights of others
    begins near the level where they ended, and later ones begin lower and lower.
    """
    import numpy as np

    if models < FEWEST_ROUNDS or (steps["loss"] <= 0.0).any():
        return False
    begins, ends = _levels(steps)
    if len(begins) != models:
        return False  # they take turns, or some have no finite loss
    later = range(models // 2, models)
    near = sum(abs(begins[k] - ends[k - 1]) < abs(begins[k] - begins[0]) for k in later)
    ranks = begins.argsort().argsort()
    middle = (models - 1) / 2.0
    deviations = np.arange(models) - middle
    correlation = float(deviations @ (ranks - middle)) / float(deviations @ deviations)
    return near >= _CONTINUED * len(later) and correlation <= _FALLING


def _levels(steps: "pd.DataFrame") -> "tuple[FloatArray, FloatArray]":
    """Return the logs of the first losses and of the mean last losses of consecutive rows of one model."""
    import numpy as np

    losses = steps["loss"].to_numpy(dtype=float)
    is_usable = np.isfinite(losses) & steps[_TRAINING].notna().to_numpy()
    losses, numbers = losses[is_usable], steps[_TRAINING].to_numpy(dtype=float)[is_usable]
    starts = (
        np.concatenate([[0], np.flatnonzero(np.diff(numbers)) + 1]) if losses.size else np.zeros(0, dtype=int)
    )
    stops = np.append(starts[1:], losses.size)
    sums = np.append(0.0, np.cumsum(losses))
    tails = stops - np.maximum((stops - starts) // _END, 1)
    return np.log(losses[starts]), np.log((sums[stops] - sums[tails]) / (stops - tails))


def _steps_of(run: "StoredRun", training: int | None) -> "pd.DataFrame":
    """Return the rows of a training; of the last one by default."""
    known = trainings(run)
    if len(known) == 1:
        return run.steps
    chosen = known[-1] if training is None else training
    if chosen not in known:
        raise UsageError(f"this run has no training {chosen}; it has {', '.join(map(str, known))}.")
    return run.steps[run.steps[_TRAINING] == chosen]


def metric_points(
    run: "StoredRun", metric: str = "loss", training: int | None = None
) -> "tuple[Column, Column, Column]":
    """Return joules since the start, values, and the number of steps that each value is the mean of.

    The loss of a row of steps belongs to the middle of the row's joules.

    Args:
        run: The run.
        metric: ``loss``, or a logged name.
        training: Index of the training; the last one by default.

    Raises:
        UsageError: The run has no such metric or training.
    """
    import numpy as np
    import pandas as pd

    steps = _steps_of(run, training)
    if metric == "loss":
        is_seen = ~np.isnan(steps["loss"].to_numpy(dtype=float)) | (steps["nonfinite_count"].to_numpy() > 0)
        # Selecting rows copies all columns, and mostly each row has a loss.
        seen = steps if is_seen.all() else steps[is_seen]
        count, nonfinite, cumulative, total = (
            seen[name].to_numpy(dtype=float)
            for name in ("step_count", "nonfinite_count", "cumulative_joules", "total_joules")
        )
        weights = np.maximum(count - nonfinite, 1.0)
        middle, weights = (
            pd.Series(column, index=seen.index) for column in (cumulative - total / 2, weights)
        )
        return middle, seen["loss"], weights
    chosen = run.metrics[run.metrics["name"] == metric]
    if chosen.empty:
        known = ", ".join(["loss", *sorted(run.metrics["name"].unique())])
        raise UsageError(f"this run has no metric {metric!r}; it has: {known}.")
    if len(steps) < len(run.steps):
        chosen = chosen.iloc[_within(chosen["cumulative_joules"], steps, run.steps)]
    # A value that is not finite has a weight too: it counts as one, at the end of a curve as a divergence.
    return chosen["cumulative_joules"], chosen["value"], pd.Series(1.0, index=chosen.index)


def _within(joules: "Column", steps: "pd.DataFrame", every: "pd.DataFrame") -> "list[int]":
    """Return the positions of the values that belong to a training; logged metrics carry no training themselves.

    The first value after its last step is its final evaluation. A second one may be the next training's first.
    """
    first, last = steps["cumulative_joules"].min(), steps["cumulative_joules"].max()
    later = every["cumulative_joules"][every["cumulative_joules"] > last]
    is_inside = joules.between(first, last).to_numpy()
    is_after = (joules > last).to_numpy()
    if len(later):
        is_after = is_after & (joules < later.min()).to_numpy()
        is_after = is_after & (is_after.cumsum() == 1)
    return [position for position, is_part in enumerate(is_inside | is_after) if is_part]


def last_value(run: "StoredRun", metric: str = "loss") -> float | None:
    """Return the value of a metric that was recorded last, NaN or infinity included; None before the first one.

    Raises:
        UsageError: The run has no such metric.
    """
    values = metric_points(run, metric)[1]
    return float(values.iloc[-1]) if len(values) else None


def learning_rate_trace(run: "StoredRun", training: int | None = None) -> RateTrace:
    """Return the learning rate of a training over joules, recorded and planned; of the last one by default."""
    # The plan describes the scheduler at work when the recording stopped.
    is_last = training is None or training == trainings(run)[-1]
    total = int(run.meta.get(lr_plan.TOTAL) or 0) or None
    trace = RateTrace(_plan(run), total) if is_last else RateTrace()
    trace.refusal = lr_plan.refusal(run.meta) if is_last else ""
    trace.has_ended = is_last and lr_plan.has_ended(run.meta)
    steps = _steps_of(run, training)
    joules, own, rates = (
        steps[name].to_numpy(dtype=float) for name in ("cumulative_joules", "total_joules", "learning_rate")
    )
    numbers = steps["step"].to_numpy()
    known = joules == joules  # noqa: PLR0124 - NaN
    if not known.all():
        joules, own, rates, numbers = (column[known] for column in (joules, own, rates, numbers))
    if joules.size:
        trace.origin_joules = float(joules[0] - own[0])
        trace.extend_arrays(joules, rates, numbers)
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


def fit_metric(
    run: "StoredRun", trace: RateTrace, metric: str = "loss", training: int | None = None, **options: Any
) -> "CurveFit":
    """Fit a metric against the joules since the first step, with the learning rate where it is informative.

    Args:
        run: The run.
        trace: Its :func:`learning_rate_trace`.
        metric: ``loss``, or a name given to ``prof.log``.
        training: Index of the training; the last one by default.
        options: Keyword arguments of :func:`profiler.forecasting.fit_curve`.

    Raises:
        ForecastRefusedError: The curve has no finite point.
        UsageError: There is no such metric or training.
    """
    import numpy as np

    from profiler.forecasting import fit_curve

    points = [column.to_numpy() for column in metric_points(run, metric, training)]
    origin = trace.origin_joules
    joules, numbers = run.steps["cumulative_joules"].to_numpy(dtype=float), run.steps["step"].to_numpy()
    metered = ~np.isnan(joules)
    options.setdefault("steps", (joules[metered], numbers[metered]))
    options.setdefault("convolutional", bool(run.meta.get(CONVOLUTIONAL)))
    if metric == "loss":
        options.setdefault("alternating", _is_alternating(run))
        options.setdefault("reinforced", bool(run.meta.get(LIBRARIES)))
    given = not options.keys().isdisjoint(("learning_rate", "planned_learning_rate"))
    rates = {} if given else trace.as_fit_kwargs()
    if "learning_rate" in rates:
        # The trace has rates at other joules than those of the metric.
        rates["recorded_learning_rate"] = rates.pop("learning_rate")
    fit = fit_curve(points[0], points[1], weights=points[2], origin_joules=origin, **rates, **options)
    return replace(fit, metric=replace(fit.metric, name=metric))


def _is_alternating(run: "StoredRun") -> bool:
    from profiler.forecasting.states import takes_turns

    steps = int(run.steps["step_count"].sum()) if len(run.steps) else 0
    return takes_turns(int(run.meta.get(ALTERNATING_STEPS, 0)), steps)
