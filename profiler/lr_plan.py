"""Planned learning rate of a run: declared by the user or simulated, stored in ``run.json``, read by forecasts."""

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import Any, Self, SupportsFloat, SupportsIndex

from profiler.errors import UsageError

SECTION = "learning_rate_plan"
"""Key of the plan in ``run.json``."""
TOTAL = "total_steps"
KNOTS = 256
SAMPLES = 4096
"""Number of steps at which a plan is evaluated; a forecast resolves half of that."""
TOLERANCE = 1e-3
"""Largest error of the lines between knots, as a share of the peak rate, where ``KNOTS`` knots suffice."""
DECLARED = "planned_learning_rate"

_WORDS = re.compile(
    r"(constant|linear|cosine|wsd)(?:\s+(\d+(?:\.\d+)?)\s*%)?(?:\s+to\s+(\d*\.?\d+))?"
    r"(?:\s+at\s+(\d[\d_,]*)(?:\s+steps)?)?(?:\s+after\s+(\d[\d_,]*)(?:\s+steps)?)?"
)
_EXAMPLES = "'cosine to 0.1 at 100_000 steps' or 'wsd 80 %'"

ENDED = "the schedule has ended"
"""Reason for a missing plan that needs no remedy."""
Planned = float | str | Sequence[float] | Callable[[int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePlan:
    """Learning rate over the steps of a run, as straight lines between knots.

    Attributes:
        steps: Steps of the knots, counted from 1, increasing. A single knot is a constant rate.
        rates: Learning rate of each of these steps.
        source: Origin of the plan, for reports.
        relative: Whether the rates are relative to the peak, which only the recording shows.
    """

    steps: tuple[int, ...]
    rates: tuple[float, ...]
    source: str
    relative: bool = False

    @classmethod
    def sampled(cls, rate: Callable[[int], float], first: int, last: int, source: str) -> Self:
        """Evaluate ``rate`` at steps from ``first`` to ``last``, both included, and keep the knots."""
        count = min(last - first + 1, SAMPLES)
        steps = [first + round(k * (last - first) / max(count - 1, 1)) for k in range(count)]
        knots = _thinned([(step, rate(step)) for step in steps])
        return cls(steps=tuple(s for s, _ in knots), rates=tuple(r for _, r in knots), source=source)

    @classmethod
    def read(cls, meta: Mapping[str, Any]) -> Self | None:
        """Return the plan in ``run.json``; None if there is none."""
        section = meta.get(SECTION)
        if not section or "knots" not in section:
            return None
        steps, rates = zip(*section["knots"], strict=True)
        relative = bool(section.get("relative", False))
        return cls(steps=steps, rates=rates, source=str(section["source"]), relative=relative)

    def section(self) -> dict[str, Any]:
        """Return the plan as it is stored in ``run.json``."""
        section: dict[str, Any] = {
            "source": self.source,
            "knots": [list(knot) for knot in zip(self.steps, self.rates, strict=True)],
        }
        return section | {"relative": True} if self.relative else section

    def scaled(self, peak: float) -> "RatePlan":
        """Return the plan in units of the learning rate, given its peak."""
        if not self.relative:
            return self
        return replace(self, rates=tuple(peak * rate for rate in self.rates), relative=False)

    @property
    def last_step(self) -> float:
        """Step at which the plan ends; infinity for a constant rate."""
        return self.steps[-1] if len(self.steps) > 1 else math.inf

    def rate_at(self, step: float) -> float:
        """Return the rate of a step; beyond either end, the rate at that end."""
        k = bisect_right(self.steps, step)
        if k in (0, len(self.steps)):
            return self.rates[min(k, len(self.steps) - 1)]
        share = (step - self.steps[k - 1]) / (self.steps[k] - self.steps[k - 1])
        return self.rates[k - 1] + share * (self.rates[k] - self.rates[k - 1])


def refusal(meta: Mapping[str, Any]) -> str:
    """Return why the scheduler of a run could not be simulated; empty if it was, is not known, or has ended."""
    section = meta.get(SECTION) or {}
    reason = str(section.get("refused", ""))
    return "" if reason in ("", ENDED) else f"{str(section['source']).rpartition('.')[2]}: {reason}"


def has_ended(meta: Mapping[str, Any]) -> bool:
    """Return whether the scheduler of a run had ended when the recording stopped."""
    return (meta.get(SECTION) or {}).get("refused") == ENDED


def declared(planned: Planned | None, total_steps: int | None) -> RatePlan | None:
    """Validate the declared steps and learning rate of a run; None if no rate is declared.

    Args:
        planned: A constant rate, one rate per step, a function of the number of steps already done, or words, such as
            ``"cosine to 0.1 at 100_000 steps"``: see :func:`in_words`.
        total_steps: Optimizer steps of the whole run.

    Raises:
        UsageError: The declaration is invalid or contradicts itself.
    """
    if total_steps is not None and not (isinstance(total_steps, SupportsIndex) and int(total_steps) > 0):
        raise UsageError(f"{TOTAL} must be a positive whole number, not {total_steps!r}.")
    if planned is None:
        return None
    if isinstance(planned, str):
        try:
            planned = float(planned)  # a number given to a flag
        except ValueError:
            return in_words(str(planned), total_steps)
    if callable(planned):
        return _of_function(planned, total_steps)
    if isinstance(planned, SupportsFloat) and getattr(planned, "ndim", 0) == 0:
        return RatePlan(steps=(1,), rates=(_rate(planned, 1),), source=DECLARED)
    return _of_sequence(planned, total_steps)


def in_words(words: str, total_steps: int | None = None) -> RatePlan:
    """Parse a plan in words; its rates are relative to the peak of the recorded ones.

    The forms are ``constant``, ``linear``, ``cosine`` and ``wsd 80 %`` (constant for that share of the steps, then
    linear), each with ``to F`` for the last rate relative to the peak (0 by default), ``at N steps`` for the length
    (``total_steps`` by default), and ``after W steps`` for a linear warm-up.

    Raises:
        UsageError: The words are not understood, or the length is missing or contradictory.
    """
    match = _WORDS.fullmatch(words.strip().lower())
    if match is None:
        raise UsageError(f"{DECLARED}={words!r} is not understood; write it like {_EXAMPLES}.")
    shape, stable, end, length, warm_up = match.groups()
    if shape == "constant":
        return RatePlan(steps=(1,), rates=(1.0,), source=f"{words} ({DECLARED})", relative=True)
    last = _whole(length) if length else total_steps
    if last is None or (total_steps is not None and last != total_steps):
        missing = (
            f"needs its length, such as 'at 100_000 steps' or {TOTAL}="
            if last is None
            else f"contradicts {TOTAL}={total_steps:,}"
        )
        raise UsageError(f"{DECLARED}={words!r} {missing}; write it like {_EXAMPLES}.")
    first, final = max(_whole(warm_up) if warm_up else 1, 1), float(end or 0.0)
    kept = float(stable or 0.0) / 100.0 if shape == "wsd" else 0.0
    if not (0.0 <= final <= 1.0 and 0.0 <= kept < 1.0 and first < last) or (shape == "wsd") != bool(stable):
        raise UsageError(f"{DECLARED}={words!r} is out of range; write it like {_EXAMPLES}.")

    def rate(step: int) -> float:
        if step < first:
            return step / first
        progress = (step - max(first, kept * last)) / (last - max(first, kept * last))
        progress = max(progress, 0.0)
        fall = 0.5 * (1.0 - math.cos(math.pi * progress)) if shape == "cosine" else progress
        return 1.0 - (1.0 - final) * fall

    plan = RatePlan.sampled(rate, 1, last, f"{words} ({DECLARED})")
    return replace(plan, relative=True)


def _whole(digits: str) -> int:
    return int(digits.replace("_", "").replace(",", ""))


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
        raise UsageError(f"{DECLARED} must be a rate, one rate per step or a function, not {planned!r}.")
    rates = [_rate(value, step) for step, value in enumerate(planned, start=1)]
    if len(rates) < 2 or (total_steps is not None and len(rates) != total_steps):  # noqa: PLR2004 - a plan has two ends
        expected = "two or more" if total_steps is None else f"{total_steps:,}, as {TOTAL} states"
        raise UsageError(f"{DECLARED} holds {len(rates):,} rates, one per step; there must be {expected}.")
    return RatePlan.sampled(lambda step: rates[step - 1], 1, len(rates), DECLARED)


def _rate(value: object, step: int) -> float:
    try:
        rate = float(value)  # type: ignore[arg-type] # anything that float() rejects
    except (TypeError, ValueError):
        raise UsageError(f"{DECLARED} gives {value!r} for step {step:,}, which is not a number.") from None
    if not 0.0 <= rate < math.inf:
        raise UsageError(
            f"{DECLARED} gives {rate!r} for step {step:,}; a learning rate is finite and not negative."
        )
    return rate


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Keep at most ``KNOTS`` points, chosen by the algorithm of Ramer, Douglas and Peucker.

    The segment with the largest error is split at its worst point, until every error is within the tolerance.
    """
    tolerance = TOLERANCE * max(rate for _, rate in points)
    kept = {0, len(points) - 1}
    segments = [_worst(points, 0, len(points) - 1)]
    while len(kept) < KNOTS and -segments[0][0] > tolerance:
        _, start, worst, end = heappop(segments)
        kept.add(worst)
        heappush(segments, _worst(points, start, worst))
        heappush(segments, _worst(points, worst, end))
    return [points[index] for index in sorted(kept)]


def _worst(points: list[tuple[int, float]], start: int, end: int) -> tuple[float, int, int, int]:
    """Return the negative of a segment's largest error, with the segment's start, worst point and end."""
    (first, low), (last, high) = points[start], points[end]
    slope = (high - low) / max(last - first, 1)
    errors = (
        (-abs(rate - low - slope * (step - first)), start, index, end)
        for index, (step, rate) in enumerate(points[start:end], start)
    )
    return min(errors, default=(0.0, start, start, end))
