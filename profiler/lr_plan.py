"""The planned learning rate of a run: what a user declares, what the recorder keeps, and what a forecast reads."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self, SupportsFloat, SupportsIndex

from profiler.errors import UsageError

SECTION = "learning_rate_plan"
"""The part of ``run.json`` that holds it."""
TOTAL = "total_steps"
KNOTS = 256
SAMPLES = 4096
"""A plan is looked at in so many steps; a forecast resolves half of that."""
TOLERANCE = 1e-3
"""Part of the peak by which lines between knots may miss a plan, unless it takes more knots than there may be."""
DECLARED = "planned_learning_rate"

Planned = float | Sequence[float] | Callable[[int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePlan:
    """A learning rate over the steps of a run, as straight lines between knots.

    Attributes:
        steps: Steps of the knots, counted from 1, increasing. A single one stands for a rate that never changes.
        rates: The learning rate at which each of these steps is taken.
        source: Who says so, for people.
    """

    steps: tuple[int, ...]
    rates: tuple[float, ...]
    source: str

    @classmethod
    def sampled(cls, rate: Callable[[int], float], first: int, last: int, source: str) -> Self:
        """Look a plan up at steps between two, both included."""
        count = min(last - first + 1, SAMPLES)
        steps = [first + round(k * (last - first) / max(count - 1, 1)) for k in range(count)]
        knots = _thinned([(step, rate(step)) for step in steps])
        return cls(steps=tuple(s for s, _ in knots), rates=tuple(r for _, r in knots), source=source)

    @classmethod
    def read(cls, meta: Mapping[str, Any]) -> Self | None:
        """Read it from ``run.json``; None where there is none."""
        section = meta.get(SECTION)
        if not section or "knots" not in section:
            return None
        steps, rates = zip(*section["knots"], strict=True)
        return cls(steps=steps, rates=rates, source=str(section["source"]))

    def section(self) -> dict[str, Any]:
        """Write it for ``run.json``."""
        return {
            "source": self.source,
            "knots": [list(knot) for knot in zip(self.steps, self.rates, strict=True)],
        }

    @property
    def last_step(self) -> float:
        """The step at which it ends; infinity for a rate that never changes."""
        return self.steps[-1] if len(self.steps) > 1 else math.inf

    def rate_at(self, step: float) -> float:
        """The rate at which a step is taken; beyond either end that of the end."""
        k = bisect_right(self.steps, step)
        if k in (0, len(self.steps)):
            return self.rates[min(k, len(self.steps) - 1)]
        part = (step - self.steps[k - 1]) / (self.steps[k] - self.steps[k - 1])
        return self.rates[k - 1] + part * (self.rates[k] - self.rates[k - 1])


def declared(planned: Planned | None, total_steps: int | None) -> RatePlan | None:
    """Check what a user says of a run's steps and learning rate; None where nothing is said of the rate.

    Args:
        planned: A rate, one rate a step, or a function of the steps already done.
        total_steps: Optimizer steps of the whole run.

    Raises:
        UsageError: What is said cannot mean anything, or contradicts itself.
    """
    if total_steps is not None and not (isinstance(total_steps, SupportsIndex) and int(total_steps) > 0):
        raise UsageError(f"{TOTAL} must be a positive whole number, not {total_steps!r}.")
    if planned is None:
        return None
    if callable(planned):
        return _of_function(planned, total_steps)
    if isinstance(planned, SupportsFloat) and getattr(planned, "ndim", 0) == 0:
        return RatePlan(steps=(1,), rates=(_rate(planned, 1),), source=DECLARED)
    return _of_sequence(planned, total_steps)


def _of_function(planned: Callable[[int], float], total_steps: int | None) -> RatePlan:
    if total_steps is None:
        raise UsageError(f"{DECLARED} is a function of the step, so {TOTAL} must be given as well.")
    try:
        return RatePlan.sampled(lambda step: _rate(planned(step - 1), step), 1, total_steps, DECLARED)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{DECLARED} raised {type(error).__name__}: {error}") from error


def _of_sequence(planned: object, total_steps: int | None) -> RatePlan:
    if isinstance(planned, str | bytes) or not isinstance(planned, Iterable):
        raise UsageError(f"{DECLARED} must be a rate, one rate a step or a function, not {planned!r}.")
    rates = [_rate(value, step) for step, value in enumerate(planned, start=1)]
    if len(rates) < 2 or (total_steps is not None and len(rates) != total_steps):  # noqa: PLR2004 - a plan has two ends
        wanted = "two or more" if total_steps is None else f"{total_steps:,}, as {TOTAL} says"
        raise UsageError(f"{DECLARED} holds {len(rates):,} rates, one for each step; there must be {wanted}.")
    return RatePlan.sampled(lambda step: rates[step - 1], 1, len(rates), DECLARED)


def _rate(value: object, step: int) -> float:
    try:
        rate = float(value)  # type: ignore[arg-type] # what cannot be read is what is asked
    except (TypeError, ValueError):
        raise UsageError(f"{DECLARED} gives {value!r} for step {step:,}: that is no number.") from None
    if not 0.0 <= rate < math.inf:
        raise UsageError(
            f"{DECLARED} gives {rate!r} for step {step:,}; a learning rate is finite and not negative."
        )
    return rate


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Keep so few points that the lines between them miss no other by more than they must."""
    tolerance = TOLERANCE * max(rate for _, rate in points)
    while len(kept := _lines(points, tolerance)) > KNOTS:
        tolerance *= 2.0
    return kept


def _lines(points: list[tuple[int, float]], tolerance: float) -> list[tuple[int, float]]:
    """Draw each line as far as it passes all points within the tolerance.

    The slopes that do so form a cone, which each further point narrows (the cone intersection of Gritzali and
    Papakonstantinou, A fast piecewise linear approximation algorithm, Signal Processing 5, 1983).
    """
    kept, steepest, flattest = points[:1], math.inf, -math.inf
    for before, point in pairwise(points):
        run, rise = point[0] - kept[-1][0], point[1] - kept[-1][1]
        if not flattest <= rise / run <= steepest:
            kept.append(before)
            run, rise, steepest, flattest = point[0] - before[0], point[1] - before[1], math.inf, -math.inf
        steepest, flattest = min(steepest, (rise + tolerance) / run), max(flattest, (rise - tolerance) / run)
    return [*kept, points[-1]] if len(points) > 1 else kept
