"""Probability that a new run uses more energy than a base run, by more than a limit."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from statistics import NormalDist, stdev
from typing import TYPE_CHECKING

from profiler.analysis.curve import fit_metric, learning_rate_trace
from profiler.analysis.factors import gain_error, level_error
from profiler.analysis.waste import standard_error
from profiler.errors import UsageError
from profiler.records import Interval, Status, Verdict
from profiler.uncertainty import UNIFORM, Z_90, student_95

if TYPE_CHECKING:
    from collections.abc import Sequence

    from profiler.storage.reader import StoredRun

STEP, TOTAL, LEVEL = "step", "total", "level"
CERTAIN = 0.95
"""Probability from which an increase above the limit is a regression."""
_LEAST_ROWS = 10
"""Rows of steps below which their scatter, and so the uncertainty of their mean, is not known."""
_LEAST_ERROR = 1e-6
_LEAST_BEFORE = 3
"""Points of a curve before its crossing of a level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """The compared energy of one run.

    Attributes:
        joules: The energy.
        error: Standard deviation of its logarithm, without the errors of the sensors' gains.
        is_least: True if the run did not reach the level: its energy would be higher.
    """

    joules: float
    error: float
    is_least: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """Comparison of a new run with a base.

    Attributes:
        of: ``step``, ``total`` or ``level``.
        level: The level of the loss; None unless ``of`` is ``level``.
        limit: Largest ratio, new over base, that is not a regression.
        base: Energy of the base; with repeats, their geometric mean.
        new: Energy of the new run.
        ratio: New over base with its 90 % interval.
        p_above: Probability that the ratio is above the limit.
        spread: Standard deviation of the energy between runs that differ by chance, relative to it; None if unknown.
        repeats: Runs from which the spread was estimated; 0 if it was given or is unknown.
    """

    of: str
    level: float | None
    limit: float
    base: Quantity
    new: Quantity
    ratio: Interval
    p_above: float
    spread: float | None
    repeats: int

    @property
    def is_regression(self) -> bool:
        """True if the increase is above the limit with a probability of at least 95 %."""
        return self.p_above >= CERTAIN


def regression_of(
    base: "StoredRun",
    new: "StoredRun",
    *,
    limit: float,
    of: str = STEP,
    level: float | None = None,
    repeats: "Sequence[StoredRun]" = (),
    spread: float | None = None,
) -> Regression:
    """Compare the energy of a new run with that of a base.

    Args:
        base: The base run.
        new: The new run.
        limit: Largest increase that is not a regression, as a share: 0.05 is 5 %.
        of: ``step`` (mean energy of a step), ``total`` (energy of the run) or ``level`` (energy to a loss).
        level: The level, for ``of="level"``.
        repeats: Further runs like the base, from which the spread between runs is estimated.
        spread: Standard deviation of the energy between runs that differ by chance, relative to it.

    Raises:
        UsageError: The runs cannot be compared: they count different devices, have too few steps, did not complete, or
            the base did not reach the level.
    """
    runs = [base, *repeats, new]
    _check_devices(runs)
    first, *others, last = (_quantity(run, of, level) for run in runs)
    bases = [first, *others]
    if any(one.is_least for one in bases):
        raise UsageError(
            f"{_name(base)} or a repeat of it did not reach the loss {level:g}; choose a higher level."
        )
    logs = [math.log(one.joules) for one in bases]
    mean = sum(logs) / len(logs)
    is_estimated = spread is None and bool(others)
    if is_estimated:
        spread = stdev(logs)
    own = math.sqrt(sum(one.error**2 for one in bases)) / len(bases)
    chance = (spread or 0.0) * math.sqrt(1.0 + 1.0 / len(bases))
    if is_estimated:
        chance *= _student(len(bases) - 1)
    sigma = max(math.hypot(own, last.error, chance, gain_error((base, new))), _LEAST_ERROR)
    ratio = last.joules / math.exp(mean)
    p_above = NormalDist().cdf((math.log(ratio) - math.log1p(limit)) / sigma)
    if last.is_least and p_above < CERTAIN:
        raise UsageError(
            f"{_name(new)} did not reach the loss {level:g} with the energy it used; train it longer or choose a "
            "higher one."
        )
    factor = math.exp(Z_90 * sigma)
    return Regression(
        of=of,
        level=level,
        limit=1.0 + limit,
        base=Quantity(joules=math.exp(mean), error=own),
        new=last,
        ratio=Interval(low=ratio / factor, median=ratio, high=math.inf if last.is_least else ratio * factor),
        p_above=p_above,
        spread=spread,
        repeats=len(bases) if is_estimated else 0,
    )


