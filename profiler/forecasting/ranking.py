"""Ranking of runs at equal energy and at equal level, with the probability that the order of the first two holds.

The level of a run is uncertain by the noise of its curve, and its energy by the gain of its sensors and, where it is
known, by the spread between runs that differ only in their seed. The draws come from a generator with a fixed seed, so
that equal runs have equal rankings.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.forecasting.curve import FloatArray
from profiler.forecasting.predictive import LOWEST
from profiler.forecasting.result import CurveFit, probabilities
from profiler.records import Interval
from profiler.uncertainty import Z_90

_DRAWS = 4000
_SEED = 20261128
_TAIL = 0.5
"""Part of the energy, up to the end of a curve, whose slope extends the curve by the uncertainty of the energy."""
_LEAST_RESIDUALS = 3
_UNKNOWN_ERROR = 1.0
"""Error of the log level of a curve with too few points to estimate it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A run in a ranking.

    Attributes:
        fit: The fit of its curve; None where the run is excluded.
        energy_error: Standard deviation of the logarithm of its energy, without errors that all runs share.
    """

    fit: CurveFit | None
    energy_error: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Order of the runs at an amount of energy or at a level.

    Attributes:
        at: The joules or the level.
        values: For each run, its level at these joules, or its joules at this level: 90 % interval, infinite joules
            where the level was not reached, None where the run is excluded.
        ratios: For each run, its value divided by that of the first compared run; None where either is unknown.
        best: Index of the best run.
        second: Index of the next one.
        probability: Probability that the best run is better than the next one; ties count half.
    """

    at: float
    values: tuple[Interval | None, ...]
    ratios: tuple[Interval | None, ...]
    best: int
    second: int
    probability: float


def rank_at_energy(entrants: Sequence[Entrant], joules: float) -> Ranking:
    """Rank runs by their level after the same energy, in joules since the start.

    Args:
        entrants: At least two runs with a fit.
        joules: The energy, which each of them spent.
    """
    metric = next(entrant.fit.metric for entrant in entrants if entrant.fit is not None)
    logs = [
        None if one.fit is None else _log_levels(one.fit, joules, energy, level)
        for one, (energy, level) in zip(entrants, _draws(entrants), strict=True)
    ]
    order, probability = _order(logs)
    return Ranking(
        at=joules,
        values=tuple(None if log is None else metric.interval(_interval(np.exp(log))) for log in logs),
        ratios=_ratios([None if log is None else _values(metric.best, np.exp(log)) for log in logs]),
        best=order[0],
        second=order[1],
        probability=probability,
    )


def rank_at_level(entrants: Sequence[Entrant], level: float) -> Ranking:
    """Rank runs by the energy with which each first reached a level.

    Args:
        entrants: At least two runs with a fit.
        level: The level, which at least one of them reached.
    """
    joules = [
        None if one.fit is None else _crossings(one.fit, level, energy, shift)
        for one, (energy, shift) in zip(entrants, _draws(entrants), strict=True)
    ]
    order, probability = _order(joules)
    return Ranking(
        at=level,
        values=tuple(None if found is None else _interval(found) for found in joules),
        ratios=_ratios(joules),
        best=order[0],
        second=order[1],
        probability=probability,
    )


def level_error(fit: CurveFit) -> float:
    """Return the standard deviation of the log level of a fit, from the noise of its curve."""
    low, high = fit.log_now[0], fit.log_now[-1]
    if math.isfinite(low) and math.isfinite(high) and high > low:
        return (high - low) / (2.0 * Z_90)
    # A curve without a forecast has a level without an interval: its residuals replace it.
    curve, smoothed = fit.curve, fit.smoothed
    if curve.joules.size < _LEAST_RESIDUALS:
        return _UNKNOWN_ERROR
    residuals = curve.log_values - np.array([smoothed.log_at(float(joules)) for joules in curve.joules])
    return float(np.std(residuals)) / math.sqrt(_LEAST_RESIDUALS)


def energy_spread(fits: Sequence[CurveFit]) -> float | None:
    """Return the standard deviation of the log energy with which repeats of one run reach their common level.

    None where fewer than two of them reached a common level.
    """
    if len(fits) < 2:  # noqa: PLR2004 - one run has no spread
        return None
    target = max(float(fit.smoothed.log_values.min()) for fit in fits)
    if target >= min(float(fit.smoothed.log_values[0]) for fit in fits):
        return None
    logs = [math.log(max(fit.smoothed.first_crossing(target) - fit.origin_joules, 1e-300)) for fit in fits]
    return float(np.std(logs, ddof=1))


