"""Advice on the runs of a sweep: which of them deserve more energy."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from profiler.analysis.earlier_runs import Neighbours
from profiler.analysis.fits import fit_run
from profiler.errors import ForecastRefusedError, UsageError
from profiler.reporting import text
from profiler.reporting.compared_runs import metric_names
from profiler.reporting.comparison import direction_of, fit_options, run_names
from profiler.reporting.json import REPORT_VERSION, plain
from profiler.reporting.metric_choice import headline
from profiler.reporting.records import Allocation, AllocationLine

if TYPE_CHECKING:
    from profiler.forecasting import CurveFit
    from profiler.storage.reader import StoredRun

_NAME = 28


def allocation_of(
    runs: "Sequence[StoredRun]", budget_joules: float, *, metric: str | None = None, goal: str | None = None
) -> Allocation:
    """Advise which runs of a sweep to continue.

    Args:
        runs: Live or finished runs of one task.
        budget_joules: Energy of each run, since its start, at which the runs are compared.
        metric: The metric; by default the headline's, which must be the same in all runs.
        goal: ``min`` or ``max``, its direction; by default known from its name.

    Raises:
        ForecastRefusedError: There are fewer than two runs, or none has a forecast.
        UsageError: The main metrics of the runs differ, a run lacks the metric, or the budget is not positive.
    """
    from profiler.forecasting.allocation import allocate, backtest
    from profiler.forecasting.priors import HORIZON_LIMIT

    names = run_names(runs)
    chosen, goal = _metric(runs, names, metric, goal)
    options = fit_options(runs, chosen, goal) if runs else {}
    fits: list[CurveFit | None] = []
    reasons = []
    neighbours = Neighbours()
    for run in runs:
        fit, reason = _fitted(run, chosen, neighbours, options)
        fits.append(fit)
        reasons.append(reason)
    advice = allocate(fits, budget_joules, reasons=reasons)
    lines = [
        AllocationLine(
            run=name,
            path=str(run.path),
            status=run.status,
            joules=run.total_joules,
            level_now=None if fit is None or not math.isfinite(fit.level) else fit.level,
            level=one.level,
            p_best=one.p_best,
            stop=one.stop,
            joules_saved=one.joules_saved,
            reason=one.reason.strip(),
            is_finished=one.is_finished,
        )
        for name, run, fit, one in zip(names, runs, fits, advice, strict=True)
    ]
    lines.sort(key=lambda line: (line.stop, -(line.p_best if line.p_best is not None else -1.0)))
    return Allocation(
        metric=chosen,
        goal=goal,
        budget_joules=budget_joules,
        runs=tuple(lines),
        joules_saved=sum(line.joules_saved for line in lines),
        backtest=backtest(fits),
        beyond=tuple(
            line.run
            for line in lines
            if line.p_best is not None
            and not line.is_finished
            and line.joules
            and budget_joules > HORIZON_LIMIT * line.joules
        ),
    )


def _metric(
    runs: "Sequence[StoredRun]", names: Sequence[str], metric: str | None, goal: str | None
) -> tuple[str, str]:
    """Return the metric that all runs share, and its direction."""
    known = [metric_names(run) for run in runs]
    if metric is not None:
        lacking = [name for name, one in zip(names, known, strict=True) if metric not in one]
        if lacking:
            listed = ", ".join(text.one_line(name) for name in lacking[:3])
            raise UsageError(f"{text.counted(len(lacking), 'run')} of {len(runs)} lack {metric}: {listed}.")
        return metric, direction_of(metric, goal)
    found = list(dict.fromkeys(headline(one, None, goal).name for one in known)) or ["loss"]
    if len(found) > 1:
        raise UsageError(
            f"the runs have different main metrics ({', '.join(map(text.one_line, found))}): choose one with --metric."
        )
    return found[0], direction_of(found[0], goal)


def _fitted(
    run: "StoredRun", metric: str, neighbours: Neighbours, options: dict[str, Any]
) -> "tuple[CurveFit | None, str]":
    if run.total_joules is None:
        return None, "Its energy was not measured."
    if not len(run.steps):
        return None, "No optimizer update was detected."
    try:
        return fit_run(run, metric, neighbours=neighbours, **options), ""
    except ForecastRefusedError as error:
        return None, str(error)


def render_json(known: Allocation) -> str:
    """Render as JSON; ends with a newline."""
    body = {"report_version": REPORT_VERSION, **plain(known)}
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def render_text(known: Allocation) -> str:
    """Render as plain text; ends with a newline."""
    return "\n".join(line.rstrip() for line in _lines(known)) + "\n"


def _lines(known: Allocation) -> Iterator[str]:
    yield text.allocation(known)
    yield ""
    metric = text.shortened(known.metric, 12)
    rows: list[tuple[str, ...]] = [
        (
            "run",
            "energy",
            f"{metric} now",
            f"at {text.joules(known.budget_joules)}",
            "best",
            "advice",
            "saves",
        )
    ]
    rows += [_row(line, known.budget_joules) for line in known.runs]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.ljust(width) if number in (0, 5) else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells)
    for line in known.runs:
        if line.reason:
            yield f"! {text.shortened(line.run, _NAME)}: {text.one_line(line.reason)}"
    if known.beyond:
        yield f"! {text.beyond_horizon(known)}"
    yield ""
    yield from text.advice_tests(known)


def _row(line: AllocationLine, budget_joules: float) -> tuple[str, ...]:
    return (
        text.shortened(line.run, _NAME),
        text.ABSENT if line.joules is None else text.joules(line.joules),
        text.ABSENT if line.level_now is None else text.level(line.level_now),
        text.ABSENT if line.level is None else text.levels(line.level),
        text.UNKNOWN if line.p_best is None else text.percent(line.p_best),
        text.allocation_advice(line, budget_joules),
        text.joules(line.joules_saved) if line.stop else "",
    )
