"""Energy that bought nothing, by cause, each with its remedy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from profiler.analysis.curve import fit_metric, learning_rate_trace, trainings
from profiler.analysis.waste import ALLOWED_SHARE, LEAST_SHARE, waste_of
from profiler.errors import ForecastRefusedError, UsageError
from profiler.reporting import text
from profiler.reporting.metric_choice import LOSS
from profiler.reporting.records import WasteLine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from profiler.forecasting import CurveFit
    from profiler.storage.reader import StoredRun


def waste_lines(
    run: "StoredRun",
    metric: str = LOSS,
    known: "Mapping[int, CurveFit] | None" = None,
    *,
    allowed_share: float = ALLOWED_SHARE,
) -> tuple[WasteLine, ...]:
    """Return the energy of a run that bought nothing, by cause, each with its remedy.

    Args:
        run: The run.
        metric: The metric whose best level counts.
        known: Fits of that metric that were made before, by the index of the training.
        allowed_share: Part of the total that evaluations may take.

    Raises:
        UsageError: The run has no such metric, or ``allowed_share`` is not between 0 and 1.
    """
    fits = dict(known or {})
    for index in _relevant(run):
        if index not in fits:
            try:
                fits[index] = fit_metric(run, learning_rate_trace(run, index), metric, index)
            except ForecastRefusedError:
                continue  # a training without a finite point has no best level
            except UsageError:
                if not run.metrics["name"].eq(metric).any() and metric != LOSS:
                    raise
    return tuple(
        WasteLine(
            name=one.name,
            joules=one.joules,
            share=one.share,
            low=one.low,
            high=one.high,
            remedy=text.waste_remedy(one),
            allowed_share=one.allowed_share,
        )
        for one in waste_of(run, fits, allowed_share=allowed_share)
    )


def _relevant(run: "StoredRun") -> Sequence[int]:
    """Return the trainings whose energy can exceed the least share that is reported."""
    indices = trainings(run)
    steps = run.steps
    if len(indices) == 1 or not len(steps):
        return indices
    joules = steps.groupby("training")["total_joules"].sum()
    least = LEAST_SHARE * float(joules.sum())
    return [index for index in indices if float(joules.get(index, 0.0)) >= least]
