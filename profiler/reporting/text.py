"""The wording of numbers, verdicts and states: the only one, for every renderer and the live line."""

import math
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from profiler.forecasting.priors import HORIZON_LIMIT
from profiler.records import Forecast, Interval, Summary, Verdict
from profiler.units import JOULES_PER_KWH, format_joules, format_seconds, format_si, significant

if TYPE_CHECKING:
    from profiler.reporting.forecast_section import Outlook, PlannedEnd, Scenario, Target
    from profiler.reporting.model import DomainLine, Report

_HALF_A_PERCENT = 0.005
_SMALLEST_PERCENT = 0.1
_SMALLEST_KWH = 0.001
_WH_PER_KWH = 1000.0
_FAR_OFF = math.log(1.999)
_BEYOND = f"over {HORIZON_LIMIT:g}x the energy"
_MOST_ASKED = 3


def percent(share: float) -> str:
    """Format a probability or a share; only 0 and 1 are written as 0 % and 100 %."""
    if 0 < share < _HALF_A_PERCENT:
        return "< 1 %"
    if 1 - _HALF_A_PERCENT <= share < 1:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def energy(report: "Report") -> str:
    """Format the total with its uncertainty."""
    if report.energy is None:
        return NOT_METERED
    joules = report.energy.median
    amounts = ", ".join((kwh(joules / JOULES_PER_KWH), *_caveats(report)))
    return f"{format_joules(joules)} {within(report.energy)} ({amounts})"


NOT_METERED = "not measured: no sensor on this machine can be read"


def within(interval: Interval) -> str:
    """Format half of an interval as a share of its median."""
    half = 50 * (interval.high - interval.low) / interval.median if interval.median else 0.0
    return f"± {significant(half, 2)} %" if half >= _SMALLEST_PERCENT else f"± < {_SMALLEST_PERCENT} %"


def _caveats(report: "Report") -> list[str]:
    estimated = [f"{percent(report.modelled_share)} estimated"] if report.modelled_share else []
    return estimated + (["incomplete"] if report.summary.missing else [])


def cost(report: "Report") -> str:
    """Format the total as electricity, carbon and money; empty where neither prices nor a PUE are known."""
    known, prices = report.cost, report.cost.prices
    parts = []
    if known.kwh is not None and prices.pue != 1.0:
        parts.append(f"{kwh(known.kwh.median)} at the meter (PUE {prices.pue:g})")
    if known.gco2e is not None:
        parts.append(f"{carbon(known.gco2e.median)} ({carbon_source(report)})")
    if known.money is not None:
        parts.append(f"{money(known.money.median)} (at {prices.price_per_kwh:g} per kWh)")
    return ", ".join(parts)


def kwh(value: float) -> str:
    """Format kilowatt-hours, in watt-hours below 0.001 kWh."""
    return f"{significant(value)} kWh" if value >= _SMALLEST_KWH else format_si(value * _WH_PER_KWH, "Wh")


def carbon(grams: float) -> str:
    """Format grams of CO2 equivalent."""
    return format_si(grams, "gCO2e")


def money(value: float) -> str:
    """Format money without an exponent."""
    text = significant(value)
    return text if value >= 1.0 else f"{Decimal(text):f}"


def carbon_source(report: "Report") -> str:
    """Format the carbon intensity and its source."""
    prices = report.cost.prices
    intensity = significant(prices.grid_gco2e_per_kwh or 0.0)
    return f"{intensity} g/kWh, {prices.grid_source}"


def steps(report: "Report") -> str:
    """Format the number of steps, and the mean energy and duration of one."""
    if report.step_seconds is None:
        return "none seen"
    each = f"{format_joules(report.step_joules)} and " if report.step_joules is not None else ""
    return f"{report.summary.steps:,}, {each}{format_seconds(report.step_seconds)} per step"


def provenance(line: "DomainLine") -> str:
    """Format the provenance of a domain's joules, and the share of them that was bridged."""
    bridged = f", {percent(line.bridged_share)} bridged" if line.bridged_share >= _HALF_A_PERCENT else ""
    return f"{line.provenance.value}{bridged}"


def loss(value: float) -> str:
    """Format a loss with four significant digits."""
    return significant(value, 4)


def spread(interval: Interval) -> str:
    """Format a loss with its interval."""
    return f"{loss(interval.median)} [{loss(interval.low)}, {loss(interval.high)}]"


