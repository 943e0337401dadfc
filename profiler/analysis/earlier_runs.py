"""Earlier runs of the same task beside a run: the gain of their anneals, where the run has not annealed yet.

A forecast through an anneal that the recorded curve has no part of depends on an assumed gain. Runs of the same task in
the same directory that ended in an anneal measured it.
"""

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.analysis.curve import fit_metric, learning_rate_trace
from profiler.analysis.probe import FIRST_LOSSES, check_same_work
from profiler.errors import ForecastRefusedError, RunError, UsageError
from profiler.records import Status
from profiler.storage.reader import StoredRun
from profiler.storage.run_file import read_run_file
from profiler.storage.schema import CONFIG, RESUMED, RUN_FILE, STEPS, TOTALS

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
_MOST_BYTES = 8_000_000
"""Largest table of steps that is read."""
_SAME_PEAK = 1.5
"""Largest ratio of the peak learning rates of two runs whose anneals gain the same."""
_AT_PEAK = 0.9
"""Part of the peak above which a rate has not begun to anneal."""
_SAME_LEVEL = 0.1
"""Largest difference of the log levels of two runs of one task after equal steps."""


class EarlierRuns:
    """The completed runs of a run's task that ended before it started, in the same directory.

    They have the same work per step, first losses and level after equal steps, and about the same peak learning rate.
    Of a directory with many runs, the newest ones are considered.

    Attributes:
        run: The run.
        trace: Its learning rate.
    """

    def __init__(self, run: StoredRun, trace: "RateTrace") -> None:
        self.run = run
        self.trace = trace

    def fit(self, metric: str = "loss", **options: Any) -> "CurveFit":
        """Fit a metric as :func:`profiler.analysis.curve.fit_metric` does, with the anneal gains of these runs.

        The gains matter only where an anneal is planned and the recorded rate has hardly fallen. Their use is stated in
        ``CurveFit.notes``.

        Args:
            metric: ``loss``, or a name given to ``prof.log``.
            options: Keyword arguments of :func:`profiler.forecasting.fit_curve`; given ``priors`` are kept.

        Raises:
            ForecastRefusedError: The curve has no finite point.
            UsageError: There is no such metric.
        """
        from profiler.forecasting.anneal_gain import with_gains
        from profiler.forecasting.priors import Priors

        fit = fit_metric(self.run, self.trace, metric, **options)
        given = {"priors", "learning_rate", "planned_learning_rate"} & options.keys()
        if given or not needs_gain(fit, self.trace):
            return fit
        gains = list(islice(self._gains(fit, metric, options), MOST_USED))
        if not gains:
            return fit
        known = fit_metric(self.run, self.trace, metric, **options, priors=with_gains(Priors(), gains))
        return replace(known, notes=(_note(gains, metric), *known.notes))

    def _gains(self, fit: "CurveFit", metric: str, options: dict[str, Any]) -> "Iterator[AnnealGain]":
        """Yield the gains of a metric, of the newest run first."""
        from profiler.forecasting.anneal_gain import measured_gain

        for other, rates in self._candidates:
            try:
                known = fit_metric(other, rates, metric, **options)
            except (RunError, ForecastRefusedError, UsageError):
                # A run without the metric or a finite loss has no gain to contribute.
                continue
            if _is_same_level(fit, self.trace, known, rates):
                gain = measured_gain(
                    known, ([p.joules for p in rates.points], [p.rate for p in rates.points])
                )
                if gain is not None:
                    yield gain

    @cached_property
    def _candidates(self) -> "tuple[tuple[StoredRun, RateTrace], ...]":
        """The runs of the same work that have annealed, with their learning rates, the newest first."""
        found = []
        for other in islice(_completed_before(self.run), _MOST_FITTED):
            try:
                rates = learning_rate_trace(other)
                if _has_annealed(rates, self.trace) and _is_same_work(self.run, other):
                    found.append((other, rates))
            except RunError:  # a damaged run has no gain to contribute
                continue
        return tuple(found)


def needs_gain(fit: "CurveFit", trace: "RateTrace") -> bool:
    """Return True if a forecast goes through a planned anneal that the recorded curve has no part of."""
    from profiler.forecasting.anneal_gain import is_unannealed

    plan = trace.as_fit_kwargs().get("planned_learning_rate")
    return plan is not None and fit.has_forecast and is_unannealed(fit, plan)


def has_neighbours(path: Path) -> bool:
    """Return True if there are other runs in the directory of a run."""
    return bool(_neighbours(path.resolve(), math.inf))


def _note(gains: "list[AnnealGain]", metric: str) -> str:
    shares = [-100.0 * math.expm1(-one.gain) for one in gains]
    name = "the loss" if metric == "loss" else f"the error of {metric}"
    if len(shares) == 1:
        return f"The gain of annealing is that of an earlier run of this task: {shares[0]:.1f} % of {name}."
    spread = f"{min(shares):.1f} to {max(shares):.1f} %"
    return f"The gain of annealing is that of {len(shares)} earlier runs of this task: {spread} of {name}."


def _completed_before(run: StoredRun) -> Iterator[StoredRun]:
    """Yield the completed runs of one process or merged job beside a run that ended before it started, newest first."""
    here, started = run.path.resolve(), _started(run)
    if (here.parent / RUN_FILE).exists():  # it is the record of one process of a job
        return
    for directory in _neighbours(here, started)[:_MOST_READ]:
        other = _readable(directory)
        if other is None or RESUMED in other.meta or other.meta.get("status") != Status.COMPLETED.value:
            continue
        ended = _started(other) + float((other.meta.get(TOTALS) or {}).get("window_seconds") or 0.0)
        if ended <= started and _size(directory / STEPS.filename) <= _MOST_BYTES:
            yield other


def _neighbours(here: Path, started: float) -> list[Path]:
    """Return the directories of other runs beside a run, the last one that was written before its start first."""
    dated = {}
    try:
        for entry in here.parent.iterdir():
            with suppress(OSError):  # it is no run, is being removed, or may not be read
                directory = entry.resolve()  # a link to a run is no further run
                if directory != here:
                    dated[directory] = (directory / RUN_FILE).stat().st_mtime
    except OSError:  # the parent may not be read
        return []
    # Copies of runs are younger than the runs, so younger ones come last and are not excluded.
    return sorted(dated, key=lambda directory: (dated[directory] > started, -dated[directory]))


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
