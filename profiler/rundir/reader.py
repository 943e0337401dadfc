"""Reading a run directory: :func:`load_run` and :class:`Run`. Imports neither torch nor a sensor."""

import json
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler import rate_plan
from profiler.errors import (
    RunDamagedError,
    RunError,
    RunForeignError,
    RunNotFoundError,
    RunTooNewError,
    UsageError,
)
from profiler.records import Domain, Interval, PhaseEnergy, Status, Summary
from profiler.rundir import accounts, energy, phases
from profiler.rundir.domains import domain_of
from profiler.rundir.schema import (
    METRICS,
    RUN_FILE,
    SAMPLES,
    SCHEMA_MAJOR,
    SCHEMA_VERSION,
    SPANS,
    STEPS,
    TABLES,
    Table,
)
from profiler.rundir.summing import summary_of
from profiler.rundir.tables import read_table
from profiler.rundir.tiling import Rows

if TYPE_CHECKING:
    import pandas as pd

    from profiler.forecast import CurveFit
    from profiler.forecast.rates import RateTrace
    from profiler.rundir.merging.tables import Tables

_SILENT_SECONDS = 30.0
"""A run that claims to go on and has written nothing for this long was interrupted."""


def load_run(path: str | Path, *, partial: bool = False) -> "Run":
    """Open a run directory.

    Args:
        path: The directory.
        partial: Where a file is damaged, read what stands before the damage instead of raising.

    Raises:
        RunNotFoundError: Nothing is there.
        RunForeignError: It is not a run directory.
        RunTooNewError: It was written by a newer major version.
        RunDamagedError: ``run.json`` contradicts its schema. CSVs raise it when they are first looked at.
    """
    from profiler.rundir.merging.load import load

    return load(Path(path), partial=partial)


def read_meta(directory: Path) -> dict[str, Any]:
    if not directory.exists():
        raise RunNotFoundError(directory, "there is no such directory.")
    if not directory.is_dir():
        raise RunForeignError(directory, "this is a file; a run is a directory.")
    path = directory / RUN_FILE
    if not path.exists():
        raise RunForeignError(
            directory, f"this is not a run directory: it has no {RUN_FILE}.", remedy=_hint(directory)
        )
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        version = str(meta["schema_version"])
        major = int(version.split(".", maxsplit=1)[0])
    except OSError as error:
        raise RunDamagedError(path, f"cannot be read: {error.strerror}.") from None
    except json.JSONDecodeError as error:
        raise RunDamagedError(path, f"this is not JSON: {error.msg}.", line=error.lineno) from None
    except (KeyError, TypeError, ValueError):
        raise RunForeignError(
            path, "this was not written by energy-profiler: it has no schema_version."
        ) from None
    if major > SCHEMA_MAJOR:
        what = f"written in schema {version}; this version reads up to {SCHEMA_VERSION}."
        readable = ", ".join(table.filename for table in TABLES if (directory / table.filename).exists())
        remedy = f"Upgrade with: pip install -U energy-profiler. Its tables ({readable}) are plain CSV."
        raise RunTooNewError(path, what, remedy=remedy)
    return dict(meta)


def _hint(directory: Path) -> str:
    if any((directory / table.filename).exists() for table in TABLES):
        return "Its CSV files are plain text and can still be read as such."
    runs = sorted(child.parent for child in directory.glob(f"*/{RUN_FILE}"))
    return f"It holds {len(runs)} runs; name one, such as {runs[-1]}." if runs else ""


