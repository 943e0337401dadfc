"""The posterior over curves on a grid: deterministic, without starting values or random numbers.

Given the shape of a curve, its level mu and the noise integrate out in closed form (a normal with conjugate scaled
inverse chi-squared variance; Gelman et al., Bayesian Data Analysis, 3rd ed., section 3.2). A curve need not hold from
the beginning: each candidate start assigns the bins before it to another regime, with standard deviation ``outside``.
Starts and anneal gains need no further evaluation of the curves: all sums over bins are matrix products.

The posterior is a narrow curved ridge in (slope, share). So each slope has its own row of shares, laid over the part of
the ridge that matters there, and the grid is narrowed until further refinement changes nothing.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.errors import UsageError
from profiler.forecasting.context import FitContext
from profiler.forecasting.curve import Curve, FloatArray
from profiler.forecasting.models import MODELS, CurveModel, log_level
from profiler.forecasting.priors import Priors

STARTS = 10
FEWEST_BINS = 4
"""Fewest bins that a curve is fitted to."""
GAINS = 9
MIN_EFFECTIVE = 4.0
MIN_INSIDE = 2.0

SLOPES, SHARES = 32, 24
"""Grid of the first family."""
OTHER_SLOPES, OTHER_SHARES = 24, 16
"""Grid of each further family."""
BARE_SLOPES = 96
REACH = 3.2
"""Standard deviations of the priors that the first grid covers."""
KEPT = 0.9998
"""Part of the probability that is kept; many nodes share the rest and change no quantile."""
MOST_ZOOMS = 4
ENOUGH = 0.5
"""Part of the grid lines that must be likely to stop narrowing."""
NEGLIGIBLE = float(np.log(1e-6))
"""Nodes with less than this part of the best one's probability are dropped."""


