"""Energy of the phases of training steps: data loading, forward, backward, optimizer, and the rest of each step.

Sensors are slower than phases, so the energy of a phase cannot be read. It is estimated by a Bayesian linear regression
of the mean power of stretches of steps on the share of time of each phase (Gelman et al., Bayesian Data Analysis, ch.
14). The prior power of a phase has the mean and spread of a uniform one between zero and twice the mean power, and the
joules of all phases add up to those of the steps. Phases whose shares do not vary cannot be separated: their intervals
remain as wide as the prior.
"""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from profiler.analysis.window_energy import gain_variance
from profiler.records import Interval, PhaseEnergy
from profiler.storage.schema import PHASES
from profiler.uncertainty import Z_90

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from profiler.storage.reader import StoredRun

    Array = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

OTHER = "other"
"""Time outside every phase: zeroing gradients, logging, the loop itself."""

_STRETCH_PERIODS = 5
"""Length of a stretch in update periods of the slowest sensor, so that its joules are resolved."""
_USUAL_PERIOD_SECONDS = 0.1
"""For a sensor whose update period is unknown."""
_PRIOR_SIGMA = 1 / math.sqrt(3)
"""Standard deviation of a power uniform between zero and twice the mean, in units of the mean."""
_EXACT = 1e-12
_NOTHING = 1e-9
"""Smallest seconds and joules: stored values have six decimals."""
_ROUNDS = 3
"""Iterations of the estimate of the scatter."""


def of_run(run: "StoredRun") -> tuple[PhaseEnergy, ...]:
    """Return the energy of a run's phases; see :func:`energy_by_phase`."""
    joules = run.energy_by_domain()
    total = sum(joules.values())
    common = gain_variance(run.domains, joules) ** 0.5 / total if total > 0.0 else 0.0
    periods = [run.domains[name].update_period_seconds for name in joules]
    return energy_by_phase(run.steps, periods_seconds=periods, relative_sigma=common)


def energy_by_phase(
    steps: "pd.DataFrame", *, periods_seconds: Iterable[float | None] = (), relative_sigma: float = 0.0
) -> tuple[PhaseEnergy, ...]:
    """Return the joules of each timed phase and of ``other``; they add up to the joules of the steps.

    Args:
        steps: The table of a run's steps.
        periods_seconds: Update interval of each counted sensor; None where unknown.
        relative_sigma: Relative standard deviation of the joules that is common to the whole run.

    Returns:
        One entry per phase in the order of a step; empty without steps or timed phases. Joules are None where nothing
        is metered.
    """
    slowest = max(
        (period or _USUAL_PERIOD_SECONDS for period in periods_seconds), default=_USUAL_PERIOD_SECONDS
    )
    return PhaseTimes(steps, _STRETCH_PERIODS * slowest).energy("total_joules", relative_sigma)


class PhaseTimes:
    """The time of each phase in the stretches of a table of steps, for the energy of several columns.

    Args:
        steps: The table.
        stretch_seconds: Length of a stretch.
    """

    def __init__(
        self, steps: "pd.DataFrame", stretch_seconds: float = _STRETCH_PERIODS * _USUAL_PERIOD_SECONDS
    ) -> None:
        self._steps = steps
        self._length = stretch_seconds
        self._names, self._seconds = _seconds(steps)
        self._stretches: _Stretches | None = None

    def energy(self, column: str, relative_sigma: float = 0.0) -> tuple[PhaseEnergy, ...]:
        """Return the part of each phase in the joules of a column; see :func:`energy_by_phase`."""
        import numpy as np

        if not self._names:
            return ()
        spent = self._seconds.sum(axis=0)
        energy = self._steps[column].to_numpy(dtype=float)
        metered = ~np.isnan(energy)
        if not metered.any():
            return tuple(
                PhaseEnergy(name=name, seconds=float(time), joules=None)
                for name, time in zip(self._names, spent, strict=True)
            )
        stretches = self._stretches_of(metered)
        joules, sigmas = _regress(stretches, stretches.sums(energy))
        return tuple(
            PhaseEnergy(
                name=name, seconds=float(time), joules=_interval(part, sigma, relative_sigma, joules.sum())
            )
            for name, time, part, sigma in zip(self._names, spent, joules, sigmas, strict=True)
        )

    def _stretches_of(self, metered: "Flags") -> "_Stretches":
        """Divide the metered rows into stretches; columns that are metered in the same rows share them."""
        import numpy as np

        if self._stretches is None or not np.array_equal(self._stretches.rows, metered):
            self._stretches = _stretches(self._steps, self._seconds, metered, self._length)
        return self._stretches


def _interval(joules: float, sigma: float, common: float, total: float) -> Interval:
    # The energy of a phase lies between zero and that of all steps.
    spread = Z_90 * math.hypot(sigma, common * joules)
    high = min(joules + spread, total * (1 + Z_90 * common))
    return Interval(low=float(max(joules - spread, 0.0)), median=float(joules), high=float(max(high, joules)))


def _seconds(steps: "pd.DataFrame") -> tuple[tuple[str, ...], "Array"]:
    """Return the phases with any time and their seconds in each row; untimed time belongs to ``other``."""
    import numpy as np

    names = [name for name, column in PHASES.items() if float(steps[column].sum()) > 0]
    if not names:
        return (), np.empty((len(steps), 0))
    timed = steps[[PHASES[name] for name in names]].fillna(0.0).to_numpy(dtype=float)
    rest = (steps["end_seconds"] - steps["start_seconds"]).to_numpy(dtype=float) - timed.sum(axis=1)
    return (*names, OTHER), np.column_stack([timed, np.maximum(rest, 0.0)])


