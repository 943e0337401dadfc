"""Following a run while it is recorded, by one process or by many."""

from pathlib import Path

from profiler.merging.load import load
from profiler.storage.reader import StoredRun, Tables
from profiler.storage.schema import TABLES, TOTALS
from profiler.storage.tail import Tail


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
        self._tails = self._new_tails()

    def _new_tails(self) -> dict[str, Tail]:
        return {table.name: Tail(self._path, table) for table in TABLES}

    def poll(self) -> StoredRun:
        """Return the run as it is now.

        Raises:
            RunError: A file is damaged or gone.
        """
        run = load(self._path, partial=False)
        if run.tables is not None:
            # Rank 0 writes the merged tables of a job at its end: files that are not the ones followed so far.
            self._tails = self._new_tails()
            return run
        if run.meta.get(TOTALS):  # it has ended: read all of it, so that rows are checked against the totals
            return run
        rows = {name: tail.rows() for name, tail in self._tails.items()}
        return StoredRun(self._path, run.meta, tables=Tables(**rows))
