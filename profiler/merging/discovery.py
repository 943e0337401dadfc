"""The records of a job: one directory per rank and attempt, their tables and their outlines."""

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.errors import RunDamagedError, UsageError
from profiler.storage.csv_reader import read_table
from profiler.storage.reader import Tables
from profiler.storage.schema import RUN_FILE, SPANS, STEPS, TABLES, TOTALS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

_CHILD = re.compile(r"rank-\d{5,}-attempt-\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One process's run directory.

    Attributes:
        path: The directory.
        meta: Its ``run.json``.
        rank: Its rank in the job.
        attempt: The attempt of the job that it belongs to.
    """

    path: Path
    meta: Mapping[str, Any]
    rank: int
    attempt: int

    @property
    def host(self) -> str:
        """The host it ran on, as a short hash."""
        return str(self.meta.get("host", ""))

    @property
    def totals(self) -> Mapping[str, Any]:
        """Its totals; empty if it did not end in good order."""
        return self.meta.get(TOTALS) or {}

    @property
    def billed(self) -> tuple[Mapping[str, Any], ...]:
        """The domains that it counted."""
        return tuple(domain for domain in self.meta.get("domains", ()) if domain.get("billed"))

    def tables(self, *, partial: bool) -> Tables:
        """Read its tables."""
        return Tables(**{table.name: read_table(self.path, table, partial=partial)[0] for table in TABLES})

    def outline(self, *, partial: bool) -> "Outline":
        """Read where its steps end, and the length of its window."""
        steps, spans = self._ends(partial=partial), read_table(self.path, SPANS, partial=partial)[0]
        window = max(
            (float(frame["end_seconds"].iloc[-1]) for frame in (steps, spans) if len(frame)), default=0.0
        )
        return Outline(
            record=self,
            ends=steps["step"].to_numpy(),
            end_seconds=steps["end_seconds"].to_numpy(),
            window_seconds=window,
        )

    def _ends(self, *, partial: bool) -> "pd.DataFrame":
        """Read the two columns of ``steps.csv`` that an outline needs, twice as fast as all of them."""
        import pandas as pd

        content = (self.path / STEPS.filename).read_bytes()
        whole = io.BytesIO(content[: content.rfind(b"\n") + 1])
        try:
            return pd.read_csv(
                whole, usecols=["step", "end_seconds"], dtype={"step": "int64", "end_seconds": "float64"}
            )
        except ValueError:  # damaged, or without a header yet: the strict reader names the line
            return read_table(self.path, STEPS, partial=partial)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """The steps and the length of a record, without their energy.

    Attributes:
        record: The record.
        ends: The last step of each row.
        end_seconds: End of each row, since the window's start.
        window_seconds: Length of the window that rows cover.
    """

    record: Record
    ends: "npt.NDArray[np.int64]"
    end_seconds: "npt.NDArray[np.float64]"
    window_seconds: float


def children(directory: Path) -> list[Path]:
    """Return the directories of a job's processes in that of its run."""
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if _CHILD.fullmatch(path.name) and _is_record(path))


def _is_record(path: Path) -> bool:
    return (path / RUN_FILE).exists() and (path / STEPS.filename).exists()


def find_records(directories: Iterable[Path]) -> list[Record]:
    """Find every process's record in run directories, by attempt and rank.

    Processes that took themselves for the only one are numbered in the order of their directories.

    Raises:
        UsageError: Two different records have the same rank and attempt.
    """
    paths = [path for directory in directories for path in (children(directory) or [directory])]
    records = _numbered([_record(path) for path in paths if _is_record(path)])
    found: dict[tuple[int, int], Record] = {}
    for record in records:
        _check_same(found.setdefault((record.attempt, record.rank), record), record)
    return [found[key] for key in sorted(found)]


def read_meta(path: Path) -> dict[str, Any]:
    """Read a record's ``run.json``.

    Raises:
        RunDamagedError: It cannot be read, or is not JSON.
    """
    try:
        return dict(json.loads((path / RUN_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RunDamagedError(path / RUN_FILE, f"cannot be read ({error}).") from None


def _record(path: Path) -> Record:
    meta = read_meta(path)
    return Record(path=path, meta=meta, rank=int(meta.get("rank", 0)), attempt=int(meta.get("attempt", 0)))


def _numbered(records: Sequence[Record]) -> list[Record]:
    are_single = all(record.meta.get("world_size", 1) == 1 for record in records)
    if are_single and len({(record.attempt, record.rank) for record in records}) < len(records):
        return [replace(record, rank=number, attempt=0) for number, record in enumerate(records)]
    return list(records)


def _check_same(one: Record, other: Record) -> None:
    if _identity(one) != _identity(other):
        raise UsageError(
            f"{one.path} and {other.path} are different runs: both are rank {one.rank}, attempt {one.attempt}."
        )


def _identity(record: Record) -> tuple[object, ...]:
    return record.host, record.meta.get("started_unix_seconds"), record.meta.get("name")
