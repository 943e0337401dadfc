"""Reports: one model decides every number, label and caveat; renderers only lay it out.

A new renderer is one file and one row in ``RENDERERS``.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from profiler._compat import write_whole
from profiler.errors import UsageError

if TYPE_CHECKING:
    from profiler.emissions import Prices
    from profiler.forecasting.binning import CurveBins
    from profiler.forecasting.lr_trace import RateTrace
    from profiler.records import Summary
    from profiler.reporting.forecast_section import Outlook
    from profiler.reporting.model import Report
    from profiler.reporting.sections import Details
    from profiler.storage.reader import StoredRun

RENDERERS = {
    ".txt": "profiler.reporting.terminal",
    ".html": "profiler.reporting.html",
    ".json": "profiler.reporting.json",
}
PLOTLYJS = ("inline", "cdn", "directory")
"""Where a page has the script of its figures from: itself, plotly's own server, or a file beside it."""


def render(report: "Report", extension: str, *, plotlyjs: str = "inline") -> str:
    """Render a report in the format that a file extension names.

    Args:
        report: The report.
        extension: ``.txt``, ``.html`` or ``.json``.
        plotlyjs: One of `PLOTLYJS`; formats without figures take no notice of it.

    Raises:
        UsageError: No renderer has that extension, or there is no such place for the script.
    """
    if extension not in RENDERERS:
        known = ", ".join(RENDERERS)
        raise UsageError(f"no report has the extension {extension!r}; there are: {known}.")
    if plotlyjs not in PLOTLYJS:
        raise UsageError(f"plotlyjs must be one of {', '.join(PLOTLYJS)}, not {plotlyjs!r}.")
    options = {"plotlyjs": plotlyjs} if extension == ".html" else {}
    rendered: str = import_module(RENDERERS[extension]).render(report, **options)
    return rendered


def report_of(run: "StoredRun", targets: Sequence[float] = ()) -> "Report":
    """Build the report of a recorded run, with a forecast of each asked target and of the run's own goal."""
    from profiler.analysis.curve import fit_metric, learning_rate_trace
    from profiler.budget import goals_of
    from profiler.emissions import prices_of
    from profiler.reporting.model import attempt, build

    rates = learning_rate_trace(run)
    fit, refused = attempt(lambda: fit_metric(run, rates))
    summary, prices = run.summary(), prices_of(run.meta)

    def look_closer(outlook: "Outlook | None") -> "Details":
        from profiler.reporting.sections import details_of

        return details_of(run, summary, fit, outlook, prices)

    notes = rates.notes()
    targets = tuple(dict.fromkeys((*targets, *goals_of(run.meta).targets)))
    return build(summary, fit, refused, targets=targets, notes=notes, prices=prices, look_closer=look_closer)


def write(report: "Report", path: Path, *, plotlyjs: str = "inline") -> Path:
    """Write a report; the extension picks the renderer, and the script of its figures goes beside it if asked for.

    Raises:
        UsageError: No renderer has that extension, or there is no such place for the script.
    """
    text = render(report, path.suffix, plotlyjs=plotlyjs)
    if plotlyjs == "directory" and path.suffix == ".html":
        from profiler.reporting import figures

        write_whole(path.parent / figures.script_name(), figures.script().encode())
    write_whole(path, text.encode())
    return path


def write_report(run: "StoredRun", path: Path, *, plotlyjs: str = "inline") -> Path:
    """Write the report of a run: see :func:`write`."""
    return write(report_of(run), path, plotlyjs=plotlyjs)


def exit_block(
    summary: "Summary",
    bins: "CurveBins",
    rates: "RateTrace",
    prices: "Prices | None" = None,
    targets: Sequence[float] = (),
) -> str:
    """Render what is printed when a run ends, from what is in memory: the same as the directory's own report."""
    from profiler.forecasting import fit_bins
    from profiler.reporting.model import attempt, build

    fit, refused = attempt(lambda: fit_bins(bins, **rates.told()))
    report = build(summary, fit, refused, targets=targets, notes=rates.notes(), prices=prices)
    return render(report, ".txt").rstrip("\n")
