"""Choice of the runs of a sweep that deserve more energy, by the chance of each to be best at a common budget.

Each run's level at the budget has a distribution: the posterior forecast where the run has not spent the budget, else
the record. A run whose schedule of the learning rate ends before the budget keeps its level there, because its slope
at the end is that of an anneal. Runs are taken as independent. The advice keeps the smallest set of runs that
contains the best one with the asked probability.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from profiler.errors import ForecastRefusedError, UsageError
from profiler.forecasting.curve import FloatArray
from profiler.forecasting.fit import fit_curve, prefix_fit
from profiler.forecasting.result import CurveFit
from profiler.records import CurveState, Interval

KEEP = 0.95
"""Probability with which the kept runs contain the best one."""
QUANTILES = 40
_KNOTS = (-2.25, -1.5, -0.75, 0.0, 0.75, 1.5, 2.25)
"""Normal scores at which quantiles of a forecast are computed; those between are interpolated."""
SHARES = (0.25, 0.5)
"""Parts of a past budget at which the advice is tested."""
_FEWEST = 2
_COMMON = 0.75
"""Part of the runs that must have spent a past budget for the test of the advice."""
_LEAST_ERROR = 1e-9
FINISHED = (
    "Its schedule of the learning rate has ended: it keeps its level, and more energy needs a new plan."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The advice on one run.

    Attributes:
        p_best: Probability that it is the best run at the budget; None where its curve is too short for a forecast.
        stop: True if it should not get more energy.
        joules_saved: Energy that stopping it saves, up to the budget.
        level: Level expected at the budget; 90 % interval, None where there is no forecast.
        reason: Reason for a missing forecast, or that the schedule has ended; empty otherwise.
        is_finished: True if the schedule of its learning rate has ended, so that more energy needs a new plan.
    """

    p_best: float | None
    stop: bool
    joules_saved: float
    level: Interval | None
    reason: str
    is_finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AdviceTest:
    """The advice that an earlier part of the sweep would have given.

    Attributes:
        budget_joules: Energy per run at which the runs are compared; each of them spent it.
        share: Part of that energy after which the advice is given.
        runs: Runs that spent the budget.
        stopped: Runs that the advice stops.
        kept_best: True if the best run at the budget is kept.
        log_regret: Natural logarithm of the best kept level over the best level (of errors, for a metric that rises).
        saved_share: Part of the energy of all these runs that the advice saves.
    """

    budget_joules: float
    share: float
    runs: int
    stopped: int
    kept_best: bool
    log_regret: float
    saved_share: float


def allocate(
    fits: Sequence[CurveFit | None],
    budget_joules: float,
    *,
    reasons: Sequence[str] = (),
    keep: float = KEEP,
) -> tuple[Advice, ...]:
    """Advise which runs of a sweep to stop.

    Args:
        fits: The fit of the same metric of each run; None where a run has no curve.
        budget_joules: Energy of each run, since its start, at which the runs are compared.
        reasons: For each run, the reason for a missing fit.
        keep: Probability with which the kept runs contain the best one.

    Raises:
        ForecastRefusedError: ``too_few_runs`` for fewer than two runs, ``no_candidates`` where no run has a forecast.
        UsageError: The budget is not a positive finite number, ``keep`` is not a probability, or the metrics differ.
    """
    _check(fits, budget_joules, keep)
    known = [None if fit is None else _quantiles(fit, budget_joules) for fit in fits]
    chances = _chances(known)
    if not any(chances):
        reason = next((fit.state_reason for fit in fits if fit is not None), "No run has a curve.")
        raise ForecastRefusedError(
            "no_candidates",
            f"None of the {len(fits)} runs has a forecast: {reason}",
            remedy="Train longer, or start runs with a lower learning rate.",
        )
    kept = _kept(chances, keep)
    texts = reasons or [""] * len(fits)
    return tuple(
        _advice(fit, quantiles, chance, budget_joules, text, is_kept=index in kept)
        for index, (fit, quantiles, chance, text) in enumerate(zip(fits, known, chances, texts, strict=True))
    )


