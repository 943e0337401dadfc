"""Scores of forecasts from the beginnings of curves whose end is known."""

import itertools
import math
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.optimize import curve_fit

from profiler.forecasting import CurveFit, fit_curve
from profiler.forecasting.priors import HORIZON_LIMIT
from profiler.records import Verdict
from profiler.reporting.answer import advised, confidence_of
from profiler.reporting.forecast_section import outlook_of

PREFIXES = (0.25, 0.5, 0.75)
LATER = {0.25: (0.3, 0.5), 0.5: (0.55,)}
"""Later prefixes whose interval of the energy at the end level is compared with the earlier median."""
END = 0.96
"""The end level is the geometric mean of the part after this share of the run."""
MISS_PENALTY = 20.0
"""2 / alpha of the interval score of a 90 % interval (Gneiting and Raftery, JASA 102, 2007)."""
ALL_PREFIXES = (0.1, *PREFIXES)
"""Prefixes whose coverage, confidence and advice are scored."""
AHEAD, ADVISED = 2.0, 4.0
"""Multiples of the energy at which the confidence and the advice come true."""
BETTER = 0.05
"""Reduction of the level that the advice is about."""
WITHIN = {0.1: (2.0, 5.0, 10.0), 0.2: (2.0, 5.0), 0.25: (2.0,), 0.5: (1.5, 2.0)}
"""Multiples of the energy for which the probability of reaching a target is scored, by prefix."""
REDUCTIONS = np.geomspace(0.005, 0.25, 12)
"""Targets of that score: reductions of the present level, chosen without regard to the rest of the run."""
STEPS = 33
"""Energies, in equal ratios, at which the run is looked at for such a target."""
ON_PATH = {0.1: (2.0, 5.0), 0.25: (2.0,), 0.5: (1.5,)}
"""The same as `WITHIN` for targets that lie on the measured curve."""
TARGETS = (0.6, 0.8, 1.25, 1.6)
"""Energies at which the run reached those targets, relative to the multiple."""
NEAR = 0.04
"""Half width of the window, as a share of the energy, over which the level at an energy is averaged."""
TAIL = 0.2
"""The simple fit ignores this first share of the points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A curve whose end is known."""

    group: str
    x: np.ndarray
    y: np.ndarray
    rate: np.ndarray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One forecast compared with the measured end: logs, in units of the level.

    Attributes:
        group: The set of the curve.
        prefix: Share of the energy that the forecast used.
        state: State of the curve.
        error: Distance of the median level at the end from the measured one.
        factor: Distance of the median energy at the end level from the measured one.
        spread: Log ratio of the upper to the lower end of that energy.
        covered: Whether the interval of the level contains the measured one.
        side: 1 where the measured level is above the interval, -1 below it, else 0.
        interval_score: Interval score of the level.
        verdict: Verdict on the end level, which was reached.
        simple_miss: Log of the level of a three-parameter least-squares fit over the measured one; the last value
            replaces a fit that fails.
        simple_factor: ``factor`` of that fit.
        simple_reachable: Whether that fit reaches the end level within the horizon.
        last_miss: ``simple_miss`` of the last value.
        reachable: Whether the verdict gives this median energy as a point.
        lowered: Log of the level at the prefix over the lowest level after it; both are means of a twentieth of the
            points, and at least three. NaN without as many.
        held: Whether the interval of the energy at the end level contains the median of each later fit; None without
            both.
        held_level: The same of the level at the end.
        stable: Whether each later fit keeps this median energy at the end level in its interval; None without both.
        stable_level: The same of the median level at the end.
    """

    group: str
    prefix: float
    state: str
    error: float
    factor: float
    spread: float
    covered: bool
    side: int
    interval_score: float
    verdict: str
    simple_miss: float
    simple_factor: float
    simple_reachable: bool
    last_miss: float
    reachable: bool
    lowered: float
    held: tuple[bool | None, ...]
    held_level: tuple[bool | None, ...]
    stable: tuple[bool | None, ...]
    stable_level: tuple[bool | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The confidence and the advice at a prefix, and their outcome.

    Attributes:
        group: The set of the curve.
        prefix: Share of the energy that the forecast used.
        points: Points up to there.
        confidence: Word of confidence; empty without a trend.
        twice: Relative distance of the median level at twice the energy from the measured one; NaN if not recorded.
        end: The same at the end of the run.
        action: The advised action.
        better: Whether the level was 5 % lower after four times the energy; None if not recorded.
    """

    group: str
    prefix: float
    points: int
    confidence: str
    twice: float
    end: float
    action: str
    better: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Tables of all runs: a row per score, answer and chance.

    The chances are those of targets chosen in advance (``chances``) and of targets on the measured curve (``on_path``).
    """

    scores: pd.DataFrame
    answers: pd.DataFrame
    chances: pd.DataFrame
    on_path: pd.DataFrame


Chance = tuple[str, float, float, bool]
"""The set, the multiple, the probability of reaching a target within it, and whether the run did."""


def evaluate(run: Run) -> tuple[list[Score], list[Answer], list[Chance], list[Chance]]:
    """Evaluate a run at every prefix with enough points."""
    end = run.x >= END * run.x[-1]
    log_y, log_x = float(np.log(run.y[end]).mean()), float(np.log(run.x[end]).mean())
    shares = {*ALL_PREFIXES, *WITHIN, *(later for pair in LATER.values() for later in pair)}
    fits = {share: fitted(run, share) for share in shares}
    scores = [_compared(run, p, fits, log_x, log_y) for p in ALL_PREFIXES if fits[p] is not None]
    answers = [_answered(run, p, fit, log_x, log_y) for p in ALL_PREFIXES if (fit := fits[p]) is not None]
    return scores, answers, list(_chances(run, fits)), list(_chances_on_path(run, fits))


def fitted(run: Run, prefix: float) -> CurveFit | None:
    """Fit a prefix of a run; None with fewer than six points."""
    seen = run.x <= prefix * run.x[-1]
    plan = None if run.rate is None else (run.x, run.rate)
    return fit_curve(run.x[seen], run.y[seen], planned_learning_rate=plan) if seen.sum() >= 6 else None


def _compared(
    run: Run, prefix: float, fits: dict[float, CurveFit | None], log_x: float, log_y: float
) -> Score:
    fit, seen = fits[prefix], run.x <= prefix * run.x[-1]
    last = math.log(run.y[seen][-1]) - log_y
    low, median, high = _log_interval(fit, log_x, log_y, last)
    forecast = fit.joules_at(math.exp(log_y))
    simple = _simple(run.x[seen], run.y[seen], log_x, log_y)
    laters = LATER.get(prefix, ())
    return Score(
        group=run.group,
        prefix=prefix,
        state=fit.state.value,
        error=abs(median),
        factor=abs(math.log(forecast.median) - log_x) if forecast.median > 0.0 else math.inf,
        spread=math.log(forecast.high / forecast.low) if forecast.low < math.inf else math.inf,
        covered=low <= 0.0 <= high,
        side=int(high < 0.0) - int(low > 0.0),
        interval_score=high - low + MISS_PENALTY * (max(low, 0.0) + max(-high, 0.0)),
        verdict=forecast.verdict.value,
        simple_miss=simple[0],
        simple_factor=abs(simple[1] - log_x),
        simple_reachable=simple[1] <= math.log(HORIZON_LIMIT * fit.joules),
        last_miss=last,
        reachable=forecast.verdict is Verdict.REACHABLE,
        lowered=_lowered(np.log(run.y), int(seen.sum())),
        held=tuple(_kept(fits[later], fit, log_y) for later in laters),
        held_level=tuple(_kept_level(fits[later], fit, log_x) for later in laters),
        stable=tuple(_kept(fit, fits[later], log_y) for later in laters),
        stable_level=tuple(_kept_level(fit, fits[later], log_x) for later in laters),
    )


def _lowered(log_y: np.ndarray, seen: int) -> float:
    size = max(3, log_y.size // 20)
    if log_y.size - seen < size:
        return math.nan
    later = np.convolve(log_y[seen:], np.full(size, 1.0 / size), mode="valid")
    return float(log_y[max(seen - size, 0) : seen].mean() - later.min())


def _answered(run: Run, prefix: float, fit: CurveFit, log_x: float, log_y: float) -> Answer:
    outlook = outlook_of(fit, (), ())
    after = _level(run, prefix * ADVISED) if prefix * ADVISED <= 1.0 else math.nan
    has_trend = outlook.has_trend
    return Answer(
        group=run.group,
        prefix=prefix,
        points=fit.points,
        confidence=(confidence_of(outlook) or "") if has_trend else "",
        twice=_distance(fit, AHEAD * fit.joules, _level(run, AHEAD * prefix)) if has_trend else math.nan,
        end=_distance(fit, math.exp(log_x), math.exp(log_y)) if has_trend else math.nan,
        action=advised(outlook).value,
        better=None if math.isnan(after) else after <= (1.0 - BETTER) * fit.level,
    )


def _distance(fit: CurveFit, joules: float, level: float) -> float:
    return abs(fit.loss_at(joules).median / level - 1.0)


def _log_interval(fit: CurveFit, log_x: float, log_y: float, last: float) -> tuple[float, float, float]:
    """Return the interval of the end level relative to the measured one; the last value where there is no forecast."""
    interval = fit.loss_at(math.exp(log_x))
    if not (0.0 < interval.low <= interval.high < math.inf):
        return last, last, last
    low, median, high = (math.log(value) - log_y for value in (interval.low, interval.median, interval.high))
    return low, median, high


def _kept(one: CurveFit | None, other: CurveFit | None, log_y: float) -> bool | None:
    """Return whether the interval of the second fit contains the median of the first, of joules at the end level."""
    if one is None or other is None:
        return None
    forecasts = [fit.joules_at(math.exp(log_y)) for fit in (one, other)]
    if any(forecast.verdict is Verdict.REACHED or math.isnan(forecast.median) for forecast in forecasts):
        return None
    return forecasts[1].low <= forecasts[0].median <= forecasts[1].high


def _kept_level(one: CurveFit | None, other: CurveFit | None, log_x: float) -> bool | None:
    """The same as `_kept` of the level at the end."""
    if one is None or other is None or not one.has_forecast or not other.has_forecast:
        return None
    median, interval = one.loss_at(math.exp(log_x)).median, other.loss_at(math.exp(log_x))
    return interval.low <= median <= interval.high


def _simple(x: np.ndarray, y: np.ndarray, log_x: float, log_y: float) -> tuple[float, float]:
    """Fit ``y = a + b x^-c`` to the last four fifths: the simplest thing a user would do.

    Returns:
        The log of its level at the end over the measured one, and the log of the energy at which it reaches that.
    """
    x, y = x[int(TAIL * x.size) :], y[int(TAIL * x.size) :]
    scale = x[-1]

    def law(u: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return a + b * u**-c

    failed = math.log(y[-1]) - log_y, math.inf
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (a, b, c), _ = curve_fit(law, x / scale, y, p0=(0.5 * y[-1], 0.5 * y[-1], 0.5), maxfev=4000)
    except (RuntimeError, TypeError, ValueError):
        return failed
    level = float(law(math.exp(log_x) / scale, a, b, c))
    if not 0.0 < level < math.inf:
        return failed
    excess = (math.exp(log_y) - a) / b if b else -1.0
    with np.errstate(all="ignore"):
        joules = scale * excess ** (-1.0 / c) if excess > 0.0 and c else math.inf
    return math.log(level) - log_y, math.log(joules) if 0.0 < joules < math.inf else math.inf


def evaluate_all(runs: list[Run]) -> Evaluation:
    """Evaluate every run at every prefix, on two processes."""
    with ProcessPoolExecutor(2) as pool:
        parts = list(pool.map(evaluate, runs, chunksize=4))
    scores, answers, chances, on_path = ([row for part in parts for row in part[k]] for k in range(4))
    columns = ["group", "ratio", "p", "reached"]
    return Evaluation(
        scores=pd.DataFrame([asdict(one) for one in scores]),
        answers=pd.DataFrame([asdict(one) for one in answers]),
        chances=pd.DataFrame(chances, columns=columns),
        on_path=pd.DataFrame(on_path, columns=columns),
    )


def _chances(run: Run, fits: dict[float, CurveFit | None]) -> Iterator[Chance]:
    """Yield the chances of targets that are fixed reductions of the present level."""
    for prefix, ratios in WITHIN.items():
        fit = fits[prefix]
        for ratio in ratios if fit is not None else ():
            ahead = [_level(run, min(prefix * at, 1.0)) for at in np.geomspace(1.0, ratio, STEPS)]
            lowest = min((level for level in ahead if not math.isnan(level)), default=math.nan)
            for reduction in REDUCTIONS:
                target = fit.level * (1.0 - reduction)
                chance = _chance(fit, target, ratio)
                if not math.isnan(chance) and not math.isnan(lowest):
                    yield run.group, ratio, chance, lowest <= target


def _chances_on_path(run: Run, fits: dict[float, CurveFit | None]) -> Iterator[Chance]:
    """Yield the chances of targets that the run reached shortly before and after a multiple of the energy."""
    for prefix, ratios in ON_PATH.items():
        fit = fits[prefix]
        for ratio, part in itertools.product(ratios, TARGETS) if fit is not None else ():
            at = part * ratio
            target = _level(run, prefix * at) if 1.0 < at <= 1.0 / prefix else math.nan
            if target < fit.level and not math.isnan(chance := _chance(fit, target, ratio)):
                yield run.group, ratio, chance, at <= ratio


def _chance(fit: CurveFit, target: float, ratio: float) -> float:
    """Return the probability of reaching a target within a multiple of the energy; NaN if it was reached."""
    forecast = fit.joules_at(target)
    return math.nan if forecast.verdict is Verdict.REACHED else forecast.p_within(ratio)


def _level(run: Run, share: float) -> float:
    """Return the geometric mean level around a share of the energy; NaN where it is not recorded."""
    if share > 1.0:
        return math.nan
    near = np.abs(run.x / run.x[-1] - share) <= NEAR * share
    return float(np.exp(np.log(run.y[near]).mean())) if near.any() else math.nan
