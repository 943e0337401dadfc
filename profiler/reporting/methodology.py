"""Explanations of the methods behind each kind of number."""

from typing import TYPE_CHECKING

from profiler.forecasting.priors import HORIZON_LIMIT
from profiler.reporting import text

if TYPE_CHECKING:
    from profiler.reporting.records import Assumptions, Report

Entry = tuple[str, str]


def methods(report: "Report") -> tuple[Entry, ...]:
    """Return pairs of term and explanation, one for each kind of number in the report."""
    entries = [*_ENERGY, *_cost(report)]
    # A curve without a trend has no forecast to explain.
    if report.outlook is not None and report.outlook.has_trend:
        entries += [*_FORECAST, ("Yardstick", f"{report.outlook.yardstick.source}.")]
        entries += _assumed(report.details.headline.assumptions)
    return tuple(entries)


_ENERGY = (
    (
        "Joules",
        (
            "Differences of each domain's cumulative energy. Between two updates of a counter, a step receives its "
            "part of a straight line, or of the typical power profile of a step where that is known better. "
            "Domains marked estimated are computed from load and hardware tables. The total is the sum of the counted "
            "domains over the whole window."
        ),
    ),
    (
        "Steps and other parts",
        (
            "They tile the window without gap or overlap, so their joules add up to the total to the microjoule. "
            "Setup, evaluation, stalls and teardown are outside steps."
        ),
    ),
    (
        "± and 90 % intervals",
        (
            "They contain 90 % of the probability: each sensor's own error, which does not average away, "
            "and the error from reading at intervals."
        ),
    ),
    (
        "Power and joules per step",
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
            "Forecast joules are read by the same sensors as past ones, so their error is not added. "
            f"Beyond {HORIZON_LIMIT:g} times the training's energy so far, trust only the interval."
        ),
    ),
    (
        "Out of reach",
        (
            "The probability that no finite amount of energy lowers the smoothed loss to a target, "
            "because the floor is higher."
        ),
    ),
    (
        "Slider",
        (
            "It selects one of about 400 precomputed targets; the JSON report holds them as target_table. "
            "A typed loss selects the nearest one."
        ),
    ),
    (
        "Time",
        (
            "Further joules over the mean power between the start of the first step and the end of the last, "
            "including evaluation and stalls, without setup and teardown."
        ),
    ),
)


def _cost(report: "Report") -> list[Entry]:
    prices = report.cost.prices
    parts = [f"Kilowatt-hours are joules times the PUE ({prices.pue:g}) over 3.6 million."]
    if prices.grid_gco2e_per_kwh is None:
        parts.append(
            "No carbon: pass country= or grid_gco2e_per_kwh= to EnergyProfiler, or --country to the command."
        )
    else:
        parts.append(f"Carbon is kilowatt-hours times {text.carbon_source(prices)}.")
    if prices.price_per_kwh is None:
        parts.append("No money: pass price_per_kwh= to EnergyProfiler, or --price-per-kwh to the command.")
    else:
        parts.append(
            f"Money is kilowatt-hours times {prices.price_per_kwh:g}, in the currency of that price."
        )
    return [("Electricity, carbon, money", " ".join(parts))]


def _assumed(assumptions: "Assumptions | None") -> list[Entry]:
    if assumptions is None:
        return []
    families = ", ".join(f"{name} {text.percent(p)}" for name, p in assumptions.families)
    curve = f"Exponent at the last point {text.levels(assumptions.exponent)}. Families: {families}."
    entries = [("Fitted curve", curve)]
    if assumptions.priors:
        entries.append(("Prior assumptions", " ".join(assumptions.priors)))
    return entries
