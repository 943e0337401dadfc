"""The report as plain text: 80 columns and at most 15 lines for a healthy run."""

import shlex
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from profiler._compat import display_path, printable
from profiler.records import CurveState
from profiler.reporting import text
from profiler.reporting.answer import answer_of
from profiler.reporting.renderer import Rendered, RenderOptions

if TYPE_CHECKING:
    from profiler.records import Summary
    from profiler.reporting.records import Outlook, Report

WIDTH = 80
_LABEL = 8
_DOMAINS_SHOWN = 4
_ROUND_SHOWN = 3
_METRICS_SHOWN = 4
_WARNINGS_SHOWN = 3
_LINES_PER_TEXT = 8
_WASTE_SHOWN = 2
_GAP = "..."
_LONGEST_WORD = 36
"""Length to which a word is shortened that is longer than a line, such as the name of a metric."""
_NO_BREAK = "\0"
"""Space at which no line breaks while a text is wrapped."""


def render(report: "Report", _: RenderOptions) -> Rendered:
    """Render the report."""
    return Rendered(content=text_of(report).encode())


def text_of(report: "Report") -> str:
    """Return the report as text; ends with a newline."""
    return printable("\n".join(_lines(report))) + "\n"


def _lines(report: "Report") -> Iterator[str]:
    yield headline(report)
    yield from body(report)
    yield from _path(report.summary)


def headline(report: "Report") -> str:
    """Return the first line: the run's name and status."""
    known = answer_of(report).status
    status = f"{known[0].lower()}{known[1:]}"
    # The line of the cost names the measured share too.
    return text.title(report.summary, status, status.rpartition(", ")[0], WIDTH)


def body(report: "Report") -> Iterator[str]:
    """Yield the lines between the headline and the path of the run."""
    answer, outlook = answer_of(report), report.outlook
    yield from _labelled("cost", text.cost_sentence(report))
    yield from _labelled("", _domains(report))
    for sentence in text.meters(report):
        yield from _labelled("", text.one_line(sentence))
    yield from _labelled("where", _where(report.summary))
    for number, sentence in enumerate(text.work(report)):
        yield from _labelled("" if number else "work", sentence)
    if answer.scope:
        yield from _labelled("scope", answer.scope)
    table = list(_targets(outlook, report.summary.total_joules or 0.0)) if outlook is not None else []
    # The table of targets holds the prices that follow the first sentence.
    worth = answer.worth[:1] if table and len(answer.worth) > 1 else answer.worth
    for number, sentence in enumerate(worth):
        yield from _labelled("" if number else "worth", sentence)
    for number, sentence in enumerate(answer.waste[:_WASTE_SHOWN]):
        yield from _labelled("" if number else "waste", sentence)
    if limits := text.power_limits(report):
        yield from _labelled("limit", limits)
    if advice := text.advice(answer):
        yield from _labelled("advice", advice)
    yield from table
    if outlook is not None and outlook.scenarios:
        yield from _labelled("rate", text.scenarios(outlook, report.summary.total_joules or 0.0))
    yield from _others(report)
    yield from _caveats(report)


def _domains(report: "Report") -> str:
    """Return the counted domains; a provenance that all of them share is named once."""
    counted = [line for line in report.domains if line.billed]
    shown, rest = counted[:_DOMAINS_SHOWN], counted[_DOMAINS_SHOWN:]
    origins = [text.provenance(line) for line in shown]
    is_shared = len(set(origins)) == 1 and not rest
    parts = [
        _unbroken(
            f"{text.one_line(line.name)} {text.domain_joules(line)}" + (f" {origin}" if not is_shared else "")
        )
        for line, origin in zip(shown, origins, strict=True)
    ]
    if rest:
        joules = text.joules(sum(line.joules for line in rest))
        parts.append(_unbroken(f"{text.counted(len(rest), 'more domain')} {joules}"))
    return ", ".join(parts) + (f" ({origins[0]})" if is_shared else "")


def _unbroken(words: str) -> str:
    return words.replace(" ", _NO_BREAK)


def _where(summary: "Summary") -> str:
    total, steps = summary.total_joules, text.counted(summary.steps, "step")
    if not summary.steps:
        return "no steps detected"
    if not total or summary.step_joules is None:
        return f"{steps} of {text.seconds(summary.step_seconds / summary.steps)}"
    inside = summary.step_joules / total
    each = (
        f"{text.joules(summary.step_joules / summary.steps)} and "
        f"{text.seconds(summary.step_seconds / summary.steps)} per step"
    )
    return f"{text.percent(inside)} in {steps} ({each}), {text.percent(1.0 - inside)} outside steps"


