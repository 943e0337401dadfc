"""Several runs of one task: which is the cheapest way to each loss, and where the cheapest ways lead.

The frontier is the lower envelope of smoothed loss against joules over all runs, extrapolated as a curve (approach 1 of
Hoffmann et al., Training Compute-Optimal Large Language Models, 2022, with joules in the place of operations).
A fit does not look at the first hundredth of a run's joules, so neither does the envelope.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from profiler.errors import ForecastRefusedError
from profiler.forecasting.curve import FloatArray
from profiler.forecasting.fit import fit_curve
from profiler.forecasting.result import CurveFit
from profiler.forecasting.smoothing import Smoothed
from profiler.records import Forecast, Interval
from profiler.units import format_joules

POINTS = 256
"""The envelope is traced at this many joules, evenly on the log axis."""
MOST_ALONE = 0.5
"""Part of the envelope's log range beyond which one run is said to decide the frontier."""


class Fits(Protocol):
    """A recorded run, as far as it matters here."""

    def fit(self) -> CurveFit:
        """Fit its loss against its joules."""


Curve = Fits | CurveFit | tuple[npt.ArrayLike, npt.ArrayLike]


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """A loss, and what each run paid for it.

    Attributes:
        loss: The level.
        joules: Of each run, joules at which its smoothed curve first came there: infinity where it did not, None
            where the run is left out.
        at_most: For each run whether it was there before its smoothed curve begins, so that it paid less than that.
        cheapest: Index of the run that paid least; None where no run came down to it.
    """

    loss: float
    joules: tuple[float | None, ...]
    at_most: tuple[bool, ...]
    cheapest: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A part of the envelope that one run holds.

    Attributes:
        run: Index of the run.
        start_joules: Where it takes over.
        end_joules: Its last point on the envelope.
        first_loss: Level at ``start_joules``.
        last_loss: Level at ``end_joules``.
    """

    run: int
    start_joules: float
    end_joules: float
    first_loss: float
    last_loss: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Envelope:
    """The lower envelope of loss against joules.

    Attributes:
        fits: The fit of each run; None where its curve does not support one.
        refused: For each run why it is left out; empty where it is not.
        joules: Where some run first had the lowest loss of all, increasing.
        losses: That loss, decreasing.
        runs: Index of that run.
    """

    fits: tuple[CurveFit | None, ...]
    refused: tuple[str, ...]
    joules: FloatArray
    losses: FloatArray
    runs: npt.NDArray[np.int64]

    @property
    def common(self) -> tuple[float, float]:
        """The highest and the lowest loss that at least two runs came down to."""
        return _common([fit for fit in self.fits if fit is not None])

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """The parts of the envelope in order of joules, each with the run that is the cheapest way there."""
        turns = np.flatnonzero(np.diff(self.runs)) + 1
        ends = (0, *(int(turn) for turn in turns), self.runs.size)
        return tuple(self._stretch(start, end - 1) for start, end in pairwise(ends))

    def _stretch(self, start: int, end: int) -> Stretch:
        return Stretch(
            run=int(self.runs[start]),
            start_joules=float(self.joules[start]),
            end_joules=float(self.joules[end]),
            first_loss=float(self.losses[start]),
            last_loss=float(self.losses[end]),
        )

    def milestone(self, loss: float) -> Milestone:
        """Say what each run paid for a positive loss."""
        target = math.log(loss)
        joules = tuple(None if fit is None else fit.smoothed.first_crossing(target) for fit in self.fits)
        at_most = tuple(fit is not None and target > float(fit.smoothed.log_values[0]) for fit in self.fits)
        paid = [(price, run) for run, price in enumerate(joules) if price is not None and price < math.inf]
        cheapest = min(paid)[1] if paid else None
        return Milestone(loss=loss, joules=joules, at_most=at_most, cheapest=cheapest)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frontier:
    """What the cheapest way to each loss costs, past and future. Joules count from the start of a run.

    Attributes:
        envelope: What the runs have shown.
        fit: The law through it.
        notes: Sentences that a reader must know to trust the extrapolation.
    """

    envelope: Envelope
    fit: CurveFit
    notes: tuple[str, ...]

    def loss_at(self, joules: float) -> Interval:
        """Return the lowest loss that an amount of energy buys."""
        return self.fit.loss_at(joules)

    def joules_at(self, loss: float) -> Forecast:
        """Return the least energy that buys a loss, with the verdict."""
        return self.fit.joules_at(loss)


def fit_frontier(runs: Sequence[Curve], *, lower_bound: float | None = None, level: float = 0.9) -> Frontier:
    """Extrapolate the cheapest way to each loss over several runs of one task, such as models of several sizes.

    Args:
        runs: Recorded runs, fits, or pairs ``(joules, values)``, in any mixture.
        lower_bound: A value that the loss is known not to go under.
        level: Probability inside the intervals.

    Raises:
        ForecastRefusedError: ``too_few_runs`` when fewer than two have a curve, ``no_common_range`` when no two came
            to the same loss, or what `fit_curve` says of the envelope.
    """
    return extrapolate(trace(runs), lower_bound=lower_bound, level=level)


def trace(runs: Sequence[Curve]) -> Envelope:
    """Trace the lower envelope of several runs. A run whose curve supports no fit is left out, with the reason.

    Raises:
        ForecastRefusedError: ``too_few_runs`` or ``no_common_range``.
    """
    fits, refused = zip(*(_fitted(run) for run in runs), strict=True) if runs else ((), ())
    known = [fit for fit in fits if fit is not None]
    _refuse_few(len(runs), len(known), [reason for reason in refused if reason])
    high, low = _common(known)
    if low >= high:
        raise ForecastRefusedError(
            "no_common_range",
            f"No two runs came to the same loss: one ends at {low:.4g} and the next begins at {high:.4g}.",
            remedy="Compare runs of one task with the same loss, or let them go on until their losses overlap.",
        )
    curves = [(k, fit.smoothed) for k, fit in enumerate(fits) if fit is not None]
    joules, losses, owners = _lowest(curves, _origin(known))
    return Envelope(fits=fits, refused=refused, joules=joules, losses=losses, runs=owners)


def extrapolate(envelope: Envelope, *, lower_bound: float | None = None, level: float = 0.9) -> Frontier:
    """Fit the envelope.

    Raises:
        ForecastRefusedError: What `fit_curve` says of it.
    """
    origin = _origin([fit for fit in envelope.fits if fit is not None])
    fit = fit_curve(
        envelope.joules, envelope.losses, origin_joules=origin, lower_bound=lower_bound, level=level
    )
    return Frontier(envelope=envelope, fit=fit, notes=(*_alone(envelope), *fit.notes))


def _fitted(run: Curve) -> tuple[CurveFit | None, str]:
    try:
        if isinstance(run, CurveFit):
            return run, ""
        return (fit_curve(*run) if isinstance(run, tuple) else run.fit()), ""
    except ForecastRefusedError as error:
        return None, str(error)


def _refuse_few(given: int, known: int, reasons: list[str]) -> None:
    if known < 2:  # noqa: PLR2004 - an envelope of one run is that run
        what = f"A comparison needs two runs with a curve, and of {given} given {known or 'none'} has one."
        raise ForecastRefusedError(
            "too_few_runs",
            " ".join((what, *reasons[:1])),
            remedy="Name at least two runs of one task whose losses were recorded.",
        )


def _common(fits: Sequence[CurveFit]) -> tuple[float, float]:
    """The second highest start and the second lowest end: at least two runs came to what lies between them."""
    starts = sorted(fit.first_level for fit in fits)
    ends = sorted(math.exp(float(fit.smoothed.log_values.min())) for fit in fits)
    return starts[-2], ends[1]


def _origin(fits: Sequence[CurveFit]) -> float:
    """Joules that the cheapest start takes: no run pays less before its first step."""
    return min(fit.origin_joules for fit in fits)


def _lowest(
    curves: Sequence[tuple[int, Smoothed]], origin: float
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """Joules, loss and run wherever a run comes lower than all runs did with less energy."""
    axes = [np.log(curve.joules - origin) for _, curve in curves]
    grid = np.linspace(min(axis[0] for axis in axes), max(axis[-1] for axis in axes), POINTS)
    levels = np.stack(
        [
            np.interp(grid, axis, c.log_values, left=np.inf, right=np.inf)
            for axis, (_, c) in zip(axes, curves, strict=True)
        ]
    )
    lowest, owner = levels.min(axis=0), levels.argmin(axis=0)
    before = np.append(np.inf, np.minimum.accumulate(lowest)[:-1])
    new = lowest < before
    runs = np.array([run for run, _ in curves])
    return origin + np.exp(grid[new]), np.exp(lowest[new]), runs[owner[new]]


def _alone(envelope: Envelope) -> list[str]:
    last = envelope.stretches[-1]
    whole = math.log(envelope.joules[-1] / envelope.joules[0])
    if math.log(last.end_joules / last.start_joules) <= MOST_ALONE * whole:
        return []
    what = "a larger model may be cheaper still, so what is extrapolated is an upper bound of the frontier"
    return [f"Beyond {format_joules(last.start_joules)} one run alone is the cheapest: {what}."]
