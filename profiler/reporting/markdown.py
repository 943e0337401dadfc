"""The report as Markdown: the answer, the tables, and a paragraph on the method for papers and model cards."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from profiler._version import __version__
from profiler.reporting import tables, text
from profiler.reporting.answer import answer_of
from profiler.reporting.renderer import Rendered, RenderOptions

if TYPE_CHECKING:
    from profiler.reporting.records import Report
    from profiler.reporting.tables import Table


def render(report: "Report", _: RenderOptions) -> Rendered:
    """Render the report."""
    return Rendered(content=("\n".join(_lines(report)) + "\n").encode())


def _lines(report: "Report") -> Iterator[str]:
    answer, outlook = answer_of(report), report.outlook
    spent = report.summary.total_joules or 0.0
    yield from (
        f"# {text.markdown(report.summary.name or 'unnamed run')}",
        "",
        f"**{text.markdown(answer.status)}**",
        "",
    )
    for label, sentence in (
        ("Cost", answer.cost),
        ("Scope", answer.scope),
        ("Worth", " ".join(answer.worth)),
        ("Waste", " ".join(answer.waste)),
        ("Advice", text.advice(answer)),
        ("Measurement", answer.measuring),
        *(("Work", text.sentence(line)) for line in text.work(report)),
        ("Power limit", text.power_limits(report)),
        *(("Meters", text.sentence(line)) for line in text.meters(report)),
    ):
        if sentence:
            yield f"- {label}: {text.markdown(sentence)}"
    yield ""
    if outlook is not None and outlook.rows:
        yield from _table(tables.targets(outlook, spent, report.training_watts, report.priced_work))
    yield from _table(tables.anneals(report.details, report.metric))
    if limits := tables.power_limits(report):
        yield from _table(limits)
    if len(report.metrics) > 1:
        yield from _table(tables.metrics(report))
    yield from _table(tables.sensors(report))
    yield from ("## Methods", "", text.markdown(methods(report)))


def methods(report: "Report") -> str:
    """Return a paragraph on the measurement, for the methods section of a paper."""
    counted = [line for line in report.domains if line.billed]
    sources = "; ".join(f"{line.name}: {line.source}, {text.provenance(line)}" for line in counted)
    amount = text.cost_sentence(report)
    origins = f" Sources of the energy: {sources}." if sources else ""
    steps = (
        "No training steps were detected"
        if report.step_seconds is None
        else f"Training took {text.steps(report)}"
    )
    return (
        f"{steps}. {amount[0].upper()}{amount[1:]}{origins} "
        f"The uncertainty is a 90 % interval. Recorded with energy-profiler {__version__}."
    )


def _table(table: "Table") -> Iterator[str]:
    if not table:
        return
    yield from (f"**{text.markdown(table.caption)}**", "")
    yield from (_row(table.head), "|" + "|".join(" --- " for _ in table.head) + "|")
    yield from map(_row, table.rows)
    yield ""


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(map(text.markdown, cells))} |"
