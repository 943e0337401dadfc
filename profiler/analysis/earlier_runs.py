"""Earlier runs of the same task beside a run: the gain of their anneals, where the run has not annealed yet.

A forecast through an anneal that the recorded curve has no part of depends on an assumed gain. Runs of the same task in
the same directory that ended in an anneal measured it.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.analysis.curve import fit_metric, learning_rate_trace
from profiler.analysis.probe import FIRST_LOSSES, check_same_work
from profiler.errors import ForecastRefusedError, RunError, UsageError
from profiler.records import Status
from profiler.storage.reader import StoredRun
from profiler.storage.run_file import read_run_file
from profiler.storage.schema import CONFIG, RESUMED, RUN_FILE, STEPS

if TYPE_CHECKING:
    from profiler.forecasting import CurveFit
    from profiler.forecasting.anneal_gain import AnnealGain
    from profiler.forecasting.lr_trace import RateTrace

TASK_SETTINGS = ("task", "dataset", "data", "loss", "criterion", "objective")
"""Settings that name the task of a training."""
MOST_USED = 3
"""Earlier runs whose gains are used: the newest ones."""
_MOST_READ, _MOST_FITTED = 64, 8
"""Most run files and tables that are read, newest first, so that a large directory does not delay a report."""
_MOST_BYTES = 32_000_000
"""Largest table of steps that is read."""
_SAME_PEAK = 1.5
"""Largest ratio of the peak learning rates of two runs whose anneals gain the same."""
_AT_PEAK = 0.9
"""Part of the peak above which a rate has not begun to anneal."""
_SAME_LEVEL = 0.1
"""Largest difference of the log levels of two runs of one task after equal steps."""


def fit_with_earlier_runs(
    run: StoredRun, trace: "RateTrace", metric: str = "loss", **options: Any
) -> "CurveFit":
    """Fit a metric as :func:`profiler.analysis.curve.fit_metric` does, with anneal gains of earlier runs of the task.

    Earlier runs matter only where an anneal is planned and the recorded rate has hardly fallen. They are the completed
    ones in the directory of the run that started before it, with the same work per step, first losses and level after
    equal steps, and about the same peak learning rate. Their use is stated in ``CurveFit.notes``.

    Args:
        run: The run.
        trace: Its learning rate.
        metric: ``loss``, or a name given to ``prof.log``.
        options: Keyword arguments of :func:`profiler.forecasting.fit_curve`; given ``priors`` are kept.

    Raises:
        ForecastRefusedError: The curve has no finite point.
        UsageError: There is no such metric.
    """
    from profiler.forecasting.anneal_gain import is_unannealed, with_gains
    from profiler.forecasting.priors import Priors

    fit = fit_metric(run, trace, metric, **options)
    plan = trace.as_fit_kwargs().get("planned_learning_rate")
    given = {"priors", "learning_rate", "planned_learning_rate"} & options.keys()
    if plan is None or given or not fit.has_forecast or not is_unannealed(fit, plan):
        return fit
    gains = []
    for gain in _gains(run, trace, fit, metric, options):
        gains.append(gain)
        if len(gains) == MOST_USED:
            break
    if not gains:
        return fit
    priors = with_gains(Priors(), gains)
    known = fit_metric(run, trace, metric, **options, priors=priors)
    return replace(known, notes=(_note(gains, metric), *known.notes))


def _note(gains: "list[AnnealGain]", metric: str) -> str:
    shares = [-100.0 * math.expm1(-one.gain) for one in gains]
    name = "the loss" if metric == "loss" else f"the error of {metric}"
    if len(shares) == 1:
        return f"The gain of annealing is that of an earlier run of this task: {shares[0]:.1f} % of {name}."
    spread = f"{min(shares):.1f} to {max(shares):.1f} %"
    return f"The gain of annealing is that of {len(shares)} earlier runs of this task: {spread} of {name}."


def _gains(
    run: StoredRun, trace: "RateTrace", fit: "CurveFit", metric: str, options: dict[str, Any]
) -> "Iterator[AnnealGain]":
    """Yield the gains of earlier runs, the newest first."""
    from profiler.forecasting.anneal_gain import measured_gain

    tried = 0
    for other in _completed_before(run):
        if tried == _MOST_FITTED:
            return
        tried += 1
        try:
            rates = learning_rate_trace(other)
            if not _has_annealed(rates, trace) or not _is_same_work(run, other):
                continue
            known = fit_metric(other, rates, metric, **options)
        except (RunError, ForecastRefusedError, UsageError):
            # A damaged run, or one without the metric or a finite loss, has no gain to contribute.
            continue
        if _is_same_level(fit, trace, known, rates):
            gain = measured_gain(known, ([p.joules for p in rates.points], [p.rate for p in rates.points]))
            if gain is not None:
                yield gain


def _completed_before(run: StoredRun) -> Iterator[StoredRun]:
    """Yield the completed runs of one process or merged job beside a run that started before it, newest first."""
    here, started = run.path.resolve(), _started(run)
    if (here.parent / RUN_FILE).exists():  # it is the record of one process of a job
        return
    try:
        files = [path / RUN_FILE for path in here.parent.iterdir() if path != here]
        dated = sorted(((file.stat().st_mtime, file) for file in files if file.is_file()), reverse=True)
    except OSError:  # a directory that is being changed or may not be read has no earlier runs to use
        return
    for _, file in dated[:_MOST_READ]:
        other = _readable(file.parent)
        if other is None or RESUMED in other.meta or other.meta.get("status") != Status.COMPLETED.value:
            continue
        if _started(other) < started and _size(file.parent / STEPS.filename) <= _MOST_BYTES:
            yield other


def _started(run: StoredRun) -> float:
    return float(run.meta.get("started_unix_seconds") or 0.0)


def _readable(directory: Path) -> StoredRun | None:
    try:
        return StoredRun(directory, read_run_file(directory))
    except (RunError, OSError):
        return None


def _size(path: Path) -> float:
    try:
        return path.stat().st_size
    except OSError:
        return math.inf


def _has_annealed(rates: "RateTrace", trace: "RateTrace") -> bool:
    """Return whether a rate has fallen to half of its peak, which is about that of the run."""
    if not rates.varies or not trace.highest or math.isnan(rates.last.rate):
        return False
    ratio = rates.highest / trace.highest
    return rates.last.rate <= 0.5 * rates.highest and 1.0 / _SAME_PEAK <= ratio <= _SAME_PEAK


def _is_same_work(run: StoredRun, other: StoredRun) -> bool:
    settings = [one.meta.get(CONFIG) or {} for one in (run, other)]
    if any(settings[0].get(name) != settings[1].get(name) for name in TASK_SETTINGS):
        return False
    try:
        return FIRST_LOSSES not in check_same_work(run, other)
    except UsageError:  # they do other work per step
        return False


def _is_same_level(fit: "CurveFit", trace: "RateTrace", other: "CurveFit", rates: "RateTrace") -> bool:
    """Compare the levels after equal steps, before either anneals."""
    begun = next((p.step for p in reversed(rates.points) if p.rate >= _AT_PEAK * rates.highest), 0)
    step = min(trace.last.step, begun)
    levels = [_error_after(fit, trace, step), _error_after(other, rates, step)]
    return min(levels) > 0.0 and abs(math.log(levels[0] / levels[1])) <= _SAME_LEVEL


def _error_after(fit: "CurveFit", trace: "RateTrace", step: int) -> float:
    """Return the level after a recorded step, as an error for a metric that rises."""
    joules = next((point.joules for point in trace.points if point.step >= step), trace.last.joules)
    return fit.metric.error(fit.loss_at(joules).median)
