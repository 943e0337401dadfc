"""The model size with the lowest loss for an amount of energy, from runs of several sizes.

The loss is fitted as ``L = E + A N^-a + B D^-b`` over parameters N and work D (approach 3 of Hoffmann et al., Training
Compute-Optimal Large Language Models, 2022). Energy replaces operations: a unit of work of a model of N parameters
costs ``c N^g`` joules, fitted from the same runs, so that ``D = joules / (c N^g)``. For fixed exponents the loss is
linear in E, A and B, which are not negative; the exponents are searched on a grid, and the runs are resampled for the
intervals.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from profiler.errors import ForecastRefusedError, UsageError
from profiler.forecasting.curve import FloatArray
from profiler.records import Interval
from profiler.units import format_joules

FEWEST_SIZES = 5
LEAST_RATIO = 4.0
"""Fewest sizes, and the least ratio of the largest to the smallest, that determine the exponents."""
BELOW, BEYOND = 2.0, 2.0
"""Sizes that are considered reach from the smallest over ``BELOW`` to the largest times ``BEYOND``."""
_POINTS = 16
_FIRST = 0.1
"""Part of a run's energy from which its curve is used: earlier values depend on the warm-up."""
_EXPONENTS = np.geomspace(0.05, 1.2, 26)
_PRIOR, _PRIOR_SPREAD = math.log(0.35), 0.6
"""Median and standard deviation of the logarithm of an exponent before the runs are seen."""
_RESAMPLES = 100
_SIZES = 160
_SEED = 20261128
_DISTINCT = 0.02
"""Sizes closer than this, relative to each other, are one; its best run is used."""
_LEAST_ERROR = 0.002


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SizedRun:
    """A run of known size.

    Attributes:
        parameters: Number of trained parameters.
        joules: Energy since the first step at each point, increasing.
        losses: Smoothed loss there, positive.
        work: Work of the whole run, in a unit that is the same for all runs: tokens, samples or steps.
    """

    parameters: float
    joules: FloatArray
    losses: FloatArray
    work: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BestSize:
    """The size with the lowest loss for an amount of energy.

    Attributes:
        joules: The energy since the first step.
        parameters: Its number of parameters; 90 % interval.
        loss: The loss that it reaches.
        work: Work that the energy pays for at that size, in the unit of the runs.
        is_edge: True if the best size lies at the end of those considered, so that a more extreme one may be better.
    """

    joules: float
    parameters: Interval
    loss: Interval
    work: Interval
    is_edge: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SizeFit:
    """Loss over parameters and energy, one row per resample, the whole set of runs first.

    Attributes:
        sizes: Parameters of the runs, increasing.
        coefficients: E, A, B, a, b.
        costs: Logarithm of c, and g.
        most_joules: Largest energy of a run.
        least_work: Least work at which the loss of a run was used.
        error: Standard deviation of the log loss of a run around the fit. It doubles with each factor of four beyond
            the largest size or energy.
    """

    sizes: FloatArray
    most_joules: float
    least_work: float
    coefficients: FloatArray
    costs: FloatArray
    error: float

    def losses(self, parameters: FloatArray, joules: float) -> FloatArray:
        """Return the loss of each resample (rows) at each size (columns)."""
        floor, of_size, of_work, a, b = (column[:, None] for column in self.coefficients.T)
        return np.asarray(floor + of_size * parameters**-a + of_work * self.work(parameters, joules) ** -b)

    def work(self, parameters: FloatArray, joules: float) -> FloatArray:
        """Return the work that the energy pays for."""
        log_cost, power = (column[:, None] for column in self.costs.T)
        return np.asarray(joules / (np.exp(log_cost) * parameters**power))

    def loss_at(self, parameters: float, joules: float) -> Interval:
        """Return the loss of a size after an amount of energy since the first step; 90 % interval."""
        return self._interval(self.losses(np.array([parameters]), joules)[:, 0], parameters, joules)

    def best(self, joules: float) -> BestSize:
        """Return the best size for an amount of energy since the first step.

        Raises:
            ForecastRefusedError: ``too_little_energy`` where it trains no size for as long as any run was trained.
            UsageError: The energy is not a positive finite number.
        """
        if not (math.isfinite(joules) and joules > 0.0):
            raise UsageError(f"the budget must be a positive number of joules, not {joules!r}.")
        grid = np.geomspace(self.sizes[0] / BELOW, self.sizes[-1] * BEYOND, _SIZES)
        # A size that the energy trains for less than any run was trained has no evidence.
        losses = np.where(self.work(grid, joules) >= self.least_work, self.losses(grid, joules), np.inf)
        if np.isinf(losses).all(axis=1).any():
            raise ForecastRefusedError(
                "too_little_energy",
                f"{format_joules(joules)} train no size for as long as any run was trained.",
                remedy="Ask for more energy, or add runs of smaller models.",
            )
        chosen = losses.argmin(axis=1)
        rows = np.arange(chosen.size)
        return BestSize(
            joules=joules,
            parameters=_range(grid[chosen]),
            loss=self._interval(losses[rows, chosen], float(grid[chosen[0]]), joules),
            work=_range(self.work(grid, joules)[rows, chosen]),
            is_edge=bool(chosen[0] in (0, _SIZES - 1)),
        )

    def _interval(self, losses: FloatArray, parameters: float, joules: float) -> Interval:
        beyond = max(math.log(parameters / self.sizes[-1]), math.log(joules / self.most_joules), 0.0)
        error = self.error * (1.0 + beyond / math.log(LEAST_RATIO))
        noise = np.random.default_rng(_SEED).standard_normal((losses.size - 1, 8))
        spread = losses[1:, None] * np.exp(error * noise)
        low, high = np.quantile(spread, (0.05, 0.95))
        return Interval(
            low=min(float(low), float(losses[0])),
            median=float(losses[0]),
            high=max(float(high), float(losses[0])),
        )


