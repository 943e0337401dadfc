"""Wording of numbers, verdicts, states and answers, shared by every renderer and the live line."""

import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from profiler.forecasting.priors import HORIZON_LIMIT
from profiler.records import CurveState, Forecast, Interval, Status, Verdict
from profiler.reporting.metric_choice import LOSS
from profiler.units import JOULES_PER_KWH, format_seconds, format_si, significant

if TYPE_CHECKING:
    from profiler.analysis.factors import Factor
    from profiler.analysis.waste import Waste
    from profiler.emissions import Prices
    from profiler.forecasting.allocation import AdviceTest
    from profiler.forecasting.anneal import AnnealOption
    from profiler.forecasting.backtest import Backtest
    from profiler.forecasting.ranking import Ranking
    from profiler.forecasting.size import BestSize
    from profiler.records import Summary
    from profiler.reporting.records import (
        Allocation,
        AllocationLine,
        Answer,
        Best,
        Comparison,
        Cost,
        DomainLine,
        Elsewhere,
        IdleSplit,
        LimitRow,
        Line,
        NodeMeter,
        Outlook,
        PlannedEnd,
        PriceThere,
        Report,
        Scenario,
        SizeReport,
        Spread,
        Target,
        WasteLine,
        WorkLine,
    )

Format = Callable[[float, int], str]
"""Formats a quantity with a number of significant digits."""

NOT_MEASURED = "not measured: no sensor on this machine can be read"
OUT_OF_REACH = "out of reach"
UNKNOWN = "unknown"
_OR_MORE = " or more"
ABSENT = "-"
_MARKDOWN = str.maketrans({character: f"\\{character}" for character in r"\`*_{}[]<>#|!~"})
NO_BACKTEST = "The run is too short to test forecasts on its own past."

_HALF_A_PERCENT = 0.005
_LESS = 0.95
"""Ratio of a node's meter to its parts below which it cannot contain them, given the accuracy of both."""
_SMALLEST_PERCENT = 0.1
_ALMOST_ALL = 0.995
_ALMOST_CERTAIN = 0.9999
_MEASURED = 0.95
"""Measured share of the energy from which the rest needs no mark."""
_WIDE = 0.1
"""Width of an interval, as a share of its median, above which two digits are shown instead of three."""
_DOUBLE = 2.0
_EXACT = 1e-4
"""Width of an interval, as a share of its median, below which it is not shown."""
_NOTHING = 0.05
"""Share of the energy spent below which the lower end of a price is as good as zero."""
_SMALLEST_KWH = 0.1
_LARGEST_KWH = 1000.0
_OPEN_ORDER = 0.6
"""Probability up to which two runs have no clear order."""
_LONGEST_NAME = 40
_SMALLEST_GRAM = 0.001
_GRAMS_PER_KILOGRAM = 1000.0
_SMALLEST_MONEY = 0.0001
_GROUPED = 1000.0
_WH_PER_KWH = 1000.0
_TWO_DIGITS = 10.0


# Numbers


def percent(share: float) -> str:
    """Format a probability or a share; only 0 and 1 are written as 0 % and 100 %."""
    if 0 < share < _HALF_A_PERCENT:
        return "< 1 %"
    if _ALMOST_ALL <= share < 1:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def joules(value: float, digits: int = 3) -> str:
    """Format joules."""
    return format_si(value, "J", digits)


def seconds(value: float, digits: int = 3) -> str:
    """Format a duration."""
    return format_seconds(value, digits)


def age(value: float) -> str:
    """Format the age of a number in whole seconds or a longer unit."""
    whole = float(round(value))
    return seconds(whole, 1 if whole < _TWO_DIGITS else 2)


def kwh(value: float, digits: int = 3) -> str:
    """Format kilowatt-hours, in watt-hours below 0.1 kWh and in larger units from 1 MWh on."""
    if _SMALLEST_KWH <= value < _LARGEST_KWH:
        return f"{significant(value, digits)} kWh"
    return format_si(value * _WH_PER_KWH, "Wh", digits)


def carbon(grams: float, digits: int = 3) -> str:
    """Format grams of CO2 equivalent, in kilograms from 1 kg on and in metric tons from 1 t on."""
    if grams >= _GRAMS_PER_KILOGRAM**2:
        return f"{significant(grams / _GRAMS_PER_KILOGRAM**2, digits)} tCO2e"
    if 0 < grams < _SMALLEST_GRAM:
        return f"< {_SMALLEST_GRAM:g} gCO2e"
    if grams >= _GRAMS_PER_KILOGRAM:
        return f"{significant(grams / _GRAMS_PER_KILOGRAM, digits)} kgCO2e"
    return f"{significant(grams, digits)} gCO2e"


def money(value: float, digits: int = 3) -> str:
    """Format money without an exponent and without a currency."""
    if 0 < value < _SMALLEST_MONEY:
        return f"< {Decimal(str(_SMALLEST_MONEY)):f}"
    if value < 1.0:
        return f"{Decimal(significant(value, digits)):f}"
    return f"{float(significant(value, digits)):,.0f}" if value >= _GROUPED else significant(value, digits)


def level(value: float, digits: int = 4) -> str:
    """Format a value of a metric."""
    return significant(value, digits)


def digits_of(interval: Interval) -> int:
    """Return the significant digits that an interval supports."""
    if not (math.isfinite(interval.high) and math.isfinite(interval.median)):
        return 2
    return 2 if interval.high - interval.low > _WIDE * abs(interval.median) else 3


def within(interval: Interval) -> str:
    """Format half of an interval as a share of its median."""
    half = 50 * (interval.high - interval.low) / interval.median if interval.median else 0.0
    return f"± {significant(half, 2)} %" if half >= _SMALLEST_PERCENT else f"± < {_SMALLEST_PERCENT} %"


def levels(interval: Interval) -> str:
    """Format a level with its interval, with four digits where it is known to 1 %."""
    known = interval.high - interval.low <= _WIDE * _WIDE * abs(interval.median)
    digits = 4 if known else digits_of(interval)
    low, median, high = (level(end, digits) for end in (interval.low, interval.median, interval.high))
    return median if low == high else f"{median} ({low} to {high})"


def scaled(interval: Interval, factor: float) -> Interval:
    """Multiply an interval by a positive factor."""
    low, median, high = (end * factor for end in (interval.low, interval.median, interval.high))
    return Interval(low=low, median=median, high=high, level=interval.level)


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


