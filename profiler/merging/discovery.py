"""The records of a job: one directory per rank and attempt, their tables and their outlines."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.errors import UsageError
from profiler.records import kind_of
from profiler.storage.csv_reader import last_row, read_table
from profiler.storage.files import checked_link
from profiler.storage.reader import Tables
from profiler.storage.run_file import read_run_file
from profiler.storage.schema import (
    JOB,
    LAUNCHED_RANKS,
    MERGED,
    METRICS,
    MISSING_RANKS,
    RUN_FILE,
    SAMPLES,
    SPANS,
    STEPS,
    TOTALS,
)
from profiler.units import format_seconds

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ANYWAY = "Merge them anyway with --force."
_LATEST_SECONDS = 300.0
"""Processes of one job may start this long after each other, and the clocks of hosts may differ."""
_MERGED_SAMPLES = ["time_seconds", "domain", "energy_joules", "limit_watts", "sm_mhz", "throttle"]
_CHILD = re.compile(r"rank-[0-9]{5,7}-attempt-[0-9]{1,7}")


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

    @property
    def node_meters(self) -> tuple[Mapping[str, Any], ...]:
        """The meters of the whole node that it logged beside the counted domains."""
        return tuple(
            domain
            for domain in self.meta.get("domains", ())
            if not domain.get("billed") and kind_of(str(domain["name"])).is_container
        )

    def tables(self, *, partial: bool) -> Tables:
        """Read its tables, words of the large ones as categories; of the samples, the columns that are merged."""
        steps, samples = (
            read_table(self.path, table, partial=partial, columns=columns, categories=True)[0]
            for table, columns in ((STEPS, None), (SAMPLES, _MERGED_SAMPLES))
        )
        spans, metrics = (read_table(self.path, table, partial=partial)[0] for table in (SPANS, METRICS))
        return Tables(steps=steps, spans=spans, samples=samples, metrics=metrics)

    def outline(self, *, partial: bool) -> "Outline":
        """Read where its steps end, and the length of its window."""
        return (
            self._quick_outline() or self._read_outline() if not partial else self._read_outline(partial=True)
        )

    def _quick_outline(self) -> "Outline | None":
        """Derive the outline from the last rows, if that of the steps shows that each row is one step."""
        steps, spans = (last_row(self.path, table) for table in (STEPS, SPANS))
        try:
            count, last = steps
            if not count or int(last["step"]) != count:
                return None
            window = max(float(cells["end_seconds"]) for _, cells in (steps, spans) if cells)
        except (KeyError, ValueError):
            return None
        import numpy as np

        return Outline(record=self, ends=np.arange(1, count + 1), window_seconds=window)

    def _read_outline(self, *, partial: bool = False) -> "Outline":
        steps, spans = (
            read_table(self.path, table, partial=partial, columns=[*names, "end_seconds"])[0]
            for table, names in ((STEPS, ["step"]), (SPANS, []))
        )
        window = max(
            (float(frame["end_seconds"].iloc[-1]) for frame in (steps, spans) if len(frame)), default=0.0
        )
        return Outline(record=self, ends=steps["step"].to_numpy(), window_seconds=window)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """The steps and the length of a record, without their energy.

    Attributes:
        record: The record.
        ends: The last step of each row.
        window_seconds: Length of the window that rows cover.
    """

    record: Record
    ends: "npt.NDArray[np.int64]"
    window_seconds: float

    def end_seconds(self, *, partial: bool) -> "npt.NDArray[np.float64]":
        """Read the end of each row, since the window's start."""
        columns = ["step", "end_seconds"]
        return read_table(self.record.path, STEPS, partial=partial, columns=columns)[0][
            "end_seconds"
        ].to_numpy()


def device_of(record: Record, domain: Mapping[str, Any]) -> str:
    """Return an identifier of a domain's device across hosts: a GPU's own, or its host and name."""
    name = str(domain["name"])
    if kind_of(name).is_accelerator or domain.get("device"):
        return str(domain.get("device") or f"{record.host}/{record.rank}/{name}")
    return f"{record.host or record.path}/{name}"


def children(directory: Path) -> list[Path]:
    """Return the directories of a job's processes in that of its run.

    Raises:
        RunDamagedError: One of them is a link that leads out of the run directory.
    """
    if not directory.is_dir():
        return []
    named = sorted(path for path in directory.iterdir() if _CHILD.fullmatch(path.name))
    return [path for path in named if _is_record(checked_link(path))]


def source_size(path: Path) -> int:
    """Return the bytes of a process's files, by which a record is seen to have grown."""
    return sum(file.stat().st_size for file in path.iterdir() if file.suffix in (".csv", ".json"))


