"""Energy and time per step at each power limit that was enforced while a run trained.

An administrator or a scheduler changes the limit, and the samples show it. Every stretch of time under one limit is a
visit. The means of visits are fitted by the limit and a linear drift over the run, so a limit needs two visits before
it is compared with others: with one, its effect cannot be separated from that of time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.records import Interval, kind_of
from profiler.uncertainty import student_95

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from profiler.storage.reader import StoredRun

    Array = npt.NDArray[np.float64]

SETTLE_SECONDS = 2.0
"""Time after a change whose steps are excluded: the limit is read once per second, and clocks follow it."""
FEWEST_STEPS = 10
"""Steps that a visit needs."""
FEWEST_VISITS = 2
_DRAWS = 4_000
_SEED = 1
_FEWEST_FOR_DRIFT = 2
"""Degrees of freedom that are left after the limits, from which on a drift over time is fitted too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitEffect:
    """Cost of a step under one power limit.

    Attributes:
        limit_watts: The limit of each accelerator, in watts.
        visits: Number of times at which it was enforced.
        steps: Number of steps in them.
        step_joules: Energy per step, with all counted domains; from 0 to infinity where its interval is unknown.
        step_seconds: Time per step, likewise.
    """

    limit_watts: float
    visits: int
    steps: int
    step_joules: Interval
    step_seconds: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLimits:
    """The limits of a run, from the highest, and the best of them.

    Attributes:
        limits: Limits under which steps were made.
        least_joules: Limit of the lowest energy per step; None if none can be named.
        p_least_joules: Probability that it is the lowest of those that were visited twice.
        least_seconds: Limit of the shortest steps; None if none can be named.
        p_least_seconds: Probability that it is the shortest.
        refused: Reason why no limit is named; empty otherwise.
    """

    limits: tuple[LimitEffect, ...]
    least_joules: float | None = None
    p_least_joules: float | None = None
    least_seconds: float | None = None
    p_least_seconds: float | None = None
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visit:
    limit: float
    middle: float
    steps: int
    joules: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """Values per limit with their intervals, and the probability of each candidate to be the lowest."""

    intervals: tuple[Interval, ...]
    p_lowest: "Array"


def power_limits_of(run: "StoredRun") -> PowerLimits | None:
    """Compare the power limits of a run; None if its limit never changed or was not recorded."""
    stretches = _stretches(
        run.samples_by_domain, [name for name, domain in run.domains.items() if domain.billed]
    )
    if len({limit for limit, *_ in stretches}) < FEWEST_VISITS:
        return None
    visits = [visit for stretch in stretches if (visit := _visit(run.steps, *stretch)) is not None]
    limits = sorted({visit.limit for visit in visits}, reverse=True)
    if not limits:
        return PowerLimits(
            limits=(),
            refused=f"The power limit changed so often that none was enforced for {FEWEST_STEPS} steps.",
        )
    joules = _fit(visits, limits, [visit.joules for visit in visits])
    seconds = _fit(visits, limits, [visit.seconds for visit in visits])
    counts = {limit: [visit for visit in visits if visit.limit == limit] for limit in limits}
    effects = tuple(
        LimitEffect(
            limit_watts=limit,
            visits=len(counts[limit]),
            steps=sum(visit.steps for visit in counts[limit]),
            step_joules=joules.intervals[number],
            step_seconds=seconds.intervals[number],
        )
        for number, limit in enumerate(limits)
    )
    once = [limit for limit in limits if len(counts[limit]) < FEWEST_VISITS]
    if len(limits) - len(once) < FEWEST_VISITS:
        return PowerLimits(limits=effects, refused=_refusal(once))
    best, fastest = int(joules.p_lowest.argmax()), int(seconds.p_lowest.argmax())
    return PowerLimits(
        limits=effects,
        least_joules=limits[best],
        p_least_joules=float(joules.p_lowest[best]),
        least_seconds=limits[fastest],
        p_least_seconds=float(seconds.p_lowest[fastest]),
    )


def _refusal(once: Sequence[float]) -> str:
    names = " and ".join(f"{limit:g} W" for limit in once)
    what = (
        f"{names} {'was' if len(once) == 1 else 'were each'} enforced once" if once else "There was one limit"
    )
    return (
        f"{what}, so the effect of the limit cannot be separated from that of time: no best limit is named."
    )