def _check(fits: Sequence[CurveFit | None], budget: float, keep: float) -> None:
    if len(fits) < _FEWEST:
        raise ForecastRefusedError(
            "too_few_runs",
            f"An allocation needs two runs of a sweep; there {'is one' if fits else 'are none'}.",
            remedy="Name a folder with the runs of a sweep.",
        )
    if not (math.isfinite(budget) and budget > 0.0):
        raise UsageError(f"the budget must be a positive number of joules, not {budget!r}.")
    if not 0.0 < keep < 1.0:
        raise UsageError(f"keep must lie between 0 and 1, not {keep!r}.")
    if len({(fit.metric.best is None, fit.metric.best) for fit in fits if fit is not None}) > 1:
        raise UsageError("the runs have metrics of different directions or best values.")


def _advice(
    fit: CurveFit | None,
    quantiles: FloatArray | None,
    chance: float | None,
    budget: float,
    reason: str,
    *,
    is_kept: bool,
) -> Advice:
    end = _end(fit, budget) if fit is not None else budget
    rest = 0.0 if fit is None else max(end - fit.joules, 0.0)
    is_finished = fit is not None and fit.history.context.over and fit.joules < budget
    # A curve that is too short may still be the best one, and a run at its budget has nothing left to save.
    stop = chance is not None and not is_kept and rest > 0.0
    has_level = fit is not None and quantiles is not None and chance is not None
    return Advice(
        p_best=chance,
        stop=stop,
        joules_saved=rest if stop else 0.0,
        level=fit.loss_at(end) if fit is not None and has_level and _has_level(fit, end) else None,
        reason=reason or _reason(fit, end, is_finished=is_finished),
        is_finished=is_finished,
    )


def _reason(fit: CurveFit | None, end: float, *, is_finished: bool) -> str:
    if fit is None:
        return ""
    if not _has_level(fit, end):
        return fit.state_reason
    return FINISHED if is_finished else ""


def _end(fit: CurveFit, budget: float) -> float:
    """Return the joules at which a run stops to change: the budget, or the end of the schedule before it."""
    if fit.history.context.over:
        return min(budget, fit.joules)
    return min(budget, fit.planned_joules or budget)


def _has_level(fit: CurveFit, budget: float) -> bool:
    return budget <= fit.joules or (fit.state in _KNOWN and bool(fit.scenarios))


_KNOWN = (CurveState.IMPROVING, CurveState.FLAT)
_LOST = (CurveState.DIVERGED, CurveState.RISING)


def _is_lost(fit: CurveFit, budget: float) -> bool:
    """Return True for a curve that got worse before the budget, or whose values are not finite there."""
    last_finite = fit.origin_joules + fit.history.fine.last_joules
    return fit.state in _LOST and budget > last_finite


def _quantiles(fit: CurveFit, budget: float) -> FloatArray | None:
    """Return quantiles of the log level at the budget; none for a curve that got worse, None where it is unknown."""
    probabilities = (np.arange(QUANTILES) + 0.5) / QUANTILES
    if _is_lost(fit, budget):
        return np.empty(0)
    budget = _end(fit, budget)
    if budget <= fit.joules and fit.state is not CurveState.NOT_A_PROGRESS_MEASURE:
        level, error = fit.smoothed.log_at(budget), max(_error(fit), _LEAST_ERROR)
        return np.asarray([level + error * _normal(float(p)) for p in probabilities])
    if not _has_level(fit, budget):
        return None
    predictive = fit.predictives[fit.scenarios[0]]
    ratio = math.log((budget - fit.origin_joules) / fit.spent_joules)
    knots = [predictive.log_quantile(ratio, NormalDist().cdf(score)) for score in _KNOTS]
    return np.interp([_normal(float(p)) for p in probabilities], _KNOTS, knots)


def _error(fit: CurveFit) -> float:
    return (fit.log_now[2] - fit.log_now[0]) / 2.0 / _normal(0.5 + fit.confidence / 2.0)


