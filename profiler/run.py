"""A recorded run: stored tables, energy of a window, fits and reports behind one object."""

import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.analysis import curve, fits, phase_energy, window_energy
from profiler.merging.load import load
from profiler.records import Interval, PhaseEnergy
from profiler.storage.reader import StoredRun

if TYPE_CHECKING:
    import pandas as pd

    from profiler.forecasting import CurveFit
    from profiler.forecasting.lr_trace import RateTrace
    from profiler.reporting.records import WasteLine


def load_run(path: str | Path, *, partial: bool = False) -> "Run":
    """Open a run directory.

    Args:
        path: The directory.
        partial: Read the rows before a damaged one instead of raising.

    Raises:
        RunNotFoundError: There is no such directory.
        RunForeignError: It is not a run directory.
        RunTooNewError: A newer major version wrote it.
        RunDamagedError: ``run.json`` contradicts its schema. CSV files raise it on first access.
    """
    return Run.of(load(Path(path), partial=partial))


class Run(StoredRun):
    """A recorded run. Tables are read on first access.

    Attributes:
        path: The run directory.
        meta: ``run.json`` as a mapping.
    """

    @classmethod
    def of(cls, stored: StoredRun) -> "Run":
        """Return the same run with its analysis, fits and reports."""
        return cls(stored.path, stored.meta, partial=stored.partial, tables=stored.tables)

    def _repr_html_(self) -> str:
        from profiler.reporting.notebook import run_html

        return run_html(self)

    def energy(self, start_seconds: float, end_seconds: float) -> Interval:
        """Return the counted energy between two moments of the window, in joules, with its 90 % interval.

        Between the ends of rows it is the sum of those rows.

        Raises:
            UsageError: The end is before the start, or a moment is outside the window.
        """
        return window_energy.energy_of(self, start_seconds, end_seconds)

    def energy_by_phase(self) -> tuple[PhaseEnergy, ...]:
        """Return the joules of the phases of all steps; with ``other`` they add up to the joules of the steps.

        These are averages over many steps, since no sensor resolves the phases of one. Each has a 90 % interval, wide
        where the record cannot separate phases. Empty where no phase was timed.
        """
        return phase_energy.of_run(self)

    def curve(
        self, metric: str = "loss"
    ) -> tuple["pd.Series[float]", "pd.Series[float]", "pd.Series[float]"]:
        """Return the points of a metric: joules since the start, values, and steps that each is the mean of.

        Raises:
            UsageError: The run has no such metric.
        """
        return curve.metric_points(self, metric)

    def fit(self, metric: str = "loss", *, earlier_runs: bool = True, **options: Any) -> "CurveFit":
        """Fit a metric against the joules since the first step. Answers are totals since the run's start.

        Args:
            metric: ``loss``, or a name given to ``prof.log``.
            earlier_runs: Take the gain of a planned anneal from earlier runs of the task in the same directory.
            options: Passed on to :func:`profiler.forecasting.fit_curve`.

        Raises:
            ForecastRefusedError: The curve has no finite point.
            UsageError: There is no such metric.
        """
        if not earlier_runs:
            return curve.fit_metric(self, self.learning_rate, metric, **options)
        return fits.fit_run(self, metric, trace=self.learning_rate, **options)

    def fits(self, metric: str = "loss", **options: Any) -> "tuple[CurveFit, ...]":
        """Fit a metric of each training in the process, in order; the last one is that of :meth:`fit`.

        Args:
            metric: ``loss``, or a name given to ``prof.log``.
            options: Passed on to :func:`profiler.forecasting.fit_curve`.

        Raises:
            UsageError: There is no such metric.
        """
        return fits.fit_trainings(self, metric, **options)

    def waste(self, metric: str = "loss", *, allowed_share: float = 0.1) -> "tuple[WasteLine, ...]":
        """Return the energy that bought nothing, by cause, each with its remedy; empty for a healthy run.

        No joule has two causes, and each cause is above 2 % of the total. The joules are upper bounds of the saving.

        Args:
            metric: The metric whose best level counts.
            allowed_share: Part of the total that evaluations may take before the rest counts.

        Raises:
            UsageError: There is no such metric, or ``allowed_share`` is not between 0 and 1.
        """
        from profiler.reporting.waste import waste_lines

        return waste_lines(self, metric, allowed_share=allowed_share)

    @cached_property
    def learning_rate(self) -> "RateTrace":
        """Learning rate over joules, recorded and planned."""
        return curve.learning_rate_trace(self)

    @property
    def planned_joules(self) -> float | None:
        """Joules expected at the end of ``total_steps``; None if it was not declared or has been reached."""
        return curve.planned_joules(self, self.learning_rate)

    def report(self, path: str | Path, *, plotlyjs: str = "inline") -> Path:
        """Write a report; the extension selects the renderer: .txt, .html or .json.

        Args:
            path: The file, which is overwritten.
            plotlyjs: Source of the figures' script in a page: ``inline`` (1.2 MB, self-contained), ``cdn`` (loaded from
                plotly's server when the page is opened), or ``directory`` (a file beside the page, shared by pages).

        Raises:
            UsageError: No renderer has that extension, or ``plotlyjs`` is none of the three.
        """
        from profiler.reporting import write_report

        return write_report(self, Path(path), plotlyjs=plotlyjs)


def _register_notebook_views() -> None:
    """Let IPython show fits as HTML; fits belong to a package that knows no reports."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        formatter = shell.display_formatter.formatters["text/html"]
        formatter.for_type_by_name("profiler.forecasting.result", "CurveFit", _fit_html)


def _fit_html(fit: "CurveFit") -> str:
    from profiler.reporting.notebook import fit_html

    return fit_html(fit)


_register_notebook_views()
