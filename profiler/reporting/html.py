"""The report as one self-contained page: it opens offline and asks no other address for anything."""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template

from profiler._version import __version__
from profiler.reporting import figures, methodology, tables, target_slider, text
from profiler.reporting.cards import Card, cards_of
from profiler.reporting.model import Report
from profiler.reporting.tables import Table
from profiler.units import format_seconds

_NUMBER = re.compile(r"(asked )?[-±+<>]? ?[\d.,]+(e[+-]\d+)?( [^\s\[]+)?( x)?|-|")
_LONG = 60
_WIDE = 3
_CDN = "https://cdn.plot.ly/"


def render(report: Report, *, plotlyjs: str = "inline") -> str:
    """Render the page.

    Args:
        report: The report.
        plotlyjs: Where the script of its figures stands: ``inline`` in the page, ``directory`` for a file beside it,
            ``cdn`` for plotly's own server, which a reader's browser then asks for it.
    """
    summary, script = report.summary, _resource("page.js")
    drawn = figures.figures_of(report.outlook, report.details)
    table = report.details.target_table
    data = {"figures": drawn, "table": target_slider.payload(table) if table else None}
    plotly, source = _plotly(plotlyjs)
    return Template(_resource("page.html")).substitute(
        policy=_policy(source, _hash(script)),
        style=_resource("page.css"),
        title=escape(f"{summary.name} - energy report"),
        name=escape(summary.name or "unnamed run"),
        state=escape(_state(report)),
        answer=escape(text.answer(report)),
        alerts=_alerts(report),
        cards="".join(_card(card) for card in cards_of(report)),
        sections="".join(_section(report, drawn, *section) for section in SECTIONS),
        version=__version__,
        data=_embedded(data),
        plotly=plotly,
        script=script,
    )


def _resource(name: str) -> str:
    return files("profiler.reporting").joinpath(name).read_text(encoding="utf-8")


def _embedded(data: object) -> str:
    """JSON that cannot end the script element it stands in, whatever strings are in it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plotly(place: str) -> tuple[str, str]:
    """Return the element that brings plotly's script, and the source that the policy must allow for it."""
    if place == "inline":
        script = figures.script()
        return f"<script>{script}</script>", _hash(script)
    name = figures.script_name()
    if place == "directory":
        return f'<script src="{name}"></script>', "'self' file:"
    digest = _hash(figures.script()).strip("'")
    address = f'src="{_CDN}{name}" integrity="{digest}" crossorigin="anonymous"'
    return f"<script {address}></script>", _CDN


def _hash(script: str) -> str:
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


