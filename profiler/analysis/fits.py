"""Fits of stored runs, of the last training or of each: all commands, reports and views share them."""

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from profiler.analysis.curve import fit_metric, learning_rate_trace, rounds, trainings
from profiler.analysis.earlier_runs import EarlierRuns, Neighbours
from profiler.errors import ForecastRefusedError

if TYPE_CHECKING:
    from profiler.forecasting import CurveFit
    from profiler.forecasting.lr_trace import RateTrace
    from profiler.storage.reader import StoredRun

_GIVEN = frozenset(("priors", "learning_rate", "planned_learning_rate"))
"""Options that replace what is known of the learning rate and its anneals."""


def fit_run(
    run: "StoredRun",
    metric: str = "loss",
    *,
    trace: "RateTrace | None" = None,
    neighbours: Neighbours | None = None,
    **options: Any,
) -> "CurveFit":
    """Fit a metric of the last training, with the anneal gains of earlier runs of the task where they matter.

    Their use is stated in ``CurveFit.notes``.

    Args:
        run: The run.
        metric: ``loss``, or a name given to ``prof.log``.
        trace: Its :func:`profiler.analysis.curve.learning_rate_trace`, if known.
        neighbours: Runs beside it that were read before.
        options: Keyword arguments of :func:`profiler.forecasting.fit_curve`; given ``priors`` are kept.

    Raises:
        ForecastRefusedError: The curve has no finite point.
        UsageError: There is no such metric.
    """
    trace = learning_rate_trace(run) if trace is None else trace
    fit = fit_metric(run, trace, metric, **options)
    if models := rounds(run):
        note = (
            f"Each of the {models:,} models in this process continues the one before, as in the rounds of federated "
            "learning, so they count as one training."
        )
        return replace(fit, notes=(note, *fit.notes))
    if not _GIVEN.isdisjoint(options):
        return fit
    found = EarlierRuns(run, neighbours).priors(fit, trace, metric, **options)
    if found is None:
        return fit
    priors, note = found
    known = fit_metric(run, trace, metric, **options, priors=priors)
    return replace(known, notes=(note, *known.notes))


def fit_trainings(run: "StoredRun", metric: str = "loss", **options: Any) -> "tuple[CurveFit, ...]":
    """Fit a metric of each training in the process; those without a finite point have no fit.

    The last one is that of :func:`fit_run`.
    """
    fits = []
    for index in trainings(run)[:-1]:
        with suppress(ForecastRefusedError):
            fits.append(fit_metric(run, learning_rate_trace(run, index), metric, index, **options))
    with suppress(ForecastRefusedError):
        fits.append(fit_run(run, metric, **options))
    return tuple(fits)