def price(verdict: Verdict, more: Interval | None, unit: Callable[[float], str]) -> tuple[str, str]:
    """Format a further amount and its interval; past the horizon only a lower bound."""
    if verdict is Verdict.REACHED:
        return "none", ""
    if more is None or verdict is Verdict.UNREACHABLE or not math.isfinite(more.low):
        return "never", ""
    point = unit(more.median) if verdict is Verdict.REACHABLE else f"over {unit(more.low)}"
    return point, ends(more, unit)


def scaled(interval: Interval, factor: float) -> Interval:
    """Multiply an interval by a positive factor."""
    low, median, high = (end * factor for end in (interval.low, interval.median, interval.high))
    return Interval(low=low, median=median, high=high, level=interval.level)


TARGET_HEAD = ("target loss", "joules more [90 %]", "P(never)", "verdict")


def target(row: "Target") -> tuple[str, str, str, str]:
    """Return the cells of a target, under ``TARGET_HEAD``."""
    forecast = row.forecast
    verdict = _BEYOND if forecast.verdict is Verdict.BEYOND_HORIZON else forecast.verdict.value
    certainly = " for certain" if forecast.certain else ""
    asked = "asked " if row.way is None else ""
    return asked + loss(row.loss), _price(row), percent(forecast.p_unreachable), verdict + certainly


def _price(row: "Target") -> str:
    forecast, more = row.forecast, row.more
    if forecast.verdict is Verdict.REACHED:
        return f"none: there by {format_joules(forecast.median)}"
    if more is None:
        return "no finite amount"
    point = format_joules(more.median) if forecast.verdict is Verdict.REACHABLE else "-"
    return f"{point:<8} {_ends(more)}"


def _ends(interval: Interval) -> str:
    return ends(interval, format_joules)


def ends(interval: Interval, unit: Callable[[float], str]) -> str:
    """Format both ends of an interval."""
    low, high = (unit(end) if math.isfinite(end) else "never" for end in (interval.low, interval.high))
    return f"[{low}, {high}]"


_SENTENCES = {
    Verdict.REACHED: "Reached: the smoothed curve was there by {joules}.",
    Verdict.REACHABLE: "Reachable. P(never) is {never}.",
    Verdict.BEYOND_HORIZON: "More than ten times the energy spent: only the interval counts. P(never) is {never}.",
    Verdict.UNDETERMINED: "Undetermined: the curve does not tell whether it can be reached. P(never) is {never}.",
    Verdict.UNREACHABLE: "Unreachable: the floor lies above it with a probability of {never}.",
}


def verdict_sentence(verdict: Verdict, joules: float, p_unreachable: float) -> str:
    """Format the verdict on a target that takes ``joules`` since the start."""
    return _SENTENCES[verdict].format(never=percent(p_unreachable), joules=format_joules(joules))


def live_price(target: float, forecast: Forecast, spent: float) -> str:
    """Format the price of a target for the live line.

    Args:
        target: The loss.
        forecast: Its forecast.
        spent: Joules since the start.
    """
    name, never = f"loss {loss(target)}", percent(forecast.p_unreachable)
    if forecast.verdict is Verdict.REACHED:
        return f"{name} was reached at {format_joules(forecast.median)}"
    if forecast.verdict is Verdict.UNREACHABLE:
        return f"no finite energy reaches {name} ({never})"
    low, median, high = (
        max(joules - spent, 0.0) for joules in (forecast.low, forecast.median, forecast.high)
    )
    interval = _ends(Interval(low=low, median=median, high=high))
    if forecast.verdict is Verdict.REACHABLE:
        return f"{name} needs {format_joules(median)} more {interval}"
    doubt = f", P(never) {never}" if forecast.verdict is Verdict.UNDETERMINED else ""
    return f"{name} needs {interval} more{doubt}"


NO_BACKTEST = "The run is too short to test forecasts on its own past."
BACKTEST_HEAD = ("known then", "forecast for now", "measured now", "off by", "in its 90 % interval")
FUTURES = {"planned": "rate planned", "held": "rate held", "annealed": "rate annealed"}


def planned_end(end: "PlannedEnd") -> str:
    """Format the end of the planned run."""
    return f"ends at loss {spread(end.loss)} after {format_joules(end.joules)}"


def scenario(row: "Scenario") -> str:
    """Format the price of a target under one future of the learning rate."""
    forecast, more = row.target.forecast, row.target.more
    price = "no finite amount" if more is None else f"{format_joules(more.median)} more {_ends(more)}"
    if more is not None and forecast.verdict is not Verdict.REACHABLE:
        price = f"{_ends(more)} more"
    if forecast.verdict is Verdict.REACHED:
        price = "nothing more"
    name = FUTURES[row.name]
    return f"{name:<14}loss {loss(row.target.loss)} for {price}, P(never) {percent(forecast.p_unreachable)}"


