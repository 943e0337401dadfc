"""Stored runs: the tables and the metadata of one run directory. Imports neither torch nor a sensor."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.errors import RunDamagedError, RunForeignError, RunNotFoundError, RunTooNewError
from profiler.records import Domain, Status, Summary
from profiler.storage import validation
from profiler.storage.csv_reader import read_table
from profiler.storage.domains import domain_of
from profiler.storage.schema import (
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
from profiler.storage.summary import summary_of
from profiler.storage.tiling import Rows

if TYPE_CHECKING:
    import pandas as pd

_SILENT_SECONDS = 30.0
"""A run without an end mark that has written nothing for this long was interrupted."""


def read_meta(directory: Path) -> dict[str, Any]:
    """Read ``run.json``.

    Raises:
        RunNotFoundError: There is no such directory.
        RunForeignError: It is not a run directory.
        RunTooNewError: A newer major version wrote it.
        RunDamagedError: ``run.json`` cannot be read or is not JSON.
    """
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
        rows, note = validation.settle(self.path, self.meta, rows, partial=self.partial)
        if note:
            self._left_out["rows"] = note
        return rows

    @property
    def _is_whole_record(self) -> bool:
        """Whether the tables are those that one process wrote; what was put together was checked then."""
        return self.tables is None and "merged" not in self.meta

    @cached_property
    def samples(self) -> "pd.DataFrame":
        """``samples.csv``: cumulative energy of every sampled domain."""
        samples = self._table(SAMPLES)
        if not self._is_whole_record:
            return samples
        samples, note = validation.settle_samples(self.path, self.meta, samples, partial=self.partial)
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
        if self.tables is not None:
            kept: pd.DataFrame = getattr(self.tables, table.filename.removesuffix(".csv"))
            return kept
        frame, left_out = read_table(self.path, table, partial=self.partial)
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

    def summary(self) -> Summary:
        """What the run comes to."""
        return summary_of(self, self._joules())