def markdown(text: str) -> str:
    """Escape a text for one line of Markdown, so that names from a run stay text."""
    return one_line(text).translate(_MARKDOWN)


def named(reason: str, metric: str) -> str:
    """Put the name of a metric into a sentence about "the metric"."""
    return re.sub(r"\b([Tt])he metric\b", lambda match: f"{match[1]}he {one_line(metric)}", reason)


def shortened(text: str, width: int) -> str:
    """Return one line of at most ``width`` characters, with the middle elided: both ends distinguish names."""
    plain = one_line(text)
    if len(plain) <= width:
        return plain
    end = (width - 1) // 2
    return f"{plain[: width - 1 - end]}…{plain[len(plain) - end :]}"


def label(name: str) -> str:
    """Return a name for a figure or a sentence: one line of at most 40 characters."""
    return shortened(name, _LONGEST_NAME)


def counted(number: int, noun: str) -> str:
    """Format a number of things: ``1 warning``, ``2 warnings``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


# Prices of targets


def excludes_nothing(more: Interval, spent: float) -> bool:
    """Return True if an interval of further joules reaches from none to out of reach, or is unknown."""
    return math.isnan(more.median) or (math.isinf(more.high) and more.low <= _NOTHING * spent)


def _further(value: str) -> str:
    """Return the text of a price within a sentence."""
    return value if value in (OUT_OF_REACH, UNKNOWN) or value.endswith(_OR_MORE) else f"{value} more"


def price(verdict: Verdict, more: Interval | None, unit: Format, spent: float = 0.0) -> tuple[str, str]:
    """Format a further amount, and its 90 % interval.

    Args:
        verdict: Verdict on the target.
        more: The further amount, in the unit of ``unit``; None when reached or out of reach.
        unit: Its format.
        spent: The amount spent so far, in the same unit.
    """
    if verdict is Verdict.REACHED:
        return "none", ""
    if more is None or verdict is Verdict.UNREACHABLE or more.low == math.inf:
        return OUT_OF_REACH, ""
    if math.isnan(more.median):
        return UNKNOWN, ""
    digits, is_open = digits_of(more), excludes_nothing(more, spent)
    if verdict is Verdict.REACHABLE:
        return unit(more.median, digits), "" if is_open else ends(more, unit)
    # Beyond the horizon no point is known, and an open interval repeats its lower end.
    low = unit(more.low, digits)
    # Not "unknown": a farther target may have a price.
    excludes_none = more.low > 0.0 and not is_open and not low.startswith("<")
    value = f"over {low}" if excludes_none else f"{unit(0.0, digits)}{_OR_MORE}"
    return value, "" if math.isinf(more.high) else ends(more, unit)


def ends(interval: Interval, unit: Format) -> str:
    """Format both ends of an interval; one that ends at infinity has only a lower end."""
    digits = digits_of(interval)
    if math.isinf(interval.high):
        return f"at least {unit(interval.low, digits)}"
    return f"{unit(interval.low, digits)} to {unit(interval.high, digits)}"


def about(verdict: Verdict, more: Interval, unit: Format) -> str:
    """Format a further amount with its interval in a sentence; only a target within reach has a point."""
    digits = digits_of(more)
    least = unit(more.low, digits)
    if verdict is not Verdict.REACHABLE:
        return f"at least {least}"
    if math.isinf(more.high):
        return f"about {unit(more.median, digits)} (at least {least})"
    return f"about {unit(more.median, digits)} ({least} to {unit(more.high, digits)})"


def change(row: "Target", goal: str) -> str:
    """Format the distance of a target from the present level; ``asked`` for a requested one."""
    if row.change is None:
        return "asked"
    return f"{100 * row.change:g} % {'lower' if goal == 'min' else 'less error'}"


_VERDICTS = {
    Verdict.REACHED: "reached",
    Verdict.REACHABLE: "within reach",
    Verdict.BEYOND_HORIZON: f"over {HORIZON_LIMIT:g}x the energy",
    Verdict.UNDETERMINED: "undetermined",
    Verdict.UNREACHABLE: OUT_OF_REACH,
}


def verdict(forecast: Forecast) -> str:
    """Format a verdict."""
    return _VERDICTS[forecast.verdict] + (" for certain" if forecast.certain else "")


def chance(p_unreachable: float) -> str:
    """Format the probability that a target is out of reach."""
    return UNKNOWN if math.isnan(p_unreachable) else percent(p_unreachable)


TARGET_HEAD = ("target", "", "more energy", "90 % interval", OUT_OF_REACH)


def target(row: "Target", goal: str, spent: float) -> tuple[str, ...]:
    """Return the cells of a target, under ``TARGET_HEAD``."""
    value, interval = price(row.forecast.verdict, row.more, joules, spent)
    if row.forecast.verdict is Verdict.REACHED:
        value, interval = "reached", f"after {joules(row.forecast.median)}"
    else:
        interval = "; ".join(filter(None, (interval, _open_chance(row.forecast, row.more))))
    return (
        level(row.loss),
        change(row, goal),
        value,
        interval or ABSENT,
        chance(row.forecast.p_unreachable),
    )


_SENTENCES = {
    Verdict.REACHED: "Reached after {joules}.",
    Verdict.REACHABLE: "Within reach; the probability that it is out of reach is {never}.",
    Verdict.BEYOND_HORIZON: (
        f"Probably needs more than {HORIZON_LIMIT:g} times the training's energy so far. "
        "The probability that it is out of reach is {never}."
    ),
    Verdict.UNDETERMINED: "Undetermined: the probability that it is out of reach is {never}.",
    Verdict.UNREACHABLE: "Out of reach: the probability that the floor is higher is {never}.",
}


def unknown_sentence(p_unreachable: float) -> str:
    """Format the verdict on a target whose cost is unknown."""
    return f"Its cost is {UNKNOWN}; the probability that it is out of reach is {chance(p_unreachable)}."


def verdict_sentence(
    verdict: Verdict, joules_since_start: float, p_unreachable: float, p_within: float = math.nan
) -> str:
    """Format the verdict on a target that takes ``joules_since_start``.

    Args:
        verdict: The verdict.
        joules_since_start: Median of the joules.
        p_unreachable: Probability that it is out of reach.
        p_within: Probability of reaching it within ten times the energy, for an interval without an end; NaN without.
    """
    found = _SENTENCES[verdict].format(never=chance(p_unreachable), joules=joules(joules_since_start))
    if math.isnan(p_within) or verdict in (Verdict.REACHED, Verdict.UNREACHABLE):
        return found
    return (
        f"{found} Reaching it within {HORIZON_LIMIT:g} times the training's energy so far is "
        f"{percent(p_within)} likely."
    )


FUTURES = {
    "onward": "as before",
    "planned": "rate as planned",
    "held": "rate held",
    "annealed": "rate annealed",
}


def scenario(row: "Scenario", spent: float) -> str:
    """Format the price of a target under one future of the learning rate."""
    return f"{level(row.target.loss)} with the {FUTURES[row.name]}: {_more(row, spent)}"


def scenarios(outlook: "Outlook", spent: float) -> str:
    """Format the price of one target under each future of the learning rate."""
    prices = "; ".join(f"{FUTURES[row.name]}: {_more(row, spent)}" for row in outlook.scenarios)
    return f"{level(outlook.scenarios[0].target.loss)} with the {prices}" if prices else ""


def _more(row: "Scenario", spent: float) -> str:
    forecast = row.target.forecast
    value, interval = price(forecast.verdict, row.target.more, joules, spent)
    known = _further(value)
    detail = interval or _open_chance(forecast, row.target.more)
    return known + (f" ({detail})" if detail else "")


def _open_chance(forecast: Forecast, more: Interval | None) -> str:
    """Return the chance that replaces an interval without an end; empty for other intervals."""
    if more is None or not math.isinf(more.high) or not forecast.reach:
        return ""
    return f"{percent(forecast.p_within(HORIZON_LIMIT))} within {HORIZON_LIMIT:g}x"


def live_price(
    target: float,
    forecast: Forecast,
    spent: float,
    *,
    present: float | None = None,
    age_seconds: float | None = None,
) -> str:
    """Format the price of a target for the live line; a target that the present level has reached has none.

    Args:
        target: The loss.
        forecast: Its forecast.
        spent: Joules from the start to the end of the last step.
        present: The present level; None where it is unknown.
        age_seconds: Age of the forecast; None where it is new.
    """
    name = f"loss {level(target)}"
    if present is not None and present <= target:
        return f"{name} is reached"
    if forecast.verdict is Verdict.REACHED:
        return f"{name} was reached at {joules(forecast.median)}"
    how_old = "" if age_seconds is None else f" [forecast {age(age_seconds)} old]"
    if forecast.verdict is Verdict.UNREACHABLE:
        return f"{name} is {OUT_OF_REACH} ({chance(forecast.p_unreachable)}){how_old}"
    low, median, high = (
        end if math.isnan(end) else max(end - spent, 0.0)
        for end in (forecast.low, forecast.median, forecast.high)
    )
    more = Interval(low=low, median=median, high=high)
    value, interval = price(forecast.verdict, more, joules, spent)
    has_doubt = forecast.p_unreachable and not math.isnan(forecast.p_unreachable)
    doubt = f", {OUT_OF_REACH} {chance(forecast.p_unreachable)}" if has_doubt else ""
    if value == UNKNOWN:
        return f"cost of {name} {UNKNOWN}{doubt}{how_old}"
    if forecast.verdict is Verdict.REACHABLE:
        return f"{name} needs {_further(value)} ({interval or _open_chance(forecast, more)}){how_old}"
    return f"{name} needs {_further(value)}{doubt}{how_old}"


# The run


def run_status(status: Status) -> str:
    """Format a status at the start of a sentence."""
    return {
        Status.COMPLETED: "Completed",
        Status.RUNNING: "Running",
        Status.FAILED: "Failed",
        Status.INTERRUPTED: "Interrupted",
    }[status]


_STATES = {
    CurveState.NOT_A_PROGRESS_MEASURE: "{metric} may not measure progress",
    CurveState.TOO_EARLY: "too early to forecast",
    CurveState.DIVERGED: "{metric} DIVERGED",
    CurveState.RISING: "{metric} RISING",
    CurveState.FLAT: "{metric} flat",
    CurveState.IMPROVING: "{metric} improving",
}
_WORSENING = "{metric} FALLING"


def curve_state(
    state: CurveState, metric: str, goal: str = "min", step: int | None = None, *, subject: str = ""
) -> str:
    """Format the state of a metric's curve.

    Args:
        state: The state.
        metric: Name of the metric.
        goal: Its direction.
        step: The last step with a finite value, where later ones are not finite.
        subject: Word for the curve, where its metric is named beside the state.
    """
    subject = one_line(subject or metric)
    if state is CurveState.RISING and goal == "max":
        return _WORSENING.format(metric=subject)
    if state is CurveState.DIVERGED and metric != LOSS and step is None:
        # A validation metric far from its best level is usually the sign of overfitting.
        return f"{subject} far from its best"
    after = f" after step {step:,}" if state is CurveState.DIVERGED and step else ""
    return _STATES[state].format(metric=subject) + after


_NOT_COMPARABLE = {
    CurveState.NOT_A_PROGRESS_MEASURE: "Its {metric} may not measure progress, so its rank may mean nothing.",
    CurveState.DIVERGED: "Its {metric} diverged; it is compared up to its last finite value.",
    CurveState.RISING: "Its {metric} got worse; its last level is not its best.",
}


def comparison_problem(line: "Line", metric: str) -> str:
    """Return the reason for which a run is excluded from a comparison, or hard to compare; empty without one."""
    if line.refused or line.state is None:
        return line.refused
    return _NOT_COMPARABLE.get(line.state, "").format(metric=one_line(metric))


def compared_energy(lines: "Sequence[Line]") -> str:
    """Return a sentence on estimated energy in a comparison; empty where almost all of it is measured."""
    partly = [line for line in lines if line.measured_share is not None and line.measured_share < _MEASURED]
    if not partly:
        return ""
    if len(partly) == len(lines) and not any(line.measured_share for line in partly):
        return "The energy of these runs is not measured: it is estimated from time and load."
    named = [f"{shortened(line.name, 28)} {measured(line.measured_share)}" for line in partly[:3]]
    more = [f"{len(partly) - 3} more"] if len(partly) > 3 else []  # noqa: PLR2004 - as shown
    return f"Energy is partly estimated: {listed([*named, *more])}."


def measured(share: float | None, *, incomplete: bool = False, missing_ranks: int = 0) -> str:
    """Format the measured share of the energy in a few words, with the number of ranks that are missing from it."""
    if share is None:
        return "not measured"
    words = "measured" if share == 1.0 else "estimated" if share == 0.0 else f"{percent(share)} measured"
    return f"{words}, {incompleteness(missing_ranks)}" if incomplete else words


def incompleteness(missing_ranks: int) -> str:
    """Format the mark of a total that is incomplete, because of such ranks or because no sensor covers a device."""
    ranks = f" ({missing_ranks:,} rank{'s' if missing_ranks > 1 else ''} missing)"
    return f"incomplete{ranks if missing_ranks else ''}"


_SHORTEST_NAME = 24


def title(summary: "Summary", status: str, brief: str, width: int = 80) -> str:
    """Format the headline of a run: its name and status.

    Args:
        summary: The run.
        status: The status.
        brief: A shorter one, for a line that has no room for the name beside the other.
        width: Columns of the line.
    """
    name = one_line(summary.name)
    room = min(len(name), _SHORTEST_NAME)
    state = next((one for one in (status, brief) if room + len(f"== : {one} ==") <= width), brief)
    return f"== {shortened(name, width - len(f'== : {state} =='))}: {state} =="


def energy(interval: Interval | None) -> str:
    """Format the total with its uncertainty."""
    if interval is None:
        return NOT_MEASURED
    digits = digits_of(interval)
    amount = f"{joules(interval.median, digits)} ({kwh(interval.median / JOULES_PER_KWH, digits)})"
    return f"{amount} {within(interval)}"


def currency(prices: "Prices") -> str:
    """Return the currency of a price with a leading space; empty where it is unknown."""
    return f" {one_line(prices.currency)}" if prices.currency else ""


def elsewhere(cost: "Cost") -> list[str]:
    """Format the total as electricity at the meter, carbon and money, where prices are known."""
    prices, parts = cost.prices, []
    digits = 3 if cost.kwh is None else digits_of(cost.kwh)
    if cost.kwh is not None and prices.pue != 1.0:
        parts.append(f"{kwh(cost.kwh.median, digits)} at the meter (PUE {prices.pue:g})")
    if cost.gco2e is not None:
        parts.append(carbon(cost.gco2e.median, digits))
    if cost.money is not None:
        unit = currency(prices)
        parts.append(f"{'' if unit else 'price '}{money(cost.money.median, digits)}{unit}")
    return parts


def carbon_source(prices: "Prices") -> str:
    """Format the carbon intensity and its source."""
    return f"{significant(prices.grid_gco2e_per_kwh or 0.0)} g/kWh, {prices.grid_source}"


def steps(report: "Report") -> str:
    """Format the number of steps, and the mean energy and duration of one."""
    if report.step_seconds is None:
        return "no steps detected"
    each = f"{joules(report.step_joules)} and " if report.step_joules is not None else ""
    return f"{counted(report.summary.steps, 'step')}, {each}{seconds(report.step_seconds)} per step"


def facts(report: "Report") -> str:
    """Format steps, energy and time per step, and mean power in a line."""
    if report.step_seconds is None:
        return ""
    watts = [] if report.watts is None else [f"{format_si(report.watts, 'W')} on average"]
    return ", ".join(filter(None, [steps(report), *watts, device_hours(report)]))


_LARGE_NUMBERS = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))


def amount(number: float, digits: int = 3) -> str:
    """Format a number of things: ``524,000``, ``1.64 million``."""
    for size, name in _LARGE_NUMBERS:
        if number >= size:
            return f"{significant(number / size, digits)} {name}"
    return f"{float(f'{number:.{digits}g}'):,.0f}" if number >= 1 else significant(number, digits)


def work(report: "Report") -> list[str]:
    """Format the work of a run, with the energy per unit."""
    return [_work(line) for line in report.work]


def _work(line: "WorkLine") -> str:
    if line.total is None:
        return one_line(line.reason)
    name = one_line(line.unit)
    total = f"{amount(line.total, 3 if line.total >= 1e6 else 6)} {name}"  # noqa: PLR2004 - whole below a million
    if line.joules_each is None:
        return f"{total}; {one_line(line.reason)}" if line.reason else total
    each = joules(line.joules_each.median, digits_of(line.joules_each))
    return f"{total}, {each} per {name.removesuffix('s')}, {within(line.joules_each).replace('± ', '±')}"


def device_hours(report: "Report") -> str:
    """Format the time of the accelerators; empty without one."""
    return "" if report.device_hours is None else f"{significant(report.device_hours)} device-hours"


def perfection(outlook: "Outlook") -> str:
    """Return the price of perfection in a sentence."""
    if outlook.perfection is None:
        return ""
    beyond = "below" if outlook.goal == "min" else "above"
    level_then = f"{one_line(outlook.metric)} {beyond} {levels(outlook.perfection)}"
    return f"Even {outlook.yardstick.name} would not bring the {level_then}."


def share(name: str, part: float) -> str:
    """Format a named share of the energy."""
    return f"{one_line(name)} {percent(part)}"


def provenance(line: "DomainLine") -> str:
    """Format the provenance of a domain's joules, and the share of them that was bridged."""
    bridged = f", {percent(line.bridged_share)} bridged" if line.bridged_share >= _HALF_A_PERCENT else ""
    return f"{line.provenance.words}{bridged}"


