"""Following a run while it is recorded, by one process or by many."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.merging.discovery import children
from profiler.merging.load import load
from profiler.storage.csv_reader import last_rows, read_table
from profiler.storage.growing import GrowingRows
from profiler.storage.reader import GROUPED, StoredRun, Tables, by_domain
from profiler.storage.run_file import read_run_file
from profiler.storage.schema import MERGED, SAMPLES, TABLES, TOTALS
from profiler.storage.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

_TAIL_BYTES = 32_768
"""Bytes at the end of the samples in which the last reading of each domain is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestPower:
    """The last power readings of a run.

    Attributes:
        watts: Power of each counted domain; domains of one name in several processes are added.
        unix_seconds: Time of the oldest of them.
    """

    watts: dict[str, float]
    unix_seconds: float


def latest_power(path: str | Path) -> LatestPower | None:
    """Read the last power of each counted domain, at a cost that does not depend on the length of the run.

    None where no process is recording or has measured a power yet.

    Raises:
        RunError: A file cannot be read.
    """
    directory = Path(path)
    watts: dict[str, float] = {}
    times: list[float] = []
    for record in children(directory) or [directory]:
        meta = read_run_file(record)
        if meta.get(TOTALS):
            continue
        counted = [str(domain["name"]) for domain in meta.get("domains", ()) if domain.get("billed")]
        found: dict[str, tuple[float, float]] = {}
        for row in last_rows(record, SAMPLES, _TAIL_BYTES):
            # A cell that is empty has no power, and a line under way may lack cells.
            with suppress(KeyError, ValueError):
                found[row["domain"]] = float(row["power_watts"]), float(row["time_seconds"])
        started = float(meta.get("started_unix_seconds", 0.0))
        for name in (name for name in counted if name in found):
            watts[name] = watts.get(name, 0.0) + found[name][0]
            times.append(started + found[name][1])
    return LatestPower(watts=watts, unix_seconds=min(times)) if watts else None


class _FollowedRun(StoredRun):
    """A running run whose samples are kept by domain only, since they take most of the memory."""

    def __init__(
        self, run: StoredRun, rows: "Mapping[str, pd.DataFrame]", samples: "Mapping[str, pd.DataFrame]"
    ) -> None:
        super().__init__(run.path, run.meta, tables=Tables(**rows))
        self.samples_by_domain = samples

    @cached_property
    def samples(self) -> "pd.DataFrame":
        """``samples.csv`` as it is at the first access."""
        return read_table(self.path, SAMPLES, partial=False)[0]


class Follower:
    """Follows one run directory.

    The records of several processes, and resumed runs, are merged again at each call of :meth:`poll`.

    Args:
        path: The directory.

    Raises:
        RunError: It is not a run directory that can be read.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        load(self._path, partial=False)
        self._restart()

    def _restart(self) -> None:
        self._tails = {table.name: Tail(self._path, table) for table in TABLES}
        self._samples: dict[str, GrowingRows] = {}

    def poll(self) -> StoredRun:
        """Return the run as it is now.

        Raises:
            RunError: A file is damaged or gone.
        """
        run = load(self._path, partial=False)
        if run.tables is not None:
            # Rank 0 writes the merged tables of a job at its end: files that are not the ones followed so far.
            self._restart()
            return run
        # All of a run that has ended is read, so that rows are checked against the totals, and of a merged one, whose
        # files are written anew.
        if run.meta.get(TOTALS) or MERGED in run.meta:
            return run
        rows = {name: tail.rows() for name, tail in self._tails.items() if name != SAMPLES.name}
        samples = self._tails[SAMPLES.name].new_rows()
        for name, own in by_domain(samples[GROUPED]).items():
            new = own.drop(columns="domain")
            self._samples.setdefault(name, GrowingRows(new.iloc[:0])).append(new)
        by_name = {name: known.frame for name, known in self._samples.items()}
        return _FollowedRun(run, {**rows, SAMPLES.name: samples.iloc[:0]}, by_name)
