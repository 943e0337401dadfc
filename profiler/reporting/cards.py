"""The numbers at the top of the page, as text."""

import math
from dataclasses import dataclass

from profiler.reporting import text
from profiler.reporting.forecast_section import Outlook, PlannedEnd
from profiler.reporting.model import Report
from profiler.units import format_joules, format_seconds, format_watts


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A number at the top of the page."""

    label: str
    value: str
    note: str


def cards_of(report: Report) -> tuple[Card, ...]:
    """The numbers at the top, each with where it comes from."""
    learnt = () if report.outlook is None else learnt_cards(report.outlook)
    return tuple(card for card in (*_spent(report), *learnt) if card is not None)


def _spent(report: Report) -> tuple[Card | None, ...]:
    energy, cost, prices = report.energy, report.cost, report.cost.prices
    length = format_seconds(report.summary.window_seconds)
    mean = "" if report.watts is None else f"{format_watts(report.watts)} on average"
    pue = f"at the meter, PUE {prices.pue:g}" if prices.pue != 1.0 else "at the devices, PUE 1"
    return (
        Card(label="Energy", value=text.NOT_METERED, note="")
        if energy is None
        else Card(
            label="Energy",
            value=format_joules(energy.median),
            note=f"{text.within(energy)}; {provenances(report)}",
        ),
        None if cost.kwh is None else Card(label="Electricity", value=text.kwh(cost.kwh.median), note=pue),
        None
        if cost.gco2e is None
        else Card(label="Carbon", value=text.carbon(cost.gco2e.median), note=text.carbon_source(report)),
        None
        if cost.money is None
        else Card(
            label="Money",
            value=text.money(cost.money.median),
            note=f"at {prices.price_per_kwh:g} a kWh",
        ),
        Card(label="Time", value=length, note=mean),
        _steps(report),
    )


def _steps(report: Report) -> Card:
    if report.step_seconds is None:
        return Card(label="Steps", value="none seen", note="")
    each = [] if report.step_joules is None else [format_joules(report.step_joules)]
    each.append(format_seconds(report.step_seconds))
    return Card(label="Steps", value=f"{report.summary.steps:,}", note=f"{' and '.join(each)} each")


def learnt_cards(outlook: Outlook) -> tuple[Card, ...]:
    """What the curve comes to."""
    floor, percent, end = outlook.floor, outlook.next_percent, outlook.planned_end
    planned = () if end is None else (_planned(end),)
    point = "perhaps never" if percent.median == math.inf else format_joules(percent.median)
    return (
        Card(
            label="Loss",
            value=f"{text.loss(outlook.first_loss)} \N{RIGHTWARDS ARROW} {text.loss(outlook.last_loss)}",
            note="smoothed",
        ),
        Card(label="Floor", value=text.loss(floor.median), note=f"90 % in {text.ends(floor, text.loss)}"),
        Card(
            label="The next 1 % of loss",
            value=point,
            note=f"90 % in {text.ends(percent, format_joules)}",
        ),
        *planned,
    )


def _planned(end: PlannedEnd) -> Card:
    note = f"90 % in {text.ends(end.loss, text.loss)}, after {format_joules(end.joules)}"
    return Card(label="Loss at the end of the plan", value=text.loss(end.loss.median), note=note)


def provenances(report: Report) -> str:
    """Shares of the total by where they come from."""
    billed = [line for line in report.domains if line.billed]
    total = sum(line.joules for line in billed)
    if not total:
        return "nothing billed"
    kinds = dict.fromkeys(line.provenance.value for line in billed)
    shares = {kind: sum(x.joules for x in billed if x.provenance.value == kind) / total for kind in kinds}
    said = [f"{text.percent(share)} {kind}" for kind, share in shares.items()]
    return ", ".join(said + (["incomplete"] if report.summary.missing else []))