def domain_joules(line: "DomainLine") -> str:
    """Format the joules of a domain as precisely as its sensor allows."""
    return joules(line.joules, 2 if 2 * line.gain_share > _WIDE else 3)


def meters(report: "Report") -> list[str]:
    """Compare meters of the whole node with their parts, and split the energy into idle and active, as known."""
    nodes = [_node_meter(meter, is_only=len(report.node_meters) == 1) for meter in report.node_meters]
    return nodes if report.idle is None else [*nodes, _idle(report.idle)]


def _idle(split: "IdleSplit") -> str:
    refused = (
        f"{one_line(', '.join(split.refused))} used less than the stored idle power, so measure it again with "
        "energy-profiler doctor --idle 30"
    )
    if not split.domains:
        return refused
    which = f" (without {one_line(', '.join(split.others))})" if split.others else ""
    return (
        f"idle {joules(split.idle_joules, 2)}, {percent(split.idle_share)}; "
        f"active {joules(split.active_joules, 2)}{which}{f'; {refused}' if split.refused else ''}"
    )


def sentence(line: str) -> str:
    """Return a line that begins in lower case as a sentence."""
    return f"{line[0].upper()}{line[1:]}."


def _node_meter(meter: "NodeMeter", *, is_only: bool) -> str:
    name = "node meter" if is_only else f"node meter {one_line(meter.name)}"
    estimated = ", some of them estimated" if meter.parts_are_estimated else ""
    doubt = (
        "; it reads less than its parts, so it does not measure the whole node" if meter.ratio < _LESS else ""
    )
    return f"{name} {joules(meter.joules)}, {significant(meter.ratio)} x the parts{estimated}{doubt}"


