"""What the page says of the loss that its slider stands at; ``page.js`` says the same, from the same table."""

from collections.abc import Callable
from typing import Any

from profiler.records import Interval, Verdict
from profiler.reporting import text
from profiler.reporting.cards import Card
from profiler.reporting.json import plain
from profiler.reporting.target_table import PerJoule, Quote, TargetTable
from profiler.units import format_joules, format_seconds

SENTENCES = {
    Verdict.REACHED: "Reached: the smoothed curve was there by {joules}.",
    Verdict.REACHABLE: "Reachable. P(never) is {never}.",
    Verdict.BEYOND_HORIZON: "More than ten times the energy spent: only the interval counts. P(never) is {never}.",
    Verdict.UNDETERMINED: "Undetermined: the curve does not tell whether it can be reached. P(never) is {never}.",
    Verdict.UNREACHABLE: "Unreachable: the floor lies above it with a probability of {never}.",
}


def quantities(per_joule: PerJoule) -> dict[str, tuple[float, Callable[[float], str]]]:
    """What further joules are read as: the factor and the wording of each quantity that is known."""
    known = {
        "Energy": (1.0, format_joules),
        "Time": (per_joule.seconds, format_seconds),
        "Electricity": (per_joule.kwh, text.kwh),
        "Carbon": (per_joule.gco2e, text.carbon),
        "Money": (per_joule.money, text.money),
    }
    return {name: (factor, unit) for name, (factor, unit) in known.items() if factor is not None}


def cards(table: TargetTable, quote: Quote) -> tuple[Card, ...]:
    """What the loss of a quote costs from now on."""
    ends = (quote.joules.low, quote.joules.median, quote.joules.high)
    low, median, high = (max(joules - table.joules_now, 0.0) for joules in ends)
    more = Interval(low=low, median=median, high=high)
    found = []
    for name, (factor, unit) in quantities(table.per_joule).items():
        value, note = text.price(quote.verdict, text.scaled(more, factor), unit)
        found.append(Card(label=name, value=value, note=note))
    return tuple(found)


def sentence(quote: Quote) -> str:
    """The verdict on the loss of a quote."""
    return SENTENCES[quote.verdict].format(
        never=text.percent(quote.p_unreachable), joules=format_joules(quote.joules.median)
    )


def payload(table: TargetTable) -> dict[str, Any]:
    """What ``page.js`` needs."""
    factors = {name: factor for name, (factor, _) in quantities(table.per_joule).items()}
    columns: dict[str, Any] = plain(table)
    return {**columns, "factors": factors, "sentences": {str(key): text for key, text in SENTENCES.items()}}