def _targets(outlook: "Outlook", spent: float) -> Iterator[str]:
    shown = [row for row in outlook.rows if row in outlook.asked or row in outlook.targets[:_ROUND_SHOWN]]
    if not outlook.has_trend:
        shown = list(outlook.asked)
    if not shown:
        return
    cells: list[tuple[str, ...]] = [(outlook.metric, "", "more energy", "90 % interval", text.OUT_OF_REACH)]
    cells += [text.target(row, outlook.goal, spent) for row in shown]
    longest_level = max(len(row[0]) for row in cells[1:])
    room = WIDTH - sum(max(map(len, column)) for column in list(zip(*cells, strict=True))[1:])
    gaps = len(cells[0]) - 1
    gap = "  " if longest_level + 2 * gaps <= room else " "
    name = text.shortened(outlook.metric, max(min(room - len(gap) * gaps, 24), longest_level))
    cells[0] = (name, *cells[0][1:])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        first, *rest = (
            cell.rjust(width) if number == 0 else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield gap.join((first, *rest)).rstrip()


def _others(report: "Report") -> Iterator[str]:
    """Name the other metrics, each with its state or last value."""
    parts = []
    for known in report.metrics[1:]:
        name = text.shortened(known.name, 24)
        last = "" if known.last is None else f" {text.level(known.last, 3)}"
        if known.state is None or known.state is CurveState.IMPROVING:
            parts.append(f"{name}{last}")
        else:
            state = text.curve_state(
                known.state, known.name, known.goal or "min", known.diverged_step, subject="curve"
            )
            parts.append(f"{name}{last} ({state.removeprefix('curve ')})")
    if rest := parts[_METRICS_SHOWN:]:
        parts = [*parts[:_METRICS_SHOWN], f"{text.counted(len(rest), 'more metric')}"]
    if parts:
        yield from _labelled("also", f"{', '.join(parts)} (select with --metric)")


def _caveats(report: "Report") -> Iterator[str]:
    """Return the warnings of the record, or else the most important caveat, and the number of further ones."""
    answer, outlook = answer_of(report), report.outlook
    caveats = [*report.warnings, *filter(None, (answer.measuring, report.note))]
    caveats += outlook.notes if outlook is not None else ()
    shown = min(max(len(report.warnings), 1), _WARNINGS_SHOWN)
    # A single further note takes no more room than its count.
    shown += len(caveats) == shown + 1
    for caveat in caveats[:shown]:
        yield from _wrapped(f"! {caveat}")
    rest = len(caveats) - shown
    if rest > 0:
        yield f"! {text.counted(rest, 'more note')} in the HTML report"


def _path(summary: "Summary") -> Iterator[str]:
    if not summary.path:
        return
    # These lines are copied from the terminal, so that they are never wrapped.
    path = text.one_line(display_path(summary.path))
    yield f"{'next':<{_LABEL}}energy-profiler report {shlex.quote(path)} -o report.html"
    yield f"{'record':<{_LABEL}}{path}"


def _labelled(label: str, sentence: str) -> Iterator[str]:
    room = WIDTH - _LABEL
    words = [
        text.shortened(word, _LONGEST_WORD) if len(word) > room else word for word in sentence.split(" ")
    ]
    lines = _wrap(words, room) if sentence else []
    for number, line in enumerate(lines):
        yield f"{'' if number else label:<{_LABEL}}{line}"


def _wrapped(sentence: str) -> list[str]:
    """Wrap a text; its end is cut only where it exceeds several lines, which the reports in files show in full."""
    lines = _wrap(sentence.split(" "), WIDTH, indent="  ")
    if len(lines) <= _LINES_PER_TEXT:
        return lines
    return [*lines[: _LINES_PER_TEXT - 1], f"  {_GAP} (in full in the HTML report)"]


def _wrap(words: list[str], width: int, indent: str = "") -> list[str]:
    sentence = _NO_BREAK.join(text.one_line(part) for part in " ".join(words).split(_NO_BREAK))
    lines = textwrap.wrap(sentence, width, subsequent_indent=indent, break_on_hyphens=False)
    return [line.replace(_NO_BREAK, " ") for line in lines]
