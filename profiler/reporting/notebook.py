"""Notebook views of runs and fits."""

from typing import TYPE_CHECKING

from markupsafe import Markup

from profiler.reporting import report_of, svg, tables, text
from profiler.reporting.answer import answer_of
from profiler.reporting.forecast_section import outlook_of
from profiler.reporting.templating import render_template

if TYPE_CHECKING:
    from profiler.forecasting import CurveFit
    from profiler.storage.reader import StoredRun


def run_html(run: "StoredRun") -> str:
    """Render a run: its numbers, and the cost of lower losses."""
    report = report_of(run)
    answer, outlook = answer_of(report), report.outlook
    return render_template(
        "notebook.html",
        title=report.summary.name,
        figure=Markup(svg.curve(report)),  # noqa: S704 - rendered with autoescape
        tone=answer.tone.value,
        status=answer.status,
        sentences=[
            *text.sentences(answer),
            *map(text.sentence, (*text.work(report), *text.meters(report))),
            text.power_limits(report),
        ],
        cards=tables.cards_of(report),
        tables=[
            tables.targets(
                outlook, report.summary.total_joules or 0.0, report.training_watts, report.priced_work
            )
        ]
        if outlook
        else [],
    )


def fit_html(fit: "CurveFit") -> str:
    """Render a fit: its level and floor, and the cost of lower losses."""
    name = fit.metric.name or "loss"
    outlook = outlook_of(fit, (), (), metric=name)
    spent = outlook.joules
    return render_template(
        "notebook.html",
        title=f"{text.one_line(name)} against energy",
        figure="",
        tone="good" if outlook.has_trend else "caution",
        status=text.curve_state(outlook.state, outlook.metric, outlook.goal, outlook.diverged_step),
        sentences=[*(text.worth_sentences(outlook, spent) or [outlook.state_reason]), *outlook.notes],
        cards=tables.forecast_cards(outlook),
        tables=[tables.targets(outlook, spent, None)] if outlook.rows else [],
    )
