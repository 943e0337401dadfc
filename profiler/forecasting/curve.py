"""The binned curve that a fit uses: at most 64 log-spaced bins of the mean logarithm."""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from profiler.forecasting.binning import BINS_PER_OCTAVE, EDGES, SUMS, CurveBins, CurveFacts, Dropped

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

COARSE_BINS = 64
START_SHARE = 0.01
"""Points before this part of the joules are ignored: they carry no information on the trend."""
BY_CHANCE = 1e-3
"""Least probability of a stretch of zeros, given the share of zeros elsewhere, that counts as chance."""
MIN_POINTS = 6
MIN_BINS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FineBins:
    """All usable points, averaged in bins of 1.1 %. Joules count from the start of the first step.

    Attributes:
        joules: Mean joules of each bin, increasing.
        values: Arithmetic mean of the values in each bin.
        weights: Steps in each bin.
        last_joules: Joules of the last usable point.
        points: Usable points.
        dropped: Unusable points.
        disordered: Usable points at fewer joules than an earlier one.
        repeated: Usable points at the same joules as the latest one.
        facts: Counts for the state of the curve.
    """

    joules: FloatArray
    values: FloatArray
    weights: FloatArray
    last_joules: float
    points: int
    dropped: Dropped
    disordered: int = 0
    repeated: int = 0
    facts: CurveFacts = field(default_factory=CurveFacts)

    def only(self, kept: BoolArray) -> "FineBins":
        """Return the chosen bins with unchanged counts."""
        joules, values, weights = (part[kept] for part in (self.joules, self.values, self.weights))
        return replace(self, joules=joules, values=values, weights=weights)

    def first(self, bins: int) -> "FineBins":
        """Return the curve as it was when only this many bins were filled."""
        chosen = self.only(np.arange(self.joules.size) < bins)
        return replace(chosen, last_joules=float(self.joules[bins - 1]), points=bins)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """The curve that is fitted. Joules count from the start of the first step until it is `shifted`.

    Attributes:
        joules: Joules of each bin (geometric mean), increasing.
        log_values: Mean natural logarithm of the values in each bin.
        weights: Steps in each bin.
        last_joules: Joules of the last usable point.
        first_value: Value at the start of the curve.
        points: Usable points.
        dropped: Unusable points.
    """

    joules: FloatArray
    log_values: FloatArray
    weights: FloatArray
    last_joules: float
    first_value: float
    points: int
    dropped: Dropped

    @property
    def span(self) -> float:
        """Ratio of the last to the first joules in the fit."""
        return self.last_joules / float(self.joules[0])

    def shifted(self, joules: float) -> "Curve":
        """Return the same curve with ``joules`` before it."""
        return replace(self, joules=joules + self.joules, last_joules=joules + self.last_joules)


def from_stream(bins: CurveBins) -> FineBins:
    """Convert a streaming accumulator."""
    sums = np.array([bins.bins[index] for index in sorted(bins.bins)], dtype=float).reshape(-1, SUMS)
    last = bins.last_joules - bins.origin_joules if bins.points else 0.0
    fine = _fine(sums.T, last_joules=last, points=bins.points, dropped=bins.dropped)
    return replace(fine, disordered=bins.disordered, repeated=bins.repeated, facts=bins.facts)


def bin_arrays(
    joules: npt.ArrayLike,
    values: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    origin_joules: float = 0.0,
) -> FineBins:
    """Bin arrays, bit for bit as a `CurveBins` does with the same points in the same order.

    Args:
        joules: Energy since the start of the run at each point, in any order.
        values: The value at each point.
        weights: Number of steps that each value is the mean of; 1 by default.
        origin_joules: Joules at which the first step began.
    """
    x, y = np.asarray(joules, dtype=float).ravel(), np.asarray(values, dtype=float).ravel()
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=float).ravel()
    x, y, w = x[w > 0], y[w > 0], w[w > 0]
    finite = np.isfinite(x) & np.isfinite(y)
    since = x - origin_joules
    usable = finite & (since > 0) & (y >= 0)
    dropped = Dropped(
        nonfinite=int(np.sum(~finite)),
        nonpositive_joules=int(np.sum(finite & (since <= 0))),
        nonpositive_values=int(np.sum(finite & (since > 0) & (y < 0))),
    )
    facts = _facts(since, y)
    x, y, w = x[usable], y[usable], w[usable]
    most = np.maximum.accumulate(x)
    last = float(most[-1] - origin_joules) if x.size else 0.0
    fine = _fine(_sums(since[usable], y, w), last_joules=last, points=x.size, dropped=dropped)
    disordered, repeated = int(np.sum(x[1:] < most[:-1])), int(np.sum(x[1:] == most[:-1]))
    return replace(fine, disordered=disordered, repeated=repeated, facts=facts)


def as_errors(fine: FineBins, best: float | None) -> FineBins:
    """Convert a metric that rises to ``best`` into an error that falls; bins at or beyond ``best`` are dropped.

    The facts become those of the error, as far as bins show them.
    """
    if best is None:
        return fine
    worse = fine.values < best
    beyond = int(np.sum(~worse))
    errors = replace(fine, values=best - fine.values).only(worse)
    different = np.flatnonzero(fine.values != best)
    last = int(different[-1]) if different.size else -1
    facts = replace(
        fine.facts,
        negative=round(fine.facts.finite * float(np.mean(fine.values > best))) if worse.size else 0,
        sign_changes=0,
        tail_zeros=0 if fine.facts.tail_nonfinite else fine.values.size - 1 - last,
        last_nonzero_joules=float(fine.joules[last]) if last >= 0 else 0.0,
    )
    return replace(
        errors,
        facts=facts,
        points=fine.points - beyond,
        dropped=replace(fine.dropped, nonpositive_values=fine.dropped.nonpositive_values + beyond),
    )


