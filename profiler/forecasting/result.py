"""The fitted curve: levels, joules, floor and backtest."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, SupportsFloat

import numpy as np

from profiler.errors import UsageError
from profiler.forecasting import verdict
from profiler.forecasting.metric import Metric
from profiler.forecasting.predictive import FARTHEST, LOWEST, Predictive, Standstill
from profiler.forecasting.priors import HORIZON_LIMIT, Priors
from profiler.forecasting.smoothing import Smoothed
from profiler.records import CurveState, Forecast, Interval
from profiler.units import format_joules

if TYPE_CHECKING:
    from profiler.forecasting.backtest import Backtest, History
    from profiler.forecasting.binning import Dropped
    from profiler.forecasting.cleaning import Repairs
    from profiler.forecasting.curve import Curve

FLOOR_LEVEL = 0.9
PERCENT = 0.01
ROUNDING = 1e-12
RATIOS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0, HORIZON_LIMIT)
"""Multiples of the present energy within which the probability of reaching a target is given."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CurveFit:
    """A fitted curve. Joules are totals since the start of the run; values are in the unit of the metric.

    The trend and its horizon count from the first step, since energy before it lowered no loss.

    It has no slots, because the backtest and its dependents are computed on first access.

    Attributes:
        state: State of the curve.
        state_reason: One sentence that states the reason for it.
        joules: Joules of the last usable point.
        level: Level of the smoothed curve there.
        first_level: Level at the start of the curve.
        exponent: Exponent of the curve at the last point; 90 % interval.
        families: Probability of each family of curves.
        points: Usable points.
        dropped: Unusable points, by reason.
        repairs: Repairs made before the fit.
        notes: Caveats, as sentences.
        confidence: Probability inside the intervals that methods return.
        lower_bound: A value that the metric cannot be under.
        metric: Direction and best value of the metric.
        priors: Assumptions before the curve is seen.
        curve: The binned curve that was fitted.
        smoothed: The observed part, smoothed.
        log_now: Logs of the lower end, the median and the upper end of the level at the last point.
        untested: The predictive distribution under each scenario before the backtest widens it, the default one first:
            ``onward`` when the learning rate is not known, else ``planned`` where there is a plan, ``held`` at the
            present rate, and ``annealed`` to zero at the target. Where the rate has fallen to zero, ``longer``, a run
            with a longer plan, or nothing if the curve before the anneal is too short for it.
        history: The measured curve, for the backtest.
    """

    state: CurveState
    state_reason: str
    joules: float
    level: float
    first_level: float
    exponent: Interval
    families: Mapping[str, float]
    points: int
    dropped: "Dropped"
    repairs: "Repairs"
    notes: tuple[str, ...]
    confidence: float
    lower_bound: float
    metric: Metric
    priors: Priors
    curve: "Curve"
    smoothed: Smoothed
    log_now: tuple[float, ...]
    untested: Mapping[str, Predictive | Standstill]
    history: "History"

    def __repr__(self) -> str:
        levels = f"level {self.first_level:.4g} -> {self.level:.4g} at {format_joules(self.joules)}"
        if not (self.is_priced and self.state is CurveState.IMPROVING):
            return f"{type(self).__name__}({levels}, {self.state})"
        floor = f"floor {self.floor.median:.4g} [{self.floor.low:.4g}, {self.floor.high:.4g}]"
        return f"{type(self).__name__}({levels}, {floor})"

    @property
    def origin_joules(self) -> float:
        """Joules at which the first step began; 0 by default."""
        return self.history.context.origin_joules

    @property
    def horizon_joules(self) -> float:
        """Joules up to which point values are given; beyond them only intervals are."""
        return self.joules_after(math.log(HORIZON_LIMIT))

    @property
    def spent_joules(self) -> float:
        """Joules from the first step to the last point."""
        # Values of zero have no bins.
        is_zero = self.log_now[1] == LOWEST
        return self.joules - self.origin_joules if is_zero else self.history.fine.last_joules

    def joules_after(self, log_ratio: float) -> float:
        """Return the joules at ln(joules / present joules), both since the first step."""
        return self.origin_joules + self.spent_joules * exp(log_ratio)

    @property
    def has_forecast(self) -> bool:
        """True if the default scenario forecasts further progress."""
        return any(isinstance(self.untested[name], Predictive) for name in self.scenarios[:1]) and (
            self.is_priced
        )

    @property
    def is_priced(self) -> bool:
        """True if targets that were not reached have prices, or are out of reach."""
        return bool(self.untested) and self.state in (CurveState.IMPROVING, CurveState.FLAT)

    @property
    def scenarios(self) -> tuple[str, ...]:
        """Names of the futures of the learning rate, the default one first."""
        return tuple(self.untested)

    @cached_property
    def backtest(self) -> "tuple[Backtest, ...]":
        """Forecasts for the present from earlier parts of the run; empty when these are too short.

        It is empty in states other than ``improving`` as well: on a flat curve every forecast of a constant holds. And
        it is empty where the learning rate fell to zero: forecasts of an anneal do not test those of a longer run.
        """
        is_tested = self.state is CurveState.IMPROVING and not self.history.context.ended
        return self.history.backtest() if is_tested else ()

    @cached_property
    def predictives(self) -> Mapping[str, Predictive | Standstill]:
        """The predictive distribution under each scenario, widened by the backtest."""
        return {
            name: replace(one, error=self.history.widened(one.error, self.backtest))
            if isinstance(one, Predictive)
            else one
            for name, one in self.untested.items()
        }

    @property
    def planned_joules(self) -> float | None:
        """Joules at the end of the learning rate's plan; None without a plan ahead."""
        context = self.history.context
        if context.schedule is None or not context.planned:
            return None
        return context.origin_joules + context.schedule.end

    @cached_property
    def floor(self) -> Interval:
        """The level that infinite energy would approach; 90 % interval, NaN in states without a forecast."""
        if not self.is_priced:
            return Interval(low=math.nan, median=math.nan, high=math.nan)
        predictive = self.predictives[self.scenarios[0]]
        # Departures from the curve may lie above the present level, and a floor cannot.
        logs = [
            min(predictive.log_quantile(ratio, p) for ratio in (0.0, math.inf))
            for p in probabilities(FLOOR_LEVEL)
        ]
        return self._interval(logs, FLOOR_LEVEL)

    def loss_at(self, joules: float, *, scenario: str | None = None) -> Interval:
        """Return the level after an amount of energy.

        Args:
            joules: Energy since the start of the run, in joules, past or future; may be infinite.
            scenario: One of `scenarios`; the first by default.

        Raises:
            UsageError: Not a positive number, or no such scenario.
        """
        energy = number("joules", joules)
        if energy <= 0.0:
            raise UsageError(f"joules must be positive, not {joules!r}.")
        name = self._checked(scenario)
        if not self.smoothed.log_joules.size:
            return Interval(low=math.nan, median=math.nan, high=math.nan, level=self.confidence)
        if energy > self.joules and not name:
            unknown = Interval(low=self.lower_bound, median=math.nan, high=math.inf, level=self.confidence)
            return self.metric.interval(unknown)
        if energy > self.joules:
            predictive = self.predictives[name]
            log_ratio = math.log((energy - self.origin_joules) / self.spent_joules)
            return self._interval(
                [predictive.log_quantile(log_ratio, p) for p in probabilities(self.confidence)],
                self.confidence,
            )
        past = self.smoothed.log_at(energy) - self.log_now[1]
        return self._interval([q + past for q in self.log_now], self.confidence)

    def joules_at(self, loss: float, *, scenario: str | None = None) -> Forecast:
        """Return the energy at which a level is reached, with the verdict.

        Args:
            loss: The target, in the unit of the metric.
            scenario: One of `scenarios`; the first by default.

        Raises:
            UsageError: Not a number, or no such scenario.
        """
        target, name = number("loss", loss), self._checked(scenario)
        error = self.metric.error(target)
        if self.state is CurveState.NOT_A_PROGRESS_MEASURE:
            return verdict.undetermined(self.joules, self.state_reason, self.confidence)
        if self._excluded(error):
            return verdict.excluded(target, self._bound(), self.confidence)
        log_level = _log(error)
        past = [self.smoothed.first_crossing(log_level - q + self.log_now[1]) for q in self.log_now]
        if self._is_past(past[1]):
            low, median, high = (min(crossing, self.joules) for crossing in past)
            return verdict.reached(median, (low, high), self.joules, self.confidence)
        if not self.is_priced:
            return verdict.undetermined(self.joules, self.state_reason, self.confidence)
        predictive = self.predictives[name]
        if isinstance(predictive, Standstill):
            return verdict.out_of_reach(predictive.p_still, self.state_reason, self.confidence)
        ahead = self._ahead(log_level, name)
        low, median, high = sorted(min(p, self.joules_after(a)) for p, a in zip(past, ahead, strict=True))
        return verdict.extrapolated(
            (low, median, high),
            predictive.p_unreachable(log_level),
            self.joules,
            self.confidence,
            origin=self.origin_joules,
            reach=tuple(zip(RATIOS, predictive.chances(log_level, np.log(RATIOS)).tolist(), strict=True)),
        )

    def p_unreachable(self, loss: float, *, scenario: str | None = None) -> float:
        """Return the probability that no finite energy reaches a level; 0 for one that was reached.

        It is NaN where the state of the curve supports no forecast.

        Args:
            loss: The target, in the unit of the metric.
            scenario: One of `scenarios`; the first by default.

        Raises:
            UsageError: Not a number, or no such scenario.
        """
        error, name = self.metric.error(number("loss", loss)), self._checked(scenario)
        if self.state is CurveState.NOT_A_PROGRESS_MEASURE:
            return math.nan
        if self._excluded(error):
            return 1.0
        if self._is_past(self.smoothed.first_crossing(_log(error))):
            return 0.0
        if not self.is_priced:
            return math.nan
        predictive = self.predictives[name]
        return (
            predictive.p_still
            if isinstance(predictive, Standstill)
            else predictive.p_unreachable(_log(error))
        )

    def joules_down_to(self, loss: float) -> Interval:
        """Return the further joules that lower the present level to ``loss``; infinite if out of reach.

        Unlike `joules_at`, it ignores whether the run was lower before.
        """
        error = self.metric.error(number("loss", loss))
        if not self.is_priced:
            return Interval(low=0.0, median=math.nan, high=math.inf, level=self.confidence)
        ratios = [math.inf] * 3 if self._excluded(error) else self._ahead(_log(error), self.scenarios[0])
        low, median, high = sorted(self.spent_joules * expm1(ratio) for ratio in ratios)
        return Interval(low=low, median=median, high=high, level=self.confidence)

    def price_of_percent(self) -> Interval:
        """Return the further joules that lower the level (the error, for a metric that rises) by one percent."""
        if math.isnan(self.level):
            return Interval(low=0.0, median=math.nan, high=math.inf, level=self.confidence)
        return self.joules_down_to(self.metric.value(self.metric.error(self.level) * (1.0 - PERCENT)))

    def _ahead(self, log_level: float, scenario: str) -> list[float]:
        """Return ln(joules / present joules) at which each quantile of the level first reaches ``log_level``."""
        predictive = self.predictives[scenario]
        if isinstance(predictive, Standstill):
            return [0.0 if log_level >= predictive.log_level else math.inf] * 3
        return [predictive.crossing(log_level, p) for p in probabilities(self.confidence)]

    def _is_past(self, crossing: float) -> bool:
        # The joules of the last point are those of a logarithm.
        return crossing <= self.joules * (1.0 + ROUNDING)

    def _excluded(self, error: float) -> bool:
        is_zero_recorded = error == 0.0 and self.log_now[1] == LOWEST
        return (error <= 0.0 and not is_zero_recorded) or error < self.lower_bound

    def _bound(self) -> str:
        """Describe the exact bound of the metric as a clause."""
        if self.metric.best is not None:
            return f"the best possible value is {self.metric.best:.6g}, which can only be approached"
        if self.lower_bound > 0.0:
            return f"it is below the known lower bound {self.lower_bound:.6g}"
        return "the metric cannot be zero or less"

    def _checked(self, scenario: str | None) -> str:
        if scenario is None:
            return self.scenarios[0] if self.scenarios else ""
        name = scenario
        if name not in self.scenarios:
            raise UsageError(f"scenario must be one of {', '.join(self.scenarios)}, not {name!r}.")
        return name

    def _interval(self, logs: Sequence[float], level: float) -> Interval:
        low, median, high = (
            max(exp(q), self.lower_bound) for q in sorted(logs)
        )  # equal ones may differ by rounding
        return self.metric.interval(Interval(low=low, median=median, high=high, level=level))


def probabilities(confidence: float) -> tuple[float, float, float]:
    """Return the probabilities of the ends of an interval and of its median."""
    return 0.5 - confidence / 2.0, 0.5, 0.5 + confidence / 2.0


def number(name: str, value: object) -> float:
    """Convert an argument to a float.

    Raises:
        UsageError: It is not a number, or is NaN.
    """
    if isinstance(value, bool | str | bytes) or not isinstance(value, SupportsFloat):
        raise UsageError(f"{name} must be a number, not {value!r}.")
    converted = float(value)
    if math.isnan(converted):
        raise UsageError(f"{name} must be a number, not NaN.")
    return converted


def _log(error: float) -> float:
    return math.log(error) if error > 0.0 else LOWEST


def exp(exponent: float) -> float:
    """Return e^exponent, infinite on overflow."""
    return math.exp(exponent) if exponent < FARTHEST else math.inf


def expm1(exponent: float) -> float:
    """Return e^exponent - 1, infinite on overflow."""
    return math.expm1(exponent) if exponent < FARTHEST else math.inf
