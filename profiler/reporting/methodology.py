"""How each number of a report was made, in words for people who will ask."""

from typing import TYPE_CHECKING

from profiler.forecasting.priors import HORIZON_LIMIT
from profiler.reporting import text
from profiler.reporting.model import Report
from profiler.units import format_joules

if TYPE_CHECKING:
    from profiler.reporting.forecast_section import Outlook
    from profiler.reporting.sections import Assumptions

Entry = tuple[str, str]


def methods(report: Report) -> tuple[Entry, ...]:
    """A term and its explanation, for every kind of number in the report."""
    entries = [*_ENERGY, *_cost(report)]
    if report.outlook is not None:
        entries += [*_FORECAST, ("Yardstick", f"{report.outlook.yardstick.source}.")]
        entries += _assumed(report.details.assumptions)
    return tuple(entries)


_ENERGY = (
    (
        "Joules",
        (
            "Differences of each domain's cumulative energy. Between two moments at which it changed, a step has its "
            "part of a straight line, or of the course that power takes over a step where that is known better. "
            "Domains marked modelled are estimates from load and hardware tables. The total is the sum of the billed "
            "domains, over the whole window."
        ),
    ),
    (
        "Steps and what lies outside",
        (
            "They tile the window without gap or overlap, so their joules add up to the total to the microjoule. "
            "Setup, evaluation, stalls and teardown are outside steps."
        ),
    ),
    (
        "± and 90 % intervals",
        (
            "They hold 90 % of the probability: each sensor's own error, which does not average away, "
            "and what is missed between two readings."
        ),
    ),
    (
        "Power and joules a step",
        (
            "Drawn in equal pieces of time whose areas are the joules; the shade around a line spans the lowest and "
            "the highest value inside each piece, so that thinning hides no extreme."
        ),
    ),
)
_FORECAST = (
    (
        "Forecast",
        (
            "A posterior over power laws, and a few that bend, with an unknown floor, weighted to the recent past. "
            "Joules in a forecast are read by the same sensors as those of the past: their error is not added. "
            f"Past {HORIZON_LIMIT:g} times the energy spent, only its interval means something."
        ),
    ),
    (
        "P(never)",
        (
            "The probability that no finite amount of energy brings the smoothed loss down to a target: "
            "that its floor lies higher."
        ),
    ),
    (
        "Slider",
        (
            "It interpolates a table of some 400 targets, which the JSON report holds as target_table: "
            "joules on the log axis, probabilities evenly, and from the harder row where never is in play."
        ),
    ),
    (
        "Time",
        (
            "Further joules over the mean power between the start of the first step and the end of the last, "
            "evaluation and stalls between them included, setup and teardown not."
        ),
    ),
)


def _cost(report: Report) -> list[Entry]:
    prices = report.cost.prices
    told = [f"Kilowatt-hours are joules times the PUE ({prices.pue:g}) over 3.6 million."]
    if prices.grid_gco2e_per_kwh is None:
        told.append("No carbon: pass country= or grid_gco2e_per_kwh= to EnergyProfiler.")
    else:
        told.append(f"Carbon is kilowatt-hours times {text.carbon_source(report)}.")
    if prices.price_per_kwh is None:
        told.append("No money: pass price_per_kwh= to EnergyProfiler.")
    else:
        told.append(
            f"Money is kilowatt-hours times {prices.price_per_kwh:g}, in whatever currency that was given."
        )
    return [("Electricity, carbon, money", " ".join(told))]


def _assumed(assumptions: "Assumptions | None") -> list[Entry]:
    if assumptions is None:
        return []
    families = ", ".join(f"{name} {text.percent(p)}" for name, p in assumptions.families)
    law = f"Exponent at the last point {text.spread(assumptions.exponent)}. Families: {families}."
    entries = [("Law", law)]
    if assumptions.priors:
        entries.append(("Assumed beforehand", " ".join(assumptions.priors)))
    return entries


def curve_caption(outlook: "Outlook") -> str:
    """How to read the figure of loss against joules."""
    return (
        "Dots are what was measured, as recorded and as means in bins of joules. The line is the fitted law: solid up "
        f"to the {format_joules(outlook.joules)} spent, dashed where it is extrapolated, with its 90 % band. "
        "The band at the bottom holds the floor with 90 % probability."
    )
