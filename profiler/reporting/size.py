"""The joule-optimal size of a model, from recorded runs of several sizes."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from profiler.analysis.curve import learning_rate_trace
from profiler.analysis.earlier_runs import Neighbours
from profiler.analysis.fits import fit_run
from profiler.analysis.same_work import parameters_of
from profiler.errors import ForecastRefusedError, UsageError
from profiler.records import CurveState
from profiler.reporting import text
from profiler.reporting.compared_runs import metric_names
from profiler.reporting.comparison import direction_of, run_names
from profiler.reporting.json import REPORT_VERSION, plain
from profiler.reporting.metric_choice import LOSS
from profiler.reporting.records import SizeReport

if TYPE_CHECKING:
    from profiler.forecasting.lr_trace import RateTrace
    from profiler.forecasting.size import SizedRun
    from profiler.storage.reader import StoredRun

STEPS = "steps"
_PREFERRED = ("tokens", "samples")
_ANNEALED = 0.5
"""Part of the peak to which the learning rate of an annealed run has fallen."""


def size_of(runs: "Sequence[StoredRun]", budgets: Sequence[float], *, metric: str = LOSS) -> SizeReport:
    """Fit the loss over parameters and energy, and return the best size for each budget.

    Args:
        runs: Runs of one task whose parameters are recorded, or given as the setting ``parameters``.
        budgets: Energies in joules.
        metric: The metric, which must fall.

    Raises:
        ForecastRefusedError: The runs have too few sizes.
        UsageError: The metric rises, or a budget is not positive.
    """
    from profiler.forecasting.size import fit_size

    if direction_of(metric, None) != "min":
        raise UsageError(f"the best size needs a metric that falls, such as the loss, not {metric}.")
    unit, names = _unit(runs), run_names(runs)
    used: list[SizedRun] = []
    excluded = []
    annealed = 0
    neighbours = Neighbours()
    for run, name in zip(runs, names, strict=True):
        trace = learning_rate_trace(run)
        sized, reason = _sized(run, trace, metric, unit, neighbours)
        if sized is None:
            excluded.append(f"{name}: {reason}")
        else:
            used.append(sized)
            annealed += trace.varies and trace.last.rate <= _ANNEALED * trace.highest
    try:
        fit = fit_size(used)
    except ForecastRefusedError as error:
        raise _with_reason(error, excluded) from None
    _, _, _, a, b = fit.coefficients[0].tolist()
    return SizeReport(
        metric=metric,
        unit=unit,
        runs=len(used),
        sizes=len(fit.sizes),
        smallest=float(fit.sizes[0]),
        largest=float(fit.sizes[-1]),
        exponents=(a, b),
        cost_exponent=float(fit.costs[0, 1]),
        error=fit.error,
        best=tuple(fit.best(joules) for joules in budgets),
        excluded=tuple(excluded),
        annealed=annealed,
    )


def _with_reason(error: ForecastRefusedError, excluded: Sequence[str]) -> ForecastRefusedError:
    if not excluded:
        return error
    first = f"{error} {text.counted(len(excluded), 'run')} excluded, such as {excluded[0]}"
    return ForecastRefusedError(error.code, first, remedy="")


def _unit(runs: "Sequence[StoredRun]") -> str:
    """Return the unit of work that all runs recorded: tokens or samples first."""
    used = [run for run in runs if parameters_of(run) is not None]
    known = [{one.unit for one in run.summary().work if one.total} for run in used]
    shared = known[0].intersection(*known[1:]) if known else set[str]()
    ordered = [*(name for name in _PREFERRED if name in shared), *sorted(shared)]
    return ordered[0] if ordered else STEPS


def _sized(
    run: "StoredRun", trace: "RateTrace", metric: str, unit: str, neighbours: Neighbours
) -> "tuple[SizedRun | None, str]":
    import numpy as np

    from profiler.forecasting.size import SizedRun

    parameters, summary = parameters_of(run), run.summary()
    if parameters is None:
        return None, "its number of parameters is not known."
    if not summary.steps or summary.total_joules is None:
        return None, "it has no steps or no measured energy."
    if metric not in metric_names(run):
        return None, f"it has no metric {metric}."
    try:
        fit = fit_run(run, metric, trace=trace, neighbours=neighbours)
    except ForecastRefusedError as error:
        return None, str(error).strip()
    if fit.state not in (CurveState.IMPROVING, CurveState.FLAT):
        return None, fit.state_reason
    totals = {one.unit: one.total for one in summary.work}
    work = float(summary.steps) if unit == STEPS else float(totals[unit] or 0.0)
    joules = fit.smoothed.joules - fit.origin_joules
    return SizedRun(
        parameters=parameters, joules=joules, losses=np.exp(fit.smoothed.log_values), work=work
    ), ""


def render_json(known: SizeReport) -> str:
    """Render as JSON; ends with a newline."""
    body = {"report_version": REPORT_VERSION, **plain(known)}
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def render_text(known: SizeReport) -> str:
    """Render as plain text; ends with a newline."""
    lines = [text.best_size(one, known) for one in known.best]
    lines += text.size_notes(known)
    return "\n".join(lines) + "\n"
