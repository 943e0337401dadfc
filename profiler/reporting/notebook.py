"""Notebook views of runs and fits."""

from typing import TYPE_CHECKING

from profiler.reporting import report_of, tables, text
from profiler.reporting.forecast_section import outlook_of
from profiler.reporting.templating import render_template

if TYPE_CHECKING:
    from profiler.forecasting import CurveFit
    from profiler.storage.reader import StoredRun


def run_html(run: "StoredRun") -> str:
    """Render a run: its numbers, and the cost of lower losses."""
    report = report_of(run)
    outlook = report.outlook
    return render_template(
        "notebook.html",
        title=f"{report.summary.name}, {report.summary.status.value}",
        text=text.answer(report),
        cards=tables.cards_of(report),
        table=tables.targets(outlook, report.training_watts) if outlook else None,
    )


def fit_html(fit: "CurveFit") -> str:
    """Render a fit: its level and floor, and the cost of lower losses."""
    if not fit.has_forecast:
        return render_template(
            "notebook.html", title="Loss against energy", text=fit.state_reason, cards=(), table=None
        )
    outlook = outlook_of(fit, (), ())
    return render_template(
        "notebook.html",
        title="Loss against energy",
        text=" ".join(outlook.notes),
        cards=tables.forecast_cards(outlook),
        table=tables.targets(outlook, None),
    )
