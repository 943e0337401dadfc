"""Summary and curve of each compared run, computed in several processes where there are many runs."""

import gc
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.analysis.earlier_runs import Neighbours
from profiler.analysis.fits import fit_run
from profiler.emissions import Prices
from profiler.errors import ForecastRefusedError, ProfilerError
from profiler.reporting.metric_choice import LOSS
from profiler.reporting.model import build
from profiler.storage.reader import StoredRun

if TYPE_CHECKING:
    from profiler.forecasting import CurveFit
    from profiler.reporting.records import Report

LEAST_RUNS = 64
"""Number of runs from which several processes take less time than one; each needs about half a second to start."""
_MOST_PROCESSES = 8
_RUNS_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """A run in a comparison.

    Attributes:
        report: The run without its metrics.
        curve: The fit of the compared metric, or the reason for none.
    """

    report: "Report"
    curve: "CurveFit | ForecastRefusedError"

    def fit(self) -> "CurveFit":
        """Return the fit.

        Raises:
            ForecastRefusedError: There is none.
        """
        if isinstance(self.curve, ForecastRefusedError):
            raise self.curve
        return self.curve


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A run that another process reads, and what it computes of it."""

    path: Path
    meta: Mapping[str, Any]
    partial: bool
    prices: Prices
    metric: str
    options: Mapping[str, Any]


def metric_names(run: StoredRun) -> list[str]:
    """Return the loss and the logged metrics of a run."""
    return [LOSS, *(str(name) for name in run.metrics["name"].unique() if name != LOSS)]


def read_runs(
    runs: Sequence[StoredRun],
    prices: Sequence[Prices],
    metric: str,
    options: Mapping[str, Any],
    *,
    pool: Executor | None = None,
) -> list[ComparedRun]:
    """Summarize runs and fit their curves.

    Args:
        runs: The runs.
        prices: The prices of each.
        metric: The fitted metric.
        options: Keyword arguments of every fit.
        pool: Processes that share the work; the result is the same without them.

    Raises:
        RunDamagedError: The tables of a run contradict their schema.
    """
    known: list[ComparedRun | None] = [None] * len(runs)
    if pool is not None:
        jobs = [
            None
            if run.tables is not None  # its tables, merged from those of its processes, are in memory here
            else _Job(
                path=run.path,
                meta=run.meta,
                partial=run.partial,
                prices=price,
                metric=metric,
                options=options,
            )
            for run, price in zip(runs, prices, strict=True)
        ]
        try:
            known = list(pool.map(_attempt, jobs, chunksize=_RUNS_AT_ONCE))
        except (BrokenExecutor, OSError):
            # Processes may be forbidden, or killed for the memory they take.
            known = [None] * len(runs)
    neighbours = Neighbours()
    return [
        _read(run, price, metric, options, neighbours) if found is None else found
        for run, price, found in zip(runs, prices, known, strict=True)
    ]


@contextmanager
def processes(runs: int) -> Iterator[Executor | None]:
    """Start processes that share the reading of runs; None for few runs, one processor, or in another program.

    Each process imports the main module of the program, and only that of the command line is known to allow it.

    Args:
        runs: Number of the runs.
    """
    count = min(_processors(), _MOST_PROCESSES)
    if runs < LEAST_RUNS or count < 2 or not _is_command_line():  # noqa: PLR2004 - one has nothing to share
        yield None
        return
    _limit_threads()
    _warm_up()
    others = active_children()
    try:
        pool = ProcessPoolExecutor(count, get_context(_start_method()), _prepare)
        for _ in range(count):
            pool.submit(_warm_up)
    except (OSError, NotImplementedError):  # the system has no semaphores, or refuses another process
        # Those that have started would wait for work, and this process for them at its end.
        for child in active_children():
            if child not in others:
                child.kill()
                child.join()
        yield None
        return
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _is_command_line() -> bool:
    main = sys.modules["__main__"]
    module, script = getattr(main, "__spec__", None), getattr(main, "__file__", None) or ""
    return (module is not None and module.name == "profiler.__main__") or Path(
        script
    ).name == "energy-profiler"


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Windows and macOS
        return os.cpu_count() or 1


def _start_method() -> str:
    """Return ``fork`` for a process with one thread: its copies import nothing. Other threads may hold locks."""
    try:
        return "fork" if len([*Path("/proc/self/task").iterdir()]) == 1 else "spawn"
    except OSError:  # not Linux
        return "spawn"


def _prepare() -> None:
    # An interrupt of the terminal reaches all of its processes, and only the first reports it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_threads()
    # The imported modules are no garbage, and a run leaves little: searching all of it often takes 5 % of the time.
    gc.freeze()
    gc.set_threshold(50_000)


def _limit_threads() -> None:
    """Let libraries that are not imported yet start no threads: there is a process per processor already."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # The allocator of pyarrow starts one as it is imported.
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")


def _warm_up() -> None:
    """Import what the first run needs."""
    names = ["pandas", "profiler.forecasting.fit"]
    if find_spec("pyarrow") is not None:
        names.append("pyarrow.csv")
    for name in names:
        import_module(name)


def _attempt(job: _Job | None) -> ComparedRun | None:
    """Read a run; None if it must be, or turns out to be, one for the first process, which raises its error again."""
    if job is None:
        return None
    try:
        run = StoredRun(job.path, job.meta, partial=job.partial)
        return _read(run, job.prices, job.metric, job.options, _neighbours())
    except (ProfilerError, OSError):
        return None


@cache
def _neighbours() -> Neighbours:
    """Return the runs that this process has read beside those of its jobs."""
    return Neighbours()


def _read(
    run: StoredRun, prices: Prices, metric: str, options: Mapping[str, Any], neighbours: Neighbours
) -> ComparedRun:
    report = build(run.summary(), prices=prices)
    return ComparedRun(report=report, curve=_curve(run, report, metric, options, neighbours))


def _curve(
    run: StoredRun, report: "Report", metric: str, options: Mapping[str, Any], neighbours: Neighbours
) -> "CurveFit | ForecastRefusedError":
    if report.refused:
        return ForecastRefusedError("no_curve", report.refused, remedy="")
    if metric not in metric_names(run):
        return ForecastRefusedError("no_metric", f"It has no metric {metric}.", remedy="")
    try:
        return fit_run(run, metric, neighbours=neighbours, **options)
    except ForecastRefusedError as error:
        return error
