"""Reports: the model decides every number and caveat, `text` words them, and renderers lay them out.

A new renderer is one file and one row in ``RENDERERS``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from profiler._compat import write_atomically
from profiler.budget import Budget
from profiler.errors import UsageError
from profiler.reporting.renderer import PLOTLYJS, Rendered, RenderOptions

if TYPE_CHECKING:
    from profiler.emissions import Prices
    from profiler.forecasting import CurveFit
    from profiler.forecasting.binning import CurveBins
    from profiler.forecasting.lr_trace import RateTrace
    from profiler.records import Summary
    from profiler.reporting.records import Comparison, Details, Report
    from profiler.storage.reader import StoredRun

RENDERERS = {
    ".txt": "profiler.reporting.terminal",
    ".html": "profiler.reporting.html",
    ".json": "profiler.reporting.json",
    ".md": "profiler.reporting.markdown",
    ".svg": "profiler.reporting.svg",
}
"""Modules by file extension; each has ``render(report, options)``, which returns `Rendered`."""

FIGURE_RENDERERS = dict.fromkeys((".png", ".pdf"), "profiler.reporting.raster")
"""Modules of files that are not text, by extension; the same function."""

COMPARISON_RENDERERS = {
    ".txt": "profiler.reporting.comparison_text",
    ".html": "profiler.reporting.comparison_page",
    ".json": "profiler.reporting.comparison_json",
}
"""Modules by file extension; each has ``render(comparison, options)``, which returns `Rendered`."""


def render(report: "Report", extension: str, *, plotlyjs: str = "inline") -> str:
    """Render a report as text.

    Args:
        report: The report.
        extension: A key of `RENDERERS`.
        plotlyjs: One of `PLOTLYJS`; formats without figures ignore it.

    Raises:
        UsageError: No renderer has that extension, or ``plotlyjs`` is not one of `PLOTLYJS`.
    """
    return _rendered(RENDERERS, report, extension, plotlyjs).content.decode()


def render_comparison(comparison: "Comparison", extension: str) -> str:
    """Render a comparison as text.

    Raises:
        UsageError: No renderer has that extension.
    """
    return _rendered(COMPARISON_RENDERERS, comparison, extension, "inline").content.decode()


def _rendered(renderers: Mapping[str, str], subject: object, extension: str, plotlyjs: str) -> Rendered:
    if extension not in renderers:
        known = ", ".join(renderers)
        raise UsageError(f"no report format has the extension {extension!r}; the known ones are {known}.")
    if plotlyjs not in PLOTLYJS:
        raise UsageError(f"plotlyjs must be one of {', '.join(PLOTLYJS)}, not {plotlyjs!r}.")
    options = RenderOptions(plotlyjs=plotlyjs, extension=extension)
    rendered: Rendered = import_module(renderers[extension]).render(subject, options)
    return rendered


def report_of(
    run: "StoredRun",
    targets: Sequence[float] = (),
    *,
    metric: str | None = None,
    goal: str | None = None,
    best: float | None = None,
    prices: "Prices | None" = None,
) -> "Report":
    """Build the report of a recorded run.

    Args:
        run: The run.
        targets: Levels of the headline's metric to price, beside the run's own goal.
        metric: The headline's metric; by default the only validation metric that was logged, else the loss.
        goal: ``min`` or ``max``, the direction of that metric; by default known from its name.
        best: The best possible value of that metric if it rises; by default 1 or 100 where its name shows a share.
        prices: Prices of a kilowatt-hour instead of the recorded ones.

    Raises:
        UsageError: The run has no such metric, the goal is neither ``min`` nor ``max``, or ``best`` contradicts it.
    """
    from profiler.analysis.curve import learning_rate_trace, trainings
    from profiler.emissions import read_prices
    from profiler.reporting.details import details_of
    from profiler.reporting.metrics import metrics_of
    from profiler.reporting.model import build
    from profiler.reporting.power_limits import limit_table
    from profiler.reporting.waste import waste_lines

    summary, prices = replace(run.summary(), trainings=len(trainings(run))), prices or read_prices(run.meta)
    trace = learning_rate_trace(run)
    found, note = metrics_of(run, trace, targets, metric, goal, best=best)

    def examine() -> "Details":
        return details_of(run, summary, found, prices, trace)

    (first, fit), *_ = found
    known = {} if fit is None else {trainings(run)[-1]: fit}
    waste = waste_lines(run, first.name, known)
    metrics = [one for one, _ in found]
    return build(
        summary,
        metrics,
        note=note,
        prices=prices,
        examine=examine,
        waste=waste,
        power_limits=limit_table(run, summary, first.outlook, prices),
        budget_joules=Budget.from_run_json(run.meta).energy_joules,
    )


def write(report: "Report", path: Path, *, plotlyjs: str = "inline") -> Path:
    """Write a report and the files that it refers to; the extension selects the renderer.

    Raises:
        UsageError: No renderer has that extension, or ``plotlyjs`` is not one of `PLOTLYJS`.
    """
    return _write(_rendered({**RENDERERS, **FIGURE_RENDERERS}, report, path.suffix, plotlyjs), path)


def write_comparison(comparison: "Comparison", path: Path, *, plotlyjs: str = "inline") -> Path:
    """Write a comparison and the files that it refers to; the extension selects the renderer.

    Raises:
        UsageError: No renderer has that extension, or ``plotlyjs`` is not one of `PLOTLYJS`.
    """
    return _write(_rendered(COMPARISON_RENDERERS, comparison, path.suffix, plotlyjs), path)


def _write(rendered: Rendered, path: Path) -> Path:
    for name, content in rendered.companions.items():
        write_atomically(path.parent / name, content)
    write_atomically(path, rendered.content)
    return path


def write_report(run: "StoredRun", path: Path, *, plotlyjs: str = "inline") -> Path:
    """Write the report of a run: see :func:`write`."""
    return write(report_of(run), path, plotlyjs=plotlyjs)


def exit_block(
    summary: "Summary",
    bins: "CurveBins",
    rates: "RateTrace",
    prices: "Prices | None" = None,
    budget: Budget | None = None,
) -> str:
    """Render the text report of a run that has just ended: the same as its directory gives, without the waste.

    It is computed from memory, unless metrics were logged, which only the directory holds, earlier runs beside it may
    show the gain of a planned anneal, several models may be rounds of one training, whose last alone is in memory, or
    the report names a step, since the trace in memory is thinned.
    """
    budget = budget or Budget()
    if run := _with_metrics(summary.path) or _with_rounds(summary):
        return render(report_of(run, prices=prices), ".txt").rstrip("\n")
    from profiler.errors import ForecastRefusedError
    from profiler.forecasting import fit_bins
    from profiler.forecasting.states import takes_turns
    from profiler.reporting.forecast_section import outlook_of
    from profiler.reporting.metric_choice import LOSS
    from profiler.reporting.metrics import fitted_metric, refused_metric
    from profiler.reporting.model import build

    steps = ([point.joules for point in rates.points], [point.step for point in rates.points])
    alternating = takes_turns(summary.alternating_steps, summary.steps)
    try:
        fit = fit_bins(
            bins,
            steps=steps,
            alternating=alternating,
            reinforced=bool(summary.libraries),
            convolutional=summary.convolutional,
            **rates.as_fit_kwargs(),
        )
    except ForecastRefusedError as error:
        loss = refused_metric(LOSS, "min", error, has_points=bins.points > 0)
    else:
        run = _with_earlier_runs(summary.path, fit, rates) or _with_steps(summary.path, fit)
        if run is not None:
            return render(report_of(run, prices=prices), ".txt").rstrip("\n")
        loss = fitted_metric(LOSS, "min", outlook_of(fit, budget.targets, rates.notes(), trace=rates))
    return render(build(summary, [loss], prices=prices, budget_joules=budget.energy_joules), ".txt").rstrip(
        "\n"
    )


def _with_earlier_runs(path: str, fit: "CurveFit", rates: "RateTrace") -> "StoredRun | None":
    """Open a run directory beside others where they matter; None elsewhere, and where it cannot be read."""
    from profiler.analysis.earlier_runs import has_neighbours, needs_gain

    if not path or not needs_gain(fit, rates) or not has_neighbours(Path(path)):
        return None
    return _stored(path)


def _with_steps(path: str, fit: "CurveFit") -> "StoredRun | None":
    """Open a run directory if the state of the curve names steps; None elsewhere, and where it cannot be read."""
    return _stored(path) if path and "step" in fit.state_reason else None


def _with_metrics(path: str) -> "StoredRun | None":
    """Open a run directory that holds logged metrics; None without any, and where it cannot be read."""
    from profiler.storage.schema import METRICS

    metrics = Path(path) / METRICS.filename
    if not path or not metrics.exists():
        return None
    try:
        with metrics.open(encoding="utf-8") as lines:
            # A file without a row below its header is not worth the import of pandas.
            if len(list(islice(lines, 2))) < 2:  # noqa: PLR2004
                return None
    except OSError:
        return None
    return _stored(path)


def _with_rounds(summary: "Summary") -> "StoredRun | None":
    """Open the directory of a run whose models may continue each other; None elsewhere, and where it cannot be read."""
    from profiler.analysis.curve import FEWEST_ROUNDS

    return _stored(summary.path) if summary.path and summary.trainings >= FEWEST_ROUNDS else None


def _stored(path: str) -> "StoredRun | None":
    from profiler.errors import RunError
    from profiler.merging.load import load

    try:
        return load(Path(path), partial=True)
    except (OSError, RunError):
        # The report from memory does not depend on what a full disk left of the directory.
        return None
