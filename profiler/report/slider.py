"""What the page says of the loss that its slider stands at; ``page.js`` says the same, from the same table."""

import math
from collections.abc import Callable
from typing import Any

from profiler.records import Interval, Verdict
from profiler.report import words
from profiler.report.json import plain
from profiler.report.tables import Card
from profiler.report.targets import PerJoule, Quote, TargetTable
from profiler.units import format_joules, format_seconds

SENTENCES = {
    Verdict.REACHED: "Reached: the smoothed curve was there after {joules}.",
    Verdict.REACHABLE: "Reachable. P(never) is {never}.",
    Verdict.BEYOND_HORIZON: "Beyond ten times the energy spent: only the interval counts. P(never) is {never}.",
    Verdict.UNDETERMINED: "Undetermined: the curve does not tell whether it can be reached. P(never) is {never}.",
    Verdict.UNREACHABLE: "Unreachable: the floor lies above it with a probability of {never}.",
}
NONE, NEVER = "none", "never"
_POINTED = Verdict.REACHABLE


def quantities(per_joule: PerJoule) -> dict[str, tuple[float, Callable[[float], str]]]:
    """What further joules are read as: the factor and the wording of each quantity that is known."""
    known = {
        "Energy": (1.0, format_joules),
        "Time": (per_joule.seconds, format_seconds),
        "Electricity": (per_joule.kwh, words.kwh),
        "Carbon": (per_joule.gco2e, words.carbon),
        "Money": (per_joule.money, words.money),
    }
    return {name: (factor, unit) for name, (factor, unit) in known.items() if factor is not None}


def cards(table: TargetTable, quote: Quote) -> tuple[Card, ...]:
    """What the loss of a quote costs from now on."""
    now = table.joules_now
    more = [max(joules - now, 0.0) for joules in (quote.joules.low, quote.joules.median, quote.joules.high)]
    return tuple(
        Card(label=name, value=value, note=note)
        for name, (factor, unit) in quantities(table.per_joule).items()
        for value, note in [_worded(quote.verdict, [joules * factor for joules in more], unit)]
    )


def _worded(verdict: Verdict, more: list[float], unit: Callable[[float], str]) -> tuple[str, str]:
    if verdict is Verdict.REACHED:
        return NONE, ""
    low, median, high = more
    if verdict is Verdict.UNREACHABLE or not math.isfinite(low):
        return NEVER, ""
    point = unit(median) if verdict is _POINTED else f"over {unit(low)}"
    return point, words.ends(Interval(low=low, median=median, high=high), unit)


def sentence(quote: Quote) -> str:
    """The verdict on the loss of a quote."""
    return SENTENCES[quote.verdict].format(
        never=words.percent(quote.p_unreachable), joules=format_joules(quote.joules.median)
    )


def payload(table: TargetTable) -> dict[str, Any]:
    """What ``page.js`` needs."""
    factors = {name: factor for name, (factor, _) in quantities(table.per_joule).items()}
    columns: dict[str, Any] = plain(table)
    return {**columns, "factors": factors, "sentences": {str(key): text for key, text in SENTENCES.items()}}
