"""How well a law explains a curve, with the level, the noise, the start and the anneal gain integrated out.

Given a law's shape, mu and the noise integrate out in closed form (a normal with conjugate scaled inverse chi-squared
variance; Gelman et al., Bayesian Data Analysis, 3rd ed., section 3.2). The law need not hold from the beginning:
each candidate start leaves the bins before it to another regime, which explains them to ``outside`` and no better.
Neither the starts nor the anneal gains cost another look at the curve: all sums over bins are matrix products.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from profiler.errors import UsageError
from profiler.forecasting.curve import Curve, FloatArray
from profiler.forecasting.models import log_shape, stretch
from profiler.forecasting.priors import Priors

STARTS = 10
FEWEST_BINS = 4
"""A law is not believed on fewer bins than this."""
GAINS = 9
MIN_EFFECTIVE = 4.0
MIN_INSIDE = 2.0


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