def _facts(since: FloatArray, y: FloatArray) -> CurveFacts:
    """Return the facts that a `CurveBins` counts over the same points."""
    counted = np.isfinite(since) & (since > 0)
    x, y = since[counted], y[counted]
    if not x.size:
        return CurveFacts()
    finite, zero = np.isfinite(y), y == 0.0
    signs = np.sign(y[finite & ~zero])
    others, nonzero = np.flatnonzero(finite), np.flatnonzero(~zero)
    tail_nonfinite = x.size - 1 - int(others[-1]) if others.size else x.size
    # The first of the latest run of non-finite values, which need not reach the end.
    starts = np.flatnonzero(~finite & np.append(True, finite[:-1]))
    return CurveFacts(
        finite=int(finite.sum()),
        negative=int(np.sum(signs < 0)),
        zeros=int(zero.sum()),
        sign_changes=int(np.sum(signs[1:] * signs[:-1] < 0)),
        tail_nonfinite=tail_nonfinite,
        tail_zeros=x.size - 1 - int(nonzero[-1]) if nonzero.size else x.size,
        first_nonfinite_joules=float(x[starts[-1]]) if starts.size else 0.0,
        last_nonzero_joules=float(x[nonzero[-1]]) if nonzero.size else 0.0,
        start_joules=float(x[0]),
        end_joules=float(x[-1]),
    )


def _sums(x: FloatArray, y: FloatArray, w: FloatArray) -> FloatArray:
    if not x.size:
        return np.zeros((SUMS, 0))
    mantissa, octave = np.frexp(x / x[0])
    index = octave.astype(np.int64) * BINS_PER_OCTAVE + np.searchsorted(EDGES, mantissa, side="right")
    index -= index.min()
    sums = np.stack([np.bincount(index, weights=part) for part in (w, w * x, w * y, y == 0.0)])
    return np.asarray(sums[:, sums[0] > 0], dtype=float)


def _fine(sums: FloatArray, *, last_joules: float, points: int, dropped: Dropped) -> FineBins:
    sums, zeros = (sums, 0) if np.all(sums[2] > 0.0) else _without_zeros(sums, points)
    return FineBins(
        joules=sums[1] / sums[0],
        values=sums[2] / sums[0],
        weights=sums[0],
        last_joules=last_joules,
        points=points - zeros,
        dropped=replace(dropped, nonpositive_values=dropped.nonpositive_values + zeros),
    )


def _without_zeros(sums: FloatArray, points: int) -> tuple[FloatArray, int]:
    """Return bins with positive means, and the number of excluded points.

    A mean of zeros alone has no logarithm. Where zeros are frequent, such a bin joins the next one, because a curve
    without it would be too high. A stretch of zeros that is no chance is excluded, as is one at the end.
    """
    positive = np.flatnonzero(sums[2] > 0.0)
    kept, excluded, before = [], 0, 0
    for k in (*positive.tolist(), sums.shape[1]):
        stretch = int(sums[3, before:k].sum())
        others = max(points - stretch, 1)
        is_chance = ((sums[3].sum() - stretch) / others) ** stretch > BY_CHANCE
        if k == sums.shape[1] or not is_chance:
            excluded += stretch
            before = k
        if k < sums.shape[1]:
            kept.append(sums[:, before : k + 1].sum(axis=1))
        before = k + 1
    return np.array(kept).reshape(-1, SUMS).T, excluded


def coarsen(fine: FineBins) -> Curve | None:
    """Average fine bins into at most 64 log-spaced bins of the mean logarithm; None with too few points or bins."""
    if fine.points < MIN_POINTS:
        return None
    kept = fine.joules >= START_SHARE * fine.last_joules
    log_x, log_y, w = np.log(fine.joules[kept]), np.log(fine.values[kept]), fine.weights[kept]
    index = _coarse_index(log_x)
    weight = np.bincount(index, weights=w).astype(float)
    full = weight > 0
    x, y = (np.bincount(index, weights=w * part)[full] / weight[full] for part in (log_x, log_y))
    if x.size < MIN_BINS:
        return None
    return Curve(
        joules=np.exp(x),
        log_values=y,
        weights=weight[full],
        last_joules=fine.last_joules,
        first_value=float(fine.values[0]),
        points=fine.points,
        dropped=fine.dropped,
    )


def _coarse_index(log_x: FloatArray) -> npt.NDArray[np.int64]:
    span = max(log_x[-1] - log_x[0], 1e-12)
    index: npt.NDArray[np.int64] = np.minimum(
        (log_x - log_x[0]) / span * COARSE_BINS, COARSE_BINS - 1
    ).astype(np.int64)
    return index


def describe(dropped: Dropped, best: float | None = None) -> str:
    """Describe the reasons for dropped points; ``best`` is the best value of a metric that rises."""
    parts = (
        (dropped.nonfinite, "not finite"),
        (dropped.nonpositive_joules, "at zero or negative joules"),
        (
            dropped.nonpositive_values,
            "zero or negative" if best is None else f"beyond the best value, {best:g}",
        ),
    )
    return ", ".join(f"{count} {what}" for count, what in parts if count)