def _range(values: FloatArray) -> Interval:
    low, high = np.quantile(values[1:], (0.05, 0.95))
    median = float(values[0])
    return Interval(low=min(float(low), median), median=median, high=max(float(high), median))


def fit_size(runs: Sequence[SizedRun]) -> SizeFit:
    """Fit the loss over parameters and energy.

    Raises:
        ForecastRefusedError: ``too_few_sizes`` where the runs have fewer than five sizes, or a range below four.
    """
    chosen = _best_of_each_size(runs)
    sizes = np.array([run.parameters for run in chosen])
    ratio = float(sizes[-1] / sizes[0]) if sizes.size else 0.0
    if sizes.size < FEWEST_SIZES or ratio < LEAST_RATIO:
        known = f"{sizes.size} model {'size' if sizes.size == 1 else 'sizes'}"
        needed = f"{FEWEST_SIZES} over a range of {LEAST_RATIO:g}"
        span = f" over a range of {ratio:.2g}" if sizes.size > 1 else ""
        raise ForecastRefusedError(
            "too_few_sizes",
            f"The runs have {known}{span}; the best size needs {needed}.",
            remedy="Train small models of more sizes.",
        )
    data = [_Moments.of(run) for run in chosen]
    rng = np.random.default_rng(_SEED)
    weights = np.vstack([np.ones(len(data)), _resampled(rng, len(data))])
    coefficients = np.array([_solve(data, row) for row in weights])
    log_sizes = np.log(sizes)
    log_costs = np.log([run.joules[-1] / run.work for run in chosen])
    costs = np.array([_line(log_sizes, log_costs, row) for row in weights])
    misses = [
        float(np.mean(np.log(run.losses[_used(run)] / _own_losses(coefficients[0], run)))) for run in chosen
    ]
    # Three coefficients and two exponents are fitted to the runs, which lowers the misses of few runs.
    freedom = max(len(misses) - 5, 1)
    error = max(math.sqrt(float(np.sum(np.square(misses))) / freedom), _LEAST_ERROR)
    most = max(float(run.joules[-1]) for run in chosen)
    least = min(run.work * float(run.joules[_used(run)[0]] / run.joules[-1]) for run in chosen)
    return SizeFit(
        sizes=sizes, most_joules=most, least_work=least, coefficients=coefficients, costs=costs, error=error
    )


def _best_of_each_size(runs: Sequence[SizedRun]) -> list[SizedRun]:
    """Return one run per size, in order of size: the one with the lowest loss at the energy that all of them spent."""
    groups: list[list[SizedRun]] = []
    for run in sorted(runs, key=lambda run: run.parameters):
        if groups and run.parameters <= groups[-1][0].parameters * (1.0 + _DISTINCT):
            groups[-1].append(run)
        else:
            groups.append([run])
    found = []
    for group in groups:
        common = math.log(min(float(run.joules[-1]) for run in group))
        levels = [float(np.interp(common, np.log(run.joules), np.log(run.losses))) for run in group]
        found.append(group[int(np.argmin(levels))])
    return found