def backtest(outlook: "Outlook") -> str:
    """Format the backtest in a line."""
    tests = outlook.backtest
    if not tests:
        return f"backtest none: {NO_BACKTEST[0].lower()}{NO_BACKTEST[1:-1]}"
    shares = " / ".join(f"{100 * test.share:.0f}" for test in tests)
    errors = " / ".join(_off(test.error) for test in tests)
    held = sum(test.held for test in tests)
    return f"backtest at {shares} % of the joules: {errors} % off, {held} of {len(tests)} held"


def backtest_rows(outlook: "Outlook") -> list[tuple[str, ...]]:
    """Return the rows of the backtest, under ``BACKTEST_HEAD``."""
    return [
        (
            f"{percent(test.share)} of the joules",
            spread(test.forecast),
            loss(test.measured),
            f"{_off(test.error)} %",
            "yes" if test.held else "no",
        )
        for test in outlook.backtest
    ]


def _off(error: float) -> str:
    return f"{100.0 * math.expm1(abs(error)):.1f}" if abs(error) < _FAR_OFF else ">99"


def when(moment: str) -> str:
    """Format an ISO 8601 time to the minute."""
    try:
        known = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return f"{known:%Y-%m-%d %H:%M} {known.tzname() or ''}".strip()


def one_line(text: str) -> str:
    """Replace unprintable characters, line breaks included, by spaces."""
    return "".join(c if c.isprintable() else " " for c in text)


def shortened(text: str, width: int) -> str:
    """Return one line of at most ``width`` characters, with the middle elided: both ends distinguish names."""
    plain = one_line(text)
    if len(plain) <= width:
        return plain
    end = (width - 1) // 2
    return f"{plain[: width - 1 - end]}…{plain[len(plain) - end :]}"


def title(summary: Summary, width: int = 80) -> str:
    """Format the headline of a run: its name and status."""
    state = f": {summary.status.value} after {format_seconds(summary.window_seconds)} =="
    return f"== {shortened(summary.name, width - len(state) - 3)}{state}"


def answer(report: "Report") -> str:
    """Format the report in one sentence."""
    outlook = report.outlook
    if outlook is None:
        return f"This run took {energy(report)}. No forecast: {report.refused}"
    end = outlook.planned_end
    planned = [] if end is None else [f"the run as planned {planned_end(end)}"]
    asked, chosen = (
        [_clause(row, report.training_watts) for row in rows] for rows in _headline_targets(outlook)
    )
    sentence = "; ".join([*asked, *planned, *chosen])
    guess = " This is a guess: forecasts made earlier in this run did not hold." if outlook.is_guess else ""
    return f"{sentence[0].upper()}{sentence[1:]}.{guess}"


def _headline_targets(outlook: "Outlook") -> "tuple[tuple[Target, ...], tuple[Target, ...]]":
    """Return the asked targets, or without any the farthest reachable one and the last."""
    if outlook.asked:
        return outlook.asked[:_MOST_ASKED], ()
    reachable = [row for row in outlook.targets if row.forecast.verdict is Verdict.REACHABLE]
    first, last = (*reversed(reachable), *outlook.targets)[0], outlook.targets[-1]
    return (), (first,) if outlook.planned_end is not None or first is last else (first, last)


def _clause(row: "Target", watts: float | None) -> str:
    forecast, more, target = row.forecast, row.more, loss(row.loss)
    never = percent(forecast.p_unreachable)
    if forecast.verdict is Verdict.REACHED:
        return f"loss {target} was reached by {format_joules(forecast.median)}"
    if more is None:
        under = (
            "lies under an exact bound"
            if forecast.certain
            else f"is under the floor with {never} probability"
        )
        return f"loss {target} {under}"
    if forecast.verdict is Verdict.REACHABLE:
        length = f", about {format_seconds(more.median / watts)}" if watts else ""
        return f"reaching loss {target} needs {format_joules(more.median)} more {_ends(more)}{length}"
    if forecast.verdict is Verdict.BEYOND_HORIZON:
        spent = f"more than {HORIZON_LIMIT:g} times the energy spent"
        return f"loss {target} needs {spent} (at least {format_joules(more.low)} more)"
    return f"loss {target} may be out of reach ({never})"
