"""The forecast of a fitted curve: prices of lower losses, the floor, and the backtest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.emissions import WORLD_ELECTRICITY, ReferenceEnergy
from profiler.records import Forecast, Interval, Verdict

if TYPE_CHECKING:
    from profiler.forecasting import CurveFit
    from profiler.forecasting.backtest import Backtest

_WAYS_DOWN = (0.10, 0.25, 0.50, 0.75)
_UNDER = 1.10
_COMPARED = 0.25
"""Position, from the present level (0) to the floor (1), of the target that scenarios and live forecasts price."""
_SCENARIOS = ("planned", "held", "annealed")
_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target loss and its price.

    Attributes:
        loss: The target.
        way: Its position from the present level (0) to the median floor (1); None for one asked for.
        forecast: The answer, in joules since the start.
        more: Joules from now on; None when reached or out of reach.
    """

    loss: float
    way: float | None
    forecast: Forecast
    more: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The price of a target under one future of the learning rate.

    Attributes:
        name: ``planned`` as declared, ``held`` at the present rate, or ``annealed`` to zero at the target.
        target: The target and its price.
    """

    name: str
    target: Target


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedEnd:
    """The end of the planned run.

    Attributes:
        joules: Energy since the start by then, at the recent energy per step.
        loss: The level expected there.
    """

    joules: float
    loss: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The forecast of a fitted curve.

    Attributes:
        first_loss: Level at the start of the curve.
        last_loss: Level now.
        joules: Energy up to the last point of the curve, in joules.
        floor: The level that infinite energy would approach.
        targets: Lower losses on the way to the floor, and one under it.
        asked: Targets that were asked for.
        perfection: Level after the energy of `yardstick`, extrapolated.
        yardstick: An enormous amount of energy.
        next_percent: Further joules that lower the present loss by one percent.
        notes: Caveats of the fit.
        backtest: Forecasts for the present that earlier parts of the run would have given.
        scenarios: The price of one target if the learning rate continues as planned, is held, or is annealed;
            empty where the learning rate is not known.
        planned_end: The end of the planned run; None without a plan ahead.
    """

    first_loss: float
    last_loss: float
    joules: float
    floor: Interval
    targets: tuple[Target, ...]
    asked: tuple[Target, ...]
    perfection: Interval
    yardstick: ReferenceEnergy
    next_percent: Interval
    notes: tuple[str, ...]
    backtest: "tuple[Backtest, ...]" = ()
    scenarios: tuple[Scenario, ...] = ()
    planned_end: PlannedEnd | None = None

    @property
    def rows(self) -> tuple[Target, ...]:
        """All targets, from the easiest to the hardest; an asked target replaces its equal."""
        every = {row.loss: row for row in (*self.targets, *self.asked)}
        falls = self.floor.median <= self.last_loss
        return tuple(every[loss] for loss in sorted(every, reverse=falls))

    @property
    def is_guess(self) -> bool:
        """True if most intervals of the backtest missed the present level."""
        return is_guess(self.backtest)


def outlook_of(fit: "CurveFit", targets: Sequence[float], notes: Sequence[str]) -> Outlook:
    """Compute the forecast of a fit.

    Args:
        fit: The fitted curve.
        targets: Losses whose price is asked for.
        notes: Caveats beside those of the fit.
    """
    return Outlook(
        first_loss=fit.first_level,
        last_loss=fit.level,
        joules=fit.joules,
        floor=fit.floor,
        targets=tuple(target_of(fit, loss, way) for way, loss in _ways_down(fit)),
        asked=tuple(target_of(fit, loss) for loss in targets),
        perfection=fit.loss_at(max(WORLD_ELECTRICITY.joules, fit.joules)),
        yardstick=WORLD_ELECTRICITY,
        next_percent=fit.price_of_percent(),
        notes=(*_contradicted(fit.backtest), *notes, *fit.notes),
        backtest=fit.backtest,
        scenarios=_scenarios(fit),
        planned_end=_planned_end(fit),
    )


def is_guess(backtest: "Sequence[Backtest]") -> bool:
    """Return True if most intervals missed the measured level."""
    return 2 * sum(test.held for test in backtest) < len(backtest)


def _contradicted(backtest: "Sequence[Backtest]") -> tuple[str, ...]:
    if not is_guess(backtest):
        return ()
    held = sum(test.held for test in backtest)
    count = f"Only {held} of {len(backtest)} forecasts made earlier in this run held."
    return (f"{count} Treat this forecast as a guess until the run is longer.",)


def _planned_end(fit: "CurveFit") -> PlannedEnd | None:
    end = fit.planned_joules
    return None if end is None else PlannedEnd(joules=end, loss=fit.loss_at(end))


def target_of(
    fit: "CurveFit", loss: float, way: float | None = None, *, scenario: str | None = None
) -> Target:
    """Price a loss."""
    forecast = fit.joules_at(loss, scenario=scenario)
    return Target(loss=loss, way=way, forecast=forecast, more=more_of(forecast, fit.joules))


def more_of(forecast: Forecast, now: float) -> Interval | None:
    """Return joules from ``now`` on; None when reached or out of reach."""
    if forecast.verdict in (Verdict.REACHED, Verdict.UNREACHABLE):
        return None
    low, median, high = (max(joules - now, 0.0) for joules in (forecast.low, forecast.median, forecast.high))
    return Interval(low=low, median=median, high=high, level=forecast.level)


def _ways_down(fit: "CurveFit") -> list[tuple[float, float]]:
    """Return losses between the present level and the median floor, and one under it, as short numbers."""
    ways = [(way, _loss_at(fit, way)) for way in (*_WAYS_DOWN, _UNDER)]
    return [(way, loss) for way, loss in ways if loss > 0]


def _loss_at(fit: "CurveFit", way: float) -> float:
    return float(f"{fit.level - way * (fit.level - fit.floor.median):.{_DIGITS - 1}e}")


def next_target(fit: "CurveFit") -> float:
    """Return the target that a live forecast prices where the user named none."""
    return _loss_at(fit, _COMPARED)


def _scenarios(fit: "CurveFit") -> tuple[Scenario, ...]:
    """Price one target under each future of a known learning rate."""
    loss = next_target(fit)
    return tuple(
        Scenario(name=name, target=target_of(fit, loss, _COMPARED, scenario=name))
        for name in _SCENARIOS
        if name in fit.scenarios
    )
