"""The report: every number and caveat, decided once for all renderers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from profiler import uncertainty
from profiler.emissions import Prices
from profiler.errors import ForecastRefusedError
from profiler.records import CurveState, Interval, Metered, Provenance, Refusal, Status, Summary
from profiler.reporting.forecast_section import Outlook, outlook_of

if TYPE_CHECKING:
    from profiler.forecasting import CurveFit
    from profiler.reporting.details import Details


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainLine:
    """The energy of one domain.

    Attributes:
        name: The domain.
        joules: Its energy in the window, in joules.
        watts: Its mean power.
        provenance: Origin of the joules.
        source: The interface they are read from.
        billed: True if they count in the total.
        bridged_share: Share of the window that no reading covers.
        period_seconds: Update interval of its value; None while unknown.
        gain_share: Half of the 90 % interval of the error common to all its joules, as a share of them.
        notes: Caveats.
    """

    name: str
    joules: float
    watts: float
    provenance: Provenance
    source: str
    billed: bool
    bridged_share: float
    period_seconds: float | None
    gain_share: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The run's energy as electricity, carbon and money.

    Attributes:
        kwh: Kilowatt-hours at the building's meter; None without measured energy. The same interval as the joules.
        gco2e: Grams of CO2 equivalent; None while the grid is unknown.
        money: In the user's currency; None while the price is unknown.
        prices: The prices behind them.
    """

    kwh: Interval | None
    gco2e: Interval | None
    money: Interval | None
    prices: Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastState:
    """State of the curve, which decides whether there is a forecast.

    Attributes:
        state: The state.
        reason: One sentence that states the reason.
    """

    state: CurveState
    reason: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that renderers need. The details are computed on first access.

    Attributes:
        summary: The run.
        energy: Total with its 90 % interval, in joules; None without measured energy.
        modelled_share: The estimated part of the total.
        watts: Mean power over the window.
        training_watts: Mean power from the start of the first step to the end of the last, which converts further
            joules to time. None without steps.
        step_joules: Mean energy of a step.
        step_seconds: Mean duration of a step, without the time between steps; None without steps.
        cost: The total as electricity, carbon and money.
        domains: The sampled domains, counted ones first.
        forecast: State of the curve; None without one.
        outlook: The forecast; None when the curve does not support one.
        refused: Reason why there is no outlook, with the remedy.
        refusals: Sources that are not used, with the reason.
        warnings: Warnings of the run.
        examine: Computes the details, given the outlook.
    """

    summary: Summary
    energy: Interval | None
    modelled_share: float | None
    watts: float | None
    training_watts: float | None
    step_joules: float | None
    step_seconds: float | None
    cost: Cost
    domains: tuple[DomainLine, ...]
    forecast: ForecastState | None = None
    outlook: Outlook | None
    refused: str
    refusals: tuple[Refusal, ...]
    warnings: tuple[str, ...]
    examine: "Callable[[Outlook | None], Details]"

    @cached_property
    def details(self) -> "Details":
        """Details that only the page and JSON show."""
        return self.examine(self.outlook)


def attempt(fit: "Callable[[], CurveFit]") -> "tuple[CurveFit | None, str]":
    """Return a fit, or None and the reason why it is refused."""
    try:
        return fit(), ""
    except ForecastRefusedError as error:
        return None, str(error)


def build(
    summary: Summary,
    fit: "CurveFit | None",
    refused: str = "",
    *,
    targets: Sequence[float] = (),
    notes: Sequence[str] = (),
    prices: Prices | None = None,
    examine: "Callable[[Outlook | None], Details] | None" = None,
) -> Report:
    """Build the report of a run.

    Args:
        summary: The run.
        fit: The fit of its loss against its joules; None when it is refused.
        refused: The reason.
        targets: Losses whose price is asked for.
        notes: Caveats of the forecast beside those of the fit.
        prices: Prices of a kilowatt-hour; unknown by default.
        examine: Computes the details, given the outlook; there are none by default.
    """
    total, window, steps = summary.total_joules, summary.window_seconds, summary.steps
    modelled = summary.modelled_joules
    energy = _energy(summary)
    return Report(
        summary=summary,
        energy=energy,
        modelled_share=modelled / total if total and modelled is not None else None,
        watts=_watts(total, window),
        training_watts=summary.training_watts,
        step_joules=summary.step_joules / steps if steps and summary.step_joules is not None else None,
        step_seconds=summary.step_seconds / steps if steps else None,
        cost=_cost(energy, prices or Prices()),
        domains=tuple(_line(m, window) for m in sorted(summary.metered, key=lambda m: not m.domain.billed)),
        forecast=None if fit is None else ForecastState(state=fit.state, reason=fit.state_reason),
        outlook=outlook_of(fit, targets, notes) if fit is not None and fit.has_forecast else None,
        refused=_refused(summary, refused if fit is None else "" if fit.has_forecast else fit.state_reason),
        refusals=summary.refusals,
        warnings=summary.warnings,
        examine=examine or _no_details,
    )


def _no_details(_: Outlook | None) -> "Details":
    from profiler.reporting.details import Details

    return Details()


def _refused(summary: Summary, refused: str) -> str:
    """Return the reason for a missing forecast: missing steps or energy come before a short curve."""
    if not summary.steps:
        if summary.status is Status.RUNNING:
            return "No optimizer update was seen yet."
        return "No optimizer update was seen. Where a loop does not use torch.optim, call prof.step(loss=...) in it."
    if summary.total_joules is None:
        return "Without joules there is no curve. `energy-profiler doctor` says how to meter this machine."
    return refused


def _watts(joules: float | None, seconds: float) -> float | None:
    return joules / seconds if joules is not None and seconds > 0 else None


def _energy(summary: Summary) -> Interval | None:
    total = summary.total_joules
    if total is None:
        return None
    spread = uncertainty.Z_90 * math.sqrt(summary.edge_joules**2 + gain_variance(summary.metered))
    return Interval(low=max(total - spread, 0.0), median=total, high=total + spread)


def _cost(energy: Interval | None, prices: Prices) -> Cost:
    return Cost(
        kwh=converted(energy, prices.kwh),
        gco2e=converted(energy, prices.gco2e),
        money=converted(energy, prices.money),
        prices=prices,
    )


def converted(joules: Interval | None, unit: Callable[[float], float | None]) -> Interval | None:
    """Convert joules to another unit; None where either is unknown."""
    if joules is None or unit(1.0) is None:
        return None
    low, median, high = (unit(end) or 0.0 for end in (joules.low, joules.median, joules.high))
    return Interval(low=low, median=median, high=high, level=joules.level)


def gain_variance(metered: Sequence[Metered]) -> float:
    """Return the variance of the total, in square joules, from errors common to the whole run."""
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
        period_seconds=domain.update_period_seconds,
        gain_share=uncertainty.Z_90 * domain.gain_uncertainty,
        notes=domain.notes,
    )