def _processes(directory: Path) -> list[Path]:
    """Return the directories of a run's processes. That of rank 0 may be the run's own until its end."""
    found = children(directory)
    meta = read_run_file(directory) if found and _is_record(directory) else {}
    is_first_rank = bool(meta) and MERGED not in meta and bool(meta.get(MISSING_RANKS))
    return [directory, *found] if is_first_rank or not found else found


def find_launchers(directories: Iterable[Path]) -> list[Record]:
    """Find the records of processes that started the ranks of a run: until their end in the run's own directory."""
    from profiler.distributed.layout import launcher_path

    found = []
    for directory in directories:
        moved = launcher_path(directory)
        if _is_record(moved):
            found.append(replace(_record(checked_link(moved)), rank=0, attempt=0))
        elif is_launcher(read_run_file(directory) if _is_record(directory) else {}):
            found.append(replace(_record(directory), rank=0, attempt=0))
    return found


def is_launcher(meta: Mapping[str, Any]) -> bool:
    """Return whether a ``run.json`` is that of a process that started the ranks of its run."""
    return bool(meta.get(LAUNCHED_RANKS)) and MERGED not in meta


def _is_record(path: Path) -> bool:
    return (path / RUN_FILE).exists() and (path / STEPS.filename).exists()


def find_records(directories: Iterable[Path], *, force: bool = False) -> list[Record]:
    """Find every process's record in run directories, by attempt and rank.

    Runs of single processes are numbered in the order of their directories.

    Args:
        directories: Run directories of jobs, or of single processes.
        force: Number records in that order as well if two of them have the same rank and attempt.

    Raises:
        UsageError: Two different records have the same rank and attempt, unless ``force``.
    """
    paths = [path for directory in directories for path in _processes(directory)]
    records = _numbered([_record(path) for path in paths if _is_record(path)], force=force)
    found: dict[tuple[int, int], Record] = {}
    for record in records:
        _check_same(found.setdefault((record.attempt, record.rank), record), record)
    return [found[key] for key in sorted(found)]


def _record(path: Path) -> Record:
    meta = read_run_file(path)
    return Record(path=path, meta=meta, rank=meta.get("rank", 0), attempt=meta.get("attempt", 0))


def _numbered(records: Sequence[Record], *, force: bool) -> list[Record]:
    unique = list({(*_identity(record), record.rank, record.attempt): record for record in records}.values())
    are_single = all(record.meta.get("world_size", 1) == 1 for record in records)
    if force and len({(record.attempt, record.rank) for record in unique}) < len(unique):
        return [replace(record, rank=number, attempt=0) for number, record in enumerate(unique)]
    if are_single and len({(record.attempt, record.rank) for record in records}) < len(records):
        return [replace(record, rank=number, attempt=0) for number, record in enumerate(records)]
    return list(records)


def _check_same(one: Record, other: Record) -> None:
    if _identity(one) != _identity(other):
        raise UsageError(
            f"{one.path} and {other.path} are different runs: both are rank {one.rank}, attempt {one.attempt}. "
            f"{ANYWAY}"
        )


def _identity(record: Record) -> tuple[object, ...]:
    return record.host, record.meta.get("started_unix_seconds"), record.meta.get("name")


def check_one_job(outlines: Sequence[Outline], starts: Sequence[float]) -> None:
    """Check that records can be those of one attempt of one job.

    Args:
        outlines: The records.
        starts: Start of each window, in seconds on one time axis.

    Raises:
        UsageError: They differ in the job's identifier or world size, or were not recorded at the same time.
    """
    first, begin = outlines[0].record, min(starts)
    for one in outlines[1:]:
        for name in (JOB, "world_size"):
            values = [record.meta.get(name) for record in (first, one.record)]
            if None not in values and values[0] != values[1]:
                raise UsageError(
                    f"{first.path} and {one.record.path} are not of one job: {name} is {values[0]} and {values[1]}. "
                    f"{ANYWAY}"
                )
    end = begin
    # Processes without a job have nothing in common but their time, so that their windows must overlap.
    are_single = all(one.record.meta.get("world_size", 1) == 1 for one in outlines)
    latest = 0.0 if are_single else _LATEST_SECONDS
    for start, one in sorted(zip(starts, outlines, strict=True), key=lambda pair: pair[0]):
        if start > end + latest:
            raise UsageError(
                f"{one.record.path} was recorded {format_seconds(start - end)} after the others had ended, so it is "
                f"not of their job. {ANYWAY}"
            )
        end = max(end, start + one.window_seconds)
