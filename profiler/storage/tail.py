"""Incremental reading of a growing table: each read parses only the rows appended since the last."""

from pathlib import Path
from typing import TYPE_CHECKING

from profiler.errors import RunDamagedError
from profiler.storage.csv_reader import parse_lines
from profiler.storage.files import MOST_LINE_BYTES, open_inside
from profiler.storage.growing import GrowingRows
from profiler.storage.schema import Table

if TYPE_CHECKING:
    import pandas as pd

CHUNK_BYTES = 8_000_000
"""Bytes that are read and parsed at once."""


class Tail:
    """One growing table.

    Args:
        directory: The run directory.
        table: The table, whose file may not exist yet.
    """

    def __init__(self, directory: Path, table: Table) -> None:
        self._path = directory / table.filename
        self._table = table
        self._header = table.header.encode()
        self._offset = 0
        self._lines = 0
        self._empty = self._parse(b"")
        self._rows = GrowingRows(self._empty)

    def rows(self) -> "pd.DataFrame":
        """Read the lines appended since the last call and return every row so far.

        Raises:
            RunDamagedError: As :meth:`new_rows` does.
        """
        self._rows.append(self.new_rows())
        return self._rows.frame

    def new_rows(self) -> "pd.DataFrame":
        """Read the lines appended since the last call and return their rows alone.

        An incomplete last line is left for the next call, and all new lines where one of them is damaged.

        Raises:
            RunDamagedError: A line contradicts the schema, or the file cannot be read or has become shorter.
        """
        import pandas as pd

        new: list[pd.DataFrame] = []
        before = self._offset, self._lines
        try:
            while lines := self._read():
                if not self._lines:
                    end = lines.index(b"\n") + 1
                    self._header = lines[:end]
                    new.append(self._parse(lines[end:]))
                else:
                    new.append(self._parse(lines))
                self._lines += lines.count(b"\n")
        except RunDamagedError:
            self._offset, self._lines = before
            raise
        return pd.concat(new, ignore_index=True) if any(map(len, new)) else self._empty

    def _parse(self, lines: bytes) -> "pd.DataFrame":
        before = max(self._lines, 1)
        return parse_lines(self._path, lines, self._table, header=self._header, before=before)

    def _read(self) -> bytes:
        try:
            with open_inside(self._path) as file:
                if file.seek(0, 2) < self._offset:
                    raise RunDamagedError(self._path, "has become shorter: something else writes to it.")
                file.seek(self._offset)
                found = file.read(CHUNK_BYTES)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise RunDamagedError(self._path, f"cannot be read: {error.strerror}.") from None
        whole = found[: found.rfind(b"\n") + 1]
        if not whole and len(found) > MOST_LINE_BYTES:
            raise RunDamagedError(self._path, f"a line is longer than {MOST_LINE_BYTES / 1e6:.0f} MB.")
        self._offset += len(whole)
        return whole
