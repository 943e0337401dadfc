"""What the fitted curve says of the future: lower losses and what each costs, the floor, the test on the past."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.emissions import WORLD_ELECTRICITY, Yardstick
from profiler.records import Forecast, Interval, Verdict

if TYPE_CHECKING:
    from profiler.forecasting import CurveFit
    from profiler.forecasting.backtest import Backtest

_WAYS_DOWN = (0.10, 0.25, 0.50, 0.75)
_UNDER = 1.10
_COMPARED = 1
"""Which of the ways down the scenarios are compared at."""
_SCENARIOS = ("planned", "held", "annealed")
_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A lower loss and what it costs.

    Attributes:
        loss: The target.
        way: How far it lies on the way from the present level to the median floor; None for one asked for.
        forecast: The answer, in joules since the start.
        more: Joules from now on; None where no number means anything: reached, or never.
    """

    loss: float
    way: float | None
    forecast: Forecast
    more: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What a target costs under one future of the learning rate.

    Attributes:
        name: ``planned`` as declared, ``held`` at the present rate, or ``annealed`` to zero at the target.
        target: The target and its price.
    """

    name: str
    target: Target


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedEnd:
    """Where the run will be when the plan of its learning rate ends.

    Attributes:
        joules: Energy since the start by then, if steps go on as lately.
        loss: The level expected there.
    """

    joules: float
    loss: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The fitted curve.

    Attributes:
        first_loss: Level at the start of the curve.
        last_loss: Level now.
        joules: Energy up to the last point of the curve, in joules.
        floor: The level that infinite energy would approach.
        targets: Lower losses on the way to the floor, and one under it.
        asked: Targets that were asked for.
        perfection: Where an enormous amount of energy would lead if the law held for ever.
        yardstick: That amount.
        next_percent: Further joules that take one percent off the present loss.
        notes: Caveats of the fit.
        backtest: What earlier parts of the run would have forecast for the present.
        scenarios: What one of the targets costs if the learning rate goes on as planned, is held, or is annealed;
            empty where the learning rate is not known.
        planned_end: Where the run ends; None where no plan of its learning rate reaches ahead.
    """

    first_loss: float
    last_loss: float
    joules: float
    floor: Interval
    targets: tuple[Target, ...]
    asked: tuple[Target, ...]
    perfection: Interval
    yardstick: Yardstick
    next_percent: Interval
    notes: tuple[str, ...]
    backtest: "tuple[Backtest, ...]" = ()
    scenarios: tuple[Scenario, ...] = ()
    planned_end: PlannedEnd | None = None

    @property
    def rows(self) -> tuple[Target, ...]:
        """All targets, from the easiest to the hardest; one that was asked for stands for its equal."""
        every = {row.loss: row for row in (*self.targets, *self.asked)}
        falls = self.floor.median <= self.last_loss
        return tuple(every[loss] for loss in sorted(every, reverse=falls))

    @property
    def is_guess(self) -> bool:
        """Whether most forecasts of earlier parts of the run missed the present."""
        return is_guess(self.backtest)


def outlook_of(fit: "CurveFit", targets: Sequence[float], notes: Sequence[str]) -> Outlook:
    """Ask a fit what every report says.

    Args:
        fit: The fitted curve.
        targets: Losses whose price is asked for.
        notes: What a reader of the forecast must know beside what the fit says.
    """
    from profiler.forecasting import price_of_percent

    return Outlook(
        first_loss=fit.first_level,
        last_loss=fit.level,
        joules=fit.joules,
        floor=fit.floor,
        targets=tuple(target_of(fit, loss, way) for way, loss in _ways_down(fit)),
        asked=tuple(target_of(fit, loss) for loss in targets),
        perfection=fit.loss_at(max(WORLD_ELECTRICITY.joules, fit.joules)),
        yardstick=WORLD_ELECTRICITY,
        next_percent=price_of_percent(fit),
        notes=(*_contradicted(fit.backtest), *notes, *fit.notes),
        backtest=fit.backtest,
        scenarios=_scenarios(fit),
        planned_end=_planned_end(fit),
    )


def is_guess(backtest: "Sequence[Backtest]") -> bool:
    """Whether most of the intervals did not hold what was measured."""
    return 2 * sum(test.held for test in backtest) < len(backtest)


def _contradicted(backtest: "Sequence[Backtest]") -> tuple[str, ...]:
    if not is_guess(backtest):
        return ()
    held = sum(test.held for test in backtest)
    said = f"This run's own past contradicts the forecast: {held} of {len(backtest)} earlier ones held."
    return (f"{said} Take it for a guess until the run is longer.",)


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
    """Joules from ``now`` on; None where no number means anything."""
    if forecast.verdict in (Verdict.REACHED, Verdict.UNREACHABLE):
        return None
    low, median, high = (max(joules - now, 0.0) for joules in (forecast.low, forecast.median, forecast.high))
    return Interval(low=low, median=median, high=high, level=forecast.level)


def _ways_down(fit: "CurveFit") -> list[tuple[float, float]]:
    """Losses between the present level and the median floor, and one under it, as short numbers."""
    excess = fit.level - fit.floor.median
    ways = [(way, fit.level - way * excess) for way in (*_WAYS_DOWN, _UNDER)]
    return [(way, float(f"{loss:.{_DIGITS - 1}e}")) for way, loss in ways if loss > 0]


def _scenarios(fit: "CurveFit") -> tuple[Scenario, ...]:
    """Price one target under each future of a known learning rate."""
    way, loss = _ways_down(fit)[_COMPARED]
    return tuple(
        Scenario(name=name, target=target_of(fit, loss, way, scenario=name))
        for name in _SCENARIOS
        if name in fit.scenarios
    )