def _student(degrees: int) -> float:
    """Return the factor by which a spread estimated from few runs is widened, so that 95 % stays 95 %."""
    return student_95(degrees) / Z_90


def _name(run: "StoredRun") -> str:
    return str(run.meta.get("name") or run.path.name)


def _check_devices(runs: "Sequence[StoredRun]") -> None:
    """Raise where the totals of the runs cover different kinds of devices, as where a sensor could not be read."""
    covered = [sorted({domain.kind.name for domain in run.domains.values() if domain.billed}) for run in runs]
    for run, kinds in zip(runs, covered, strict=True):
        if not kinds:
            raise UsageError(f"{_name(run)} has no measured energy.")
        if kinds != covered[0]:
            raise UsageError(
                f"the energies cover different devices: {', '.join(covered[0])} in {_name(runs[0])}, "
                f"{', '.join(kinds)} in {_name(run)}. Record both with the same sensors."
            )
        if missing := run.meta.get("missing"):
            raise UsageError(
                f"the energy of {_name(run)} is incomplete: no sensor covers {', '.join(missing)}."
            )


def _quantity(run: "StoredRun", of: str, level: float | None) -> Quantity:
    if of == STEP:
        return _per_step(run)
    if of == TOTAL:
        return _total(run)
    assert level is not None
    return _to_level(run, level)


def _per_step(run: "StoredRun") -> Quantity:
    steps = run.steps[run.steps["total_joules"].notna()]
    if len(steps) < _LEAST_ROWS:
        raise UsageError(
            f"{_name(run)} has {len(steps)} rows of steps with energy; a comparison of steps needs {_LEAST_ROWS}."
        )
    counts = steps["step_count"].to_numpy(dtype=float)
    joules = steps["total_joules"].to_numpy(dtype=float)
    mean = float(joules.sum() / counts.sum())
    if mean <= 0.0:
        raise UsageError(f"the steps of {_name(run)} have no energy.")
    scatter = standard_error(joules / counts) / mean
    edges = run.summary().edge_joules / float(joules.sum())
    return Quantity(joules=mean, error=math.hypot(scatter, edges))


def _total(run: "StoredRun") -> Quantity:
    summary = run.summary()
    if summary.status is not Status.COMPLETED:
        raise UsageError(
            f"{_name(run)} is {summary.status.value}; totals are compared of completed runs only."
        )
    if not summary.total_joules:
        raise UsageError(f"{_name(run)} has no measured energy.")
    return Quantity(joules=summary.total_joules, error=summary.edge_joules / summary.total_joules)


def _to_level(run: "StoredRun", level: float) -> Quantity:
    fit = fit_metric(run, learning_rate_trace(run), "loss")
    known = fit.joules_at(level)
    if known.verdict is not Verdict.REACHED:
        return Quantity(joules=fit.joules, error=0.0, is_least=True)
    if fit.metric.error(level) <= 0.0:
        raise UsageError(f"the loss {level:g} is its best possible value; choose a higher one.")
    points = fit.curve.joules
    after = bisect_right(points, known.median)
    if after < _LEAST_BEFORE:
        raise UsageError(
            f"{_name(run)} reached the loss {level:g} within its first points, where its energy is not known well; "
            "choose a lower one."
        )
    smoothed, log_level = fit.smoothed, math.log(fit.metric.error(level))
    reach = Z_90 * level_error(fit)
    early = smoothed.first_crossing(log_level + reach)
    late = min(smoothed.first_crossing(log_level - reach), fit.joules)
    early = max(early, float(smoothed.joules[0]))
    spread = math.log(late / early) / 2.0 / Z_90 if late > early > 0.0 else 0.0
    # The crossing is not known better than the distance of the points around it.
    gap = math.log(float(points[min(after, len(points) - 1)]) / float(points[after - 1]))
    return Quantity(joules=known.median, error=math.hypot(spread, UNIFORM * gap))
