"""The posterior of a curve's law, on a grid: deterministic, no starting values, no random numbers.

What the data determine is a narrow curved ridge in (slope, share), so the grid is zoomed in share for each slope by
itself, until refining it further changes nothing.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from profiler.forecasting.curve import FloatArray
from profiler.forecasting.likelihood import MIN_EFFECTIVE, Evidence
from profiler.forecasting.models import FAMILIES, Laws
from profiler.forecasting.priors import Priors

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
