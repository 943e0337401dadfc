"""The report as plain text: 80 columns and at most 25 lines."""

import io
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from profiler._compat import display_path
from profiler.reporting import text
from profiler.reporting.renderer import Rendered, RenderOptions
from profiler.units import format_joules, format_watts

if TYPE_CHECKING:
    from profiler.reporting.forecast_section import Outlook
    from profiler.reporting.model import Report

WIDTH = 80
MOST_LINES = 25
_DOMAINS_SHOWN = 4
_NOTES_SHOWN = 2
_LINES_A_TEXT = 3
_GAP = "..."
_BEFORE_THE_GAP = 9
"""Words kept of a text that is too long: its end says what to do."""


def render(report: "Report", _: RenderOptions) -> Rendered:
    """Render the report."""
    return Rendered(content=text_of(report).encode())


def text_of(report: "Report") -> str:
    """Return the report as text; ends with a newline."""
    asked = len(report.outlook.rows) - len(report.outlook.targets) if report.outlook else 0
    most, warnings = MOST_LINES + asked - 1, _all_warnings(report)
    room = most - bool(warnings)
    lines = _needed(report, room)
    for note in _notes(report.outlook) if report.outlook else ():
        wrapped = _wrapped(note)
        lines += wrapped if len(lines) + len(wrapped) <= room else []
    lines += _warnings(warnings, room=most - len(lines))
    if report.summary.path:
        lines += _printed(f"record  {text.one_line(display_path(report.summary.path))}")
    return "\n".join(lines) + "\n"


def _notes(outlook: "Outlook") -> list[str]:
    """Return the first notes of a forecast, marked where they contradict it."""
    mark = "! " if outlook.is_guess else ""
    return [mark * (not number) + note for number, note in enumerate(outlook.notes[:_NOTES_SHOWN])]


def _needed(report: "Report", room: int) -> list[str]:
    """Return all but notes and warnings, with as many domains as fit into ``room`` lines."""
    lines: list[str] = []
    for domains in range(_DOMAINS_SHOWN, 0, -1):
        lines = [line for part in _parts(report, domains) for line in _printed(part)]
        if len(lines) <= room:
            break
    return lines


def _printed(part: object) -> list[str]:
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, width=WIDTH, color_system=None, highlight=False, markup=False, emoji=False)
    console.print(part, no_wrap=True, overflow="ellipsis", crop=True)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def _parts(report: "Report", domains: int) -> Iterator[object]:
    summary = report.summary
    yield text.title(summary)
    yield f"energy  {text.energy(report)}"
    yield from _domains(report, domains)
    if cost := text.cost(report):
        yield from _wrapped(f"cost    {cost}")
    yield f"steps   {text.steps(report)}"
    if report.outlook is not None:
        yield from _forecast(report.outlook)
    else:
        yield from _wrapped(f"no forecast: {report.refused}")


def _domains(report: "Report", shown: int) -> Iterator[str]:
    billed = [line for line in report.domains if line.billed]
    for line in billed[:shown]:
        joules, watts = format_joules(line.joules), format_watts(line.watts)
        name, source = text.one_line(line.name), text.one_line(line.source)
        yield f"  {name:<16} {joules:>8} {watts:>8}  {text.provenance(line)} ({source})"
    if rest := billed[shown:]:
        yield f"  and {len(rest)} more {format_joules(sum(line.joules for line in rest)):>17}"


def _forecast(outlook: "Outlook") -> Iterator[object]:
    losses = f"{text.loss(outlook.first_loss)} -> {text.loss(outlook.last_loss)}"
    yield f"loss    {losses}, floor {text.spread(outlook.floor)}"
    if outlook.planned_end is not None:
        yield f"planned {text.planned_end(outlook.planned_end)}"
    yield _table(outlook)
    yield from (text.scenario(scenario) for scenario in outlook.scenarios)
    yield text.backtest(outlook)
    yield from _wrapped(
        f"Even {outlook.yardstick.name} would not bring it below {text.spread(outlook.perfection)}."
    )


def _table(outlook: "Outlook") -> object:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for title, justify in zip(text.TARGET_HEAD, ("right", "left", "right", "left"), strict=True):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    for target in outlook.rows:
        table.add_row(*text.target(target))
    return table


def _all_warnings(report: "Report") -> list[str]:
    """Return warnings, the remedy for estimated joules first."""
    useful = [refusal for refusal in report.refusals if refusal.remedy and report.modelled_share]
    return [f"estimated because {refusal.reason}. {refusal.remedy}" for refusal in useful[:1]] + [
        *report.warnings
    ]


def _warnings(warnings: list[str], room: int) -> list[str]:
    """Wrap as many warnings as fit into ``room`` lines; the last line counts the rest."""
    lines: list[str] = []
    for number, line in enumerate(warnings):
        wrapped = _wrapped(f"! {line}")
        last = number == len(warnings) - 1
        if len(lines) + len(wrapped) > (room if last else room - 1):
            return [*lines, f"! and {len(warnings) - number} more in the JSON report"]
        lines += wrapped
    return lines


def _wrapped(text: str) -> list[str]:
    """Wrap a text; the middle of a long one is elided, since its end names the remedy."""
    words = text.split(" ")
    lines = _wrap(words)
    head, tail = words[:_BEFORE_THE_GAP], words[_BEFORE_THE_GAP:]
    while len(lines) > _LINES_A_TEXT and tail:
        tail = tail[1:]
        lines = _wrap([*head, _GAP, *tail])
    return lines[:_LINES_A_TEXT]


def _wrap(words: list[str]) -> list[str]:
    return textwrap.wrap(" ".join(words), WIDTH, subsequent_indent="  ", break_on_hyphens=False)
