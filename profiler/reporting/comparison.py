"""Comparison of runs: the best at equal energy and at equal level, and the extrapolated frontier of the cheapest."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from profiler.analysis.curve import metric_points
from profiler.analysis.earlier_runs import TASK_SETTINGS
from profiler.emissions import Prices, read_prices
from profiler.errors import ForecastRefusedError, UsageError
from profiler.forecasting.priors import HORIZON_LIMIT
from profiler.records import CurveState
from profiler.reporting import text
from profiler.reporting.compared_runs import metric_names, read_runs
from profiler.reporting.metric_choice import LOSS, best_of, goal_of, headline
from profiler.reporting.model import gain_variance
from profiler.reporting.records import Ahead, Comparison, CurveSeries, Difference, Line, Spread
from profiler.storage.schema import CONFIG

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from profiler.forecasting import CurveFit, Frontier
    from profiler.forecasting.frontier import Envelope
    from profiler.reporting.records import Report
    from profiler.storage.reader import StoredRun

_LEVELS = (0.4, 0.7, 1.0)
"""Positions of the compared levels, from the worst common one (0) to the best (1)."""
_DIGITS = 3
_AHEAD = (2.0, 5.0, HORIZON_LIMIT)
_UNLIKE = 3.0
"""Ratio of the first levels from which runs are flagged as different tasks."""
_SEED = re.compile(r"(^|[_.-])seed($|[_.-])", re.IGNORECASE)
_MOST_DIFFERENCES = 12


def compare(
    runs: "Sequence[StoredRun]",
    *,
    metric: str | None = None,
    goal: str | None = None,
    levels: Sequence[float] = (),
    seed_spread: float | None = None,
    prices: "Sequence[Prices] | None" = None,
    why: bool = False,
    pool: "Executor | None" = None,
) -> Comparison:
    """Compare recorded runs of one task.

    Args:
        runs: The runs.
        metric: The compared metric; by default the only validation metric that every run logged, else the loss.
        goal: ``min`` or ``max``, its direction; by default known from its name.
        levels: Levels at which the runs are compared; by default three that at least two of them reached.
        seed_spread: Standard deviation of the energy to a level between runs that differ only in their seed, relative
            to it; by default estimated from repeats, runs of one configuration apart from the seed.
        prices: Prices for each run instead of the recorded ones.
        why: Split the energy of the last run over that of the first into factors, at the best level of both, or at the
            first of ``levels``.
        pool: Processes of :func:`profiler.reporting.compared_runs.processes`, for many runs.

    Raises:
        ForecastRefusedError: Fewer than two of them have a curve, or no two reached the same level.
        UsageError: No run has the metric, its direction is unknown, or an argument is out of range.
    """
    from profiler.forecasting.frontier import trace

    metrics = [metric_names(run) for run in runs]
    logged = list(dict.fromkeys(name for names in metrics for name in names))
    # A run without steps needs no metric; only the steps of runs that lack one are read for that.
    shared = [
        name
        for name in logged
        if all(name in names or not len(run.steps) for run, names in zip(runs, metrics, strict=True))
    ]
    chosen = headline(logged if metric is not None else shared, metric, goal)
    direction = direction_of(chosen.name, chosen.goal)
    options = fit_options(runs, chosen.name, direction)
    known_prices = prices or [read_prices(run.meta) for run in runs]
    compared = read_runs(runs, known_prices, chosen.name, options, pool=pool)
    reports = [one.report for one in compared]
    names = run_names(runs)
    envelope = trace(compared, names)
    spread = _spread(runs, envelope, seed_spread)
    asked = tuple(dict.fromkeys(levels)) or _common_levels(*envelope.common)
    known = Comparison(
        runs=_lines(runs, names, reports, envelope),
        milestones=tuple(envelope.milestone(level) for level in asked),
        cheapest=envelope.stretches,
        ahead=(),
        floor=None,
        refused="",
        notes=(),
        metric=chosen.name,
        goal=direction,
        note=chosen.note,
        spread=spread,
        flags=tuple(_flags(runs, metrics, envelope)),
        differences=_differences(runs),
        frontier=CurveSeries(joules=tuple(envelope.joules.tolist()), levels=tuple(envelope.losses.tolist())),
    )
    if why:
        known = _explained(known, runs, envelope, levels[0] if levels else None)
    return _extrapolated(_ranked(known, reports, envelope), envelope)


def _explained(
    known: Comparison, runs: "Sequence[StoredRun]", envelope: "Envelope", level: float | None
) -> Comparison:
    """Add the factors of the energy of the last run over that of the first."""
    from profiler.analysis.factors import explain

    ends = 0, len(runs) - 1
    first, last = (envelope.fits[index] for index in ends)
    if first is None or last is None:
        missing = known.runs[ends[0] if first is None else ends[1]]
        return replace(known, why_runs=ends, why_refused=f"{missing.name} has no curve: {missing.refused}")
    try:
        found = explain(
            (runs[0], runs[-1]), (first, last), seed_spread=known.spread.share or 0.0, level=level
        )
    except ForecastRefusedError as error:
        return replace(known, why_runs=ends, why_refused=str(error))
    return replace(known, why=found.factors, why_level=found.level, why_runs=ends, why_joules=found.joules)


def direction_of(name: str, goal: str | None) -> str:
    """Return the direction of a metric, given or known from its name.

    Raises:
        UsageError: It is unknown.
    """
    direction = goal or goal_of(name)
    if direction is None:
        raise UsageError(f"the direction of {name} is unknown: give --goal min or max.")
    return direction


def fit_options(runs: "Sequence[StoredRun]", metric: str, goal: str) -> dict[str, Any]:
    """Return the options of every fit, so that errors of a metric that rises count from one best value."""
    if goal == "min":
        return {}
    values = (metric_points(run, metric)[1].dropna() for run in runs if metric in metric_names(run))
    best = best_of(metric, max((float(known.max()) for known in values if len(known)), default=1.0))
    if best is None:
        raise UsageError(f"the best possible value of {metric} is not known, so that its runs have no curve.")
    return {"goal": "max", "best": best}


def _ranked(known: Comparison, reports: "Sequence[Report]", envelope: "Envelope") -> Comparison:
    from profiler.forecasting.ranking import Entrant, rank_at_energy, rank_at_level

    shared = len({_sensors(report) for report in reports}) == 1
    spread = known.spread.share or 0.0
    entrants = [
        Entrant(fit=fit, energy_error=math.hypot(spread, 0.0 if shared else _gain(report)))
        for fit, report in zip(envelope.fits, reports, strict=True)
    ]
    reached = [
        one
        for one in known.milestones
        if any(joules is not None and joules < math.inf for joules in one.joules)
    ]
    # A loss that is not finite has no level, so that a diverged curve ends at its last finite point.
    joules = min(
        float(fit.smoothed.joules[-1]) if fit.state is CurveState.DIVERGED else fit.joules
        for fit in envelope.fits
        if fit is not None
    )
    return replace(
        known,
        at_energy=rank_at_energy(entrants, joules),
        at_level=rank_at_level(entrants, reached[-1].loss) if reached else None,
    )


def _sensors(report: "Report") -> frozenset[tuple[str, str, str]]:
    """Return the sources of the counted energy; runs that share all of them share the errors of their gains."""
    domains = [metered.domain for metered in report.summary.metered if metered.domain.billed]
    return frozenset((one.name, one.source, str(one.device)) for one in domains)


def _gain(report: "Report") -> float:
    total = report.summary.total_joules or 0.0
    return math.sqrt(gain_variance(report.summary.metered)) / total if total else 0.0


def _spread(runs: "Sequence[StoredRun]", envelope: "Envelope", given: float | None) -> Spread:
    """Return the given spread, or the mean one of the groups of repeats."""
    from profiler.forecasting.ranking import energy_spread

    if given is not None:
        if not 0.0 <= given <= 1.0:
            raise UsageError(f"the spread between seeds must be between 0 and 100 %, not {100 * given:g} %.")
        return Spread(share=given)
    groups: dict[tuple[Any, ...], list[CurveFit]] = {}
    for run, fit in zip(runs, envelope.fits, strict=True):
        settings = _settings(run)
        if settings and fit is not None:
            groups.setdefault(tuple(sorted(settings.items(), key=str)), []).append(fit)
    found = [(len(fits), share) for fits in groups.values() if (share := energy_spread(fits)) is not None]
    if not found:
        return Spread()
    degrees = sum(count - 1 for count, _ in found)
    pooled = math.sqrt(sum((count - 1) * share**2 for count, share in found) / degrees)
    return Spread(share=pooled, repeats=sum(count for count, _ in found))


def _settings(run: "StoredRun") -> dict[str, Any]:
    """Return the user's settings without those of a seed."""
    return {name: value for name, value in (run.meta.get(CONFIG) or {}).items() if not _SEED.search(name)}


