"""The report as one self-contained page: it opens offline and asks no other address for anything."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from string import Template

from profiler.report import words
from profiler.report.model import Outlook, Report
from profiler.units import format_joules, format_seconds, format_watts


def render(report: Report) -> str:
    """Render the page."""
    from profiler.report import figures

    page = Template(files("profiler.report").joinpath("page.html").read_text(encoding="utf-8"))
    summary = report.summary
    return page.substitute(
        title=escape(f"{summary.name} - energy report"),
        name=escape(summary.name),
        state=escape(
            f"{summary.status.value} after {format_seconds(summary.window_seconds)}, begun {summary.started_at}"
        ),
        answer=escape(words.answer(report)),
        numbers="".join(_number(*pair) for pair in words.headline(report)),
        curve=figures.curve(report.outlook)
        if report.outlook
        else _paragraph(f"No forecast: {report.refused}"),
        targets=_targets(report.outlook) if report.outlook else "",
        power=figures.power(report.power),
        domains=_domains(report),
        warnings=_warnings(report),
        script=figures.script(),
    )


def _number(label: str, value: str) -> str:
    return f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>"


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=wide><table><caption>{escape(caption)}</caption><tr>{heads}</tr>{lines}</table></div>"


def _targets(outlook: Outlook) -> str:
    rows = (words.target(t) for t in (*outlook.targets, *outlook.asked))
    table = _table(words.TARGET_HEAD, rows, "What lower loss costs")
    perfection = (
        f"If this law held for ever, {outlook.yardstick.name} ({outlook.yardstick.source}) would lead to loss "
        f"{words.spread(outlook.perfection)}."
    )
    notes = "".join(_paragraph(note) for note in outlook.notes)
    scenarios = "".join(_paragraph(words.scenario(scenario)) for scenario in outlook.scenarios)
    return table + scenarios + _backtest(outlook) + _paragraph(perfection) + notes


def _backtest(outlook: Outlook) -> str:
    if not outlook.backtest:
        return _paragraph(words.backtest(outlook))
    return _table(words.BACKTEST_HEAD, words.backtest_rows(outlook), "What this run's past forecast for now")


def _domains(report: Report) -> str:
    head = ("domain", "energy", "mean power", "provenance", "source", "in the total")
    rows = (
        (
            line.name,
            format_joules(line.joules),
            format_watts(line.watts),
            words.provenance(line),
            "; ".join((line.source, *line.notes)),
            "yes" if line.billed else "no",
        )
        for line in report.domains
    )
    refused = (
        ("", "", "", "not used", f"{r.source}: {r.reason}. {r.remedy}".strip(), "") for r in report.refusals
    )
    return _table(head, (*rows, *refused), "What was measured, and how")


def _warnings(report: Report) -> str:
    if not report.warnings:
        return ""
    return (
        "<ul class=warnings>"
        + "".join(f"<li>{escape(warning)}</li>" for warning in report.warnings)
        + "</ul>"
    )
