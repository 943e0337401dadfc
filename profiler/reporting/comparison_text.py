"""A comparison of runs as plain text, 80 columns wide."""

import math
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from profiler.reporting import text
from profiler.reporting.renderer import Rendered, RenderOptions
from profiler.units import format_joules

if TYPE_CHECKING:
    from profiler.forecasting.frontier import Milestone
    from profiler.reporting.records import Comparison

WIDTH = 80
_SHORTEST = 0.02
"""Part of the envelope's log range below which a stretch is not listed."""
_MOST_PRICES = 3
_NAME, _ENERGY, _LAST, _COLUMN = 22, 9, 10, 13


def render(comparison: "Comparison", _: RenderOptions) -> Rendered:
    """Render as plain text, 80 columns wide; ends with a newline."""
    lines = (line[:WIDTH].rstrip() for line in _lines(comparison))
    return Rendered(content=("\n".join(lines) + "\n").encode())


def _lines(comparison: "Comparison") -> Iterator[str]:
    yield from _verdicts(comparison)
    yield from _why(comparison)
    yield from _table(comparison)
    yield from _costs(comparison)
    yield from _differences(comparison)
    yield ""
    yield from _cheapest(comparison)
    yield ""
    yield from _frontier(comparison)


def _verdicts(comparison: "Comparison") -> Iterator[str]:
    """Yield which run is better, what the probability covers, and the signs of different tasks."""
    names = [text.one_line(line.name) for line in comparison.runs]
    for flag in comparison.flags:
        yield from _wrapped("! ", f"These runs may be of different tasks. {flag}")
    for kind, ranking in (("energy", comparison.at_energy), ("level", comparison.at_level)):
        if ranking is not None:
            yield from _wrapped("", text.ranking(kind, ranking, names, comparison.metric))
    if comparison.at_energy is not None:
        yield from _wrapped("", text.spread(comparison.spread))
    if origin := text.compared_energy(comparison.runs):
        yield from _wrapped("! ", origin)
    if origin or comparison.at_energy is not None:
        yield ""


def _why(comparison: "Comparison") -> Iterator[str]:
    """Yield the factors of the energy of the last run over that of the first."""
    if comparison.why_runs is None:
        return
    yield from _wrapped("", text.why(comparison))
    rows = [text.WHY_HEAD, *map(text.why_row, comparison.why)] if comparison.why else []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    yield from _wrapped("", text.why_note(comparison))
    yield ""


def _table(comparison: "Comparison") -> Iterator[str]:
    shown = comparison.milestones[-_MOST_PRICES:]
    heads = [f"to {text.level(milestone.loss)}" for milestone in shown]
    yield _row("run", "joules", "level", *heads)
    for index, line in enumerate(comparison.runs):
        prices = [price(milestone, index) for milestone in shown]
        joules = text.ABSENT if line.joules is None else format_joules(line.joules)
        last = text.ABSENT if line.last_loss is None else text.level(line.last_loss)
        yield _row(line.name, joules, last, *prices)
    left = len(comparison.milestones) - len(shown)
    yield f"* the cheapest run to that {text.one_line(comparison.metric)}" + (
        f"; {text.counted(left, 'level')} more with --json or -o" if left else ""
    )
    for line in comparison.runs:
        if problem := text.comparison_problem(line, comparison.metric):
            yield from _wrapped("! ", f"{text.one_line(line.name)}: {problem}")


def _row(name: str, joules: str, last: str, *prices: str) -> str:
    return f"{text.shortened(name, _NAME):<{_NAME}}{joules:>{_ENERGY}}{last:>{_LAST}}" + "".join(
        f"{price:>{_COLUMN}}" for price in prices
    )


def price(milestone: "Milestone", index: int) -> str:
    """Format the energy with which a run reached a level; a star marks the cheapest run."""
    joules = milestone.joules[index]
    if joules is None:
        return text.ABSENT
    if joules == math.inf:
        return "not reached"
    bound = "< " if milestone.at_most[index] else ""
    return f"{bound}{format_joules(joules)}{' *' if milestone.cheapest == index else '  '}"


def _costs(comparison: "Comparison") -> Iterator[str]:
    """Yield carbon and money of each run, where prices are known."""
    for line in comparison.runs:
        parts = [] if line.cost is None else text.elsewhere(line.cost)
        if parts:
            yield from _wrapped("", f"{text.one_line(line.name)}: {', '.join(parts)}")


def _differences(comparison: "Comparison") -> Iterator[str]:
    if comparison.differences:
        yield "settings that differ:"
    names = [text.shortened(line.name, _NAME) for line in comparison.runs]
    for row in comparison.differences:
        values = [f"{name} {text.setting(value)}" for name, value in zip(names, row.values, strict=True)]
        yield from _wrapped("  ", f"{text.one_line(row.name)}: {', '.join(values)}")


def _cheapest(comparison: "Comparison") -> Iterator[str]:
    yield f"the cheapest run by {text.one_line(comparison.metric)}:"
    least = _SHORTEST * math.log(comparison.cheapest[-1].end_joules / comparison.cheapest[0].start_joules)
    for stretch in comparison.cheapest:
        if math.log(stretch.end_joules / stretch.start_joules) < least:
            continue
        levels = f"{text.level(stretch.first_loss)} -> {text.level(stretch.last_loss)}"
        joules = f"{format_joules(stretch.start_joules)} to {format_joules(stretch.end_joules)}"
        yield f"  {levels:<20}{joules:<24}{text.one_line(comparison.runs[stretch.run].name)}"


def _frontier(comparison: "Comparison") -> Iterator[str]:
    if comparison.floor is None:
        yield from _wrapped("", f"no projection: {comparison.refused}")
        return
    floor = "floor" if comparison.goal == "min" else "ceiling"
    yield f"projection of the cheapest [90 %], {floor} {text.levels(comparison.floor)}:"
    for ahead in comparison.ahead:
        metric = text.one_line(comparison.metric)
        yield f"  {format_joules(ahead.joules):<10}{metric} {text.levels(ahead.loss)}"
    for note in comparison.notes:
        yield from _wrapped("", f"projection: {note}")


def _wrapped(mark: str, sentence: str) -> list[str]:
    return textwrap.wrap(mark + sentence, WIDTH, subsequent_indent="  ")
