"""The report as one self-contained page that opens offline and loads nothing from elsewhere."""

import re
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from profiler._version import __version__
from profiler.reporting import figures, methodology, tables, target_table, text
from profiler.reporting.answer import answer_of, weighed
from profiler.reporting.renderer import Rendered, RenderOptions
from profiler.reporting.templating import render_template, trusted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from profiler.reporting.records import MetricReport, Report
    from profiler.reporting.tables import Table

_VISIBLE = 0.01
"""Share of the energy from which a piece of the bar has a label below it."""
_CDN = "https://cdn.plot.ly/"
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_ADDRESS = re.compile(r'<script src="([^"]*)"')
_POLICY = "POLICY-OF-THIS-PAGE"
"""Placeholder for the policy, which depends on the rendered scripts; it precedes everything taken from the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The curve of one metric with its targets.

    Attributes:
        number: Position of the metric, which is part of the ids of its elements.
        name: Its name.
        state: State of its curve, in words.
        has_figure: True if its curve is drawn.
        sentences: What the reader should know, without a forecast the reason.
        slider: Rows of the slider, as :func:`profiler.reporting.target_table.slider` returns them; None without one.
        start: The row that the slider shows first.
        tables: Targets and scenarios.
    """

    number: int
    name: str
    state: str
    has_figure: bool
    sentences: "Sequence[str]"
    slider: "Mapping[str, Any] | None"
    start: int
    tables: "Sequence[Table]"

    @property
    def is_empty(self) -> bool:
        """True if only the heading would be rendered."""
        return not (self.has_figure or self.sentences or self.slider or self.tables)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """A section that is closed at first.

    Attributes:
        name: Its id, also that of its figure.
        title: Its heading.
        has_figure: True if it has a figure.
        paragraphs: Text below the figure.
        items: List of sentences.
        tables: Tables below the text.
        entries: Terms with explanations.
        is_open: True if it is open at first.
    """

    name: str
    title: str
    has_figure: bool = False
    paragraphs: "Sequence[str]" = ()
    items: "Sequence[str]" = ()
    tables: "Sequence[Table]" = ()
    entries: "Sequence[tuple[str, str]]" = ()
    is_open: bool = False

    @property
    def is_empty(self) -> bool:
        """True if only the heading would be rendered."""
        return not (self.has_figure or self.paragraphs or self.items or self.tables or self.entries)


def render(report: "Report", options: RenderOptions) -> Rendered:
    """Render the page; with ``plotlyjs="directory"`` plotly's script accompanies it."""
    answer, drawn = answer_of(report), figures.figures_of(report)
    panels = [
        _panel(report, number, drawn)
        for number, known in enumerate(report.metrics)
        if number == 0 or known.outlook is not None
    ]
    return render_page(
        "page.html",
        options,
        title=f"{report.summary.name or 'unnamed run'} - energy report",
        source="the run directory",
        noscript="Figures and the slider need JavaScript, which runs inside this page only; tables work without it.",
        name=report.summary.name or "unnamed run",
        begun=text.when(report.summary.started_at) if report.summary.started_at else "",
        answer=answer,
        advice=text.advice(answer),
        facts=[
            line
            for line in (
                text.facts(report),
                *map(text.sentence, (*text.work(report), *text.meters(report))),
            )
            if line
        ],
        note=report.note,
        panels=panels if len(panels) > 1 or not panels[0].is_empty else [],
        where=_keys(report) if "where" in drawn else None,
        is_hatched=any(piece.later_joules for piece in report.details.devices),
        folds=[fold for fold in _folds(report, drawn) if not fold.is_empty],
        data={"figures": drawn, "sliders": {str(panel.number): panel.slider for panel in panels}},
    )


def render_page(template: str, options: RenderOptions, **variables: Any) -> Rendered:
    """Render a template that extends ``layout.html``, with its policy; ``directory`` adds plotly's script beside it."""
    page = render_template(
        template,
        policy=_POLICY,
        style=trusted("page.css"),
        version=__version__,
        plotly=_plotly(options.plotlyjs),
        script=trusted("figures.js") + trusted("page.js"),
        **variables,
    )
    beside = options.plotlyjs == "directory"
    return Rendered(
        content=page.replace(_POLICY, policy_of(page), 1).encode(),
        companions={figures.SCRIPT_NAME: figures.script().encode()} if beside else {},
    )


def policy_of(page: str) -> str:
    """Return the content security policy that allows the scripts of a page and nothing else."""
    inline = [_digest(script) for script in _SCRIPT.findall(page)]
    loaded = [_CDN if address.startswith(_CDN) else "'self' file:" for address in _ADDRESS.findall(page)]
    sources = " ".join((*inline, *loaded))
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(script: str) -> str:
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