# Power limits


def power_limits(report: "Report") -> str:
    """Name the power limit of the lowest energy, or the reason why none is named; empty without limits."""
    table = report.power_limits
    if table is None or table.refused:
        return "" if table is None else table.refused
    best, highest = table.row(table.least_joules), table.rows[0]
    if best is None or table.p_least_joules is None:
        return ""
    each = f"{joules(best.step_joules.median, digits_of(best.step_joules))} per step"
    known = f"probability {percent(table.p_least_joules)}"
    if best is highest:
        return f"The highest limit, {limit_watts(best)}, needs the least energy: {each} ({known})."
    saving = 1.0 - best.step_joules.median / highest.step_joules.median
    longer = best.step_seconds.median / highest.step_seconds.median - 1.0
    pace = f"{percent(abs(longer))} {'longer' if longer >= 0 else 'shorter'}"
    return (
        f"A power limit of {limit_watts(best)} needs the least energy: {each}, {percent(saving)} less than at "
        f"{limit_watts(highest)}, with {pace} steps ({known})."
    )


def limit_watts(row: "LimitRow") -> str:
    """Format a power limit in whole watts."""
    return f"{row.limit_watts:.0f} W"


# Waste

_WASTED = {
    "lost_to_restarts": (
        "was spent on steps that were repeated after restarts",
        "checkpoints were more frequent",
    ),
    "nonfinite": (
        "was spent while no loss was finite",
        "the run had stopped there",
    ),
    "after_best_level": (
        "was spent after the best level was reached",
        "the run had stopped there",
    ),
    "throttled": (
        "is the extra cost of steps on a GPU slowed by heat or its power supply",
        "it ran at full clock (cooling, placement, power supply)",
    ),
    "data_wait": ("was spent waiting for data", "loading were hidden (more workers, or prefetching)"),
    "evaluation": (
        "was spent on evaluations beyond {allowed} of the total",
        "they were rarer or on fewer samples",
    ),
    "idle": ("was spent between steps, while nothing trained", "the pauses were removed"),
}
"""What each cause is, and the condition under which its energy would be saved."""


