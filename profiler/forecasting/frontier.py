"""Frontier of several runs of one task: the cheapest run at each level, and its extrapolation.

The frontier is the lower envelope of smoothed loss against joules over all runs, extrapolated as a curve (approach 1 of
Hoffmann et al., Training Compute-Optimal Large Language Models, 2022, with joules in place of operations).
A fit ignores the first hundredth of a run's joules, and so does the envelope.
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
from profiler.forecasting.metric import Metric
from profiler.forecasting.predictive import LOWEST
from profiler.forecasting.result import CurveFit
from profiler.forecasting.smoothing import Smoothed
from profiler.records import CurveState, Forecast, Interval
from profiler.units import format_joules

POINTS = 256
"""Points of the envelope, evenly spaced in log joules."""
AT_THE_END, LEAST_APART = 0.98, 1.2
"""Part of its energy at which a run is at its end, and least ratio of the ends of annealed runs that show a slope."""
MOST_ALONE = 0.5
"""Part of the envelope's log range from which a single run at its end deserves a caveat."""


class SupportsFit(Protocol):
    """An object with a fit, such as a recorded run."""

    def fit(self) -> CurveFit:
        """Fit the loss against the joules."""


Fittable = SupportsFit | CurveFit | tuple[npt.ArrayLike, npt.ArrayLike]


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """A loss, and the energy at which each run reached it.

    Attributes:
        loss: The level.
        joules: Joules at which the smoothed curve of each run first reached it: infinity where it did not, None where
            the run is excluded.
        at_most: For each run, whether it was there before its smoothed curve begins: ``joules`` is then an upper limit.
        cheapest: Index of the run that reached it with the least energy; None where no run did.
    """

    loss: float
    joules: tuple[float | None, ...]
    at_most: tuple[bool, ...]
    cheapest: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A part of the envelope on which one run is the cheapest.

    Attributes:
        run: Index of the run.
        start_joules: Its first point on the envelope.
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
        refused: Reason for excluding each run; empty for the others.
        joules: Joules at which a run reaches a new best level of all runs, increasing.
        losses: That level, improving.
        runs: Index of that run.
        metric: Direction and best value of the metric.
    """

    fits: tuple[CurveFit | None, ...]
    refused: tuple[str, ...]
    joules: FloatArray
    losses: FloatArray
    runs: npt.NDArray[np.int64]
    metric: Metric

    @property
    def common(self) -> tuple[float, float]:
        """The worst and the best level that at least two runs reached."""
        worst, best = _common([fit for fit in self.fits if fit is not None])
        return self.metric.value(worst), self.metric.value(best)

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """The parts of the envelope in order of joules, each with its cheapest run."""
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
        """Return the energy at which each run reached a level."""
        error = self.metric.error(loss)
        target = math.log(error) if error > 0.0 else LOWEST
        joules = tuple(None if fit is None else fit.smoothed.first_crossing(target) for fit in self.fits)
        at_most = tuple(fit is not None and target > float(fit.smoothed.log_values[0]) for fit in self.fits)
        paid = [(price, run) for run, price in enumerate(joules) if price is not None and price < math.inf]
        cheapest = min(paid)[1] if paid else None
        return Milestone(loss=loss, joules=joules, at_most=at_most, cheapest=cheapest)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frontier:
    """Least energy at each loss, measured and extrapolated. Joules count from the start of a run.

    Attributes:
        envelope: The measured part.
        fit: The fit of the envelope.
        notes: Caveats of the extrapolation, as sentences.
    """

    envelope: Envelope
    fit: CurveFit
    notes: tuple[str, ...]

    def loss_at(self, joules: float) -> Interval:
        """Return the lowest loss at an amount of energy."""
        return self.fit.loss_at(joules)

    def joules_at(self, loss: float) -> Forecast:
        """Return the least energy at which a loss is reached, with the verdict."""
        return self.fit.joules_at(loss)


def fit_frontier(
    runs: Sequence[Fittable], *, lower_bound: float | None = None, level: float = 0.9
) -> Frontier:
    """Extrapolate the least energy at each loss over several runs of one task, such as models of several sizes.

    Args:
        runs: Recorded runs, fits, or pairs ``(joules, values)``, in any mixture.
        lower_bound: A known lower limit of the loss.
        level: Probability inside the intervals.

    Raises:
        ForecastRefusedError: ``too_few_runs`` when fewer than two have a curve, ``no_common_range`` when no two
            reached the same loss, or a reason of `fit_curve` for the envelope.
    """
    return extrapolate(trace(runs), lower_bound=lower_bound, level=level)


def trace(runs: Sequence[Fittable], names: Sequence[str] = ()) -> Envelope:
    """Trace the lower envelope of several runs. A run whose curve supports no fit is excluded, with the reason.

    Args:
        runs: Recorded runs, fits, or pairs ``(joules, values)``, in any mixture.
        names: Names of the runs for messages.

    Raises:
        ForecastRefusedError: ``too_few_runs`` or ``no_common_range``.
    """
    fits, refused = zip(*(_fitted(run) for run in runs), strict=True) if runs else ((), ())
    known = [fit for fit in fits if fit is not None]
    _refuse_few(len(known), refused, names)
    metric = known[0].metric
    high, low = _common(known)
    if low >= high:
        end, start = f"{metric.value(low):.4g}", f"{metric.value(high):.4g}"
        if end == start:  # levels this close need all their digits
            end, start = repr(metric.value(low)), repr(metric.value(high))
        raise ForecastRefusedError(
            "no_common_range",
            f"No two runs reached the same level: one ends at {end} and the next begins at {start}.",
            remedy="Compare runs of one task with the same metric, or train longer until their curves overlap.",
        )
    curves = [(k, fit.smoothed) for k, fit in enumerate(fits) if fit is not None]
    joules, errors, owners = _lowest(curves, _origin(known))
    levels = np.array([metric.value(error) for error in errors])
    return Envelope(fits=fits, refused=refused, joules=joules, losses=levels, runs=owners, metric=metric)


def extrapolate(envelope: Envelope, *, lower_bound: float | None = None, level: float = 0.9) -> Frontier:
    """Fit the envelope.

    Raises:
        ForecastRefusedError: As `fit_curve`, or ``schedule_ended`` where the envelope ends with an anneal, and no
            other end of an annealed run shows the slope between them.
    """
    _refuse_anneal(envelope)
    origin = _origin([fit for fit in envelope.fits if fit is not None])
    best = envelope.metric.best
    fit = fit_curve(
        envelope.joules,
        envelope.losses,
        origin_joules=origin,
        lower_bound=lower_bound,
        goal="min" if best is None else "max",
        best=best,
        level=level,
    )
    if not fit.has_forecast:
        raise ForecastRefusedError(
            str(fit.state), fit.state_reason, remedy="Add runs that reach lower losses."
        )
    return Frontier(envelope=envelope, fit=fit, notes=(*_alone(envelope), *fit.notes))


def _refuse_anneal(envelope: Envelope) -> None:
    """Raise where the slope at the end of the envelope is that of an anneal, which does not continue.

    With the ends of several annealed runs, such as models of several sizes, the envelope has the slope between them.
    """
    ends = []
    for run in set(envelope.runs.tolist()):
        fit, reached = envelope.fits[run], float(envelope.joules[envelope.runs == run][-1])
        if fit is not None and fit.history.context.ended and reached >= AT_THE_END * fit.joules:
            ends.append(fit.joules)
    last = envelope.fits[int(envelope.runs[-1])]
    if last is not None and last.joules in ends and max(ends) < LEAST_APART * min(ends):
        raise ForecastRefusedError(
            "schedule_ended",
            "The cheapest curve ends with an anneal of the learning rate, whose slope does not continue.",
            remedy="Add runs of other lengths or sizes that annealed.",
        )


def _fitted(run: Fittable) -> tuple[CurveFit | None, str]:
    try:
        fit = run if isinstance(run, CurveFit) else _fit(run)
    except ForecastRefusedError as error:
        return None, str(error)
    # A curve without an exponent was not fitted, so that its levels are those of single points.
    unusable = fit.state in (CurveState.NOT_A_PROGRESS_MEASURE, CurveState.TOO_EARLY) and not fit.families
    return (None, fit.state_reason) if unusable else (fit, "")


def _fit(run: SupportsFit | tuple[npt.ArrayLike, npt.ArrayLike]) -> CurveFit:
    return fit_curve(*run) if isinstance(run, tuple) else run.fit()


_REASONS = 3
"""Reasons for missing curves in one message, which is a line."""


def _refuse_few(known: int, refused: Sequence[str], names: Sequence[str]) -> None:
    if known < 2:  # noqa: PLR2004 - an envelope of one run is that run
        given = len(refused)
        what = f"A comparison needs two runs with a curve; of the {given} given, {known or 'none'} has one."
        reasons = [
            ": ".join((*names[k : k + 1], reason.strip())) for k, reason in enumerate(refused) if reason
        ]
        reason = " ".join(reasons[:_REASONS])
        raise ForecastRefusedError(
            "too_few_runs",
            f"{what} {reason}".strip(),
            remedy="Name at least two runs of one task whose losses were recorded.",
        )


def _common(fits: Sequence[CurveFit]) -> tuple[float, float]:
    """Return the second highest start and the second lowest end of the error: two runs cover the range between them."""
    starts = sorted(fit.metric.error(fit.first_level) for fit in fits)
    ends = sorted(math.exp(float(fit.smoothed.log_values.min())) for fit in fits)
    return starts[-2], ends[1]


def _origin(fits: Sequence[CurveFit]) -> float:
    """Return the least joules of any run before its first step."""
    return min(fit.origin_joules for fit in fits)


def _lowest(
    curves: Sequence[tuple[int, Smoothed]], origin: float
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """Return joules, error and run at each point where a run is lower than all runs with less energy."""
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
    start = format_joules(last.start_joules)
    caveat = "A larger model might beat it: read the projection as an upper bound on cost."
    return [f"Past {start} one run is cheapest throughout. {caveat}"]
