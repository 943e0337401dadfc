"""Downsampled columns of a run for figures; extremes and total joules are preserved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Array = npt.NDArray[np.float64]

PIECES = 600
_SHORTEST = 1 / 400
"""Shortest stretch that is drawn, as a part of the window."""
_MOST_STRETCHES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points in order."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Mean and extremes of each piece of a run.

    Attributes:
        x: Middle of each piece.
        mean: Mean of each piece.
        low: Lowest value in each piece.
        high: Highest value in each piece.
    """

    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainPower:
    """Mean power of one domain in each piece, in watts."""

    domain: str
    watts: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Power over time in equal pieces that preserve the joules.

    Attributes:
        seconds: Edges of the pieces, one more than there are pieces.
        domains: Every counted domain.
        low: Lowest total power between two readings in each piece, in watts.
        high: Highest total power, likewise.
    """

    seconds: tuple[float, ...]
    domains: tuple[DomainPower, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Named stretch of time: a span outside the steps, or a user phase."""

    kind: str
    start_seconds: float
    end_seconds: float


def power_of(samples: "Mapping[str, pd.DataFrame]", domains: Sequence[str]) -> Power | None:
    """Return the power of each domain in at most 600 equal pieces of the window; None without two readings.

    Args:
        samples: The samples of each domain.
        domains: The domains that are drawn.
    """
    import numpy as np

    read = {name: samples[name] for name in domains if name in samples and len(samples[name]) > 1}
    if not read:
        return None
    times = np.unique(np.concatenate([rows["time_seconds"].to_numpy() for rows in read.values()]))
    edges = np.linspace(times[0], times[-1], min(max(map(len, read.values())), PIECES + 1))
    watts = {name: np.diff(_energy(rows, edges)) / np.diff(edges) for name, rows in read.items()}
    total = sum((_energy(rows, times) for rows in read.values()), np.zeros_like(times))
    low, high = _extremes(times[:-1], np.diff(total) / np.diff(times), edges)
    mean = sum(watts.values(), np.zeros(len(edges) - 1))
    return Power(
        seconds=floats(edges),
        domains=tuple(DomainPower(domain=name, watts=floats(value)) for name, value in watts.items()),
        low=floats(np.fmin(low, mean)),
        high=floats(np.fmax(high, mean)),
    )


def _energy(rows: "pd.DataFrame", moments: "Array") -> "Array":
    import numpy as np

    return np.asarray(np.interp(moments, rows["time_seconds"].to_numpy(), rows["energy_joules"].to_numpy()))


def band(x: "Array", y: "Array", weights: "Array", pieces: int = PIECES) -> Band:
    """Aggregate points in equal pieces of x.

    Args:
        x: Positions, not decreasing.
        y: Values; non-finite ones are ignored.
        weights: Weight of each value in the mean; positive.
        pieces: Largest number of pieces.
    """
    import numpy as np

    kept = np.isfinite(y) & np.isfinite(x)
    x, y, weights = x[kept], y[kept], weights[kept]
    if not len(x):
        return Band(x=(), mean=(), low=(), high=())
    first, length = x[0], max(float(x[-1] - x[0]), np.finfo(float).tiny)
    piece = np.minimum((x - first) / length * pieces, pieces - 1).astype(int)
    starts = np.flatnonzero(np.diff(piece, prepend=-1))
    share = np.add.reduceat(weights, starts)
    return Band(
        x=floats(np.add.reduceat(weights * x, starts) / share),
        mean=floats(np.add.reduceat(weights * y, starts) / share),
        low=floats(np.minimum.reduceat(y, starts)),
        high=floats(np.maximum.reduceat(y, starts)),
    )


def _extremes(x: "Array", y: "Array", edges: "Array") -> tuple["Array", "Array"]:
    """Return the lowest and highest of the values that begin in each piece; NaN in a piece without one."""
    import numpy as np

    piece = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
    starts = np.flatnonzero(np.diff(piece, prepend=-1))
    low, high = (np.full(len(edges) - 1, np.nan) for _ in range(2))
    low[piece[starts]], high[piece[starts]] = np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)
    return low, high


def thinned(x: "Array", y: "Array", *, pieces: int = PIECES, at: "Array | None" = None) -> Series:
    """Keep the first, the last, the lowest and the highest point of each of equal pieces.

    Args:
        x: Positions, not decreasing.
        y: Values; non-finite ones are ignored.
        pieces: Largest number of pieces.
        at: Quantity in which the pieces are equal, such as the logarithm of x; x by default.
    """
    import numpy as np

    at = x if at is None else at
    kept = np.isfinite(y) & np.isfinite(at)
    x, y, at = x[kept], y[kept], at[kept]
    if len(x) <= 4 * pieces:
        return Series(x=floats(x), y=floats(y))
    length = max(float(at[-1] - at[0]), np.finfo(float).tiny)
    piece = np.minimum((at - at[0]) / length * pieces, pieces - 1).astype(int)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(piece)) + 1, [len(piece)]]).tolist()
    ends: set[int] = set()
    for first, end in pairwise(starts):
        part = y[first:end]
        ends |= {first, first + int(part.argmin()), end - 1 - int(part[::-1].argmax()), end - 1}
    chosen = np.array(sorted(ends))
    return Series(x=floats(x[chosen]), y=floats(y[chosen]))


def stretches(steps: "pd.DataFrame", spans: "pd.DataFrame") -> tuple[Stretch, ...]:
    """Return the named stretches long enough to be visible in the window, at most the longest two hundred."""
    found = [
        Stretch(kind=str(kind), start_seconds=float(start), end_seconds=float(end))
        for start, end, kind in (*_phases(steps), *_spans(spans))
    ]
    window = max((one.end_seconds for one in found), default=0.0)
    if len(steps):
        window = max(window, float(steps["end_seconds"].iloc[-1]))
    seen = [one for one in found if one.end_seconds - one.start_seconds >= _SHORTEST * window > 0.0]
    seen.sort(key=lambda one: one.start_seconds - one.end_seconds)
    return tuple(sorted(seen[:_MOST_STRETCHES], key=lambda one: one.start_seconds))


def _spans(spans: "pd.DataFrame") -> list[tuple[float, float, str]]:
    return list(spans[["start_seconds", "end_seconds", "kind"]].itertuples(index=False, name=None))


def _phases(steps: "pd.DataFrame") -> list[tuple[float, float, str]]:
    """Return runs of neighbouring rows in the same user phase."""
    named = steps[steps["phase"] != ""]
    if named.empty:
        return []
    run = (named["phase"] != named["phase"].shift()) | (named.index.to_series().diff() != 1)
    groups = named.groupby(run.cumsum())
    columns = zip(
        groups["start_seconds"].first(), groups["end_seconds"].last(), groups["phase"].first(), strict=True
    )
    return [(float(start), float(end), str(phase)) for start, end, phase in columns]


def floats(values: "Array") -> tuple[float, ...]:
    """Convert an array to plain floats."""
    return tuple(values.tolist())
