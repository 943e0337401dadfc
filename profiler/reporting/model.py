"""What a report says: every number, label and caveat, decided once for every renderer."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from profiler import uncertainty
from profiler.emissions import Prices
from profiler.errors import ForecastRefusedError
from profiler.records import Interval, Metered, Provenance, Refusal, Status, Summary
from profiler.reporting.forecast_section import Outlook, outlook_of

if TYPE_CHECKING:
    from profiler.forecasting import CurveFit
    from profiler.reporting.sections import Details


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
        period_seconds: How often its value is renewed; None while unknown.
        gain_share: Half of the 90 % interval of what is common to all its joules, as a share of them.
        notes: What a reader must know.
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
    """What the run's joules amount to elsewhere.

    Attributes:
        kwh: Kilowatt-hours at the building's meter; None when nothing is metered. The same interval as the joules.
        gco2e: Grams of CO2 equivalent; None while the grid is unknown.
        money: In the user's currency; None while the price is unknown.
        prices: What these rest on.
    """

    kwh: Interval | None
    gco2e: Interval | None
    money: Interval | None
    prices: Prices


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything a renderer needs.

    It has no slots, because the details are worked out when they are first asked for.

    Attributes:
        summary: The run.
        energy: Total with its 90 % interval, in joules; None when nothing is metered.
        modelled_share: The part of the total that was estimated, not measured.
        watts: Mean power over the window.
        training_watts: Mean power from the start of the first step to the end of the last, with what lies between
            them: what turns further joules into time. None without steps.
        step_joules: Mean energy of a step.
        step_seconds: Mean length of a step, without what lies between steps; None without steps.
        cost: What the total amounts to elsewhere.
        domains: The sampled domains, billed ones first.
        outlook: The fitted curve; None when it does not support a forecast.
        refused: Why there is no outlook, with the remedy.
        refusals: Sources that are not used although they might be.
        warnings: What a reader must know.
        look_closer: Works out the details, given the outlook.
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
    outlook: Outlook | None
    refused: str
    refusals: tuple[Refusal, ...]
    warnings: tuple[str, ...]
    look_closer: "Callable[[Outlook | None], Details]"

    @cached_property
    def details(self) -> "Details":
        """What a page and JSON say beyond the terminal."""
        return self.look_closer(self.outlook)


def attempt(fit: "Callable[[], CurveFit]") -> "tuple[CurveFit | None, str]":
    """Fit, or say why not."""
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
    look_closer: "Callable[[Outlook | None], Details] | None" = None,
) -> Report:
    """Build the report of a run.

    Args:
        summary: The run.
        fit: The fit of its loss against its joules; None when it is refused.
        refused: Why it is.
        targets: Losses whose price is asked for.
        notes: What a reader of the forecast must know beside what the fit says.
        prices: What kilowatt-hours cost; nothing is known of it by default.
        look_closer: Works out the details, given the outlook; there are none by default.
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
        outlook=None if fit is None else outlook_of(fit, targets, notes),
        refused="" if fit is not None else _refused(summary, refused),
        refusals=summary.refusals,
        warnings=summary.warnings,
        look_closer=look_closer or _nothing,
    )


def _nothing(_: Outlook | None) -> "Details":
    from profiler.reporting.sections import Details

    return Details()


def _refused(summary: Summary, refused: str) -> str:
    """Why there is no forecast: what lacks first, and not what a curve that cannot be lacks."""
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
    """Read joules in another unit; None where either is unknown."""
    if joules is None or unit(1.0) is None:
        return None
    low, median, high = (unit(end) or 0.0 for end in (joules.low, joules.median, joules.high))
    return Interval(low=low, median=median, high=high, level=joules.level)


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
        period_seconds=domain.update_period_seconds,
        gain_share=uncertainty.Z_90 * domain.gain_uncertainty,
        notes=domain.notes,
    )