_HALF_LOG_TWO_PI = 0.5 * float(np.log(2.0 * np.pi))
_SMALLEST_ERROR = 1e-100
_SMALLEST_DOUBLING = 1e-9
_TRANSITION = 6
"""Sharpness of the transition between the anneal gains of gentle and of steep curves."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodes:
    """Weighted grid nodes: curves with their probabilities, one entry each.

    Attributes:
        model: Index of the family in `MODELS`.
        slope: b, exponent at the last point.
        share: s, share of the present level above the floor; 1 is a floor of zero.
        gain: G, part of the log level that annealing the learning rate to zero removes.
        start: Log v from which on the curve holds.
        mass: Probability.
        location: mu, mean log level at the last point.
        scale: Standard error of mu.
    """

    model: npt.NDArray[np.int64]
    slope: FloatArray
    share: FloatArray
    gain: FloatArray
    start: FloatArray
    mass: FloatArray
    location: FloatArray
    scale: FloatArray

    def log_levels(self, log_v: FloatArray, progress: FloatArray) -> FloatArray:
        """Return the log level of each node (rows) at each log v and anneal progress since the last point (columns)."""
        decay = np.empty((self.model.size, log_v.size))
        for index in np.unique(self.model):
            rows = self.model == index
            decay[rows] = MODELS[index].log_decay(log_v, self.slope[rows][:, None])
        shape = log_level(decay, self.share[:, None])
        return np.asarray(self.location[:, None] + shape - self.gain[:, None] * progress)

    def at_rest(self, log_level: float, log_error: float) -> "Nodes":
        """Return nodes at a constant level, of which nothing but annealing removes a part.

        Args:
            log_level: Mean log level.
            log_error: Its standard error.
        """
        everywhere = np.ones_like(self.mass)
        # The error of a constant without noise is 0, by which levels cannot be divided.
        scale = max(log_error, _SMALLEST_ERROR) * everywhere
        return replace(self, share=0.0 * everywhere, location=log_level * everywhere, scale=scale)

    def gain_per_doubling(self) -> FloatArray:
        """Return the part of the log level that the next doubling of energy removes, at the present slope."""
        return np.asarray(self.slope * self.share * np.log(2.0))

    def merged(self, *, gains: bool) -> "Nodes":
        """Merge nodes with the same future except for their present level, whose two moments are kept.

        They differ in the start of the curve. The result is several times smaller, and no quantile moves by more than
        two parts in a thousand.

        Args:
            gains: Merge nodes of different anneal gain as well, where no annealing lies ahead. After a fall of the
                rate their levels differ, and quantiles of a few noisy points move by up to a tenth.
        """
        same = [self.model, self.slope, self.share] + ([] if gains else [self.gain])
        _, first, group = np.unique(np.stack(same), axis=1, return_index=True, return_inverse=True)
        group = group.ravel()
        mass = np.asarray(np.bincount(group, self.mass), dtype=float)
        averaged = ("slope", "share", "gain", "start", "location")
        columns = {name: np.bincount(group, self.mass * getattr(self, name)) / mass for name in averaged}
        # The variance of a mixture: that within the nodes plus that of their means.
        spread = np.square(self.scale) + np.square(self.location - columns["location"][group])
        scale = np.sqrt(np.bincount(group, self.mass * spread) / mass)
        return Nodes(model=self.model[first], **columns, mass=mass, scale=scale)

    def families(self) -> dict[str, float]:
        """Return the probability of each family."""
        return {model.name: float(self.mass[self.model == k].sum()) for k, model in enumerate(MODELS)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Posterior:
    """The posterior of a curve.

    Attributes:
        nodes: The weighted curves.
        log_mean: Their mean log level in each bin.
        log_v: Log of energy / energy at the last point in each bin, on the axis of the curves.
    """

    nodes: Nodes
    log_mean: FloatArray
    log_v: FloatArray


def infer(curve: Curve, context: FitContext, *, refine: float = 1.0, is_still: bool = False) -> Posterior:
    """Return the posterior of a curve.

    Args:
        curve: The binned curve.
        context: Information beside the points.
        refine: Multiplies the number of grid lines.
        is_still: Whether the curve shows no progress: it stands still, or the noise hides progress.

    Raises:
        UsageError: The lower bound is not under the curve.
    """
    log_v, progress = _axis(curve, context)
    evidence = gather(
        curve,
        context.priors,
        log_v=log_v,
        progress=progress,
        lower_bound=context.lower_bound,
        is_still=is_still,
    )
    nodes = fit_nodes(evidence, refine=refine)
    log_mean = nodes.mass @ nodes.log_levels(log_v, np.zeros_like(log_v) if progress is None else progress)
    return Posterior(nodes=nodes, log_mean=log_mean, log_v=log_v)


def _axis(curve: Curve, context: FitContext) -> tuple[FloatArray, FloatArray | None]:
    """Return log v of each bin, and its anneal progress less that at the last point."""
    schedule = context.schedule
    if schedule is None:
        return np.log(curve.joules / curve.last_joules), None
    last = np.array([curve.last_joules])
    log_v = np.log(schedule.learned_at(curve.joules) / schedule.learned_at(last))
    return log_v, schedule.progress_at(curve.joules) - schedule.progress_at(last)


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """The data that curves are weighted by.

    Attributes:
        log_v: Log of energy / energy at the last point, in each bin.
        log_y: Log level in each bin, less that of the last one.
        offset: Log level of the last bin.
        progress: Anneal progress in each bin, less that at the last point; None when the rate is not known.
        weights: Recency weight of each bin, a column for each start; each column sums to 1.
        inside: Part of the total weight that each start keeps.
        starts: Log v of each start.
        gains: Candidate anneal gains, as standard deviations of their prior; minus infinity is none at all.
        log_prior: Log prior probability of each start (rows) and gain (columns).
        max_share: Part of the present level above the lower bound.
        roughness: Standard deviation of the bins' white noise.
        count: Effective number of points.
        model: The family that is evaluated.
        priors: Assumptions before the curve is seen.
        is_still: Whether the curve shows no progress.
    """

    log_v: FloatArray
    log_y: FloatArray
    offset: float
    progress: FloatArray | None
    weights: FloatArray
    inside: FloatArray
    starts: FloatArray
    gains: FloatArray
    log_prior: FloatArray
    max_share: float
    roughness: float
    count: float
    model: CurveModel
    priors: Priors
    is_still: bool = False

    # Starts and gains are the leading axes below: numpy reduces a short last axis several times slower.

    @cached_property
    def counts(self) -> FloatArray:
        """Effective number of points that each start leaves, with axes for gains and curves."""
        return np.maximum(self.count * self.inside, MIN_INSIDE)[:, None, None]

    @cached_property
    def dof(self) -> FloatArray:
        """Degrees of freedom of the noise's posterior for each start, with axes for gains and curves."""
        return self.priors.noise_dof + self.counts - 1.0

    def noise(self, misfit: FloatArray) -> FloatArray:
        """Return the degrees of freedom times the noise variance, for mean square misfits by start and gain."""
        noise = self.counts * misfit
        noise += self.priors.noise_dof * self.priors.noise**2
        return np.asarray(noise)

    def residual(self, slope: FloatArray, share: FloatArray) -> FloatArray:
        """Return the residual of each curve in each bin (last axis), its level included."""
        level = log_level(self.model.log_decay(self.log_v, slope[..., None]), share[..., None])
        return np.subtract(self.log_y, level, out=level)

    def profile(self, slope: FloatArray, share: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the best level of each curve and its mean square misfit, by start, gain and curve.

        Curves are those of the broadcast slopes and shares, as one axis.
        """
        residual = self.residual(slope, share).reshape(-1, self.log_v.size)
        weights = self.weights.T
        level = weights @ residual.T
        if self.progress is None:
            square = weights @ np.square(residual, out=residual).T
            return level[:, None], _variance(square, level)[:, None]
        misfit = _variance(weights @ np.square(residual).T, level)
        # The anneal term is linear in G, so the misfit is a quadratic of G with these three coefficients.
        mean = weights @ self.progress
        variance = weights @ np.square(self.progress) - mean**2
        covariance = weights @ (residual * self.progress).T - level * mean[:, None]
        gains = self.gains_of(slope, share)
        levels = level[:, None] + mean[:, None, None] * gains
        misfits = (
            misfit[:, None] + 2.0 * covariance[:, None] * gains + variance[:, None, None] * np.square(gains)
        )
        return levels, np.maximum(misfits, 0.0)

    def log_likelihood(self, slope: FloatArray, share: FloatArray, misfit: FloatArray) -> FloatArray:
        """Return the log marginal likelihood of each curve plus the log prior, by start, gain and curve.

        Args:
            slope: Slope of each curve.
            share: Share of each curve.
            misfit: Its mean square misfit by :meth:`profile`.
        """
        # A Student t density: the level and the variance of the noise are integrated out in closed form.
        likelihood = self.noise(misfit)
        np.log(likelihood, out=likelihood)
        likelihood *= -0.5 * self.dof
        likelihood += self._constant
        if self.gains[0] == -math.inf:
            likelihood += self._log_none(slope, share)
        return likelihood

    def gains_of(self, slope: FloatArray, share: FloatArray) -> FloatArray:
        """Return the candidate gains in log levels, by gain and curve."""
        priors = self.priors
        # Annealing removes a part of what training can still remove, which is more where a doubling gains much. A
        # curve that stands still shows no such gain: what its candidates fall by is noise.
        doubling = np.ravel(slope * share) * (0.0 if self.is_still else np.log(2.0))
        steep = 1.0 / (1.0 + (priors.anneal_steep / np.maximum(doubling, _SMALLEST_DOUBLING)) ** _TRANSITION)
        center = priors.anneal_gain + (priors.anneal_most - priors.anneal_gain) * steep
        spread = priors.anneal_spread + priors.anneal_more_spread * steep
        is_some = self.gains[:, None] > -math.inf
        return np.asarray(center * np.exp(spread * np.where(is_some, self.gains[:, None], 0.0)) * is_some)

    def _log_none(self, slope: FloatArray, share: FloatArray) -> FloatArray:
        """Return the log prior probability of each gain's class, zero or positive, by gain and curve."""
        priors = self.priors
        # A curve that still falls steeply has learning left to anneal; one that hardly falls may have none.
        steepness = np.ravel(slope * share) * np.log(2.0) / priors.anneal_none_slope
        none = priors.anneal_none / (1.0 + np.square(0.0 * steepness if self.is_still else steepness))
        is_none = self.gains[:, None] == -math.inf
        return np.asarray(np.where(is_none, np.log(none), np.log1p(-none)))

    @cached_property
    def _constant(self) -> FloatArray:
        """The log prior of each start and gain, plus the part of the log likelihood that is the same for all curves."""
        # A later start explains fewer bins with the curve and more with the other regime, so that the constants of
        # both densities do not cancel between starts.
        counts, dof = self.counts, self.dof
        gamma = np.array([math.lgamma(0.5 * d) for d in dof.ravel().tolist()])[:, None, None]
        outside = math.hypot(self.priors.outside, self.priors.outside_noise * self.roughness)
        left_out = (
            self.count
            * (1.0 - self.inside[:, None, None])
            * (0.5 * math.log(2.0 * math.pi * math.e) + math.log(outside))
        )
        normaliser = gamma - 0.5 * (counts - 1.0) * math.log(math.pi) - 0.5 * np.log(counts) - left_out
        return np.asarray(self.log_prior[:, :, None] + normaliser)

    def discounted(self, residual: FloatArray, start: int) -> "Evidence":
        """Reduce the count for autocorrelated residuals, which mean misfit: n (1 - rho) / (1 + rho).

        Args:
            residual: Residual of the posterior mean in each bin, its level included.
            start: Index of the start that the residual belongs to.
        """
        weight = self.weights[:, start]
        left = (residual - residual @ weight) * np.sqrt(weight)
        count = float(self.counts[start, 0, 0])
        noise = self.priors.noise_dof * self.priors.noise**2 + count * float(left @ left)
        rho = min(max(count * float(left[1:] @ left[:-1]) / noise, 0.0), 0.99)
        return replace(self, count=max(self.count * (1.0 - rho) / (1.0 + rho), MIN_EFFECTIVE))


def _variance(square: FloatArray, mean: FloatArray) -> FloatArray:
    """Return mean squares less squared means, in the array of the mean squares; rounding leaves none under zero."""
    square -= mean**2
    return np.maximum(square, 0.0, out=square)


def gather(
    curve: Curve,
    priors: Priors,
    *,
    log_v: FloatArray,
    progress: FloatArray | None,
    lower_bound: float,
    is_still: bool = False,
) -> Evidence:
    """Collect the data that curves are weighted by.

    Args:
        curve: The binned curve.
        priors: Assumptions before the curve is seen.
        log_v: Log of energy / energy at the last point in each bin, on the axis of the curves.
        progress: Anneal progress in each bin less that at the last point, if the learning rate is known.
        lower_bound: A value that the floor cannot be under.
        is_still: Whether the curve shows no progress: it stands still, or the noise hides progress.

    Raises:
        UsageError: The lower bound is not under the curve.
    """
    # Only the late part of a curve continues: early points are many on a log axis and may follow another trend.
    weight = np.exp(priors.recency * np.log(curve.joules / curve.last_joules))
    level = math.exp(weight @ curve.log_values / weight.sum())
    if lower_bound >= level:
        raise UsageError(f"lower_bound={lower_bound:g} is not under the curve, which is at {level:.4g}.")
    first = _starts(log_v.size, priors)
    masked = weight[:, None] * (np.arange(log_v.size)[:, None] >= first)
    gains, gain_prior = np.full(1, math.nan), np.zeros(1)
    if progress is not None:
        gains, gain_prior = _gains(priors)
    return Evidence(
        log_v=log_v,
        log_y=curve.log_values - curve.log_values[-1],
        offset=float(curve.log_values[-1]),
        progress=progress,
        weights=masked / masked.sum(axis=0),
        inside=masked.sum(axis=0) / weight.sum(),
        starts=log_v[first],
        gains=gains,
        log_prior=_start_prior(first.size, priors)[:, None] + gain_prior,
        max_share=1.0 - lower_bound / level,
        roughness=_roughness(log_v, curve.log_values),
        # Kish's effective sample size.
        count=max(float(weight.sum() ** 2 / np.square(weight).sum()), MIN_EFFECTIVE),
        model=MODELS[0],
        priors=priors,
        is_still=is_still,
    )


def _starts(bins: int, priors: Priors) -> FloatArray:
    """Return the indices of the candidate starts, evenly spaced over the bins."""
    last = max(bins - FEWEST_BINS, 0) if priors.late_start > 0.0 else 0
    return np.unique(np.linspace(0, last, min(STARTS, last + 1)).astype(np.int64))


def _start_prior(starts: int, priors: Priors) -> FloatArray:
    late = priors.late_start if starts > 1 else 0.0
    rest = np.full(starts - 1, late / max(starts - 1, 1))
    return np.asarray(np.log(np.append(1.0 - late, rest)))


def _gains(priors: Priors) -> tuple[FloatArray, FloatArray]:
    # The gain is integrated out on nine lines; 1.6 % of its prior lies outside of them.
    z = np.linspace(-2.4, 2.4, GAINS)
    mass = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
    if priors.anneal_none > 0.0:
        z = np.append(-np.inf, z)
        mass = np.append(1.0, mass)
    return np.asarray(z), np.log(mass)


def _roughness(x: FloatArray, y: FloatArray) -> float:
    """Return the white noise of the bins, from the distance of each to the line between its neighbours."""
    if x.size < 3:  # noqa: PLR2004 - a bin and its two neighbours
        return 0.0
    part = (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
    miss = y[1:-1] - (1.0 - part) * y[:-2] - part * y[2:]
    normal_median = 0.6745
    return float(np.median(np.abs(miss) / np.sqrt(1.0 + part**2 + (1.0 - part) ** 2))) / normal_median


@dataclass(frozen=True, kw_only=True, eq=False)
class _Grid:
    """Standardised values of the parameters: a column of slopes, and for each its own row of shares.

    Attributes:
        slope: The slopes.
        share: The shares.
        misfits: Misfits of the curves, by family, once computed; they do not depend on the number of points.
        likelihoods: Log likelihoods of the curves by start, by family and number of points, once computed.
        log_masses: Log posterior masses of the curves, by family and number of points, once computed.
    """

    slope: FloatArray
    share: FloatArray
    misfits: dict[str, FloatArray] = field(default_factory=dict, init=False)
    likelihoods: dict[tuple[str, float], FloatArray] = field(default_factory=dict, init=False)
    log_masses: dict[tuple[str, float], FloatArray] = field(default_factory=dict, init=False)

    @cached_property
    def log_prior(self) -> FloatArray:
        """Log prior mass of each slope and share, of those with a free share."""
        return np.asarray(_log_normal(self.slope, axis=0) + _log_normal(self.share, axis=1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """Weighted curves of one family: slopes and shares broadcast to the shape of ``log_mass``."""

    evidence: Evidence
    slope: FloatArray
    share: FloatArray
    log_mass: FloatArray


def fit_nodes(evidence: Evidence, *, refine: float = 1.0) -> Nodes:
    """Weight every curve on the grid by its posterior probability.

    Args:
        evidence: The data and the priors.
        refine: Multiplies the number of grid lines; from 1 on the result does not depend on it.
    """
    # With all points, the peak could fall between two lines of the wide grid. With the fewest it is broad.
    broad = _zoomed(_wide(SLOPES, SHARES, refine), replace(evidence, count=MIN_EFFECTIVE))
    evidence = _discounted(evidence, _zoomed(broad, evidence))
    parts = _family(evidence, broad, refine)
    for model in MODELS[1:]:
        parts += _family(replace(evidence, model=model), _wide(OTHER_SLOPES, OTHER_SHARES, refine), refine)
    return _join(parts)


def _family(evidence: Evidence, grid: _Grid, refine: float) -> list[_Part]:
    grid = _zoomed(grid, evidence)
    slope, share = _values(grid, evidence)
    return [_part(evidence, slope, share, _log_mass(grid, evidence)), _bare(evidence, refine)]


def _wide(slopes: int, shares: int, refine: float) -> _Grid:
    slope, share = _lines(slopes, refine), _lines(shares, refine)
    return _Grid(slope=slope.T, share=np.repeat(share, slope.size, axis=0))


def _lines(count: int, refine: float) -> FloatArray:
    return np.linspace(-REACH, REACH, round(count * refine))[None, :]


def _part(evidence: Evidence, slope: FloatArray, share: FloatArray, log_mass: FloatArray) -> _Part:
    family = np.log(max(evidence.model.probability(evidence.priors), 1e-300))
    slope, share = np.broadcast_arrays(slope, share)
    return _Part(evidence=evidence, slope=slope, share=share, log_mass=log_mass + family)


def _discounted(evidence: Evidence, grid: _Grid) -> Evidence:
    """Discount the count of points by the residuals of the posterior mean of the first family."""
    slope, share = _values(grid, evidence)
    log_mass = _log_prior(grid, evidence.priors) + _by_start(grid, evidence)
    mass = np.exp(log_mass - log_mass.max())
    start = int(np.argmax(mass.sum(axis=(1, 2))))
    mass = mass[start] / mass[start].sum()
    return evidence.discounted(np.tensordot(mass, evidence.residual(slope, share), axes=2), start)


def log_sum(logs: FloatArray, axis: int) -> FloatArray:
    """Return the logarithm of the sum along an axis of numbers given by their logarithms."""
    if logs.shape[axis] == 1:
        return np.squeeze(logs, axis)
    top = np.maximum.reduce(logs, axis=axis, keepdims=True)
    parts = logs - top
    total = np.add.reduce(np.exp(parts, out=parts), axis=axis)
    np.log(total, out=total)
    total += np.squeeze(top, axis)
    return np.asarray(total)


def _by_start(grid: _Grid, evidence: Evidence) -> FloatArray:
    """Return the log likelihood by start, slope and share, summed over gains."""
    family = evidence.model.name
    found = grid.likelihoods.get((family, evidence.count))
    if found is None:
        slope, share = _values(grid, evidence)
        misfit = grid.misfits.get(family)
        if misfit is None:
            misfit = grid.misfits[family] = evidence.profile(slope, share)[1]
        found = log_sum(evidence.log_likelihood(slope, share, misfit), 1).reshape(-1, *share.shape)
        grid.likelihoods[family, evidence.count] = found
    return found


def _values(grid: _Grid, evidence: Evidence) -> tuple[FloatArray, FloatArray]:
    """Return the slopes (a column) and shares of the grid."""
    priors = evidence.priors
    logit = priors.share_logit + priors.share_spread * grid.share
    return _slopes(grid.slope, evidence), np.asarray(evidence.max_share / (1.0 + np.exp(-logit)))


def _slopes(standardised: FloatArray, evidence: Evidence) -> FloatArray:
    spread = evidence.model.slope_spread(evidence.priors)
    return np.asarray(evidence.priors.slope * np.exp(spread * standardised))


def _log_mass(grid: _Grid, evidence: Evidence) -> FloatArray:
    """Return the unnormalised log posterior mass of each slope and share, summed over starts and gains."""
    key = (evidence.model.name, evidence.count)
    found = grid.log_masses.get(key)
    if found is None:
        found = _log_prior(grid, evidence.priors) + log_sum(_by_start(grid, evidence), 0)
        grid.log_masses[key] = found
    return found


def _log_prior(grid: _Grid, priors: Priors) -> FloatArray:
    return np.asarray(grid.log_prior + np.log1p(-priors.bare_floor))


def _log_normal(standardised: FloatArray, axis: int) -> FloatArray:
    """Return the log mass of the standard normal in the cells of evenly spaced lines along ``axis``."""
    first, second = (standardised[k : k + 1] if axis == 0 else standardised[:, k : k + 1] for k in (0, 1))
    return np.asarray(np.log(second - first) - 0.5 * standardised**2 - _HALF_LOG_TWO_PI)


def _zoomed(grid: _Grid, evidence: Evidence) -> _Grid:
    """Narrow the grid until the likely part spans enough lines."""
    grid = _zoom_shares(_zoom_shares(grid, evidence), evidence)
    for _ in range(MOST_ZOOMS):
        row = log_sum(_log_mass(grid, evidence), 1)[None, :]
        if _likely(row).sum() > ENOUGH * row.size:
            break
        grid = _zoom_shares(_zoom_slopes(grid, row), evidence)
    return grid


def _zoom_shares(grid: _Grid, evidence: Evidence) -> _Grid:
    """Place each row of shares over its likely part."""
    low, high = _bounds(grid.share, _log_mass(grid, evidence))
    moved = (low != grid.share[:, 0]) | (high != grid.share[:, -1])
    if not moved.any():
        return grid
    share = np.where(moved[:, None], _rows(low, high, grid.share.shape[1]), grid.share)
    zoomed = _Grid(slope=grid.slope, share=share)
    # Curves take most of the time of a fit, and about half of the rows stay as they are.
    slope, share = _values(_Grid(slope=grid.slope[moved], share=share[moved]), evidence)
    misfit = grid.misfits[evidence.model.name].reshape(*evidence.log_prior.shape, *grid.share.shape).copy()
    misfit[:, :, moved] = evidence.profile(slope, share)[1].reshape(*misfit.shape[:2], *share.shape)
    zoomed.misfits[evidence.model.name] = misfit.reshape(*misfit.shape[:2], -1)
    return zoomed


def _zoom_slopes(grid: _Grid, row: FloatArray) -> _Grid:
    """Place the slopes over their likely part, each with the likely shares of its neighbours."""
    low, high = (float(end[0]) for end in _bounds(grid.slope.T, row))
    slope = np.linspace(low, high, grid.slope.size)
    first, last = grid.share[:, 0], grid.share[:, -1]
    old = grid.slope[:, 0]
    first = np.interp(slope, old, np.minimum.reduce([first, np.roll(first, 1), np.roll(first, -1)]))
    last = np.interp(slope, old, np.maximum.reduce([last, np.roll(last, 1), np.roll(last, -1)]))
    return _Grid(slope=slope[:, None], share=_rows(first, last, grid.share.shape[1]))


def _rows(low: FloatArray, high: FloatArray, count: int) -> FloatArray:
    """Return a row of evenly spaced numbers for each pair of ends: `numpy.linspace` with rows that are contiguous."""
    rows = ((high - low) / (count - 1))[:, None] * np.arange(count)
    rows += low[:, None]
    rows[:, -1] = high
    return np.asarray(rows)


def _bounds(lines: FloatArray, log_mass: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return, for each row of lines, the two that enclose everything that is not negligible."""
    likely = _likely(log_mass)
    last = likely.shape[1] - 1
    low = np.maximum(np.argmax(likely, axis=1) - 1, 0)
    high = np.minimum(last - np.argmax(likely[:, ::-1], axis=1) + 1, last)
    rows = np.arange(lines.shape[0])
    return lines[rows, low], lines[rows, high]


def _likely(log_mass: FloatArray) -> npt.NDArray[np.bool_]:
    return np.asarray(log_mass > np.maximum.reduce(log_mass, axis=1, keepdims=True) + NEGLIGIBLE)


def _bare(evidence: Evidence, refine: float) -> _Part:
    """Weight the curves whose floor is exactly the lower bound: they have a slope and no free share."""
    priors = evidence.priors
    share = np.full((1, 1), evidence.max_share)
    lines = _lines(BARE_SLOPES, refine)
    for zooms in range(MOST_ZOOMS + 1):
        slope = _slopes(lines, evidence)
        likelihood = evidence.log_likelihood(slope, share, evidence.profile(slope, share)[1])
        log_mass = _log_normal(lines, axis=1) + log_sum(log_sum(likelihood, 1), 0)
        if zooms == MOST_ZOOMS or _likely(log_mass).sum() > ENOUGH * lines.size:
            break
        lines = _rows(*_bounds(lines, log_mass), lines.size)
    log_mass += np.log(max(priors.bare_floor, 1e-300))
    return _part(evidence, slope, share, log_mass)


def _join(parts: list[_Part]) -> Nodes:
    """Drop negligible nodes, expand starts and gains, and normalise."""
    top = max(float(part.log_mass.max()) for part in parts)
    columns = [_expanded(part, top) for part in parts if part.log_mass.max() > top + NEGLIGIBLE]
    joined = {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
    order = np.argsort(-joined["mass"], kind="stable")
    total = np.cumsum(joined["mass"][order])
    kept = np.sort(order[: int(np.searchsorted(total, KEPT * total[-1])) + 1])
    joined = {name: column[kept] for name, column in joined.items()}
    joined["mass"] /= joined["mass"].sum()
    return Nodes(**joined)


def _expanded(part: _Part, top: float) -> dict[str, npt.NDArray[Any]]:
    evidence = part.evidence
    kept = part.log_mass > top + NEGLIGIBLE
    slope, share = part.slope[kept], part.share[kept]
    level, misfit = evidence.profile(slope, share)
    likelihood = evidence.log_likelihood(slope, share, misfit)
    total = log_sum(log_sum(likelihood, 1), 0)
    log_mass = likelihood + (part.log_mass[kept] - total)
    node, start, gain = np.nonzero(np.moveaxis(log_mass, -1, 0) > top + NEGLIGIBLE)
    chosen = (start, gain, node)
    dof, counts = (column[start, 0, 0] for column in (evidence.dof, evidence.counts))
    noise = evidence.priors.noise_dof * evidence.priors.noise**2 + counts * misfit[chosen]
    return {
        "model": np.full(node.size, MODELS.index(evidence.model)),
        "slope": slope[node],
        "share": share[node],
        "gain": np.zeros(node.size)
        if evidence.progress is None
        else evidence.gains_of(slope, share)[gain, node],
        "start": evidence.starts[start],
        "mass": np.exp(log_mass[chosen] - top),
        "location": level[chosen] + evidence.offset,
        "scale": np.sqrt(noise / dof / counts),
    }
