"""Reports: one model decides every number, label and caveat; renderers only lay it out.

A new renderer is one file and one row in ``RENDERERS``.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.errors import UsageError

if TYPE_CHECKING:
    from profiler.forecast.bins import CurveBins
    from profiler.forecast.rates import RateTrace
    from profiler.records import Summary
    from profiler.report.model import Report
    from profiler.rundir.reader import Run

RENDERERS = {
    ".txt": "profiler.report.terminal",
    ".html": "profiler.report.html",
    ".json": "profiler.report.json",
}


def render(report: "Report", extension: str) -> str:
    """Render a report in the format that a file extension names.

    Raises:
        UsageError: No renderer has that extension.
    """
    if extension not in RENDERERS:
        known = ", ".join(RENDERERS)
        raise UsageError(f"no report has the extension {extension!r}; there are: {known}.")
    rendered: str = import_module(RENDERERS[extension]).render(report)
    return rendered


def report_of(run: "Run", targets: Sequence[float] = ()) -> "Report":
    """Build the report of a recorded run, with a forecast of each asked target."""
    from profiler.report.model import build
    from profiler.report.power import power_of

    power = power_of(run.samples, [domain.name for domain in run.domains.values() if domain.billed])
    notes = run.learning_rate.notes()
    return build(run.summary(), run.fit, targets=targets, notes=notes, power=power, charted=True)


def write_report(run: "Run", path: Path) -> Path:
    """Write the report of a run; the extension picks the renderer.

    Raises:
        UsageError: No renderer has that extension.
    """
    text = render(report_of(run), path.suffix)
    path.write_text(text, encoding="utf-8")
    return path


def exit_block(summary: "Summary", bins: "CurveBins", rates: "RateTrace") -> str:
    """Render what is printed when a run ends, from what is in memory: the same as the directory's own report."""
    from profiler.forecast import fit_bins
    from profiler.report.model import build

    report = build(summary, lambda: fit_bins(bins, learning_rate=rates.known()), notes=rates.notes())
    return render(report, ".txt").rstrip("\n")