def waste_remedy(one: "Waste") -> str:
    """Format the remedy of a cause of waste, with the energy that it may save at most."""
    digits = digits_of(Interval(low=one.low, median=one.joules, high=one.high))
    return f"up to {joules(one.joules, digits)} less if {_WASTED[one.name][1]}"


def waste(one: "WasteLine") -> str:
    """Return the energy of a cause of waste and its remedy in a sentence."""
    allowed = "" if one.allowed_share is None else percent(one.allowed_share)
    return f"{percent(one.share)} of the energy {_WASTED[one.name][0].format(allowed=allowed)}: {one.remedy}."


# The answer


def sentences(answer: "Answer") -> list[str]:
    """Return cost, worth, waste, advice and how to measure more, as sentences."""
    known = (answer.cost, answer.scope, *answer.worth, *answer.waste, advice(answer), answer.measuring)
    return [sentence for sentence in known if sentence]


def advice(answer: "Answer") -> str:
    """Return the advice with the confidence behind it."""
    if answer.confidence is None:
        return answer.advice
    return f"{answer.advice} Confidence: {answer.confidence.value}."


def cost_sentence(report: "Report") -> str:
    """Return the cost of the run in a sentence."""
    length = seconds(report.summary.window_seconds)
    if (
        report.energy is None
        and report.summary.status is Status.RUNNING
        and not report.summary.window_seconds
    ):
        return "The energy is unknown: nothing is recorded yet."
    if report.energy is None:
        return f"The energy was {NOT_MEASURED}; the run took {length}."
    digits = digits_of(report.energy)
    amounts = [kwh(report.energy.median / JOULES_PER_KWH, digits), *elsewhere(report.cost)]
    summary = report.summary
    origin = measured(
        report.measured_share, incomplete=summary.is_incomplete, missing_ranks=summary.missing_ranks
    )
    return (
        f"{joules(report.energy.median, digits)} ({', '.join(amounts)}) in {length}; "
        f"{origin}, {within(report.energy).replace('± ', '±')}."
    )


def scope(trainings: int) -> str:
    """Return a sentence on the training that the curve is about; empty where there is one only."""
    if trainings <= 1:
        return ""
    return (
        f"The cost is that of {trainings:,} trainings in one process; the curve and the advice are those of the last. "
        "run.fits() gives the curve of each."
    )


def worth_sentences(outlook: "Outlook", spent: float) -> list[str]:
    """Return what the past energy bought, and the price of further progress.

    Args:
        outlook: The forecast.
        spent: Joules of the run so far.
    """
    if outlook.state in (CurveState.IMPROVING, CurveState.FLAT):
        return [*_history(outlook), *_next(outlook, spent)]
    if outlook.state in (CurveState.DIVERGED, CurveState.RISING):
        return [outlook.state_reason]
    # The other states have no trend to report; the advice names what is missing.
    return []


def _history(outlook: "Outlook") -> list[str]:
    if outlook.half is None:
        return []
    metric = one_line(outlook.metric)
    gain = _relative(outlook.half, outlook.last_loss)
    move = f"from {level(outlook.half, 3)} to {level(outlook.last_loss, 3)}"
    if gain < _HALF_A_PERCENT:
        return [f"The second half of the training's energy changed the {metric} by less than 1 %."]
    word = "lowered" if outlook.last_loss < outlook.half else "raised"
    return [f"The second half of the training's energy {word} the {metric} by {percent(gain)} ({move})."]


def overfitted(best: "Best | None", metric: str, *, is_loss_falling: bool) -> str:
    """Return the advice for a validation metric that got worse after its best level.

    Args:
        best: Its best level; None where another sentence names it.
        metric: Its name.
        is_loss_falling: True if the training loss still improves.
    """
    why = "Stop, the model overfits" if is_loss_falling else "Stop"
    if best is None:
        return f"{why}: use a checkpoint near the best {one_line(metric)}."
    step = f" at step {best.step:,}" if best.step else ""
    return (
        f"{why}: the best {one_line(metric)}, {level(best.level, 3)}{step}, was followed by "
        f"{percent(best.share_after)} of the training's energy without an improvement. Use a checkpoint near it."
    )


def _relative(before: float, after: float) -> float:
    return abs(after - before) / abs(before) if before else 0.0


