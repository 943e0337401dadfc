"""What a report says: every number, label and caveat, decided once for every renderer."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler import uncertainty
from profiler.cost import WORLD_ELECTRICITY, Yardstick
from profiler.errors import ForecastRefusedError
from profiler.forecast.priors import HORIZON_LIMIT
from profiler.records import Forecast, Interval, Metered, Provenance, Refusal, Summary, Verdict

if TYPE_CHECKING:
    from profiler.forecast import CurveFit
    from profiler.forecast.backtest import Backtest

_WAYS_DOWN = (0.10, 0.25, 0.50, 0.75)
_UNDER = 1.10
_COMPARED = 1
"""Which of the ways down the scenarios are compared at."""
_SCENARIOS = ("held", "annealed")
_DIGITS = 4
_LAW_POINTS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainLine:
    """One domain's part.

    Attributes:
        name: The domain.
        joules: Its energy in the window, in joules.
        watts: Its mean power.
        provenance: Where the joules come from.
        source: The interface they are read from.
        billed: Whether they count in the total.
        bridged_share: Share of the window that no reading covers.
        notes: What a reader must know.
    """

    name: str
    joules: float
    watts: float
    provenance: Provenance
    source: str
    billed: bool
    bridged_share: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A lower loss and what it costs.

    Attributes:
        loss: The target.
        way: How far it lies on the way from the present level to the median floor; None for one asked for.
        forecast: The answer, in joules since the start.
        more: Joules from now on; None where no number means anything: reached, never, or past the horizon.
    """

    loss: float
    way: float | None
    forecast: Forecast
    more: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What a target costs under one future of the learning rate.

    Attributes:
        name: ``held`` at the present rate, or ``annealed`` to zero at the target.
        target: The target and its price.
    """

    name: str
    target: Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Loss against joules, as drawn: what was measured, and what is expected up to the horizon.

    Attributes:
        joules: Joules of the measured points.
        losses: Smoothed loss at each.
        law_joules: Joules at which the law is given.
        law: The level expected there, with its interval.
    """

    joules: tuple[float, ...]
    losses: tuple[float, ...]
    law_joules: tuple[float, ...]
    law: tuple[Interval, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The fitted curve.

    Attributes:
        first_loss: Level at the start of the curve.
        last_loss: Level now.
        floor: The level that infinite energy would approach.
        targets: Lower losses on the way to the floor, and one under it.
        asked: Targets that were asked for.
        perfection: Where an enormous amount of energy would lead if the law held for ever.
        yardstick: That amount.
        notes: Caveats of the fit.
        backtest: What earlier parts of the run would have forecast for the present.
        chart: The curve, for renderers that draw; None where it was not asked for.
        scenarios: What one of the targets costs if the learning rate is held, and if it is annealed; empty where
            the learning rate is not known.
    """

    first_loss: float
    last_loss: float
    floor: Interval
    targets: tuple[Target, ...]
    asked: tuple[Target, ...]
    perfection: Interval
    yardstick: Yardstick
    notes: tuple[str, ...]
    backtest: "tuple[Backtest, ...]" = ()
    scenarios: tuple[Scenario, ...] = ()
    chart: Chart | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Mean power of one domain over time: ``watts[i]`` holds from ``seconds[i]`` to ``seconds[i + 1]``."""

    domain: str
    seconds: tuple[float, ...]
    watts: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a renderer needs.

    Attributes:
        summary: The run.
        energy: Total with its 90 % interval, in joules; None when nothing is metered.
        modelled_share: The part of the total that was estimated, not measured.
        watts: Mean power over the window.
        step_joules: Mean energy of a step.
        step_seconds: Mean length of a step, what lies between steps included; None without steps.
        domains: The sampled domains, billed ones first.
        outlook: The fitted curve; None when it does not support a forecast.
        refused: Why there is no outlook, with the remedy.
        refusals: Sources that are not used although they might be.
        warnings: What a reader must know.
        power: Power over time of the billed domains, for renderers that draw.
    """

    summary: Summary
    energy: Interval | None
    modelled_share: float | None
    watts: float | None
    step_joules: float | None
    step_seconds: float | None
    domains: tuple[DomainLine, ...]
    outlook: Outlook | None
    refused: str
    refusals: tuple[Refusal, ...]
    warnings: tuple[str, ...]
    power: tuple[Power, ...] = ()


def build(
    summary: Summary,
    fit: "Callable[[], CurveFit]",
    *,
    targets: Sequence[float] = (),
    notes: Sequence[str] = (),
    power: Sequence[Power] = (),
    charted: bool = False,
) -> Report:
    """Build the report of a run.

    Args:
        summary: The run.
        fit: Fits its loss against its joules.
        targets: Losses whose price is asked for.
        notes: What a reader of the forecast must know beside what the fit says.
        power: Power over time, for renderers that draw.
        charted: Whether the curve is wanted as well, for renderers that draw.
    """
    total, window = summary.total_joules, summary.window_seconds
    outlook, refused = _outlook(fit, targets, notes, charted=charted)
    steps = summary.steps
    return Report(
        summary=summary,
        energy=_energy(summary),
        modelled_share=summary.modelled_joules / total
        if total and summary.modelled_joules is not None
        else None,
        watts=total / window if total is not None and window > 0 else None,
        step_joules=summary.step_joules / steps if steps and summary.step_joules is not None else None,
        step_seconds=window / steps if steps else None,
        domains=tuple(_line(m, window) for m in sorted(summary.metered, key=lambda m: not m.domain.billed)),
        outlook=outlook,
        refused=refused,
        refusals=summary.refusals,
        warnings=summary.warnings,
        power=tuple(power),
    )


def _energy(summary: Summary) -> Interval | None:
    total = summary.total_joules
    if total is None:
        return None
    spread = uncertainty.Z_90 * math.sqrt(summary.edge_joules**2 + gain_variance(summary.metered))
    return Interval(low=max(total - spread, 0.0), median=total, high=total + spread)


def gain_variance(metered: Sequence[Metered]) -> float:
    """Variance of the total, in square joules, from what is common to the whole run."""
    billed = [m for m in metered if m.domain.billed]
    return uncertainty.gain_variance(
        (m.domain.provenance is Provenance.MODELLED, m.domain.gain_uncertainty * m.joules) for m in billed
    )


def _line(metered: Metered, window: float) -> DomainLine:
    domain = metered.domain
    return DomainLine(
        name=domain.name,
        joules=metered.joules,
        watts=metered.joules / window if window > 0 else 0.0,
        provenance=domain.provenance,
        source=domain.source,
        billed=domain.billed,
        bridged_share=min(metered.bridged_seconds / window, 1.0) if window > 0 else 0.0,
        notes=domain.notes,
    )


def _outlook(
    fit: "Callable[[], CurveFit]", targets: Sequence[float], notes: Sequence[str], *, charted: bool
) -> tuple[Outlook | None, str]:
    try:
        fitted = fit()
    except ForecastRefusedError as error:
        return None, str(error)
    return (
        Outlook(
            first_loss=fitted.first_level,
            last_loss=fitted.level,
            floor=fitted.floor,
            targets=tuple(_target(fitted, loss, way) for way, loss in _ways_down(fitted)),
            asked=tuple(_target(fitted, loss, None) for loss in targets),
            perfection=fitted.loss_at(max(WORLD_ELECTRICITY.joules, fitted.joules)),
            yardstick=WORLD_ELECTRICITY,
            notes=(*notes, *fitted.notes),
            backtest=fitted.backtest,
            scenarios=_scenarios(fitted),
            chart=_chart(fitted) if charted else None,
        ),
        "",
    )


def _chart(fit: "CurveFit") -> Chart:
    import numpy as np

    first, last = float(fit.curve.joules[0]), fit.joules * HORIZON_LIMIT
    law_joules = tuple(float(x) for x in np.geomspace(first, last, _LAW_POINTS))
    return Chart(
        joules=tuple(float(x) for x in fit.curve.joules),
        losses=tuple(float(y) for y in np.exp(fit.curve.log_values)),
        law_joules=law_joules,
        law=tuple(fit.loss_at(x) for x in law_joules),
    )


def _ways_down(fit: "CurveFit") -> list[tuple[float, float]]:
    """Losses between the present level and the median floor, and one under it, as short numbers."""
    excess = fit.level - fit.floor.median
    ways = [(way, fit.level - way * excess) for way in (*_WAYS_DOWN, _UNDER)]
    return [(way, float(f"{loss:.{_DIGITS - 1}e}")) for way, loss in ways if loss > 0]


def _scenarios(fit: "CurveFit") -> tuple[Scenario, ...]:
    """Price one target under each future of a known learning rate."""
    way, loss = _ways_down(fit)[_COMPARED]
    return tuple(
        Scenario(name=name, target=_target(fit, loss, way, scenario=name))
        for name in _SCENARIOS
        if name in fit.scenarios
    )


def _target(fit: "CurveFit", loss: float, way: float | None, *, scenario: str | None = None) -> Target:
    forecast = fit.joules_at(loss, scenario=scenario)
    return Target(loss=loss, way=way, forecast=forecast, more=_more(forecast, fit.joules))


def _more(forecast: Forecast, now: float) -> Interval | None:
    if forecast.verdict in (Verdict.REACHED, Verdict.UNREACHABLE):
        return None
    low, median, high = (max(joules - now, 0.0) for joules in (forecast.low, forecast.median, forecast.high))
    return Interval(low=low, median=median, high=high, level=forecast.level)