class _Stretches(NamedTuple):
    """Stretches of rows, a few update periods long.

    Attributes:
        rows: True for the rows that they consist of.
        group: Number of the stretch of each of these rows.
        spent: Time of each phase.
        lasting: True for the stretches that last; those that follow are theirs.
        seconds: Length of each of them.
        shares: Share of each phase in its time.
        variance: Variance of its joules.
    """

    rows: "Flags"
    group: "npt.NDArray[np.int64]"
    spent: "Array"
    lasting: "Flags"
    seconds: "Array"
    shares: "Array"
    variance: "Array"

    def sums(self, column: "Array") -> "Array":
        """Sum a column of the table in each stretch."""
        import numpy as np

        return np.bincount(self.group, weights=column[self.rows]).astype(float)


def _stretches(steps: "pd.DataFrame", seconds: "Array", rows: "Flags", length: float) -> _Stretches:
    """Divide the selected rows of a table into stretches about ``length`` seconds long."""
    import numpy as np

    if not rows.all():
        steps, seconds = steps[rows], seconds[rows]
    ends = np.cumsum(seconds.sum(axis=1))
    number = np.floor((ends - ends[0]) / length)
    # Numbers that do not decrease are counted without being sorted.
    turns = np.diff(number)
    if turns.min(initial=0.0) >= 0.0:
        group = np.concatenate([[0], np.cumsum(turns > 0.0)])
    else:
        group = np.unique(number, return_inverse=True)[1]
    # Neighbouring rows share an edge, whose error one gains and the other loses: within a stretch it cancels.
    edge = steps["uncertainty_joules"].fillna(0.0).to_numpy(dtype=float) ** 2 / 2
    joined = np.diff(group) == 0
    joined &= steps["start_seconds"].to_numpy()[1:] == steps["end_seconds"].to_numpy()[:-1]
    variance = edge * (2.0 - np.append(joined, False) - np.append(False, joined))
    by_phase = np.column_stack([np.bincount(group, weights=column) for column in seconds.T])
    whole = by_phase.sum(axis=1)
    lasting = whole > _NOTHING
    return _Stretches(
        rows=rows,
        group=group,
        spent=by_phase.sum(axis=0),
        lasting=lasting,
        seconds=whole[lasting],
        shares=by_phase[lasting] / whole[lasting, None],
        variance=np.bincount(group, weights=variance).astype(float)[lasting],
    )


def _regress(stretches: _Stretches, joules: "Array") -> tuple["Array", "Array"]:
    """Return the joules of each phase and their standard deviations, from the joules of all stretches."""
    import numpy as np

    # In units of the mean power: the power of a stretch averages 1, which is also the prior mean of each phase.
    spent, shares, total = stretches.spent, stretches.shares, float(joules.sum())
    if total <= _NOTHING or not len(shares):
        return np.zeros_like(spent), np.zeros_like(spent)
    mean = total / float(spent.sum())
    power = joules[stretches.lasting] / stretches.seconds / mean
    known = stretches.variance / (stretches.seconds * mean) ** 2
    scatter = float(np.var(power))
    for _ in range(_ROUNDS):
        weights = 1.0 / (known + scatter + _EXACT)
        information = (shares.T * weights) @ shares
        powers, covariance = _posterior(information, shares.T @ (weights * power), spent)
        rest = power - shares @ powers
        free = len(power) - float(np.trace(information @ covariance))
        if free > 1.0:
            scatter = max(float(np.sum(rest**2 - known)) / free, 0.0)
    sigma = np.sqrt(np.diag(covariance).clip(min=0.0) * _persistence(rest))
    return powers * spent * mean, np.minimum(sigma, _PRIOR_SIGMA) * spent * mean


def _posterior(information: "Array", pull: "Array", spent: "Array") -> tuple["Array", "Array"]:
    """Return mean and covariance of the phases' powers, non-negative and consistent with the mean power."""
    import numpy as np

    inverse = np.linalg.inv(information + np.eye(len(spent)) / _PRIOR_SIGMA**2)
    along = inverse @ spent
    covariance = inverse - np.outer(along, along) / (spent @ along)
    kept = np.ones(len(spent), dtype=bool)
    while True:
        powers = np.zeros(len(spent))
        powers[kept] = _constrained(information[np.ix_(kept, kept)], pull[kept], spent[kept], spent.sum())
        if powers.min() >= 0.0:
            return powers, covariance
        kept &= powers > powers.min()


def _constrained(information: "Array", pull: "Array", spent: "Array", total: float) -> "Array":
    import numpy as np

    inverse = np.linalg.inv(information + np.eye(len(spent)) / _PRIOR_SIGMA**2)
    powers = inverse @ (pull + 1 / _PRIOR_SIGMA**2)
    along = inverse @ spent
    constrained: Array = powers + along * (total - spent @ powers) / (spent @ along)
    return constrained


def _persistence(rest: "Array") -> float:
    """Return the factor by which autocorrelated residuals increase the variance, (1 + rho) / (1 - rho)."""
    import numpy as np

    power = float(rest @ rest)
    if len(rest) < 3 or power <= _EXACT:  # noqa: PLR2004 - one pair of neighbours has no correlation
        return 1.0
    correlation = float(np.clip(rest[1:] @ rest[:-1] / power, 0.0, 0.98))
    return (1 + correlation) / (1 - correlation)