def _differences(runs: "Sequence[StoredRun]") -> tuple[Difference, ...]:
    settings = [run.meta.get(CONFIG) or {} for run in runs]
    names = dict.fromkeys(name for one in settings for name in one)
    rows = [Difference(name=name, values=tuple(one.get(name) for one in settings)) for name in names]
    return tuple(row for row in rows if len(set(map(repr, row.values))) > 1)[:_MOST_DIFFERENCES]


def _flags(runs: "Sequence[StoredRun]", metrics: Sequence[Sequence[str]], envelope: "Envelope") -> list[str]:
    """Return the signs that the runs are of different tasks."""
    found = []
    fitted = [index for index, fit in enumerate(envelope.fits) if fit is not None]
    used, names = [runs[index] for index in fitted], [set(metrics[index]) - {LOSS} for index in fitted]
    unlike = set[str]().union(*names).difference(names[0].intersection(*names))
    if unlike and all(names):
        found.append(f"Not every run logged the same metrics: {text.listed(sorted(unlike))}.")
    errors = [fit.metric.error(fit.first_level) for fit in envelope.fits if fit is not None]
    if min(errors) > 0.0 and max(errors) > _UNLIKE * min(errors):
        low, high = (text.level(envelope.metric.value(end), 3) for end in (min(errors), max(errors)))
        found.append(f"The curves begin far apart, between {low} and {high}.")
    for name in TASK_SETTINGS:
        values = list(dict.fromkeys(str((run.meta.get(CONFIG) or {}).get(name)) for run in used))
        if len(values) > 1:
            found.append(f"The setting {name} differs: {text.listed(values)}.")
    return found