def _next(outlook: "Outlook", spent: float) -> list[str]:
    """Return the prices of the first two round targets; unknown ones share a clause."""
    if outlook.state is CurveState.FLAT:
        return [outlook.state_reason]
    if outlook.is_guess:
        return [
            f"The cost of further progress is {UNKNOWN}, since most forecasts made earlier in this run missed."
        ]
    clauses: dict[str, list[str]] = {}
    for row in outlook.targets[:2]:
        clauses.setdefault(_next_price(row, spent), []).append(f"{100 * (row.change or 0.0):g} %")
    if not clauses:
        return []
    sentence = "; ".join(
        f"{_steps_ahead(names, outlook.goal)} {_plural(clause) if len(names) > 1 else clause}"
        for clause, names in clauses.items()
    )
    return [f"{sentence[0].upper()}{sentence[1:]}."]


def _steps_ahead(names: Sequence[str], goal: str) -> str:
    # A share of an accuracy is not a share of its error.
    return f"the next {listed(names)}" if goal == "min" else f"{listed(names)} less error"


_PLURALS = {"is": "are", "was": "were", "has": "have", "needs": "need"}


def _plural(clause: str) -> str:
    verb, _, rest = clause.partition(" ")
    return f"{_PLURALS[verb]} {rest}"


def _next_price(row: "Target", spent: float) -> str:
    if row.forecast.verdict is Verdict.REACHED:
        return "was reached before"
    if row.more is None:
        return f"is {OUT_OF_REACH}"
    if math.isnan(row.more.median):
        return f"has an {UNKNOWN} cost"
    if excludes_nothing(row.more, spent):
        return f"is {_likely(row.forecast, HORIZON_LIMIT)}"
    within_reach = row.forecast.verdict is Verdict.REACHABLE
    times = share_of(row.more.median if within_reach else row.more.low, spent)
    return f"needs {about(row.forecast.verdict, row.more, joules)}, {times}"


def _likely(forecast: Forecast, ratio: float) -> str:
    return f"{percent(forecast.p_within(ratio))} likely within {ratio:g} times the training's energy so far"


def share_of(more: float, spent: float) -> str:
    """Format further joules in relation to those of the run."""
    ratio = more / spent if spent else math.inf
    if ratio < 1.0:
        return f"{percent(ratio)} of this run's energy"
    return f"{significant(ratio, 2)} times this run's energy"


RATE_ENDED = (
    "Stop: the learning rate has fallen below 1 % of its peak, so more steps change little. "
    "A longer run needs a new plan."
)


def weighed_advice(
    row: "Target",
    metric: str,
    spent: float,
    *,
    stop: bool,
    within: float,
    goal: str = "min",
    rate_ended: bool = False,
) -> str:
    """Return the advice that follows from the price of a target.

    Args:
        row: The target.
        metric: Name of the metric.
        spent: Joules of the run so far.
        stop: True if the price is too high.
        within: Multiple of the present energy at which the target's chance is given where its price is unknown.
        goal: Direction of the metric, ``min`` or ``max``.
        rate_ended: True if the learning rate has fallen below 1 % of its peak, so that more steps change little.
    """
    aim = _aim(row, metric, goal)
    go, sign = (
        ("The learning rate has fallen below 1 % of its peak, so plan a longer run", ".")
        if rate_ended
        else ("Go on", ":")
    )
    subject = f"{aim[0].upper()}{aim[1:]}" if rate_ended else aim
    if row.more is None:
        return f"Stop: {aim} is {OUT_OF_REACH}." if stop else f"{go} towards {aim}."
    known = row.forecast.verdict is Verdict.REACHABLE
    chance = _likely(row.forecast, within)
    if excludes_nothing(row.more, spent):
        return f"Stop: {aim} is only {chance}." if stop else f"{go}{sign} {subject} is {chance}."
    if not (known or stop):
        return f"{go} if {aim} is worth it, which is {chance}."
    amount = price(row.forecast.verdict, row.more, joules, spent)[0]
    times = share_of(row.more.median if known else row.more.low, spent)
    if stop:
        return f"Stop, unless {aim} is worth {amount} ({times})."
    if row.more.median <= spent:
        return f"{go}{sign} {subject} needs about {amount} ({times})."
    return f"{go} if {aim} is worth {amount} ({times})."


def _aim(row: "Target", metric: str, goal: str) -> str:
    if row.change is None:
        return f"{metric} {level(row.loss)}"
    if goal == "min":
        return f"a {100 * row.change:g} % better {metric}"
    return f"{metric} {level(row.loss)} ({change(row, goal)})"


def planned_end(end: "PlannedEnd", metric: str, now: float) -> str:
    """Format the end of the planned run, with the joules from ``now`` on."""
    more = joules(max(end.joules - now, 0.0))
    return f"the planned run ends at {one_line(metric)} {levels(end.loss)} after {more} more"


ANNEAL_HEAD = ("learning rate", "more energy", "{metric} at the end", "90 % interval")
_ANNEALS = {
    "now": "annealed now",
    "half": "annealed at half of the remaining budget",
    "planned": "as planned",
    "held": "held to the end of the budget",
}


def anneal_row(one: "AnnealOption") -> tuple[str, ...]:
    """Return the cells of an anneal, under ``ANNEAL_HEAD``."""
    return (
        _ANNEALS[one.name],
        joules(one.more_joules),
        level(one.loss.median, digits_of(one.loss)),
        ends(one.loss, level),
    )


BACKTEST_HEAD = ("energy used", "forecast for now", "measured now", "error", "in its 90 % interval")


def backtest(outlook: "Outlook") -> str:
    """Return the backtest in a sentence."""
    tests = outlook.backtest
    if not tests:
        return NO_BACKTEST
    shares, errors = listed([f"{100 * test.share:.0f}" for test in tests]), listed([_off(t) for t in tests])
    held = sum(test.held for test in tests)
    inside = "all" if held == len(tests) else f"{held} of {len(tests)}"
    return (
        f"Backtest: forecasts made at {shares} % of the training's energy missed the present "
        f"{one_line(outlook.metric)} by {errors} %; {inside} within their 90 % interval."
    )


