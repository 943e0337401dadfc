"""Earlier runs of the same task beside a run: the gain of their anneals, where an anneal of the run lies ahead.

A forecast through an anneal depends on an assumed gain, until most of it is recorded. Runs of the same task in the same
directory that ended in an anneal measured it.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.analysis.curve import fit_metric, learning_rate_trace
from profiler.analysis.same_work import FIRST_LOSSES, check_same_work
from profiler.errors import ForecastRefusedError, RunError, UsageError
from profiler.records import Status
from profiler.storage.reader import StoredRun
from profiler.storage.run_file import read_run_file
from profiler.storage.schema import CONFIG, RESUMED, RUN_FILE, STEPS, TOTALS

if TYPE_CHECKING:
    from profiler.forecasting import CurveFit
    from profiler.forecasting.anneal_gain import AnnealGain
    from profiler.forecasting.lr_trace import RateTrace
    from profiler.forecasting.priors import Priors

TASK_SETTINGS = ("task", "dataset", "data", "loss", "criterion", "objective")
"""Settings that name the task of a training."""
MOST_USED = 3
"""Earlier runs whose gains are used: the newest ones."""
_MOST_READ, _MOST_FITTED = 64, 8
"""Most run files and tables that are read, newest first, so that a large directory does not delay a report."""
_MOST_METADATA, _MOST_OPEN = 1_024, 32
"""Most run files and tables that are held for further runs."""
_MOST_BYTES = 8_000_000
"""Largest table of steps that is read."""
_SAME_PEAK = 1.5
"""Largest ratio of the peak learning rates of two runs whose anneals gain the same."""
_AT_PEAK = 0.9
"""Part of the peak above which a rate has not begun to anneal."""
_SAME_LEVEL = 0.1
"""Largest difference of the log levels of two runs of one task after equal steps."""


class Neighbours:
    """The runs beside some runs, each read once however many runs ask for it.

    One object serves a command that fits many runs of a directory, or a view that fits one run repeatedly.
    """

    def __init__(self) -> None:
        self._dated: dict[Path, dict[Path, float]] = {}
        self._readable = lru_cache(_MOST_METADATA)(_readable)
        self._annealed = lru_cache(_MOST_OPEN)(_annealed)
        self._measured: dict[tuple[Any, ...], _Measured] = {}

    def annealed_before(self, run: StoredRun) -> "Iterator[tuple[StoredRun, RateTrace]]":
        """Yield the completed runs beside a run that ended before it started and have annealed, newest first."""
        here, started = run.path.resolve(), _started(run)
        if (here.parent / RUN_FILE).exists():  # it is the record of one process of a job
            return
        if here.parent not in self._dated:
            self._dated[here.parent] = _dated(here.parent)
        found = (
            directory
            for directory in _newest(self._dated[here.parent], here, started)[:_MOST_READ]
            if _is_usable(self._readable(directory), started)
        )
        for directory in islice(found, _MOST_FITTED):
            other = self._annealed(directory)
            if other is not None:
                yield other

    def measure(
        self, run: StoredRun, rates: "RateTrace", metric: str, options: Mapping[str, Any]
    ) -> "_Measured | None":
        """Fit a metric of a run that :meth:`annealed_before` returned; None if it has none."""
        key = (run.path, metric, *sorted(options.items()))
        is_plain = all(isinstance(value, str | float | None) for value in options.values())
        if is_plain and key in self._measured:
            return self._measured[key]
        try:
            found = _Measured(fit_metric(run, rates, metric, **options), rates)
        except (RunError, ForecastRefusedError, UsageError):
            # A run without the metric or a finite loss has no gain to contribute.
            return None
        if is_plain:
            self._measured[key] = found
            if len(self._measured) > _MOST_OPEN:
                del self._measured[next(iter(self._measured))]
        return found


@dataclass(frozen=True)
class _Measured:
    """The fit of a run that has annealed."""

    fit: "CurveFit"
    rates: "RateTrace"

    @cached_property
    def gain(self) -> "AnnealGain | None":
        """Gain of the anneal; None where it cannot be measured."""
        from profiler.forecasting.anneal_gain import measured_gain

        points = self.rates.points
        return measured_gain(self.fit, ([p.joules for p in points], [p.rate for p in points]))


class EarlierRuns:
    """The completed runs of a run's task that ended before it started, in the same directory.

    They have the same work per step, first losses and level after equal steps, and about the same peak learning rate.
    Of a directory with many runs, the newest ones are considered.

    Attributes:
        run: The run.
    """

    def __init__(self, run: StoredRun, neighbours: Neighbours | None = None) -> None:
        self.run = run
        self._neighbours = neighbours or Neighbours()

    def priors(
        self, fit: "CurveFit", trace: "RateTrace", metric: str = "loss", **options: Any
    ) -> "tuple[Priors, str] | None":
        """Return priors with the anneal gains of these runs, and a sentence about them; None where there are none.

        The gains matter only where at least a quarter of a planned anneal lies ahead.

        Args:
            fit: A fit of the metric without them.
            trace: The learning rate of the run.
            metric: ``loss``, or a name given to ``prof.log``.
            options: Keyword arguments of the fit.
        """
        from profiler.forecasting.anneal_gain import with_gains
        from profiler.forecasting.priors import Priors

        if not needs_gain(fit, trace):
            return None
        gains = list(islice(self._gains(fit, trace, metric, options), MOST_USED))
        return (with_gains(Priors(), gains), _note(gains, metric)) if gains else None

    def _gains(
        self, fit: "CurveFit", trace: "RateTrace", metric: str, options: Mapping[str, Any]
    ) -> "Iterator[AnnealGain]":
        """Yield the gains of a metric, of the newest run first."""
        for other, rates in self._same_work:
            if not _is_same_peak(rates, trace):
                continue
            known = self._neighbours.measure(other, rates, metric, options)
            if known is not None and _is_same_level(fit, trace, known.fit, rates) and known.gain is not None:
                yield known.gain

    @cached_property
    def _same_work(self) -> "tuple[tuple[StoredRun, RateTrace], ...]":
        """The runs of the same work that have annealed, with their learning rates, the newest first."""
        found = []
        for other, rates in self._neighbours.annealed_before(self.run):
            try:
                if _is_same_work(self.run, other):
                    found.append((other, rates))
            except RunError:  # a damaged run has no gain to contribute
                continue
        return tuple(found)


def needs_gain(fit: "CurveFit", trace: "RateTrace") -> bool:
    """Return True if a forecast goes through at least a quarter of a planned anneal."""
    from profiler.forecasting.anneal_gain import has_anneal_ahead

    plan = trace.as_fit_kwargs().get("planned_learning_rate")
    return plan is not None and fit.has_forecast and has_anneal_ahead(fit, plan)


def has_neighbours(path: Path) -> bool:
    """Return True if there are other runs in the directory of a run."""
    here = path.resolve()
    return bool(_dated(here.parent).keys() - {here})


def _note(gains: "list[AnnealGain]", metric: str) -> str:
    shares = [-100.0 * math.expm1(-one.gain) for one in gains]
    name = "the loss" if metric == "loss" else f"the error of {metric}"
    if len(shares) == 1:
        return f"The gain of annealing is that of an earlier run of this task: {shares[0]:.1f} % of {name}."
    spread = f"{min(shares):.1f} to {max(shares):.1f} %"
    return f"The gain of annealing is that of {len(shares)} earlier runs of this task: {spread} of {name}."


def _is_usable(other: StoredRun | None, started: float) -> bool:
    """Return True for the completed run of one process or merged job that ended before a time."""
    if other is None or RESUMED in other.meta or other.meta.get("status") != Status.COMPLETED.value:
        return False
    ended = _started(other) + float((other.meta.get(TOTALS) or {}).get("window_seconds") or 0.0)
    return ended <= started and _size(other.path / STEPS.filename) <= _MOST_BYTES


def _dated(parent: Path) -> dict[Path, float]:
    """Return the run directories in a directory, with the time at which each was last written."""
    dated = {}
    try:
        for entry in parent.iterdir():
            with suppress(OSError):  # it is no run, is being removed, or may not be read
                directory = entry.resolve()  # a link to a run is no further run
                dated[directory] = (directory / RUN_FILE).stat().st_mtime
    except OSError:  # the parent may not be read
        return {}
    return dated


def _newest(dated: Mapping[Path, float], here: Path, started: float) -> list[Path]:
    """Return the directories of the other runs, the last one that was written before a run's start first."""
    # Copies of runs are younger than the runs, so younger ones come last and are not excluded.
    return sorted(
        dated.keys() - {here}, key=lambda directory: (dated[directory] > started, -dated[directory])
    )


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


def _annealed(directory: Path) -> "tuple[StoredRun, RateTrace] | None":
    """Open a run, with its learning rate; None unless that fell to half of its peak or less."""
    try:
        run = StoredRun(directory, read_run_file(directory))
        rates = learning_rate_trace(run)
    except (RunError, OSError):  # a damaged run has no gain to contribute
        return None
    return (run, rates) if rates.varies and rates.last.rate <= 0.5 * rates.highest else None


def _is_same_peak(rates: "RateTrace", trace: "RateTrace") -> bool:
    ratio = rates.highest / trace.highest if trace.highest else math.inf
    return 1.0 / _SAME_PEAK <= ratio <= _SAME_PEAK


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