def _stretches(
    samples: "Mapping[str, pd.DataFrame]", counted: Sequence[str]
) -> list[tuple[float, float, float]]:
    """Return limit, start and end of each stretch of time in which all counted accelerators had one limit."""
    import numpy as np

    names = [name for name in counted if kind_of(name).is_accelerator]
    courses = []
    for name in names:
        if name in samples and "limit_watts" in samples[name]:
            read = samples[name][samples[name]["limit_watts"].notna()]
            seconds, limits = (
                read[column].to_numpy(dtype=float) for column in ("time_seconds", "limit_watts")
            )
            courses += [(seconds, np.round(limits))] if len(read) else []
    if not courses or len(courses) < len(names):
        return []
    times = np.unique(np.concatenate([course[0] for course in courses]))
    # A limit holds between two readings that agree; between two that differ it is unknown.
    columns = []
    for seconds, limits in courses:
        after = np.searchsorted(seconds, times, side="left")
        is_inside = (after > 0) | (np.searchsorted(seconds, times, side="right") > 0)
        is_inside &= after < len(seconds)
        before = limits[np.clip(np.searchsorted(seconds, times, side="right") - 1, 0, None)]
        following = limits[np.clip(after, 0, len(limits) - 1)]
        columns.append(np.where(is_inside & (before == following), before, np.nan))
    together = np.stack(columns)
    common = np.where((together == together[0]).all(axis=0), together[0], np.nan)
    found: list[tuple[float, float, float]] = []
    start = 0
    for index in range(1, len(times) + 1):
        if index == len(times) or common[index] != common[start]:
            if not math.isnan(common[start]):
                found.append((float(common[start]), float(times[start]), float(times[index - 1])))
            start = index
    return found


def _visit(steps: "pd.DataFrame", limit: float, start: float, end: float) -> _Visit | None:
    """Return the means of the steps of a stretch; None if it has too few or their energy is unknown."""
    inside = steps[
        (steps["start_seconds"] >= start + SETTLE_SECONDS)
        & (steps["end_seconds"] <= end)
        & steps["total_joules"].notna()
    ]
    count = int(inside["step_count"].sum())
    if count < FEWEST_STEPS:
        return None
    return _Visit(
        limit=limit,
        middle=(start + end) / 2,
        steps=count,
        joules=float(inside["total_joules"].sum()) / count,
        seconds=float((inside["end_seconds"] - inside["start_seconds"]).sum()) / count,
    )


def _fit(visits: Sequence[_Visit], limits: Sequence[float], values: Sequence[float]) -> _Fit:
    """Fit one value per limit, and a common drift over time where the visits allow it."""
    import numpy as np

    columns = [[float(visit.limit == limit) for visit in visits] for limit in limits]
    times = np.array([visit.middle for visit in visits])
    if len(visits) - len(limits) >= _FEWEST_FOR_DRIFT and np.ptp(times) > 0:
        columns.append(list((times - times.mean()) / np.ptp(times)))
    design, known = np.array(columns).T, np.array(values)
    # Limits that were visited once may be collinear with the drift: the pseudo-inverse has a solution then too.
    inverse = np.linalg.pinv(design.T @ design)
    found = inverse @ design.T @ known
    degrees = len(known) - int(np.linalg.matrix_rank(design))
    means = found[: len(limits)]
    is_twice = np.array([sum(visit.limit == limit for visit in visits) >= FEWEST_VISITS for limit in limits])
    if degrees < 1:
        unknown = tuple(Interval(low=0.0, median=float(mean), high=math.inf) for mean in means)
        return _Fit(intervals=unknown, p_lowest=np.where(is_twice, means == means.min(), 0.0))
    variance = float(((known - design @ found) ** 2).sum()) / degrees
    covariance = variance * inverse[: len(limits), : len(limits)]
    errors = student_95(degrees) * np.sqrt(np.maximum(np.diag(covariance), 0.0))
    random = np.random.default_rng(_SEED)
    # Draws of a multivariate t distribution: the scatter is itself estimated, from few visits.
    scale = np.sqrt(degrees / random.chisquare(degrees, _DRAWS))[:, None]
    draws = means + scale * random.multivariate_normal(np.zeros(len(limits)), covariance, _DRAWS)
    # The effect of a limit with one visit cannot be separated from that of time, so it is never the lowest.
    draws[:, ~is_twice] = np.inf
    lowest = np.bincount(draws.argmin(axis=1), minlength=len(limits)) / _DRAWS
    intervals = tuple(
        Interval(low=float(max(mean - error, 0.0)), median=float(mean), high=float(mean + error))
        for mean, error in zip(means, errors, strict=True)
    )
    return _Fit(intervals=intervals, p_lowest=lowest)
