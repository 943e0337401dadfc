"""The fit object: what a curve says of every level and every amount of energy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import SupportsFloat

from profiler.errors import UsageError
from profiler.forecasting import verdict
from profiler.forecasting.backtest import Backtest, Past, widened
from profiler.forecasting.binning import Dropped
from profiler.forecasting.cleaning import Repaired
from profiler.forecasting.curve import Curve
from profiler.forecasting.metric import Metric
from profiler.forecasting.predictive import FARTHEST, Predictive
from profiler.forecasting.priors import HORIZON_LIMIT, Priors
from profiler.forecasting.smoothing import Smoothed
from profiler.records import CurveState, Forecast, Interval
from profiler.units import format_joules

FLOOR_LEVEL = 0.9


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CurveFit:
    """A fitted curve. Joules are totals since the start of the run; values are in the unit of the metric.

    What was spent before the first step bought no loss, so the law, and how far it may be trusted, count from there.

    It has no slots, because the backtest and what rests on it are worked out when they are first asked for.

    Attributes:
        state: State of the curve.
        state_reason: One sentence that states the reason for it.
        joules: Joules of the last usable point.
        level: Level of the smoothed curve there.
        first_level: Level at the very start of the curve.
        exponent: Exponent of the law at the last point; 90 % interval.
        families: Probability of each family of laws.
        points: Usable points.
        dropped: Points that could not be used.
        repaired: What was put right before the fit.
        notes: Sentences that a reader must know to trust the numbers.
        confidence: Probability inside the intervals that methods return.
        lower_bound: A value that the metric cannot be under.
        metric: Which way the metric gets better.
        priors: What was assumed before the curve was seen.
        curve: The binned curve that was fitted.
        smoothed: The observed part, smoothed.
        here: Logs of the lower end, the median and the upper end of the level at the last point.
        unwidened: The posterior under each scenario, the default one first: ``onward`` when the learning rate is not
            known, else ``planned`` where there is a plan, ``held`` at the present rate, and ``annealed`` to zero at
            the target.
        past: What earlier parts of the curve are tested on.
    """

    state: CurveState
    state_reason: str
    joules: float
    level: float
    first_level: float
    exponent: Interval
    families: Mapping[str, float]
    points: int
    dropped: Dropped
    repaired: Repaired
    notes: tuple[str, ...]
    confidence: float
    lower_bound: float
    metric: Metric
    priors: Priors
    curve: Curve
    smoothed: Smoothed
    here: tuple[float, ...]
    unwidened: Mapping[str, Predictive]
    past: Past

    def __repr__(self) -> str:
        levels = f"level {self.first_level:.4g} -> {self.level:.4g} at {format_joules(self.joules)}"
        floor = f"floor {self.floor.median:.4g} [{self.floor.low:.4g}, {self.floor.high:.4g}]"
        return f"{type(self).__name__}({levels}, {floor})"

    @property
    def origin_joules(self) -> float:
        """Joules at which the first step began; 0 where that was not said."""
        return self.past.known.origin_joules

    @property
    def horizon_joules(self) -> float:
        """Joules up to which a number means something; beyond them only an interval does."""
        return self.joules_after(math.log(HORIZON_LIMIT))

    def joules_after(self, log_ratio: float) -> float:
        """Return the joules at a log of joules / present joules, both since the first step."""
        return self.origin_joules + self.past.fine.last_joules * exp(log_ratio)

    @property
    def scenarios(self) -> tuple[str, ...]:
        """Names of the futures, the default one first."""
        return tuple(self.unwidened)

    @cached_property
    def backtest(self) -> tuple[Backtest, ...]:
        """What earlier parts of the run would have forecast for the present; empty when they are too short."""
        return self.past.backtest()

    @cached_property
    def futures(self) -> Mapping[str, Predictive]:
        """The posterior under each scenario, as wide as the backtest makes it."""
        return {
            name: replace(future, misses=widened(future.misses, self.backtest, self.metric))
            for name, future in self.unwidened.items()
        }

    @property
    def planned_joules(self) -> float | None:
        """Joules at which the plan of the learning rate ends; None where there is none ahead."""
        known = self.past.known
        if known.schedule is None or not known.planned:
            return None
        return known.origin_joules + known.schedule.end

    @cached_property
    def floor(self) -> Interval:
        """The level that infinite energy would approach; 90 % interval."""
        future = self.futures[self.scenarios[0]]
        logs = [future.log_quantile(math.inf, p) for p in probabilities(FLOOR_LEVEL)]
        return self._interval(logs, FLOOR_LEVEL)

    def loss_at(self, joules: float, *, scenario: str | None = None) -> Interval:
        """Return the level after an amount of energy.

        Args:
            joules: Energy since the start of the run, in joules, past or future; may be infinite.
            scenario: One of `scenarios`; the first where not given.

        Raises:
            UsageError: Not a positive number, or no such scenario.
        """
        energy = number("joules", joules)
        if energy <= 0.0:
            raise UsageError(f"joules must be positive, not {joules!r}.")
        name = self._checked(scenario)
        if energy > self.joules:
            future = self.futures[name]
            log_ratio = math.log((energy - self.origin_joules) / self.past.fine.last_joules)
            return self._interval(
                [future.log_quantile(log_ratio, p) for p in probabilities(self.confidence)], self.confidence
            )
        past = self.smoothed.log_at(energy) - self.here[1]
        return self._interval([q + past for q in self.here], self.confidence)

    def joules_at(self, loss: float, *, scenario: str | None = None) -> Forecast:
        """Return the energy that a level costs, with the verdict.

        Args:
            loss: The target, in the unit of the metric.
            scenario: One of `scenarios`; the first where not given.

        Raises:
            UsageError: Not a number, or no such scenario.
        """
        target, name = number("loss", loss), self._checked(scenario)
        error = self.metric.error(target)
        if self._excluded(error):
            return verdict.certain_never(target, self._bound(), self.confidence)
        log_level = math.log(error)
        past = [self.smoothed.first_crossing(log_level - q + self.here[1]) for q in self.here]
        if past[1] <= self.joules:
            return verdict.reached(
                past[1], (past[0], min(past[2], self.joules)), self.joules, self.confidence
            )
        future, ahead = self.futures[name], self._ahead(log_level, name)
        low, median, high = sorted(min(p, self.joules_after(a)) for p, a in zip(past, ahead, strict=True))
        return verdict.extrapolated(
            (low, median, high), future.p_never(log_level), self.joules, self.confidence, self.origin_joules
        )

    def p_never(self, loss: float, *, scenario: str | None = None) -> float:
        """Return the probability that no finite energy reaches a level; 0 for one that was reached.

        Args:
            loss: The target, in the unit of the metric.
            scenario: One of `scenarios`; the first where not given.

        Raises:
            UsageError: Not a number, or no such scenario.
        """
        error, name = self.metric.error(number("loss", loss)), self._checked(scenario)
        if self._excluded(error):
            return 1.0
        if self.smoothed.first_crossing(math.log(error)) <= self.joules:
            return 0.0
        return self.futures[name].p_never(math.log(error))

    def joules_down_to(self, loss: float) -> Interval:
        """Return the further joules that bring the level from where it is now down to ``loss``; infinite for never.

        It does not matter whether the run was lower before, as `joules_at` asks.
        """
        error = self.metric.error(number("loss", loss))
        ratios = [math.inf] * 3 if self._excluded(error) else self._ahead(math.log(error), self.scenarios[0])
        low, median, high = sorted(self.past.fine.last_joules * expm1(ratio) for ratio in ratios)
        return Interval(low=low, median=median, high=high, level=self.confidence)

    def _ahead(self, log_level: float, scenario: str) -> list[float]:
        """Logs of joules / present joules since the first step, where quantiles of the level first come down to it."""
        return [self.futures[scenario].crossing(log_level, p) for p in probabilities(self.confidence)]

    def _excluded(self, error: float) -> bool:
        return error <= 0.0 or error < self.lower_bound

    def _bound(self) -> str:
        """Say which exact bound excludes what lies beyond it."""
        if self.metric.best is not None:
            return f"the best possible value is {self.metric.best:.6g}, and is only ever approached"
        if self.lower_bound > 0.0:
            return f"it lies under the known lower bound {self.lower_bound:.6g}"
        return "no loss can be zero or less"

    def _checked(self, scenario: str | None) -> str:
        name = self.scenarios[0] if scenario is None else scenario
        if name not in self.scenarios:
            raise UsageError(f"scenario must be one of {', '.join(self.scenarios)}, not {name!r}.")
        return name

    def _interval(self, logs: Sequence[float], level: float) -> Interval:
        low, median, high = (max(exp(q), self.lower_bound) for q in logs)
        return self.metric.interval(Interval(low=low, median=median, high=high, level=level))


def probabilities(confidence: float) -> tuple[float, float, float]:
    """Return the probabilities of the ends of an interval and of its median."""
    return 0.5 - confidence / 2.0, 0.5, 0.5 + confidence / 2.0


def number(name: str, value: object) -> float:
    """Read an argument that must be a number.

    Raises:
        UsageError: It is not, or it is NaN.
    """
    if isinstance(value, bool | str | bytes) or not isinstance(value, SupportsFloat):
        raise UsageError(f"{name} must be a number, not {value!r}.")
    converted = float(value)
    if math.isnan(converted):
        raise UsageError(f"{name} must be a number, not NaN.")
    return converted


def exp(exponent: float) -> float:
    """Return e^exponent, infinite where a float ends."""
    return math.exp(exponent) if exponent < FARTHEST else math.inf


def expm1(exponent: float) -> float:
    """Return e^exponent - 1, infinite where a float ends."""
    return math.expm1(exponent) if exponent < FARTHEST else math.inf
