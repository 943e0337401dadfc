"""The report as plain text: 80 columns wide and at most 25 lines."""

import io
import textwrap
from collections.abc import Iterator

from profiler.report import words
from profiler.report.model import Outlook, Report
from profiler.units import format_joules, format_seconds, format_watts

WIDTH = 80
_DOMAINS_SHOWN = 4
_WARNINGS_SHOWN = 2
_LINES_A_WARNING = 2


def render(report: Report) -> str:
    """Render the report; ends with a newline."""
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, width=WIDTH, color_system=None, highlight=False, markup=False, emoji=False)
    for part in _parts(report):
        console.print(part, no_wrap=True, overflow="ellipsis", crop=True)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _parts(report: Report) -> Iterator[object]:
    summary = report.summary
    yield f"== {words.one_line(summary.name)}: {summary.status.value} after {format_seconds(summary.window_seconds)} =="
    yield f"energy  {words.energy(report)}"
    yield from _domains(report, _DOMAINS_SHOWN - len(report.outlook.scenarios if report.outlook else ()))
    yield f"steps   {words.steps(report)}"
    if report.outlook is not None:
        yield from _forecast(report.outlook)
    else:
        yield from _wrapped(f"no forecast: {report.refused}")
    yield from _warnings(report)
    yield f"record  {words.one_line(summary.path)}"


def _domains(report: Report, shown: int) -> Iterator[str]:
    billed = [line for line in report.domains if line.billed]
    for line in billed[:shown]:
        joules, watts = format_joules(line.joules), format_watts(line.watts)
        yield f"  {line.name:<16} {joules:>8} {watts:>8}  {words.provenance(line)} ({line.source})"
    if rest := billed[shown:]:
        yield f"  and {len(rest)} more {format_joules(sum(line.joules for line in rest)):>17}"


def _forecast(outlook: Outlook) -> Iterator[object]:
    losses = f"{words.loss(outlook.first_loss)} -> {words.loss(outlook.last_loss)}"
    yield f"loss    {losses}, floor {words.spread(outlook.floor)}"
    yield _table(outlook)
    yield from (words.scenario(scenario) for scenario in outlook.scenarios)
    yield words.backtest(outlook)
    yield f"{outlook.yardstick.name}, if the law held: {words.spread(outlook.perfection)}"
    yield from outlook.notes[:1]


def _table(outlook: Outlook) -> object:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for title, justify in zip(words.TARGET_HEAD, ("right", "left", "right", "left"), strict=True):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    for target in (*outlook.targets, *outlook.asked):
        table.add_row(*words.target(target))
    return table


def _warnings(report: Report) -> Iterator[str]:
    useful = [refusal for refusal in report.refusals if refusal.remedy and report.modelled_share]
    remedies = [f"modelled because {refusal.reason}. {refusal.remedy}" for refusal in useful[:1]]
    told = [*remedies, *report.warnings]
    for text in told[:_WARNINGS_SHOWN]:
        yield from _wrapped(f"! {text}")
    if len(told) > _WARNINGS_SHOWN:
        yield f"! and {len(told) - _WARNINGS_SHOWN} more warnings in run.json"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        subsequent_indent="  ",
        max_lines=_LINES_A_WARNING,
        placeholder=" ...",
        break_on_hyphens=False,
    )