def _resampled(rng: np.random.Generator, count: int) -> FloatArray:
    """Return weights of the runs (Bayesian bootstrap), which never lose a size entirely."""
    return np.asarray(rng.dirichlet(np.ones(count), _RESAMPLES) * count)


def _used(run: SizedRun) -> npt.NDArray[np.int64]:
    """Return the indices of points evenly spaced in log energy, without the start."""
    log = np.log(run.joules)
    wanted = np.linspace(log[-1] + math.log(_FIRST), log[-1], _POINTS)
    return np.unique(np.searchsorted(log, wanted).clip(max=log.size - 1))


def _own_losses(coefficients: FloatArray, run: SizedRun) -> FloatArray:
    floor, of_size, of_work, a, b = coefficients
    work = run.work * run.joules[_used(run)] / run.joules[-1]
    return np.asarray(floor + of_size * run.parameters**-a + of_work * work**-b)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Moments:
    """Sums of one run for the weighted regression, for each pair of exponents."""

    products: FloatArray
    """Shape (pairs, 3, 3)."""
    targets: FloatArray
    """Shape (pairs, 3)."""

    @classmethod
    def of(cls, run: SizedRun) -> "_Moments":
        used = _used(run)
        work = run.work * run.joules[used] / run.joules[-1]
        # Relative errors: each row is divided by the loss, so that the target is one.
        scale = 1.0 / run.losses[used]
        a, b = (grid.ravel() for grid in np.meshgrid(_EXPONENTS, _EXPONENTS, indexing="ij"))
        ones = np.ones((a.size, used.size))
        of_size = (run.parameters**-a)[:, None] * ones
        of_work = work[None, :] ** -b[:, None]
        design = np.stack([ones, of_size, of_work], axis=2) * scale[None, :, None] / math.sqrt(used.size)
        target = np.full(used.size, 1.0 / math.sqrt(used.size))
        return cls(
            products=np.einsum("pki,pkj->pij", design, design),
            targets=np.einsum("pki,k->pi", design, target),
        )


_SUBSETS = tuple(list(rows) for count in (3, 2, 1) for rows in combinations(range(3), count))


def _solve(data: Sequence[_Moments], weights: FloatArray) -> FloatArray:
    """Return E, A, B and the exponents with the least squared relative error, and a prior on the exponents."""
    products = np.asarray(np.tensordot(weights, np.stack([one.products for one in data]), axes=1))
    targets = np.asarray(np.tensordot(weights, np.stack([one.targets for one in data]), axes=1))
    total = float(weights.sum())
    best_error = np.full(targets.shape[0], np.inf)
    best = np.zeros_like(targets)
    for rows in _SUBSETS:
        part = np.take(np.take(products, rows, axis=1), rows, axis=2)
        scale = np.sqrt(np.einsum("pii->pi", part))
        scaled = part / scale[:, :, None] / scale[:, None, :] + 1e-12 * np.eye(len(rows))
        solved = np.linalg.solve(scaled, (targets[:, rows] / scale)[:, :, None])[:, :, 0] / scale
        error = total - np.einsum("pi,pi->p", solved, targets[:, rows])
        better = (solved >= 0.0).all(axis=1) & (error < best_error)
        best_error[better] = error[better]
        best[better] = 0.0
        for column, row in enumerate(rows):
            best[better, row] = solved[better, column]
    a, b = (grid.ravel() for grid in np.meshgrid(_EXPONENTS, _EXPONENTS, indexing="ij"))
    prior = sum(np.square((np.log(one) - _PRIOR) / _PRIOR_SPREAD) for one in (a, b))
    noise = max(float(best_error.min()) / max(len(data) - 5, 1), _LEAST_ERROR**2)
    chosen = int(np.argmin(best_error + noise * prior))
    return np.array([*best[chosen], a[chosen], b[chosen]])


def _line(x: FloatArray, y: FloatArray, weights: FloatArray) -> tuple[float, float]:
    """Return intercept and slope of the weighted regression."""
    mean_x, mean_y = np.average(x, weights=weights), np.average(y, weights=weights)
    spread = float(np.average(np.square(x - mean_x), weights=weights))
    slope = float(np.average((x - mean_x) * (y - mean_y), weights=weights)) / max(spread, 1e-12)
    return float(mean_y - slope * mean_x), slope
