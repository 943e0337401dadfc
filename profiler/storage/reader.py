"""Stored runs: the tables and the metadata of one run directory. Imports neither torch nor a sensor."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler._compat import process_namespace, process_start
from profiler.errors import RunDamagedError, RunError
from profiler.records import Domain, Metered, Provenance, Refusal, Status, Summary
from profiler.storage import unfinished, validation
from profiler.storage.csv_reader import read_table
from profiler.storage.run_file import read_run_file
from profiler.storage.schema import (
    ALTERNATING_STEPS,
    CATEGORIES,
    CONVOLUTIONAL,
    LIBRARIES,
    MERGED,
    METRICS,
    MISSING_RANKS,
    PROCESS,
    RANKS,
    RESUMED,
    RUN_FILE,
    SAMPLES,
    SPANS,
    STEPS,
    TABLES,
    TOTALS,
    UNRECORDED_PROCESSES,
    Table,
    category_of,
)
from profiler.storage.totals import Remainder, Totals
from profiler.units import format_joules
from profiler.work import PARAMETERS, read_work
from profiler.work import SECTION as WORK

if TYPE_CHECKING:
    import pandas as pd

_INTERPOLATION_SHARE = 0.02
"""Largest difference between samples and rows at the end of an unfinished run that is one of interpolation."""
_KILLED = (
    "The process ended without closing its record, as when it is killed. About the last second of steps and energy may "
    "be missing."
)
GROUPED = ["time_seconds", "domain", "power_watts", "energy_joules", "limit_watts", "throttle"]
"""Columns of the samples of each domain: those that an analysis reads."""
_SILENT_SECONDS = 30.0
"""A run without totals that has written nothing for this long was interrupted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The four tables of a run in memory."""

    steps: "pd.DataFrame"
    spans: "pd.DataFrame"
    samples: "pd.DataFrame"
    metrics: "pd.DataFrame"


class StoredRun:
    """The tables and the metadata of a run. Tables are read on first access.

    Args:
        path: The run directory.
        meta: ``run.json`` as a mapping.
        partial: Read the rows before a damaged one instead of raising.
        tables: Tables that are already in memory, such as merged ones; None reads the directory's.
    """

    def __init__(
        self, path: Path, meta: Mapping[str, Any], *, partial: bool = False, tables: Tables | None = None
    ) -> None:
        self.path = path
        self.meta = meta
        self.partial = partial
        self.tables = tables
        self._left_out: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, {self.status.value})"

    @cached_property
    def steps(self) -> "pd.DataFrame":
        """``steps.csv``: seconds since the window's start, joules, losses."""
        return self._checked.rows.steps

    @cached_property
    def spans(self) -> "pd.DataFrame":
        """``spans.csv``: the stretches between steps."""
        return self._checked.rows.spans

    @cached_property
    def totals(self) -> Totals:
        """Totals of the rows, and of what no row holds."""
        totals = Totals.of_tables(self.steps, self.spans)
        if self.unrecorded is not None:
            totals.add_remainder(self.unrecorded)
        return totals

    @property
    def unrecorded(self) -> Remainder | None:
        """The part of the totals in ``run.json`` that is in no row, as after a full disk; None if there is none."""
        return self._checked.remainder

    @cached_property
    def _checked(self) -> validation.Checked:
        rows = validation.Rows(self._table(STEPS), self._table(SPANS))
        if not self._is_whole_record:
            return validation.Checked(rows)
        checked = validation.check_rows(self.path, self.meta, rows, partial=self.partial)
        if checked.note:
            self._left_out["rows"] = checked.note
        return checked

    @property
    def _is_whole_record(self) -> bool:
        """True if one process wrote the tables; merged ones were checked when they were merged."""
        return self.tables is None and MERGED not in self.meta

    @cached_property
    def samples(self) -> "pd.DataFrame":
        """``samples.csv``: cumulative energy of every sampled domain."""
        return self._table(SAMPLES)

    @cached_property
    def samples_by_domain(self) -> "Mapping[str, pd.DataFrame]":
        """The samples of each domain, with the columns that an analysis reads; words may be categories."""
        samples = self._ungrouped_samples
        # Samples take most of the memory of a report, so that only the groups are held.
        del self._ungrouped_samples
        return by_domain(samples)

    @cached_property
    def _ungrouped_samples(self) -> "pd.DataFrame":
        # Grouping and comparing categories takes a fraction of the time of words.
        return self._table(SAMPLES, columns=GROUPED, categories=True)

    @cached_property
    def metrics(self) -> "pd.DataFrame":
        """``metrics.csv``: values logged by the user."""
        return self._table(METRICS)

    @cached_property
    def ranks(self) -> "pd.DataFrame":
        """One row per process and attempt of a job: its own joules, and its share of those of its node."""
        import pandas as pd

        return pd.DataFrame(self.meta.get(RANKS, ()))

    def _table(
        self, table: Table, *, columns: list[str] | None = None, categories: bool = False
    ) -> "pd.DataFrame":
        if self.tables is not None:
            kept: pd.DataFrame = getattr(self.tables, table.name)
            return kept
        frame, left_out = read_table(
            self.path, table, partial=self.partial, columns=columns, categories=categories
        )
        if left_out:
            self._left_out[table.filename] = left_out
        return frame

    @property
    def status(self) -> Status:
        """Status of the run; a running one is interrupted if its process has ended or has written nothing for 30 s."""
        try:
            status = Status(self.meta.get("status", ""))
        except ValueError:
            raise RunDamagedError(
                self.path / RUN_FILE, f"unknown status {self.meta.get('status')!r}."
            ) from None
        is_over = status is Status.RUNNING and (self._has_lost_its_process() or self._is_silent())
        return Status.INTERRUPTED if is_over else status

    def _has_lost_its_process(self) -> bool:
        """Return true if the recording process is known to have ended without its totals: it ran on this host."""
        process, pid = self.meta.get(PROCESS), self.meta.get("pid")
        if not process or not pid or MERGED in self.meta or process["namespace"] != process_namespace():
            return False
        if process_start(pid) == process["start"]:
            return False
        # It may have ended in good order since the metadata was read.
        try:
            return read_run_file(self.path).get("status") == Status.RUNNING.value
        except RunError:
            return False

    def _is_silent(self) -> bool:
        if MERGED in self.meta:  # the status of a merged run follows from those of its processes
            return False
        files = [self.path / name for name in (RUN_FILE, *(table.filename for table in TABLES))]
        newest = max((file.stat().st_mtime for file in files if file.exists()), default=0.0)
        return time.time() - newest > _SILENT_SECONDS

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings recorded with the run, and those about what could not be read of it."""
        known = (*map(str, self.meta.get("warnings", ())), *self.left_out)
        is_killed = self.meta.get("status") == Status.RUNNING.value and self.status is Status.INTERRUPTED
        return (*known, _KILLED) if is_killed else known

    @property
    def left_out(self) -> tuple[str, ...]:
        """One sentence for each part of the tables read so far that is missing or was excluded."""
        return tuple(self._left_out.values())

    @cached_property
    def domains(self) -> dict[str, Domain]:
        """Every sampled domain by name; ``billed`` is true if it counts in totals."""
        found = [_domain(self.path, entry) for entry in self.meta.get("domains", ())]
        if self.meta.get(TOTALS) is None and self._is_whole_record and not any(one.billed for one in found):
            found = self._counted_in_rows(found)
        return {domain.name: domain for domain in found}

    def _counted_in_rows(self, domains: list[Domain]) -> list[Domain]:
        """Return the domains with ``billed`` set for those whose columns hold energy.

        ``run.json`` states the counted domains from the first row on. Where it could not be written again after the
        start, as on a full disk, the rows still show them.
        """
        filled = {name for name, column in CATEGORIES.items() if self.steps[column].notna().any()}
        if not filled:
            return domains
        self._left_out[RUN_FILE] = (
            f"{RUN_FILE} was not written after the start: its warnings are missing, and totals are those of the rows"
        )
        return [replace(domain, billed=category_of(domain.name) in filled) for domain in domains]

    @property
    def total_joules(self) -> float | None:
        """Energy of the run, steps and spans, in joules; None when nothing was metered."""
        return self.summary().total_joules

    def energy_by_domain(self) -> dict[str, float]:
        """Return the joules of each counted domain in the window; a domain without readings is absent."""
        return {name: joules for name, joules in self.joules_by_domain().items() if self.domains[name].billed}

    def joules_by_domain(self) -> dict[str, float]:
        """Return the joules of each sampled domain, counted or not, at the end of the window."""
        return dict(self._joules)

    @cached_property
    def _joules(self) -> dict[str, float]:
        # A running run grows between two reads, and samples that end before the last row would lack its energy.
        window_seconds = self.window_seconds
        if self.meta.get(TOTALS) or MERGED in self.meta:
            last = last_joules(self._ungrouped_samples)
            joules = {name: value for name, value in last.items() if name in self.domains}
            is_checked = self.meta.get(TOTALS) and self._is_whole_record
            return self._as_counted(joules, last) if is_checked else joules
        samples = self.samples_by_domain
        sampled = unfinished.sampled_joules(
            {name: rows for name, rows in samples.items() if name in self.domains}, window_seconds
        )
        counted = [name for name, domain in self.domains.items() if domain.billed]
        in_rows = unfinished.counted_joules(counted, self.steps, self.spans, samples, sampled)
        self._compare_samples(sum(in_rows.values()), sum(sampled.get(name, 0.0) for name in counted))
        return sampled | in_rows

    def _compare_samples(self, in_rows: float, in_samples: float) -> None:
        is_close = abs(in_rows - in_samples) <= _INTERPOLATION_SHARE * in_rows
        if is_close or "rows" in self._left_out or self.status is Status.RUNNING:
            return
        self._left_out["last samples"] = (
            f"the run was interrupted: up to its last row, {SAMPLES.filename} holds {format_joules(in_samples)} and "
            f"the rows {format_joules(in_rows)}. The joules of domains are scaled to those of rows"
        )

    @property
    def window_seconds(self) -> float:
        """Length of the window that rows cover."""
        frames = (self.steps, self.spans)
        return max((float(rows["end_seconds"].max()) for rows in frames if len(rows)), default=0.0)

    def _as_counted(self, sampled: dict[str, float], last: Mapping[str, float]) -> dict[str, float]:
        wrong = validation.check_samples(self.path, self.meta, last, partial=self.partial)
        if wrong:
            self._left_out["last samples"] = (
                f"{SAMPLES.filename} lacks samples of {', '.join(wrong)}: their totals are from {RUN_FILE}"
            )
        counted = validation.domain_joules(self.meta)
        return sampled | {name: counted[name] for name in wrong if name in self.domains}

    @property
    def edge_joules(self) -> float:
        """Standard deviation of the total without the uncertainty of the gains, in joules."""
        totals = self.meta.get(TOTALS) or {}
        if "edge_joules" in totals:
            return float(totals["edge_joules"])
        is_integrated = any(
            domain.billed and domain.provenance is Provenance.INTEGRATED for domain in self.domains.values()
        )
        return unfinished.edge_joules(self.steps, self.spans, is_integrated=is_integrated)

    def summary(self) -> Summary:
        """Summarize the run."""
        joules, totals = self.joules_by_domain(), self.totals
        bridged = {
            entry["name"]: float(entry.get("bridged_seconds", 0.0)) for entry in self.meta.get("domains", ())
        }
        metered = any(domain.billed for domain in self.domains.values())
        if not metered and self.meta.get(TOTALS) and (totals.step_microjoules or totals.span_microjoules):
            raise RunDamagedError(
                self.path / RUN_FILE, "domains lists no counted domain, but rows have joules."
            )
        return Summary(
            path=str(self.path),
            name=str(self.meta.get("name", "")),
            status=self.status,
            started_at=str(self.meta.get("started_at", "")),
            metered=tuple(
                Metered(domain=self.domains[name], joules=energy, bridged_seconds=bridged[name])
                for name, energy in joules.items()
            ),
            missing=tuple(self.meta.get("missing", ())),
            refusals=tuple(Refusal(**refusal) for refusal in self.meta.get("refusals", ())),
            warnings=self.warnings,
            **totals.as_summary_fields(metered=metered),
            edge_joules=self.edge_joules,
            sampler_cpu_seconds=self.meta.get("overhead", {}).get("sampler_cpu_seconds"),
            missing_ranks=self.meta.get(MISSING_RANKS, 0),
            libraries=tuple(self.meta.get(LIBRARIES, ())),
            convolutional=bool(self.meta.get(CONVOLUTIONAL)),
            work=read_work(self.meta, totals.steps, is_continued=RESUMED in self.meta),
            parameters=(self.meta.get(WORK) or {}).get(PARAMETERS),
            alternating_steps=int(self.meta.get(ALTERNATING_STEPS, 0)),
            unrecorded_processes=self.meta.get(UNRECORDED_PROCESSES, 0),
        )


def by_domain(samples: "pd.DataFrame") -> "dict[str, pd.DataFrame]":
    """Group a table of samples by domain, in the order in which the domains appear."""
    import pandas as pd

    codes, names = pd.factorize(samples["domain"])
    if len(names) == 1:
        return {str(names[0]): samples}
    # Masks take half of the time and memory of a groupby, which sorts the whole table first.
    return {str(name): samples[codes == code] for code, name in enumerate(names)}


def last_joules(samples: "pd.DataFrame") -> dict[str, float]:
    """Return the last energy of each domain, in joules, in the order in which the domains appear."""
    import numpy as np

    names = samples["domain"].astype("category")
    codes, joules = names.cat.codes.to_numpy(), samples["energy_joules"].to_numpy()
    last = np.zeros(len(names.cat.categories), dtype=np.int64)
    # Of several values for one index, the last one is kept.
    last[codes] = np.arange(len(codes))
    found = dict(zip(names.cat.categories, joules[last].tolist() if len(codes) else (), strict=False))
    return {str(name): found[name] for name in names.unique()}


def _domain(path: Path, entry: Mapping[str, Any]) -> Domain:
    try:
        return Domain(
            name=entry["name"], source=entry["source"], provenance=Provenance(entry["provenance"]),
            billed=bool(entry["billed"]), parent=entry.get("parent"),
            update_period_seconds=entry.get("update_period_seconds"),
            gain_uncertainty=float(entry.get("gain_uncertainty", 0.0)),
            edge_watts=float(entry.get("edge_watts", 0.0)), blur_seconds=float(entry.get("blur_seconds", 0.0)),
            buffered_seconds=float(entry.get("buffered_seconds", 0.0)),
            drift_watts=float(entry.get("drift_watts", 0.0)), device=entry.get("device"),
            notes=tuple(entry.get("notes", ())), idle_watts=entry.get("idle_watts"),
            device_count=entry.get("device_count", 1),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise RunDamagedError(path / RUN_FILE, f"a domain's entry is broken ({error!r}).") from None