class Run:
    """A recorded run. Tables are read when first looked at.

    Attributes:
        path: The run directory.
        meta: ``run.json`` as a mapping.
    """

    def __init__(
        self, path: Path, meta: Mapping[str, Any], *, partial: bool = False, tables: "Tables | None" = None
    ) -> None:
        self.path = path
        self.meta = meta
        self._partial = partial
        self._left_out: dict[str, str] = {}
        self._given = tables

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.status.value})"

    def _repr_html_(self) -> str:
        """What a notebook shows of it."""
        from profiler.report.notebook import run_html

        return run_html(self)

    @cached_property
    def steps(self) -> "pd.DataFrame":
        """``steps.csv``: seconds since the window's start, joules, losses."""
        return self._rows.steps

    @cached_property
    def spans(self) -> "pd.DataFrame":
        """``spans.csv``: what lies between steps."""
        return self._rows.spans

    @cached_property
    def _rows(self) -> Rows:
        """Steps and spans, which account for the window together."""
        rows = Rows(self._table(STEPS), self._table(SPANS))
        if not self._is_whole_record:
            return rows
        rows, note = accounts.settle(self.path, self.meta, rows, partial=self._partial)
        if note:
            self._left_out["rows"] = note
        return rows

    @property
    def _is_whole_record(self) -> bool:
        """Whether the tables are those that one process wrote; what was put together was checked then."""
        return self._given is None and "merged" not in self.meta

    @cached_property
    def samples(self) -> "pd.DataFrame":
        """``samples.csv``: cumulative energy of every sampled domain."""
        samples = self._table(SAMPLES)
        if not self._is_whole_record:
            return samples
        samples, note = accounts.settle_samples(self.path, self.meta, samples, partial=self._partial)
        if note:
            self._left_out["last samples"] = note
        return samples

    @cached_property
    def metrics(self) -> "pd.DataFrame":
        """``metrics.csv``: values logged by the user."""
        return self._table(METRICS)

    @cached_property
    def ranks(self) -> "pd.DataFrame":
        """One row a process and attempt of a job of several: its joules, and those it spent waiting for others."""
        import pandas as pd

        return pd.DataFrame(self.meta.get("ranks", ()))

    def _table(self, table: Table) -> "pd.DataFrame":
        if self._given is not None:
            kept: pd.DataFrame = getattr(self._given, table.filename.removesuffix(".csv"))
            return kept
        frame, left_out = read_table(self.path, table, partial=self._partial)
        if left_out:
            self._left_out[table.filename] = left_out
        return frame

    @property
    def status(self) -> Status:
        """How the run stands or ended; interrupted when it has no end mark and nothing new for 30 s."""
        try:
            status = Status(self.meta.get("status", ""))
        except ValueError:
            raise RunDamagedError(
                self.path / RUN_FILE, f"unknown status {self.meta.get('status')!r}."
            ) from None
        return Status.INTERRUPTED if status is Status.RUNNING and self._is_silent() else status

    def _is_silent(self) -> bool:
        if "merged" in self.meta:  # how its processes stand was asked of each
            return False
        files = [self.path / name for name in (RUN_FILE, *(table.filename for table in TABLES))]
        newest = max((file.stat().st_mtime for file in files if file.exists()), default=0.0)
        return time.time() - newest > _SILENT_SECONDS

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know: what was noticed while recording, and what could not be read."""
        return (*map(str, self.meta.get("warnings", ())), *self.left_out)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What could not be read, or was never written, of the tables looked at so far."""
        return tuple(self._left_out.values())

    @cached_property
    def domains(self) -> dict[str, Domain]:
        """Every sampled domain by name; ``billed`` says whether it counts in totals."""
        found = (domain_of(self.path, entry) for entry in self.meta.get("domains", ()))
        return {domain.name: domain for domain in found}

    @property
    def total_joules(self) -> float | None:
        """All that was billed, steps and spans, in joules; None when nothing was metered."""
        return self.summary().total_joules

    def energy_by_domain(self) -> dict[str, float]:
        """Joules of each billed domain in the window; a domain that gave no reading is absent."""
        return {name: joules for name, joules in self._joules().items() if self.domains[name].billed}

    def _joules(self) -> dict[str, float]:
        last = self.samples.groupby("domain", sort=False)["energy_joules"].last()
        return {str(name): float(value) for name, value in last.items() if name in self.domains}

    def energy(self, start_seconds: float, end_seconds: float) -> Interval:
        """Billed energy between two moments of the window, in joules, with its 90 % interval.

        Between the ends of rows it is what those rows say.

        Raises:
            UsageError: The end lies before the start, or a moment outside what was recorded.
        """
        edges = energy.row_edges(self.steps, self.spans)
        return energy.between(self.samples, self.domains, edges, start_seconds, end_seconds)

    def energy_by_phase(self) -> tuple[PhaseEnergy, ...]:
        """Joules of the phases of all steps, which together with ``other`` are the joules of the steps.

        Averages over many steps: no sensor resolves the phases of one. Each has a 90 % interval, wide where the record
        cannot tell phases apart. Empty where no phase was timed.
        """
        joules = self.energy_by_domain()
        total = sum(joules.values())
        common = energy.gain_variance(self.domains, joules) ** 0.5 / total if total > 0.0 else 0.0
        periods = [self.domains[name].update_period_seconds for name in joules]
        return phases.energy_by_phase(self.steps, periods_seconds=periods, relative_sigma=common)

    def curve(
        self, metric: str = "loss"
    ) -> tuple["pd.Series[float]", "pd.Series[float]", "pd.Series[float]"]:
        """The points of a metric: joules since the start, values, and how many steps each is the mean of.

        The loss of a row of steps stands at the middle of its joules.
        """
        if metric == "loss":
            seen = self.steps[self.steps["loss"].notna() | (self.steps["nonfinite_count"] > 0)]
            weights = (seen["step_count"] - seen["nonfinite_count"]).clip(lower=1).astype("float64")
            return seen["cumulative_joules"] - seen["total_joules"] / 2, seen["loss"], weights
        chosen = self.metrics[self.metrics["name"] == metric]
        if chosen.empty:
            known = ", ".join(["loss", *sorted(self.metrics["name"].unique())])
            raise UsageError(f"this run has no metric {metric!r}; it has: {known}.")
        return chosen["cumulative_joules"], chosen["value"], chosen["value"] * 0.0 + 1.0

    def fit(self, metric: str = "loss", **options: Any) -> "CurveFit":
        """Fit a metric against the joules since the first step, with the learning rate where it says something.

        Answers are totals since the start of the run.

        Args:
            metric: ``loss``, or a name given to ``prof.log``.
            options: Passed on to :func:`profiler.forecast.fit_curve`.

        Raises:
            ForecastRefusedError: The curve does not support a forecast.
            UsageError: There is no such metric.
        """
        from profiler.forecast import CurveBins, fit_bins, fit_curve

        points = [column.to_numpy() for column in self.curve(metric)]
        said = not options.keys().isdisjoint(("learning_rate", "planned_learning_rate"))
        told = {} if said else self.learning_rate.told()
        if "learning_rate" not in told:
            origin = self.learning_rate.origin_joules
            return fit_curve(points[0], points[1], weights=points[2], origin_joules=origin, **told, **options)
        bins = CurveBins(self.learning_rate.origin_joules)
        for joules, value, weight in zip(*(column.tolist() for column in points), strict=True):
            bins.add(joules, value, weight)
        return fit_bins(bins, **told, **options)

    @cached_property
    def learning_rate(self) -> "RateTrace":
        """The learning rate over joules, recorded and planned, thinned as it was while recording."""
        from profiler.forecast.rates import RateTrace

        trace = RateTrace(self._plan())
        seen = self.steps[self.steps["cumulative_joules"].notna()]
        first = seen[:1]
        trace.origin_joules = float((first["cumulative_joules"] - first["total_joules"]).sum())
        columns = (seen[name].tolist() for name in ("cumulative_joules", "learning_rate", "step"))
        for joules, rate, step in zip(*columns, strict=True):
            trace.add(joules, rate, step)
        return trace

    def _plan(self) -> rate_plan.RatePlan | None:
        try:
            return rate_plan.RatePlan.read(self.meta)
        except (KeyError, TypeError, ValueError) as error:
            raise RunDamagedError(
                self.path / RUN_FILE, f"{rate_plan.SECTION} is broken ({error!r})."
            ) from None

    @property
    def planned_joules(self) -> float | None:
        """Joules at the end of ``total_steps``, if steps go on as lately; None if it was not declared or has come."""
        total, trace = int(self.meta.get(rate_plan.TOTAL, 0)), self.learning_rate
        return trace.joules_at(total) if trace.last.step and total > trace.last.step else None

    def report(self, path: str | Path, *, plotlyjs: str = "inline") -> Path:
        """Write a report; the extension picks the renderer: .txt, .html or .json.

        Args:
            path: Where to. What is there is overwritten.
            plotlyjs: Where a page has the script of its figures from: ``inline`` (5 MB, needs nothing else), ``cdn``
                (asks plotly's server when it is opened), or ``directory`` (a file beside it, which pages share).

        Raises:
            UsageError: No renderer has that extension, or there is no such place for the script.
        """
        from profiler.report import write_report

        return write_report(self, Path(path), plotlyjs=plotlyjs)

    def summary(self) -> Summary:
        """What the run comes to."""
        return summary_of(self, self._joules())


__all__ = ["Run", "RunError", "load_run"]
