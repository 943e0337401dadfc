"""How a report's numbers are worded, the same in every renderer for people."""

import math

from profiler.forecast.priors import HORIZON_LIMIT
from profiler.records import Interval, Verdict
from profiler.report.model import DomainLine, Outlook, Report, Scenario, Target
from profiler.units import JOULES_PER_KWH, format_joules, format_seconds, format_watts, significant

_HALF_A_PERCENT = 0.005
_SMALLEST_PERCENT = 0.1
_FAR_OFF = math.log(1.999)
_BEYOND = f"beyond {HORIZON_LIMIT:g}x horizon"


def percent(share: float) -> str:
    """Write a probability or a share, never rounding what is not certain to certainty."""
    if 0 < share < _HALF_A_PERCENT:
        return "< 1 %"
    if 1 - _HALF_A_PERCENT <= share < 1:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def energy(report: Report) -> str:
    """The total with its uncertainty."""
    if report.energy is None:
        return "not measured: nothing on this machine can be metered"
    interval = report.energy
    half = 50 * (interval.high - interval.low) / interval.median if interval.median else 0.0
    within = f"± {significant(half, 2)} %" if half >= _SMALLEST_PERCENT else f"± < {_SMALLEST_PERCENT} %"
    modelled = f", {percent(report.modelled_share)} modelled" if report.modelled_share else ""
    incomplete = ", incomplete" if report.summary.missing else ""
    kwh = significant(interval.median / JOULES_PER_KWH)
    return f"{format_joules(interval.median)} {within} ({kwh} kWh{modelled}{incomplete})"


def steps(report: Report) -> str:
    """The steps, and what one takes."""
    if report.step_seconds is None:
        return "none seen"
    each = f"{format_joules(report.step_joules)} and " if report.step_joules is not None else ""
    return f"{report.summary.steps:,}, {each}{format_seconds(report.step_seconds)} each"


def provenance(line: DomainLine) -> str:
    """Where a domain's joules come from, and how much of them was bridged."""
    bridged = f", {percent(line.bridged_share)} bridged" if line.bridged_share >= _HALF_A_PERCENT else ""
    return f"{line.provenance.value}{bridged}"


def loss(value: float) -> str:
    """A loss, with four significant digits."""
    return significant(value, 4)


def spread(interval: Interval) -> str:
    """A loss with its interval."""
    return f"{loss(interval.median)} [{loss(interval.low)}, {loss(interval.high)}]"


TARGET_HEAD = ("target loss", "joules more [90 %]", "P(never)", "verdict")


def target(row: Target) -> tuple[str, str, str, str]:
    """A target's cells, under ``TARGET_HEAD``."""
    forecast = row.forecast
    verdict = _BEYOND if forecast.verdict is Verdict.BEYOND_HORIZON else forecast.verdict.value
    certainly = " for certain" if forecast.certain else ""
    return loss(row.loss), _price(row), percent(forecast.p_unreachable), verdict + certainly


def _price(row: Target) -> str:
    forecast, more = row.forecast, row.more
    if forecast.verdict is Verdict.REACHED:
        return f"none: it was there at {format_joules(forecast.median)}"
    if more is None:
        return "no finite amount"
    point = format_joules(more.median) if forecast.verdict is Verdict.REACHABLE else "-"
    return f"{point:<8} {_ends(more)}"


def _ends(interval: Interval) -> str:
    high = format_joules(interval.high) if math.isfinite(interval.high) else "never"
    return f"[{format_joules(interval.low)}, {high}]"


BACKTEST_HEAD = ("known then", "forecast for now", "measured now", "off by", "in its 90 % interval")


_FUTURES = {"held": "rate held", "annealed": "rate annealed"}


def scenario(row: Scenario) -> str:
    """What a target costs under one future of the learning rate, in a line."""
    forecast, more = row.target.forecast, row.target.more
    price = "no finite amount" if more is None else f"{format_joules(more.median)} more {_ends(more)}"
    if more is not None and forecast.verdict is not Verdict.REACHABLE:
        price = f"{_ends(more)} more"
    if forecast.verdict is Verdict.REACHED:
        price = "nothing more"
    name = _FUTURES[row.name]
    return f"{name:<14}loss {loss(row.target.loss)} for {price}, P(never) {percent(forecast.p_unreachable)}"


def backtest(outlook: Outlook) -> str:
    """What earlier parts of the run would have forecast for now, in a line."""
    tests = outlook.backtest
    if not tests:
        return "backtest none: the past is too short to test a forecast on"
    shares = " / ".join(f"{100 * test.share:.0f}" for test in tests)
    errors = " / ".join(_off(test.error) for test in tests)
    held = sum(test.held for test in tests)
    return f"backtest at {shares} % of the joules: {errors} % off, {held} of {len(tests)} held"


def backtest_rows(outlook: Outlook) -> list[tuple[str, ...]]:
    """The same as cells, under ``BACKTEST_HEAD``."""
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


def one_line(text: str) -> str:
    """Text that cannot leave its line, whatever is in it."""
    return "".join(c if c.isprintable() else " " for c in text)


def answer(report: Report) -> str:
    """The report in one or two sentences."""
    outlook = report.outlook
    if outlook is None:
        return f"This run took {energy(report)}. No forecast: {report.refused}"
    first, *_, under = outlook.targets
    return f"This run took {energy(report)}. {_clause(first)} {_clause(under)}"


def _clause(row: Target) -> str:
    forecast, more = row.forecast, row.more
    if forecast.verdict is Verdict.REACHABLE and more is not None:
        return f"Loss {loss(row.loss)} needs {format_joules(more.median)} more {_ends(more)}."
    if forecast.verdict is Verdict.UNREACHABLE:
        return f"Loss {loss(row.loss)}: no finite amount of energy gets there ({percent(forecast.p_unreachable)})."
    return f"Loss {loss(row.loss)} is {target(row)[3]}, with {percent(forecast.p_unreachable)} never."


def headline(report: Report) -> list[tuple[str, str]]:
    """The numbers at the top of a page."""
    pairs = [("energy", energy(report)), ("steps", steps(report))]
    if report.watts is not None:
        pairs.insert(1, ("mean power", format_watts(report.watts)))
    if report.outlook is not None:
        outlook = report.outlook
        pairs += [
            ("loss", f"{loss(outlook.first_loss)} -> {loss(outlook.last_loss)}"),
            ("floor", spread(outlook.floor)),
        ]
    return pairs
