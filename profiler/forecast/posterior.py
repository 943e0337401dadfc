"""The posterior of a curve's law, on a grid: deterministic, no starting values, no random numbers.

The law is written at the last observed point, ``ln y = mu + ln(1 - s + s v^-b)``, v = joules / last joules:
mu is the level now, s the share of it that lies above the floor, b the exponent. So mu and the noise
integrate out in closed form (a normal with conjugate scaled inverse chi-squared variance; Gelman et al.,
Bayesian Data Analysis, 3rd ed., section 3.2) and only (b, s) need a grid. What the data determine is a
narrow curved ridge in (b, s), so the grid is zoomed in s for each b by itself.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from profiler.errors import UsageError
from profiler.forecast.curve import Curve, FloatArray
from profiler.forecast.priors import Priors

SLOPES = 32
SHARES = 24
REACH = 3.2
"""Standard deviations of the priors that the first grid covers."""
ZOOMS = 2
MOST_ZOOMS = 4
ENOUGH = 0.5
"""Part of the lines that must be likely before zooming ends."""
NEGLIGIBLE = float(np.log(1e-6))
"""Nodes with less than this part of the best node's probability are left out."""
MIN_EFFECTIVE = 4.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodes:
    """Grid nodes, one entry per law that is still possible.

    Attributes:
        slope: b, exponent at the last point.
        share: s, share of the present level above the floor; 1 means a floor of zero.
        mass: Probability of the node.
        location: mu, mean log level at the last point.
        scale: Standard error of mu.
    """

    slope: FloatArray
    share: FloatArray
    mass: FloatArray
    location: FloatArray
    scale: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """What the posterior is computed from.

    Attributes:
        log_v: Log of joules / last joules in each bin.
        log_y: Log level in each bin.
        weight: Recency weight of each bin.
        max_share: The share of the present level that a lower bound leaves above it.
        count: Effective number of points.
        priors: What is assumed beforehand.
    """

    log_v: FloatArray
    log_y: FloatArray
    weight: FloatArray
    max_share: float
    count: float
    priors: Priors

    @property
    def dof(self) -> float:
        """Degrees of freedom of the noise's posterior."""
        return self.priors.noise_dof + self.count - 1.0

    def noise(self, misfit: FloatArray) -> FloatArray:
        """Return the degrees of freedom times the noise's variance, given the mean square misfit."""
        return np.asarray(self.priors.noise_dof * self.priors.noise**2 + self.count * misfit)

    def profile(self, slope: FloatArray, share: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the best level of each law and the weighted mean square of what it leaves."""
        weight = self.weight / self.weight.sum()
        residual = self.residual(slope, share)
        level = residual @ weight
        residual -= level[..., None]
        return level, np.square(residual) @ weight

    def residual(self, slope: FloatArray, share: FloatArray) -> FloatArray:
        """Return what each law leaves in each bin, its level still inside."""
        excess = np.expm1(-slope[..., None] * self.log_v)
        return np.asarray(self.log_y - np.log1p(share[..., None] * excess))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Grid:
    """Standardised values of the parameters: a column of slopes, and for each its own row of shares."""

    slope: FloatArray
    share: FloatArray


def fit_nodes(curve: Curve, priors: Priors, *, lower_bound: float = 0.0, refine: int = 1) -> Nodes:
    """Weigh every law on the grid by how well it explains the curve.

    Args:
        curve: The binned curve.
        priors: What is assumed beforehand.
        lower_bound: A value that the floor cannot be under.
        refine: Multiplies the number of grid lines; the result does not depend on it.

    Raises:
        UsageError: The lower bound is not under the curve.
    """
    wide = _Grid(
        slope=_lines(SLOPES * refine).T, share=np.repeat(_lines(SHARES * refine), SLOPES * refine, axis=0)
    )
    evidence = _evidence(curve, priors, lower_bound)
    evidence = _discounted(evidence, _zoomed(wide, evidence))
    grid = _zoomed(wide, evidence)
    parts = [(*_laws(grid, evidence), _log_mass(grid, evidence)), _bare(evidence, refine)]
    return _nodes(parts, evidence)


def _lines(count: int) -> FloatArray:
    return np.linspace(-REACH, REACH, count)[None, :]


def _evidence(curve: Curve, priors: Priors, lower_bound: float) -> Evidence:
    log_v = np.log(curve.joules / curve.last_joules)
    weight = np.exp(priors.recency * log_v)
    level = float(np.exp(weight @ curve.log_values / weight.sum()))
    if lower_bound >= level:
        raise UsageError(f"lower_bound={lower_bound:g} is not under the curve, which is at {level:.4g}.")
    return Evidence(
        log_v=log_v,
        log_y=curve.log_values,
        weight=weight,
        max_share=1.0 - lower_bound / level,
        count=_kish(weight),
        priors=priors,
    )


def _kish(weight: FloatArray) -> float:
    """Effective number of equally weighted points (Kish, Survey Sampling, 1965)."""
    return max(float(weight.sum() ** 2 / np.square(weight).sum()), MIN_EFFECTIVE)


def _discounted(evidence: Evidence, grid: _Grid) -> Evidence:
    """Shrink the count of points where neighbours miss the posterior mean in the same direction."""
    log_mass = _log_mass(grid, evidence)
    mass = np.exp(log_mass - log_mass.max())
    residual = np.tensordot(mass / mass.sum(), evidence.residual(*_laws(grid, evidence)), axes=2)
    weight = evidence.weight / evidence.weight.sum()
    residual = (residual - residual @ weight) * np.sqrt(weight)
    rho = evidence.count * float(residual[1:] @ residual[:-1]) / float(evidence.noise(residual @ residual))
    rho = min(max(rho, 0.0), 0.99)
    return replace(evidence, count=max(evidence.count * (1.0 - rho) / (1.0 + rho), MIN_EFFECTIVE))


def _laws(grid: _Grid, evidence: Evidence) -> tuple[FloatArray, FloatArray]:
    """Slopes (a column) and shares of the grid."""
    priors = evidence.priors
    logit = priors.share_logit + priors.share_spread * grid.share
    return _slopes(grid.slope, priors), np.asarray(evidence.max_share / (1.0 + np.exp(-logit)))


def _slopes(standardised: FloatArray, priors: Priors) -> FloatArray:
    return np.asarray(priors.slope * np.exp(priors.slope_spread * standardised))


def _log_mass(grid: _Grid, evidence: Evidence) -> FloatArray:
    """Unnormalised log posterior mass of each node."""
    prior = _log_normal(grid.slope, axis=0) + _log_normal(grid.share, axis=1)
    prior += np.log1p(-evidence.priors.bare_floor)
    return prior + _log_likelihood(evidence, *_laws(grid, evidence))


def _log_normal(standardised: FloatArray, axis: int) -> FloatArray:
    """Log mass of the standard normal in the cells of evenly spaced lines along ``axis``."""
    first, second = (np.take(standardised, [k], axis=axis) for k in (0, 1))
    return np.asarray(np.log(second - first) - 0.5 * standardised**2 - 0.5 * np.log(2.0 * np.pi))


def _log_likelihood(evidence: Evidence, slope: FloatArray, share: FloatArray) -> FloatArray:
    _, misfit = evidence.profile(slope, share)
    return np.asarray(-0.5 * evidence.dof * np.log(evidence.noise(misfit)))


def _zoomed(grid: _Grid, evidence: Evidence) -> _Grid:
    """Zoom until the part that matters spans enough lines."""
    for _ in range(MOST_ZOOMS):
        grid = _zoom_shares(grid, evidence)
        likely = _likely(np.logaddexp.reduce(_log_mass(grid, evidence), axis=1)[None, :])
        if likely.sum() > ENOUGH * grid.slope.size:
            break
        grid = _zoom_slopes(grid, evidence)
    return grid


def _zoom_shares(grid: _Grid, evidence: Evidence) -> _Grid:
    """Lay each row of shares again over the part that matters in it."""
    for _ in range(ZOOMS):
        low, high = _bounds(grid.share, _log_mass(grid, evidence))
        grid = replace(grid, share=np.linspace(low, high, grid.share.shape[1], axis=1))
    return grid


def _zoom_slopes(grid: _Grid, evidence: Evidence) -> _Grid:
    """Lay the slopes again over those that matter, each with the shares that matter to its neighbours."""
    log_mass = _log_mass(grid, evidence)
    row = np.logaddexp.reduce(log_mass, axis=1)[None, :]
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


def _bare(evidence: Evidence, refine: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weigh the laws whose floor is exactly the lower bound: they have a slope and nothing else."""
    priors = evidence.priors
    share = np.full((1, 1), evidence.max_share)
    lines = _lines(SLOPES * refine)
    for _ in range(ZOOMS):
        low, high = _bounds(
            lines, _log_normal(lines, 1) + _log_likelihood(evidence, _slopes(lines, priors), share)
        )
        lines = np.linspace(low, high, lines.size, axis=1)
    log_mass = _log_normal(lines, 1) + _log_likelihood(evidence, _slopes(lines, priors), share)
    return _slopes(lines, priors), share, log_mass + np.log(max(priors.bare_floor, 1e-300))


def _nodes(parts: list[tuple[FloatArray, FloatArray, FloatArray]], evidence: Evidence) -> Nodes:
    """Join the grids, leave out what is negligible, and normalise."""
    flat = [[part.ravel() for part in np.broadcast_arrays(*parts_of)] for parts_of in parts]
    slope, share, log_mass = (np.concatenate(column) for column in zip(*flat, strict=True))
    kept = log_mass > log_mass.max() + NEGLIGIBLE
    slope, share, mass = slope[kept], share[kept], np.exp(log_mass[kept] - log_mass.max())
    location, misfit = evidence.profile(slope, share)
    variance = evidence.noise(misfit) / evidence.dof
    return Nodes(
        slope=slope,
        share=share,
        mass=mass / mass.sum(),
        location=location,
        scale=np.sqrt(variance / evidence.count),
    )