def listed(words: Sequence[str]) -> str:
    """Join words with commas and a final ``and``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def backtest_rows(outlook: "Outlook") -> list[tuple[str, ...]]:
    """Return the rows of the backtest, under ``BACKTEST_HEAD``."""
    return [
        (
            percent(test.share),
            levels(test.forecast),
            level(test.measured),
            f"{_off(test)} %",
            "yes" if test.held else "no",
        )
        for test in outlook.backtest
    ]


def _off(test: "Backtest") -> str:
    """Format the miss of a forecast as a share of the measured level."""
    miss = 100 * _relative(test.measured, test.forecast.median)
    return significant(miss, 2) if miss >= 1.0 else f"{miss:.1f}"


# Comparisons


def ranking(kind: str, known: "Ranking", names: Sequence[str], metric: str) -> str:
    """Return which run is better at equal energy or at an equal level, in a sentence.

    Args:
        kind: ``energy`` or ``level``.
        known: The ranking.
        names: Names of the runs.
        metric: Name of the metric.
    """
    best, second = known.best, known.second
    values = known.values[best], known.values[second]
    if values[0] is None or values[1] is None:
        return ""
    name, rival = (label(names[index]) for index in (best, second))
    is_open, chance = known.probability <= _OPEN_ORDER, percent(known.probability)
    quality = f"(probability {chance} that {name} is ahead)" if is_open else f"(probability {chance})"
    if kind == "energy":
        first, other = level(values[0].median, 3), level(values[1].median, 3)
        verdict = f"{name} and {rival} are about equal" if is_open else f"{name} is better"
        return f"{verdict} at {joules(known.at)}: {one_line(metric)} {first} against {other} of {rival} {quality}."
    first, target = joules(values[0].median), f"{one_line(metric)} {level(known.at, 3)}"
    if math.isinf(values[1].median):
        return f"{name} alone reached {target}, with {first} {quality}."
    verdict = f"{name} and {rival} need about equal energy" if is_open else f"{name} is cheaper"
    return f"{verdict} to {target}: {first} against {joules(values[1].median)} of {rival} {quality}."


def comparison_status(known: "Comparison") -> str:
    """Return the number of compared runs, and whether they may be of different tasks, in a few words."""
    compared = sum(not line.refused for line in known.runs)
    excluded = len(known.runs) - compared
    parts = [f"{counted(compared, 'run')} by {one_line(known.metric)} against energy"]
    parts += [f"{excluded} excluded"] if excluded else []
    parts += ["they may be of different tasks"] if known.flags else []
    return ", ".join(parts)


def spread(known: "Spread") -> str:
    """Return what the probabilities of a comparison include, in a sentence."""
    if known.share is None:
        return (
            "The probabilities cover the noise of these runs and not their seeds: identical jobs differ by up to "
            "28 % in energy. Give --seed-spread or repeats with the same config."
        )
    origin = f"estimated from {known.repeats} repeats" if known.repeats else "as given"
    return f"The probabilities include a spread of {percent(known.share)} between seeds, {origin}."


_FACTORS = {
    "joules": "energy to the level",
    "steps_to_level": "steps to the level",
    "seconds_per_step": "seconds per step",
    "watts": "watts in steps",
    "outside_steps": "energy outside steps",
}
WHY_HEAD = ("factor", "ratio", "90 % interval", "probability")


def factor(name: str) -> str:
    """Format the name of a factor of the energy to a level."""
    kind, _, device = name.partition(".")
    return f"watts of {device.upper()}" if device else _FACTORS[kind]


def why(known: "Comparison") -> str:
    """Return the energies of two runs to a level in a sentence, or the reason for their absence."""
    if known.why_runs is None:
        return ""
    first, last = (one_line(known.runs[index].name) for index in known.why_runs)
    if not known.why or known.why_joules is None or known.why_level is None:
        return f"No factors of {last} over {first}: {known.why_refused}"
    amounts = f"{joules(known.why_joules[1])} against {joules(known.why_joules[0])}"
    target, ratio = f"{one_line(known.metric)} {level(known.why_level)}", why_row(known.why[0])[1]
    return f"{last} used {ratio[:-2]} times the energy of {first} to {target}: {amounts}."


def why_row(one: "Factor") -> tuple[str, ...]:
    """Return the cells of a factor, under ``WHY_HEAD``."""
    known = Interval(low=one.low, median=one.ratio, high=one.high)
    ratio = f"{significant(one.ratio, digits_of(known))} x"
    if one.high - one.low <= _EXACT * one.ratio:
        return (factor(one.name), ratio, ABSENT, _side(one))
    ends_of = f"{significant(one.low, 3)} to {significant(one.high, 3)}"
    return (factor(one.name), ratio, ends_of, _side(one))


def _side(one: "Factor") -> str:
    if abs(one.ratio - 1.0) <= _EXACT:
        return ABSENT
    # No probability is exactly one: the noise has tails.
    return f"{percent(min(one.probability, _ALMOST_CERTAIN))} {'above' if one.ratio > 1.0 else 'below'} 1"


def why_note(known: "Comparison") -> str:
    """Return the meaning of the factors and the reach of their probabilities, in sentences."""
    if not known.why:
        return ""
    seeds = (
        "Probabilities of energy and steps hold for these two runs, not for other seeds."
        if known.spread.share is None
        else f"Energy and steps include the spread of {percent(known.spread.share)} between seeds."
    )
    return f"The energy is the product of steps, seconds, watts and the energy outside steps. {seeds}"


def elsewhere_sentences(known: "Elsewhere") -> list[str]:
    """Return the cost of a step on other hardware, and what was assumed and could not be checked."""
    run, probe = one_line(known.run), one_line(known.probe)
    there = (
        f"{joules(known.there.joules)} and {seconds(known.there.seconds)} per step on the hardware of {probe}"
    )
    here = f"{joules(known.here.joules)} and {seconds(known.here.seconds)} in {run}"
    dropped = f"{counted(known.there.dropped, 'step')} of warm-up are dropped"
    sentences = [
        f"{there}, {here}; {dropped}.",
        f"The energy of a step is {_ratio(known.joules_ratio)} there, its time {_ratio(known.seconds_ratio)}.",
        f"The curve is that of {run}, and so is the energy between the steps: {percent(known.outside_joules)} more.",
    ]
    if known.unchecked:
        facts = listed(list(known.unchecked))
        sentences.append(
            f"Not checked, since both did not record it: {facts}. The probe must do the same work per step."
        )
    return sentences


def _ratio(known: Interval) -> str:
    """Format a ratio with its interval, in percent where it is below two."""
    digits, in_percent = digits_of(known), known.median < _DOUBLE
    scale, unit = (100.0, "%") if in_percent else (1.0, "times that here")
    low, median, high = (significant(scale * end, digits) for end in (known.low, known.median, known.high))
    if known.high - known.low <= _EXACT * known.median:
        return f"{median} {unit}"
    return f"{median} {unit} ({low} to {high})"


def price_there(row: "PriceThere", prices: "Prices", *, has_money: bool) -> tuple[str, ...]:
    """Return the cells of a target on other hardware."""
    energy, interval = _whole_price(row.verdict, row.joules, joules)
    time, _ = _whole_price(row.verdict, row.seconds, seconds)
    here, _ = _whole_price(row.verdict, row.joules_here, joules)
    unit = currency(prices)
    cost = [_whole_price(row.verdict, row.money, money)[0]] if has_money else []
    cost = [f"{words}{unit}" if words not in (OUT_OF_REACH, UNKNOWN) else words for words in cost]
    return (level(row.loss), energy, interval or ABSENT, time, *cost, here)


def _whole_price(verdict: Verdict, amount: Interval | None, unit: Format) -> tuple[str, str]:
    """Format an amount since the first step; a target that the run reached has one too."""
    if amount is None:
        return (OUT_OF_REACH if verdict is Verdict.UNREACHABLE else UNKNOWN), ""
    known = Verdict.REACHABLE if verdict is Verdict.REACHED else verdict
    return price(known, amount, unit)


def best_size(one: "BestSize", known: "SizeReport") -> str:
    """Return the best size for a budget in a sentence."""
    size = f"{_amount(one.parameters, format_count)} parameters"
    work = f"{format_count(one.work.median, digits_of(one.work))} {one_line(known.unit)}"
    edge = "; the best size lies at the end of those considered" if one.is_edge else ""
    return f"For {joules(one.joules)}: {size}, {one_line(known.metric)} {levels(one.loss)}, {work}{edge}."


def _amount(interval: Interval, unit: Format) -> str:
    digits = digits_of(interval)
    return f"{unit(interval.median, digits)} ({ends(interval, unit)})"


def format_count(value: float, digits: int = 3) -> str:
    """Format a large number of things: ``310 M``, ``9.2 B``."""
    for scale, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{significant(value / scale, digits)} {name}"
    return significant(value, digits)


def size_notes(known: "SizeReport") -> list[str]:
    """Return the basis of the best sizes, and their limits, in sentences."""
    span = f"{format_count(known.smallest)} to {format_count(known.largest)}"
    misses = significant(100.0 * known.error, 2)
    basis = (
        f"From {counted(known.runs, 'run')} of {known.sizes} sizes, {span} parameters, which the fit misses by "
        f"{misses} % each. The loss falls with parameters^-{known.exponents[0]:.2f} and {one_line(known.unit)}^-"
        f"{known.exponents[1]:.2f}; the energy of a unit of work grows with parameters^{known.cost_exponent:.2f}."
    )
    notes = [basis]
    if known.unit == "steps":
        notes.append(
            "No unit of work is recorded in all runs, so that steps must mean the same work: one batch size."
        )
    if known.annealed:
        notes.append(
            f"! The learning rate fell in {known.annealed} of {known.runs} runs. The fit includes their curves before "
            "the end of the anneal, so that annealed runs of these sizes end lower, and the best size is less certain "
            "than its interval."
        )
    notes += [f"! excluded {one_line(reason)}" for reason in known.excluded]
    return notes


def allocation(known: "Allocation") -> str:
    """Return the advice on a sweep in a sentence."""
    stopped = sum(line.stop for line in known.runs)
    kept = len(known.runs) - stopped
    goal = f"at {joules(known.budget_joules)} per run"
    if all(line.is_finished or (line.joules or 0.0) >= known.budget_joules for line in known.runs):
        spent = joules(known.budget_joules)
        return f"None of {kept} runs can use more energy: each has spent {spent} or ended its schedule."
    if not stopped:
        return f"Stop none of {kept} runs: no choice of fewer contains the best one {goal} with 95 %."
    others = f"the other {kept} contain" if kept > 1 else "the other one is"
    return (
        f"Stop {stopped} of {len(known.runs)} runs, which saves {joules(known.joules_saved)}: {others} the best one "
        f"{goal} with 95 %."
    )


def beyond_horizon(known: "Allocation") -> str:
    """Return a warning of forecasts that reach too far ahead."""
    names = listed([shortened(name, 28) for name in known.beyond[:3]])
    more = f" and {len(known.beyond) - 3} more" if len(known.beyond) > 3 else ""  # noqa: PLR2004 - as shown
    return (
        f"The budget is over ten times the energy of {names}{more}: such forecasts are not tested, and their chances "
        "are uncertain. Choose a lower budget, or look again later."
    )


def allocation_advice(line: "AllocationLine", budget_joules: float) -> str:
    """Format the advice on one run of a sweep."""
    if line.joules is not None and line.joules >= budget_joules:
        return "at the budget"
    if line.p_best is None:
        return "no forecast"
    if line.is_finished:
        return "finished"
    if not line.stop:
        return "keep"
    return "stop" if line.status is Status.RUNNING else "do not resume"


def advice_tests(known: "Allocation") -> list[str]:
    """Return the tests of the advice on the recorded past, in sentences."""
    if not known.backtest:
        return ["The runs are too short, or too few, to test this advice on their past."]
    return [
        f"Backtest: at {percent(one.share)} of {joules(one.budget_joules)}, this advice stops {one.stopped} of "
        f"{one.runs} runs, saves {percent(one.saved_share)} of their energy, and {_kept(one)}."
        for one in known.backtest
    ]


def _kept(one: "AdviceTest") -> str:
    if one.kept_best:
        return "keeps the best run"
    return (
        f"loses the best run: the best kept one is {significant(100 * math.expm1(one.log_regret), 2)} % worse"
    )


def setting(value: object) -> str:
    """Format a value of the user's configuration."""
    return ABSENT if value is None else one_line(str(value))


_REWARDS = {
    "stable_baselines3": (
        "For stable-baselines3 that is ep_rew_mean, the mean reward of the last episodes: log it with the callback in "
        "examples/integrations/stable_baselines3_callback.py."
    ),
    "gymnasium": (
        "For gymnasium that is the return of each finished episode, which RecordEpisodeStatistics puts into the infos "
        'as ["episode"]["r"]: log it with prof.log(episodic_return=...).'
    ),
}


def reward_to_log(libraries: "Sequence[str]") -> str:
    """Return the name of the metric that measures progress in a library of reinforcement learning, or nothing."""
    return next((sentence for name, sentence in _REWARDS.items() if name in libraries), "")
