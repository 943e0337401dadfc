"""What the processes of a job left: one record for each rank and attempt."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.errors import RunDamagedError, UsageError
from profiler.storage.schema import RUN_FILE, STEPS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_CHILD = re.compile(r"rank-\d{5,}-attempt-\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One process's run directory.

    Attributes:
        path: The directory.
        meta: Its ``run.json``.
        rank: Its rank in the job.
        attempt: Which attempt of the job it belongs to.
        has_tables: Whether its tables are here; what came over the network is ``run.json`` alone.
    """

    path: Path
    meta: Mapping[str, Any]
    rank: int
    attempt: int
    has_tables: bool

    @property
    def host(self) -> str:
        """The host it ran on, as a short hash."""
        return str(self.meta.get("host", ""))

    @property
    def totals(self) -> Mapping[str, Any]:
        """What it came to; empty when it never ended in good order."""
        return self.meta.get("totals") or {}

    @property
    def billed(self) -> tuple[Mapping[str, Any], ...]:
        """The domains that it counted."""
        return tuple(domain for domain in self.meta.get("domains", ()) if domain.get("billed"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A record's steps and length, without what they cost.

    Attributes:
        record: Whose.
        ends: The last step of each row.
        end_seconds: When each row ended, since the window's start.
        window_seconds: Length of what is accounted for.
    """

    record: Record
    ends: "npt.NDArray[np.int64]"
    end_seconds: "npt.NDArray[np.float64]"
    window_seconds: float


def children(directory: Path) -> list[Path]:
    """The directories of a job's processes in that of its run."""
    if not directory.is_dir():
        return []
    return sorted(p for p in directory.iterdir() if _CHILD.fullmatch(p.name) and (p / RUN_FILE).exists())


def find(directories: Iterable[Path]) -> list[Record]:
    """Find every process's record in run directories, by attempt and rank.

    What is in two of them is taken once: the one with tables. Processes that did not know of each other are numbered
    in the order of their directories.

    Raises:
        UsageError: Two different records claim the same rank and attempt.
    """
    paths = [path for directory in directories for path in (children(directory) or [directory])]
    records = _numbered([_record(path) for path in paths])
    chosen: dict[tuple[int, int], Record] = {}
    for record in records:
        key = (record.attempt, record.rank)
        chosen[key] = _better(chosen[key], record) if key in chosen else record
    return [chosen[key] for key in sorted(chosen)]


def meta_of(path: Path) -> dict[str, Any]:
    """Read a record's ``run.json``.

    Raises:
        RunDamagedError: It is not one.
    """
    try:
        return dict(json.loads((path / RUN_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RunDamagedError(path / RUN_FILE, f"cannot be read ({error}).") from None


def _record(path: Path) -> Record:
    meta = meta_of(path)
    rank, attempt = int(meta.get("rank", 0)), int(meta.get("attempt", 0))
    has_tables = (path / STEPS.filename).exists()
    return Record(path=path, meta=meta, rank=rank, attempt=attempt, has_tables=has_tables)


def _numbered(records: Sequence[Record]) -> list[Record]:
    strangers = all(record.meta.get("world_size", 1) == 1 for record in records)
    if strangers and len({(record.attempt, record.rank) for record in records}) < len(records):
        return [replace(record, rank=number, attempt=0) for number, record in enumerate(records)]
    return list(records)


def _better(one: Record, other: Record) -> Record:
    if one.has_tables and other.has_tables and _identity(one) != _identity(other):
        raise UsageError(
            f"{one.path} and {other.path} are different runs: both are rank {one.rank}, attempt {one.attempt}."
        )
    return one if one.has_tables else other


def _identity(record: Record) -> tuple[object, ...]:
    return record.host, record.meta.get("started_unix_seconds"), record.meta.get("name")