def _normal(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def _chances(known: Sequence[FloatArray | None]) -> list[float | None]:
    """Return the probability of each run to have the lowest level; 0 for a lost run, None for an unknown one."""
    rivals = [quantiles for quantiles in known if quantiles is not None and quantiles.size]
    found: list[float | None] = []
    for quantiles in known:
        if quantiles is None or not quantiles.size:
            found.append(None if quantiles is None else 0.0)
            continue
        worse = np.ones(QUANTILES)
        for other in rivals:
            if other is not quantiles:
                worse *= 1.0 - _below(quantiles, other)
        found.append(float(worse.mean()))
    total = sum(chance for chance in found if chance)
    return [None if chance is None else chance / total if total else 0.0 for chance in found]


def _below(levels: FloatArray, quantiles: FloatArray) -> FloatArray:
    """Return the distribution function with these quantiles; equal levels count half."""
    probabilities = (np.arange(QUANTILES) + 0.5) / QUANTILES
    inside = np.interp(levels, quantiles + 1e-12 * np.arange(QUANTILES), probabilities)
    return np.asarray(np.where(levels < quantiles[0], 0.0, np.where(levels > quantiles[-1], 1.0, inside)))


def _kept(chances: Sequence[float | None], keep: float) -> set[int]:
    """Return the smallest set of runs whose chances add up to ``keep``."""
    order = sorted(
        (index for index, chance in enumerate(chances) if chance is not None),
        key=lambda index: -(chances[index] or 0.0),
    )
    kept: set[int] = set()
    total = 0.0
    for index in order:
        if total >= keep:
            break
        kept.add(index)
        total += chances[index] or 0.0
    return kept


def past_budget(fits: Sequence[CurveFit | None]) -> float | None:
    """Return the largest energy that three quarters of the runs spent; None for fewer than two curves."""
    spent = sorted((fit.joules for fit in fits if fit is not None and _is_usable(fit)), reverse=True)
    if len(spent) < _FEWEST:
        return None
    return spent[max(math.ceil(_COMMON * len(spent)), _FEWEST) - 1]


def _is_usable(fit: CurveFit) -> bool:
    return bool(fit.smoothed.log_values.size) and fit.state is not CurveState.NOT_A_PROGRESS_MEASURE


def backtest(
    fits: Sequence[CurveFit | None], budget_joules: float | None = None, *, keep: float = KEEP
) -> tuple[AdviceTest, ...]:
    """Give the same advice from earlier parts of the record, and compare it with the record at a past budget.

    Args:
        fits: As for `allocate`.
        budget_joules: The past budget; by default the largest that three quarters of the runs spent.
        keep: As for `allocate`.

    Returns:
        One test per part of the budget; empty where fewer than two runs spent it.
    """
    budget = past_budget(fits) if budget_joules is None else budget_joules
    if budget is None:
        return ()
    used = [fit for fit in fits if fit is not None and _is_usable(fit) and fit.joules >= budget]
    if len(used) < _FEWEST:
        return ()
    final = np.array([math.inf if _is_lost(fit, budget) else fit.smoothed.log_at(budget) for fit in used])
    if not np.isfinite(final).any():
        return ()
    tests = []
    for share in SHARES:
        try:
            advice = allocate([prefix_fit(fit, share * budget) for fit in used], budget, keep=keep)
        except ForecastRefusedError:
            continue  # too early for any forecast
        kept = np.array([not one.stop for one in advice])
        best = int(final.argmin())
        tests.append(
            AdviceTest(
                budget_joules=budget,
                share=share,
                runs=len(used),
                stopped=int((~kept).sum()),
                kept_best=bool(kept[best]),
                log_regret=float(final[kept].min() - final[best]),
                saved_share=sum(one.joules_saved for one in advice) / (budget * len(used)),
            )
        )
    return tuple(tests)


def should_stop(
    curves: Sequence[Mapping[float, float]],
    index: int,
    budget_joules: float,
    *,
    goal: str = "min",
    best: float | None = None,
    keep: float = KEEP,
) -> bool:
    """Return True if a run of a sweep is not worth more energy, for schedulers of other libraries.

    It does not know the learning rate: near the end of an anneal, the slope of a curve does not continue.

    Args:
        curves: For each run, the values of one metric by the joules since the start of the run.
        index: Position of the run in question.
        budget_joules: Energy of each run at which the runs are compared.
        goal: ``min`` for a metric that falls, ``max`` for one that rises.
        best: The best possible value of a metric that rises; 1.0 for an accuracy.
        keep: Probability with which the kept runs contain the best one.

    Raises:
        UsageError: An argument is invalid.
    """
    fits: list[CurveFit | None] = []
    for curve in curves:
        try:
            fits.append(fit_curve(list(curve), list(curve.values()), goal=goal, best=best))
        except ForecastRefusedError:
            fits.append(None)  # no finite value yet: the run is neither stopped nor a rival
    try:
        return allocate(fits, budget_joules, keep=keep)[index].stop
    except ForecastRefusedError as error:
        # Without a forecast of any run, a run whose own curve got worse is still lost.
        own = fits[index]
        return error.code == "no_candidates" and own is not None and _is_lost(own, budget_joules)