def _draws(entrants: Sequence[Entrant]) -> list[tuple[FloatArray, FloatArray]]:
    """Return the draws of each run's error of log energy and of log level."""
    random = np.random.default_rng(_SEED)
    return [
        (
            _around_zero(random, entrant.energy_error),
            _around_zero(random, 0.0 if entrant.fit is None else level_error(entrant.fit)),
        )
        for entrant in entrants
    ]


def _around_zero(random: np.random.Generator, deviation: float) -> FloatArray:
    """Return draws with the point estimate, an error of zero, in front."""
    return np.append(0.0, random.standard_normal(_DRAWS) * deviation)


def _log_levels(fit: CurveFit, joules: float, energy: FloatArray, level: FloatArray) -> FloatArray:
    """Return draws of the log level after an amount of energy."""
    smoothed = fit.smoothed
    since = math.log(max(joules - fit.origin_joules, 1e-300))
    found = np.interp(since - energy, smoothed.log_joules, smoothed.log_values)
    beyond = np.maximum(since - energy - smoothed.log_joules[-1], 0.0)
    return np.asarray(found + beyond * _last_slope(fit) + level)


def _last_slope(fit: CurveFit) -> float:
    """Return the slope of the log level on the log energy over the last part of a curve."""
    smoothed = fit.smoothed
    end = float(smoothed.log_joules[-1])
    start = max(end + math.log(_TAIL), float(smoothed.log_joules[0]))
    if end <= start or smoothed.log_values[-1] <= LOWEST:
        return 0.0
    before = float(np.interp(start, smoothed.log_joules, smoothed.log_values))
    return float(smoothed.log_values[-1] - before) / (end - start)


def _crossings(fit: CurveFit, level: float, energy: FloatArray, shift: FloatArray) -> FloatArray:
    """Return draws of the joules at which a level is first reached; infinite where it is not."""
    error = fit.metric.error(level)
    targets = (math.log(error) if error > 0.0 else LOWEST) - shift
    smoothed = fit.smoothed
    lowest = np.minimum.accumulate(smoothed.log_values)
    # The running minimum falls, so that its negative is the increasing axis of the interpolation.
    falling = np.concatenate(([True], np.diff(lowest) < 0.0))
    found = np.interp(-targets, -lowest[falling], smoothed.log_joules[falling])
    missed = np.maximum(lowest[-1] - targets, 0.0)
    slope = _last_slope(fit)
    if targets[0] >= lowest[-1] and slope < 0.0:
        # The run reached the level, within the noise of its end: the curve continues for the draws that miss it.
        found, missed = found + missed / -slope, np.zeros_like(missed)
    return np.where(missed > 0.0, np.inf, fit.origin_joules + np.exp(found + energy))


def _order(draws: Sequence[FloatArray | None]) -> tuple[tuple[int, ...], float]:
    """Return the runs by their point estimates, and the probability that the first is less than the second."""
    order = tuple(k for _, k in sorted((float(one[0]), k) for k, one in enumerate(draws) if one is not None))
    first, second = draws[order[0]], draws[order[1]]
    if first is None or second is None:
        return order, math.nan
    # Draws of two runs are independent: ranks compare each with all of the other.
    below = np.searchsorted(np.sort(second), first, side="left")
    through = np.searchsorted(np.sort(second), first, side="right")
    less = float(np.mean(second.size - through)) / second.size
    ties = float(np.mean(through - below)) / second.size
    # So many draws cannot show that an order is certain.
    return order, min(max(less + ties / 2.0, 1.0 / _DRAWS), 1.0 - 1.0 / _DRAWS)


def _values(best: float | None, errors: FloatArray) -> FloatArray:
    return errors if best is None else best - errors


def _interval(draws: FloatArray) -> Interval:
    last = draws.size - 1
    # Interpolation between two infinite draws is not a number, so that drawn values are taken.
    ends = [math.floor(last * p) for p in (probabilities(0.9)[0], probabilities(0.9)[-1])]
    ordered = np.partition(draws, (*ends, last))
    low, high = (math.nan if np.isnan(ordered[last]) else float(ordered[end]) for end in ends)
    point = float(draws[0])
    return Interval(low=min(low, point), median=point, high=max(high, point))


def _ratios(draws: Sequence[FloatArray | None]) -> tuple[Interval | None, ...]:
    reference = next(one for one in draws if one is not None)
    return tuple(None if one is None else _ratio(one, reference) for one in draws)


def _ratio(draws: FloatArray, reference: FloatArray) -> Interval | None:
    if draws is reference:
        return Interval(low=1.0, median=1.0, high=1.0)
    usable: npt.NDArray[np.bool_] = np.isfinite(reference) & (reference != 0.0)
    return _interval(draws[usable] / reference[usable]) if usable.all() else None