def _policy(*sources: str) -> str:
    """Nothing is loaded, and only the scripts that were written here run."""
    return (
        f"default-src 'none'; script-src {' '.join(sources)}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _state(report: Report) -> str:
    summary = report.summary
    length = format_seconds(summary.window_seconds)
    begun = f", begun {text.when(summary.started_at)}" if summary.started_at else ""
    return f"{summary.status.value} after {length}{begun}"


def _alerts(report: Report) -> str:
    count = len(report.warnings)
    if not count:
        return ""
    noun = "thing" if count == 1 else "things"
    return f'<a class=alert href="#warnings">{count} {noun} to know before trusting these numbers</a>'


def _card(card: Card) -> str:
    label, value, note = map(escape, (card.label, card.value, card.note))
    return f"<div><dt>{label}</dt><dd>{value}</dd><dd class=note>{note}</dd></div>"


def _section(
    report: Report, drawn: "dict[str, figures.Figure]", name: str, title: str, body: Callable[[Report], str]
) -> str:
    content = body(report)
    if name in drawn:
        height = {"where": " bar", "learning-rate": " low", "step-joules": " low"}.get(name, "")
        figure = f'<div class="figure{height}" id="{name}" role="img" aria-label="{escape(title)}"></div>'
        content = f"<figure>{figure}</figure>{content}"
    if not content:
        return ""
    return f'<section id="{name}-section"><h2 id="{name}-title">{escape(title)}</h2>{content}</section>'


def _paragraph(text: str, kind: str = "soft") -> str:
    return f'<p class="{kind}">{escape(text)}</p>'


def _table(table: Table | None) -> str:
    if table is None or not table.rows:
        return ""
    kinds = [_kind(column) for column in zip(*table.rows, strict=True)]
    heads = "".join(f"<th{kind}>{escape(cell)}</th>" for cell, kind in zip(table.head, kinds, strict=True))
    lines = "".join(_line(table, row, kinds) for row in table.rows)
    slim = " slim" if len(table.head) < _WIDE else ""
    body = f"<caption>{escape(table.caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody>"
    return f'<div class="wide{slim}"><table>{body}</table></div>'


def _line(table: Table, row: Iterable[str], kinds: Iterable[str]) -> str:
    cells = (
        f'<td{kind} data-label="{escape(head)}">{escape(cell)}</td>'
        for head, cell, kind in zip(table.head, row, kinds, strict=True)
    )
    return f"<tr>{''.join(cells)}</tr>"


def _kind(column: Iterable[str]) -> str:
    """Numbers line up on the right; long text gets room."""
    cells = list(column)
    if all(_NUMBER.fullmatch(cell) for cell in cells):
        return " class=number"
    return " class=long" if max(map(len, cells)) > _LONG else ""


def _curve(report: Report) -> str:
    if report.outlook is None:
        return _paragraph(f"No forecast: {report.refused}", "")
    notes = "".join(_paragraph(note) for note in report.outlook.notes)
    return _paragraph(methodology.curve_caption(report.outlook)) + notes


def _targets(report: Report) -> str:
    outlook, table = report.outlook, report.details.target_table
    if outlook is None or table is None:
        return ""
    return (
        _slider(report)
        + _table(tables.targets(outlook, report.training_watts))
        + _table(tables.scenarios(outlook))
    )


def _slider(report: Report) -> str:
    outlook, table = report.outlook, report.details.target_table
    assert outlook is not None
    assert table is not None
    picked = (*outlook.asked, *outlook.targets)[0].loss
    start = min(range(len(table.losses)), key=lambda k: abs(table.losses[k] - picked))
    quote = table.at(table.losses[start])
    cards = "".join(
        f"<div><dt>{card.label} more</dt><dd id=more-{card.label}>{escape(card.value)}</dd>"
        f"<dd class=note id=ends-{card.label}>{escape(card.note)}</dd></div>"
        for card in target_slider.cards(table, quote)
    )
    last = len(table.losses) - 1
    return (
        "<div class=pick><label for=exact>Target loss</label>"
        f'<input type=text inputmode=decimal id=exact autocomplete=off value="{text.loss(quote.loss)}">'
        f'<input type=range id=slider aria-label="Target loss" min=0 max={last} value={start} step=1></div>'
        f"<p class='soft ends'><span>{text.loss(table.losses[0])}, where it began</span>"
        f"<span>{text.loss(table.losses[-1])}, under the floor</span></p>"
        f"<p id=verdict aria-live=polite>{escape(target_slider.sentence(quote))}</p>"
        f"<dl class=cards>{cards}</dl>"
    )


def _power(report: Report) -> str:
    if report.details.power is None:
        return _paragraph("Nothing on this machine could be metered, so there is no power to show.")
    lane = " The lane below says what the time was spent on." if report.details.stretches else ""
    return _paragraph(f"The area of each colour is the energy of a domain.{lane}")


def _where(report: Report) -> str:
    return _table(tables.where(report.details)) + _table(tables.phases(report.details))


def _processes(report: Report) -> str:
    return _table(tables.processes(report.details))


def _halvings(report: Report) -> str:
    if report.outlook is None:
        return ""
    lead = (
        "Each halving of what separates the loss from its floor costs a multiple of the one before it. "
        f"The last row is {report.outlook.yardstick.name}, should this law hold that far "
        f"({report.outlook.yardstick.source})."
    )
    table = tables.halvings(report.details, report.outlook)
    return _paragraph(lead) + _folded(_table(table), tables.halvings_title(report.details))


def _folded(content: str, title: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def _backtest(report: Report) -> str:
    if report.outlook is None:
        return ""
    if not report.outlook.backtest:
        return _paragraph("The past of this run is too short to test a forecast on.")
    return _table(tables.backtest(report.outlook))


def _nothing(_: Report) -> str:
    return ""


def _sensors(report: Report) -> str:
    notes = "".join(_paragraph(note) for note in tables.sensor_notes(report))
    return _table(tables.sensors(report)) + notes


def _warnings(report: Report) -> str:
    told = "".join(f"<li>{escape(text)}</li>" for text in report.warnings)
    listed = f"<ul class=warnings id=warnings>{told}</ul>" if told else _paragraph("No warnings.")
    return listed + _table(tables.refusals(report))


def _overhead(report: Report) -> str:
    return _table(tables.overhead(report.details.overhead))


def _methods(report: Report) -> str:
    entries = "".join(
        f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in methodology.methods(report)
    )
    return f"<dl class=methods>{entries}</dl>"


SECTIONS: tuple[tuple[str, str, Callable[[Report], str]], ...] = (
    ("curve", "Loss against energy", _curve),
    ("targets", "What a lower loss costs", _targets),
    ("power", "Power over time", _power),
    ("step-joules", "Energy of a step over time", _nothing),
    ("where", "Where the energy went", _where),
    ("processes", "Processes, and who waited for whom", _processes),
    ("halvings", "The price of perfection", _halvings),
    ("backtest", "The forecast, tested on this run's own past", _backtest),
    ("learning-rate", "Learning rate", _nothing),
    ("sensors", "Sensors", _sensors),
    ("warnings", "Warnings and remedies", _warnings),
    ("overhead", "What the profiler itself cost", _overhead),
    ("methods", "How each number was made", _methods),
)
"""Sections from top to bottom: their name, which is also that of their figure, their title, and what they say."""
