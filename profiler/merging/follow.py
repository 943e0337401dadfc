"""Following a run while it is recorded, whether of one process or of many."""

from pathlib import Path

from profiler.merging.load import load
from profiler.storage.reader import StoredRun, Tables
from profiler.storage.schema import TABLES
from profiler.storage.tail import Tail


class Follower:
    """Follows one run directory.

    What several processes record, or goes on from an earlier run, is put together anew at each look.

    Args:
        path: The directory.

    Raises:
        RunError: It is not a run directory that can be read.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        load(self._path, partial=False)
        self._tails = self._from_the_start()

    def _from_the_start(self) -> dict[str, Tail]:
        return {table.filename.removesuffix(".csv"): Tail(self._path, table) for table in TABLES}

    def look(self) -> StoredRun:
        """The run as it stands now.

        Raises:
            RunError: A file is damaged or gone.
        """
        run = load(self._path, partial=False)
        if run.tables is not None:
            self._tails = (
                self._from_the_start()
            )  # what is written of the whole job at its end is another file
            return run
        if run.meta.get("totals"):  # it has ended: its rows can be held against what it came to
            return run
        rows = {name: tail.rows() for name, tail in self._tails.items()}
        return StoredRun(self._path, run.meta, tables=Tables(**rows))