def _plotly(place: str) -> dict[str, Any]:
    from markupsafe import Markup

    script = figures.script()
    if place == "inline":
        return {"code": Markup(script)}  # noqa: S704 - plotly's own
    if place == "directory":
        return {"address": figures.SCRIPT_NAME}
    return {"address": f"{_CDN}{figures.SCRIPT_NAME}", "digest": _digest(script).strip("'")}


def _panel(report: "Report", number: int, drawn: "Mapping[str, Any]") -> Panel:
    known, curves = report.metrics[number], report.details.curves
    outlook, table = known.outlook, curves[number].target_table if number < len(curves) else None
    spent = report.summary.total_joules or 0.0
    slider = (
        target_table.slider(table, outlook.targets) if table is not None and outlook is not None else None
    )
    priced = (
        [
            tables.targets(outlook, spent, report.training_watts, report.priced_work),
            tables.scenarios(outlook, spent),
        ]
        if outlook is not None and (outlook.targets or outlook.asked)
        else []
    )
    return Panel(
        number=number,
        name=text.one_line(known.name),
        state=""
        if known.state is None
        else text.curve_state(known.state, known.name, known.goal or "min", known.diverged_step),
        has_figure=f"curve-{number}" in drawn,
        sentences=_sentences(known, spent, is_headline=number == 0),
        slider=slider,
        start=_start(known, slider),
        tables=[table for table in priced if table],
    )


def _sentences(known: "MetricReport", spent: float, *, is_headline: bool) -> list[str]:
    """Return the text of a panel; the headline's is at the top of the page."""
    outlook = known.outlook
    if outlook is None:
        return [f"No forecast: {known.refused}"] if known.refused and not is_headline else []
    return [] if is_headline else text.worth_sentences(outlook, spent) or [outlook.state_reason]


def _start(known: "MetricReport", slider: "Mapping[str, Any] | None") -> int:
    """Return the row that the slider shows first: an asked target, else 5 % lower."""
    if known.outlook is None or slider is None or not known.outlook.rows:
        return 0
    wanted = weighed(known.outlook) or known.outlook.rows[0]
    return min(range(len(slider["losses"])), key=lambda row: abs(slider["losses"][row] - wanted.loss))


def _folds(report: "Report", drawn: "Mapping[str, Any]") -> list[Fold]:
    outlook, details = report.outlook, report.details

    def fold(name: str, title: str, tables: "Iterable[Table | None]" = (), **parts: Any) -> Fold:
        return Fold(
            name=name, title=title, has_figure=name in drawn, tables=list(filter(None, tables)), **parts
        )

    return [
        fold(
            "warnings",
            text.counted(len(report.warnings), "warning"),
            items=report.warnings,
            is_open=True,
        ),
        fold("metrics", "All metrics", tables=[tables.metrics(report)] if len(report.metrics) > 1 else []),
        fold(
            "backtest",
            "Reliability of the forecast",
            paragraphs=_reliability(report),
            tables=[tables.backtest(outlook)] if outlook and outlook.backtest else [],
        ),
        fold(
            "parts",
            "Energy by device and activity",
            tables=[tables.devices(details), tables.where(details), tables.phases(details)],
        ),
        fold("anneal", "Anneal now?", tables=[tables.anneals(details, report.metric)]),
        fold("power", "Power over time", paragraphs=_power(report)),
        fold("step-joules", "Energy per step"),
        fold("learning-rate", "Learning rate"),
        fold(
            "power-limits",
            "Power limits",
            tables=[tables.power_limits(report)],
            paragraphs=[line for line in [text.power_limits(report)] if line],
        ),
        fold("processes", "Processes", tables=[tables.processes(details)]),
        fold(
            "sensors",
            "Sensors",
            tables=[tables.sensors(report), tables.throttling(details), tables.refusals(report)],
            paragraphs=tables.sensor_notes(report),
        ),
        fold("overhead", "Cost of the profiler itself", tables=[tables.overhead(details.overhead)]),
        fold("methods", "How each number was made", entries=methodology.methods(report)),
    ]


def _keys(report: "Report") -> list[dict[str, Any]]:
    """Return the labels below the bar of devices and activities, of all that is visible in it."""
    return [
        {
            "colour": key.colour,
            "opacity": figures.LIGHT if key.is_light else 1,
            "words": text.share(key.label, key.share),
        }
        for key in figures.keys_of(report)
        if key.share >= _VISIBLE
    ]


def _reliability(report: "Report") -> list[str]:
    outlook = report.outlook
    if outlook is None or not outlook.has_trend:
        return []
    perfection = [] if outlook.perfection is None else [text.perfection(outlook)]
    return [text.backtest(outlook), *outlook.notes, *perfection]


def _power(report: "Report") -> list[str]:
    if report.details.power is None:
        return []
    lane = " The lane below shows how the time was spent." if report.details.stretches else ""
    return [f"The area of each colour is the energy of a domain.{lane}"]
