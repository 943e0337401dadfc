"""The posterior of a curve's law on a grid: deterministic, no starting values, no random numbers.

Given the shape of a law, mu and the noise integrate out in closed form (a normal with conjugate scaled inverse
chi-squared variance; Gelman et al., Bayesian Data Analysis, 3rd ed., section 3.2). A law need not hold from the
beginning: each candidate start assigns the bins before it to another regime with standard deviation ``outside``.
Starts and anneal gains need no further evaluation of the laws: all sums over bins are matrix products.

The posterior is a narrow curved ridge in (slope, share), so the grid is zoomed in share for each slope separately,
until further refinement changes nothing.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from profiler.errors import UsageError
from profiler.forecasting.curve import Curve, FloatArray
from profiler.forecasting.models import FAMILIES, Laws, log_shape, stretch
from profiler.forecasting.priors import Priors

STARTS = 10
FEWEST_BINS = 4
"""A law is not believed on fewer bins than this."""
GAINS = 9
MIN_EFFECTIVE = 4.0
MIN_INSIDE = 2.0

SLOPES = 32
SHARES = 24
BENT_SLOPES, BENT_SHARES = 24, 16
BARE_SLOPES = 96
REACH = 3.2
"""Standard deviations of the priors that the first grid covers."""
KEPT = 0.9998
"""Part of the probability that is kept; the rest is spread over many laws that change nothing."""
MOST_ZOOMS = 4
ENOUGH = 0.5
"""Part of the lines that must be likely before zooming ends."""
NEGLIGIBLE = float(np.log(1e-6))
"""Laws with less than this part of the best one's probability are left out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """What laws are weighed against.

    Attributes:
        log_v: Log of energy / energy at the last point, in each bin.
        log_y: Log level in each bin, less that of the last one.
        offset: Log level of the last bin.
        progress: Anneal progress in each bin, less that at the last point; None when the rate is not known.
        weights: Recency weight of each bin, a column for each start; each column sums to 1.
        inside: Part of the total weight that each start keeps.
        starts: Log v of each start.
        gains: Anneal gains considered.
        log_prior: Log prior probability of each start (rows) and gain (columns).
        max_share: The share of the present level that a lower bound leaves above it.
        roughness: Standard deviation of the bins' white noise.
        count: Effective number of points.
        bend: The family that is being weighed.
        priors: What is assumed beforehand.
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
    bend: float
    priors: Priors

    @property
    def counts(self) -> FloatArray:
        """Effective number of points that each start leaves, as a column."""
        return np.maximum(self.count * self.inside, MIN_INSIDE)[:, None]

    @property
    def dof(self) -> FloatArray:
        """Degrees of freedom of the noise's posterior for each start, as a column."""
        return self.priors.noise_dof + self.counts - 1.0

    def noise(self, misfit: FloatArray) -> FloatArray:
        """Return the degrees of freedom times the noise's variance, for mean square misfits by start and gain."""
        return np.asarray(self.priors.noise_dof * self.priors.noise**2 + self.counts * misfit)

    def residual(self, slope: FloatArray, share: FloatArray) -> FloatArray:
        """Return what each law leaves in each bin (last axis), its level still inside."""
        return self.log_y - log_shape(stretch(self.log_v, self.bend), slope[..., None], share[..., None])

    def profile(self, slope: FloatArray, share: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the best level of each law and the mean square of what it leaves, by start and gain."""
        residual = self.residual(slope, share)
        level, square = residual @ self.weights, np.square(residual) @ self.weights
        misfit = np.maximum(square - level**2, 0.0)
        if self.progress is None:
            return level[..., None], misfit[..., None]
        mean = self.progress @ self.weights
        variance = np.square(self.progress) @ self.weights - mean**2
        covariance = (residual * self.progress) @ self.weights - level * mean
        levels = level[..., None] + mean[:, None] * self.gains
        misfits = (
            misfit[..., None] + 2.0 * covariance[..., None] * self.gains + variance[:, None] * self.gains**2
        )
        return levels, np.maximum(misfits, 0.0)

    def log_likelihood(self, slope: FloatArray, share: FloatArray) -> FloatArray:
        """Log marginal likelihood of each law, by start and gain, with their prior."""
        _, misfit = self.profile(slope, share)
        return np.asarray(-0.5 * self.dof * np.log(self.noise(misfit)) + self.log_prior + self._normaliser())

    def _normaliser(self) -> FloatArray:
        """What the starts differ by: fewer points to explain inside, more of them outside."""
        counts, dof = self.counts, self.dof
        gamma = np.array([[math.lgamma(0.5 * float(d))] for d in dof[:, 0]])
        outside = math.hypot(self.priors.outside, self.priors.outside_noise * self.roughness)
        left_out = (
            self.count
            * (1.0 - self.inside[:, None])
            * (0.5 * math.log(2.0 * math.pi * math.e) + math.log(outside))
        )
        return np.asarray(gamma - 0.5 * (counts - 1.0) * math.log(math.pi) - 0.5 * np.log(counts) - left_out)

    def discounted(self, residual: FloatArray, start: int) -> "Evidence":
        """Shrink the count where neighbours miss the law in the same direction: n (1 - rho) / (1 + rho).

        Args:
            residual: What the posterior mean leaves in each bin, its level still inside.
            start: Index of the start that the residual belongs to.
        """
        weight = self.weights[:, start]
        left = (residual - residual @ weight) * np.sqrt(weight)
        count = float(self.counts[start, 0])
        noise = self.priors.noise_dof * self.priors.noise**2 + count * float(left @ left)
        rho = min(max(count * float(left[1:] @ left[:-1]) / noise, 0.0), 0.99)
        return replace(self, count=max(self.count * (1.0 - rho) / (1.0 + rho), MIN_EFFECTIVE))


def gather(
    curve: Curve, priors: Priors, *, log_v: FloatArray, progress: FloatArray | None, lower_bound: float
) -> Evidence:
    """Collect what laws are weighed against.

    Args:
        curve: The binned curve.
        priors: What is assumed beforehand.
        log_v: Log of energy / energy at the last point in each bin, on the axis that the law is written in.
        progress: Anneal progress in each bin less that at the last point, if the learning rate is known.
        lower_bound: A value that the floor cannot be under.

    Raises:
        UsageError: The lower bound is not under the curve.
    """
    weight = np.exp(priors.recency * np.log(curve.joules / curve.last_joules))
    level = math.exp(weight @ curve.log_values / weight.sum())
    if lower_bound >= level:
        raise UsageError(f"lower_bound={lower_bound:g} is not under the curve, which is at {level:.4g}.")
    first = _starts(log_v.size, priors)
    masked = weight[:, None] * (np.arange(log_v.size)[:, None] >= first)
    gains, gain_prior = _gains(priors) if progress is not None else (np.zeros(1), np.zeros(1))
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
        count=max(float(weight.sum() ** 2 / np.square(weight).sum()), MIN_EFFECTIVE),
        bend=0.0,
        priors=priors,
    )


def _starts(bins: int, priors: Priors) -> FloatArray:
    """Indices of the bins from which on the law may hold, evenly spread over the log axis."""
    last = max(bins - FEWEST_BINS, 0) if priors.late_start > 0.0 else 0
    return np.unique(np.linspace(0, last, min(STARTS, last + 1)).astype(np.int64))


def _start_prior(starts: int, priors: Priors) -> FloatArray:
    late = priors.late_start if starts > 1 else 0.0
    rest = np.full(starts - 1, late / max(starts - 1, 1))
    return np.asarray(np.log(np.append(1.0 - late, rest)))


def _gains(priors: Priors) -> tuple[FloatArray, FloatArray]:
    z = np.linspace(-2.4, 2.4, GAINS)
    mass = np.exp(-0.5 * z**2)
    return np.asarray(priors.anneal_gain * np.exp(priors.anneal_spread * z)), np.log(mass / mass.sum())


def _roughness(x: FloatArray, y: FloatArray) -> float:
    """White noise of the bins, from how far each lies off the line between its neighbours."""
    if x.size < 3:  # noqa: PLR2004 - a bin and its two neighbours
        return 0.0
    part = (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
    miss = y[1:-1] - (1.0 - part) * y[:-2] - part * y[2:]
    normal_median = 0.6745
    return float(np.median(np.abs(miss) / np.sqrt(1.0 + part**2 + (1.0 - part) ** 2))) / normal_median


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Grid:
    """Standardised values of the parameters: a column of slopes, and for each its own row of shares."""

    slope: FloatArray
    share: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """Laws of one family, weighed: slopes and shares broadcast to the shape of ``log_mass``."""

    evidence: Evidence
    slope: FloatArray
    share: FloatArray
    log_mass: FloatArray


def fit_laws(evidence: Evidence, *, refine: float = 1.0) -> Laws:
    """Weigh every law on the grid by how well it explains the curve.

    Args:
        evidence: The curve and what is assumed beforehand.
        refine: Multiplies the number of grid lines; from 1 on the result does not depend on it.
    """
    broad = _zoomed(_wide(SLOPES, SHARES, refine), replace(evidence, count=MIN_EFFECTIVE))
    evidence = _discounted(evidence, _zoomed(broad, evidence))
    parts = _family(evidence, broad, refine)
    for bend in tuple(FAMILIES)[1:]:
        parts += _family(_bent(evidence, bend), _wide(BENT_SLOPES, BENT_SHARES, refine), refine)
    return _join(parts)


def _family(evidence: Evidence, grid: _Grid, refine: float) -> list[_Part]:
    """Weigh the laws of one family."""
    grid = _zoomed(grid, evidence)
    slope, share = _values(grid, evidence)
    return [_part(evidence, slope, share, _log_mass(grid, evidence)), _bare(evidence, refine)]


def _wide(slopes: int, shares: int, refine: float) -> _Grid:
    slope, share = _lines(slopes, refine), _lines(shares, refine)
    return _Grid(slope=slope.T, share=np.repeat(share, slope.size, axis=0))


def _lines(count: int, refine: float) -> FloatArray:
    return np.linspace(-REACH, REACH, round(count * refine))[None, :]


def _bent(evidence: Evidence, bend: float) -> Evidence:
    priors = replace(evidence.priors, slope_spread=evidence.priors.bent_slope_spread)
    return replace(evidence, bend=bend, priors=priors)


def _part(evidence: Evidence, slope: FloatArray, share: FloatArray, log_mass: FloatArray) -> _Part:
    bent = evidence.priors.bent / (len(FAMILIES) - 1)
    family = np.log(max(bent if evidence.bend else 1.0 - evidence.priors.bent, 1e-300))
    slope, share = np.broadcast_arrays(slope, share)
    return _Part(evidence=evidence, slope=slope, share=share, log_mass=log_mass + family)


def _discounted(evidence: Evidence, grid: _Grid) -> Evidence:
    """Discount the count of points by what the posterior mean of the power law leaves."""
    slope, share = _values(grid, evidence)
    log_mass = _log_prior(grid, evidence.priors)[..., None] + _by_start(evidence, slope, share)
    mass = np.exp(log_mass - log_mass.max())
    start = int(np.argmax(mass.sum(axis=(0, 1))))
    mass = mass[..., start] / mass[..., start].sum()
    return evidence.discounted(np.tensordot(mass, evidence.residual(slope, share), axes=2), start)


def log_sum(logs: FloatArray, axis: int) -> FloatArray:
    """Logarithm of the sum along an axis of numbers given by their logarithms."""
    top = logs.max(axis=axis)
    if logs.shape[axis] == 1:
        return np.asarray(top)
    return np.asarray(top + np.log(np.exp(logs - np.expand_dims(top, axis)).sum(axis=axis)))


def _by_start(evidence: Evidence, slope: FloatArray, share: FloatArray) -> FloatArray:
    return log_sum(evidence.log_likelihood(slope, share), -1)


def _values(grid: _Grid, evidence: Evidence) -> tuple[FloatArray, FloatArray]:
    """Slopes (a column) and shares of the grid."""
    priors = evidence.priors
    logit = priors.share_logit + priors.share_spread * grid.share
    return _slopes(grid.slope, priors), np.asarray(evidence.max_share / (1.0 + np.exp(-logit)))


def _slopes(standardised: FloatArray, priors: Priors) -> FloatArray:
    return np.asarray(priors.slope * np.exp(priors.slope_spread * standardised))


def _log_mass(grid: _Grid, evidence: Evidence) -> FloatArray:
    """Unnormalised log posterior mass of each slope and share, over all starts and gains."""
    return np.asarray(_log_prior(grid, evidence.priors) + _total(evidence, *_values(grid, evidence)))


def _total(evidence: Evidence, slope: FloatArray, share: FloatArray) -> FloatArray:
    return log_sum(_by_start(evidence, slope, share), -1)


def _log_prior(grid: _Grid, priors: Priors) -> FloatArray:
    prior = _log_normal(grid.slope, axis=0) + _log_normal(grid.share, axis=1)
    return np.asarray(prior + np.log1p(-priors.bare_floor))


def _log_normal(standardised: FloatArray, axis: int) -> FloatArray:
    """Log mass of the standard normal in the cells of evenly spaced lines along ``axis``."""
    first, second = (np.take(standardised, [k], axis=axis) for k in (0, 1))
    return np.asarray(np.log(second - first) - 0.5 * standardised**2 - 0.5 * np.log(2.0 * np.pi))


def _zoomed(grid: _Grid, evidence: Evidence) -> _Grid:
    """Zoom until the part that matters spans enough lines."""
    grid = _zoom_shares(_zoom_shares(grid, evidence), evidence)
    for _ in range(MOST_ZOOMS):
        row = log_sum(_log_mass(grid, evidence), 1)[None, :]
        if _likely(row).sum() > ENOUGH * row.size:
            break
        grid = _zoom_shares(_zoom_slopes(grid, row), evidence)
    return grid


def _zoom_shares(grid: _Grid, evidence: Evidence) -> _Grid:
    """Lay each row of shares again over the part that matters in it."""
    low, high = _bounds(grid.share, _log_mass(grid, evidence))
    return replace(grid, share=np.linspace(low, high, grid.share.shape[1], axis=1))


def _zoom_slopes(grid: _Grid, row: FloatArray) -> _Grid:
    """Lay the slopes again over those that matter, each with the shares that matter to its neighbours."""
    low, high = (float(end[0]) for end in _bounds(grid.slope.T, row))
    slope = np.linspace(low, high, grid.slope.size)
    first, last = grid.share[:, 0], grid.share[:, -1]
    old = grid.slope[:, 0]
    first = np.interp(slope, old, np.minimum.reduce([first, np.roll(first, 1), np.roll(first, -1)]))
    last = np.interp(slope, old, np.maximum.reduce([last, np.roll(last, 1), np.roll(last, -1)]))
    return _Grid(slope=slope[:, None], share=np.linspace(first, last, grid.share.shape[1], axis=1))


def _bounds(lines: FloatArray, log_mass: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return, for each row of lines, the two that enclose all that is not negligible."""
    likely = _likely(log_mass)
    last = likely.shape[1] - 1
    low = np.maximum(np.argmax(likely, axis=1) - 1, 0)
    high = np.minimum(last - np.argmax(likely[:, ::-1], axis=1) + 1, last)
    rows = np.arange(lines.shape[0])
    return lines[rows, low], lines[rows, high]


def _likely(log_mass: FloatArray) -> npt.NDArray[np.bool_]:
    return np.asarray(log_mass > log_mass.max(axis=1, keepdims=True) + NEGLIGIBLE)


def _bare(evidence: Evidence, refine: float) -> _Part:
    """Weigh the laws whose floor is exactly the lower bound: they have a slope and no share."""
    priors = evidence.priors
    share = np.full((1, 1), evidence.max_share)
    lines = _lines(BARE_SLOPES, refine)
    for zooms in range(MOST_ZOOMS + 1):
        log_mass = _log_normal(lines, axis=1) + _total(evidence, _slopes(lines, priors), share)
        if zooms == MOST_ZOOMS or _likely(log_mass).sum() > ENOUGH * lines.size:
            break
        lines = np.linspace(*_bounds(lines, log_mass), lines.size, axis=1)
    log_mass += np.log(max(priors.bare_floor, 1e-300))
    return _part(evidence, _slopes(lines, priors), share, log_mass)


def _join(parts: list[_Part]) -> Laws:
    """Leave out what is negligible, tell starts and gains apart, and normalise."""
    top = max(float(part.log_mass.max()) for part in parts)
    columns = [_spread(part, top) for part in parts if part.log_mass.max() > top + NEGLIGIBLE]
    joined = {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
    order = np.argsort(-joined["mass"], kind="stable")
    total = np.cumsum(joined["mass"][order])
    kept = np.sort(order[: int(np.searchsorted(total, KEPT * total[-1])) + 1])
    joined = {name: column[kept] for name, column in joined.items()}
    joined["mass"] /= joined["mass"].sum()
    return Laws(**joined)


def _spread(part: _Part, top: float) -> dict[str, FloatArray]:
    evidence = part.evidence
    kept = part.log_mass > top + NEGLIGIBLE
    slope, share = part.slope[kept], part.share[kept]
    likelihood = evidence.log_likelihood(slope, share)
    total = log_sum(log_sum(likelihood, -1), -1)
    log_mass = likelihood + (part.log_mass[kept] - total)[:, None, None]
    level, misfit = evidence.profile(slope, share)
    scale = np.sqrt(evidence.noise(misfit) / evidence.dof / evidence.counts)
    law, start, gain = np.nonzero(log_mass > top + NEGLIGIBLE)
    chosen = (law, start, gain)
    return {
        "bend": np.full(law.size, evidence.bend),
        "slope": slope[law],
        "share": share[law],
        "gain": evidence.gains[gain],
        "start": evidence.starts[start],
        "mass": np.exp(log_mass[chosen] - top),
        "location": level[chosen] + evidence.offset,
        "scale": scale[chosen],
    }