def _extrapolated(known: Comparison, envelope: "Envelope") -> Comparison:
    from profiler.forecasting.frontier import extrapolate

    try:
        frontier = extrapolate(envelope)
    except ForecastRefusedError as error:
        return replace(known, refused=str(error))
    return replace(known, ahead=_ahead(frontier), floor=frontier.fit.floor, notes=frontier.notes)


def _ahead(frontier: "Frontier") -> tuple[Ahead, ...]:
    amounts = [times * frontier.fit.joules for times in _AHEAD]
    return tuple(Ahead(joules=joules, loss=frontier.loss_at(joules)) for joules in amounts)


def run_names(runs: "Sequence[StoredRun]") -> list[str]:
    """Return the name of each run, or that of its directory where names repeat."""
    names = [str(run.meta.get("name", "")) for run in runs]
    return [
        name if name and names.count(name) == 1 else run.path.name
        for name, run in zip(names, runs, strict=True)
    ]


def _lines(
    runs: "Sequence[StoredRun]", names: "Sequence[str]", reports: "Sequence[Report]", envelope: "Envelope"
) -> tuple[Line, ...]:
    return tuple(
        Line(
            name=name,
            path=str(run.path),
            joules=report.summary.total_joules,
            last_loss=None if fit is None else fit.level,
            refused=refused.strip(),
            status=report.summary.status,
            state=None if fit is None else fit.state,
            steps=report.summary.steps,
            measured_share=report.measured_share,
            cost=report.cost,
            series=None if fit is None else _series(fit),
        )
        for name, run, report, fit, refused in zip(
            names, runs, reports, envelope.fits, envelope.refused, strict=True
        )
    )


def _series(fit: "CurveFit") -> CurveSeries:
    smoothed = fit.smoothed
    levels = (fit.metric.value(math.exp(log)) for log in smoothed.log_values.tolist())
    return CurveSeries(joules=tuple(smoothed.joules.tolist()), levels=tuple(levels))


def _common_levels(worst: float, best: float) -> tuple[float, ...]:
    """Return short numbers from the worst to the best common level, none better than that."""
    found = []
    for way in _LEVELS:
        level = worst * (best / worst) ** way if worst > 0.0 < best else worst + way * (best - worst)
        short = _short(level)
        step = 10.0 ** (math.floor(math.log10(abs(level))) - _DIGITS + 1) if level else 0.0
        if (best < worst and short < best) or (best > worst and short > best):
            short = _short(short + math.copysign(step, worst - best))
        found.append(short)
    return tuple(dict.fromkeys(found))


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS - 1}e}")
