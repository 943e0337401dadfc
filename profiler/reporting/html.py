"""The report as one self-contained page that opens offline and loads nothing from elsewhere."""

import re
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from profiler._version import __version__
from profiler.reporting import figures, methodology, tables, target_table, text
from profiler.reporting.answer import weighed
from profiler.reporting.renderer import Rendered, RenderOptions
from profiler.reporting.templating import render_template, trusted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from profiler.reporting.model import Report
    from profiler.reporting.tables import Table

_CDN = "https://cdn.plot.ly/"
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_ADDRESS = re.compile(r'<script src="([^"]*)"')
_POLICY = "POLICY-OF-THIS-PAGE"
"""Placeholder for the policy, which depends on the rendered scripts; it precedes everything taken from the run."""
_HEIGHTS = {"where": "bar", "learning-rate": "low", "step-joules": "low"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section of the page; parts that are empty are not rendered.

    Attributes:
        name: Its id, also that of its figure.
        title: Its heading.
        figure: Class of the figure's height; empty without a figure.
        paragraphs: Text below the figure.
        slider: Rows of the slider, as :func:`profiler.reporting.target_table.slider` returns them.
        warnings: List of warnings.
        tables: Tables below the text.
        entries: Terms with explanations.
    """

    name: str
    title: str
    figure: str = ""
    paragraphs: "Sequence[str]" = ()
    slider: "Mapping[str, Any] | None" = None
    warnings: "Sequence[str]" = ()
    tables: "Sequence[Table]" = ()
    entries: "Sequence[tuple[str, str]]" = ()

    @property
    def is_empty(self) -> bool:
        """True if only the heading would be rendered."""
        return not (
            self.figure or self.paragraphs or self.slider or self.warnings or self.tables or self.entries
        )


def render(report: "Report", options: RenderOptions) -> Rendered:
    """Render the page; with ``plotlyjs="directory"`` plotly's script accompanies it."""
    drawn = figures.figures_of(report.outlook, report.details)
    known = report.details.headline.target_table
    slider = target_table.slider(known, report.outlook.targets if report.outlook else ()) if known else None
    page = render_template(
        "page.html",
        policy=_POLICY,
        style=trusted("page.css"),
        name=report.summary.name or "unnamed run",
        state=_state(report),
        answer=" ".join(text.sentences(report.answer)),
        warnings=report.warnings,
        top_cards=tables.cards_of(report),
        sections=[part for part in _sections(report, drawn, slider) if not part.is_empty],
        start=_start(report, slider),
        version=__version__,
        data={"figures": drawn, "slider": slider},
        plotly=_plotly(options.plotlyjs),
        script=trusted("figures.js") + trusted("page.js"),
    )
    beside = options.plotlyjs == "directory"
    return Rendered(
        content=page.replace(_POLICY, policy_of(page), 1).encode(),
        companions={figures.script_name(): figures.script().encode()} if beside else {},
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
        return {"address": figures.script_name()}
    return {"address": f"{_CDN}{figures.script_name()}", "digest": _digest(script).strip("'")}


def _state(report: "Report") -> str:
    summary = report.summary
    begun = f", begun {text.when(summary.started_at)}" if summary.started_at else ""
    return f"{report.answer.status}{begun}"


def _start(report: "Report", slider: "Mapping[str, Any] | None") -> int:
    """Return the row that the slider shows first: an asked target, else 5 % lower."""
    outlook = report.outlook
    if outlook is None or slider is None:
        return 0
    wanted = weighed(outlook) or outlook.rows[0]
    return min(range(len(slider["losses"])), key=lambda row: abs(slider["losses"][row] - wanted.loss))


def _sections(
    report: "Report", drawn: "Mapping[str, Any]", slider: "Mapping[str, Any] | None"
) -> "list[Section]":
    outlook, details = report.outlook, report.details
    spent = report.summary.total_joules or 0.0

    def section(name: str, title: str, tables: "Iterable[Table | None]" = (), **parts: Any) -> Section:
        figure = _HEIGHTS.get(name, "high") if name in drawn else ""
        return Section(name=name, title=title, figure=figure, tables=list(filter(None, tables)), **parts)

    priced = (
        [tables.targets(outlook, spent, report.training_watts), tables.scenarios(outlook, spent)]
        if outlook and slider
        else []
    )
    return [
        section("curve", "Loss against energy", paragraphs=_curve(report)),
        section("targets", "What a lower loss costs", slider=slider, tables=priced),
        section("metrics", "Metrics", tables=[tables.metrics(report)] if len(report.metrics) > 1 else []),
        section("power", "Power over time", paragraphs=[_power(report)]),
        section("step-joules", "Energy per step over time"),
        section("where", "Where the energy went", tables=[tables.where(details), tables.phases(details)]),
        section("processes", "Processes", tables=[tables.processes(details)]),
        section(
            "backtest",
            "Backtest of the forecast",
            paragraphs=[text.NO_BACKTEST] if outlook and not outlook.backtest else [],
            tables=[tables.backtest(outlook)] if outlook and outlook.backtest else [],
        ),
        section("learning-rate", "Learning rate"),
        section(
            "sensors", "Sensors", tables=[tables.sensors(report)], paragraphs=tables.sensor_notes(report)
        ),
        section(
            "warnings",
            "Warnings and remedies",
            warnings=report.warnings,
            paragraphs=[] if report.warnings else ["No warnings."],
            tables=[tables.refusals(report)],
        ),
        section("overhead", "Cost of the profiler itself", tables=[tables.overhead(details.overhead)]),
        section("methods", "How each number was made", entries=methodology.methods(report)),
    ]


def _curve(report: "Report") -> list[str]:
    if report.outlook is None:
        return [f"No forecast: {report.refused}"]
    return [methodology.curve_caption(report.outlook), *report.outlook.notes]


def _power(report: "Report") -> str:
    if report.details.power is None:
        return "No sensor on this machine could be read, so there is no power to show."
    lane = " The lane below shows how the time was spent." if report.details.stretches else ""
    return f"The area of each colour is the energy of a domain.{lane}"
