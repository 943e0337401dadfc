"""Appending to a run directory so that the end of the process, however abrupt, costs at most the last second.

Whole lines are written, in one ``write`` per file and flush. A failing disk ends the writing, never the training.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from profiler._compat import open_for_append
from profiler.storage.schema import RUN_FILE, TABLES, Table


def write_run_file(directory: Path, meta: Mapping[str, Any]) -> None:
    """Replace a directory's ``run.json`` atomically.

    Raises:
        OSError: It cannot be written.
    """
    target = directory / RUN_FILE
    temporary = target.with_name(f".{RUN_FILE}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(meta, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        temporary.replace(target)
    except OSError:
        with suppress(OSError):  # where nothing can be written, removing may fail too
            temporary.unlink()
        raise


class RunWriter:
    """The files of one run. Used by one thread at a time.

    Attributes:
        failure: The reason why writing has ended; None while it works.
        rows_lost: By file, the number of rows that could not be written.
    """

    def __init__(self, path: Path, on_failure: Callable[[str], None]) -> None:
        self.path = path
        self.failure: str | None = None
        self.rows_lost: Counter[str] = Counter()
        self._on_failure = on_failure
        self._buffers: dict[str, list[str]] = {table.filename: [] for table in TABLES}
        self._descriptors: dict[str, int] = {}
        self._lengths: dict[str, int] = {}
        self.bytes_written = 0

    def open(self, meta: Mapping[str, Any]) -> None:
        """Create the directory with ``run.json`` and the headers. A failure is reported, not raised."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for table in TABLES:
                self._descriptors[table.filename] = open_for_append(str(self.path / table.filename))
                self._lengths[table.filename] = 0
                self._buffers[table.filename].append(table.header)
        except OSError as error:
            self._fail(error)
        self.write_meta(meta)
        self.flush()

    def append(self, table: Table, row: Any) -> None:
        """Add a row to be written with the next flush."""
        if self.failure is None:
            self._buffers[table.filename].append(table.line(row))
        else:
            self.rows_lost[table.filename] += 1

    def flush(self) -> None:
        """Write the appended rows, with one ``write`` per file."""
        for name, lines in self._buffers.items():
            if lines and (self.failure is not None or not self._write(name, "".join(lines).encode())):
                has_header = not self._lengths.get(name)
                self.rows_lost[name] += len(lines) - has_header
            lines.clear()

    def _write(self, name: str, data: bytes) -> bool:
        descriptor = self._descriptors[name]
        try:
            written = os.write(descriptor, data)
            if written != len(data):
                os.ftruncate(descriptor, self._lengths[name])
                raise OSError(28, "No space left on device", str(self.path / name))  # noqa: TRY301 - a short write is this
            self._lengths[name] += written
            self.bytes_written += written
        except OSError as error:
            self._fail(error)
            return False
        return True

    def write_meta(self, meta: Mapping[str, Any]) -> None:
        """Replace ``run.json`` atomically."""
        try:
            write_run_file(self.path, meta)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        if self.failure is None:
            self.failure = f"{error.strerror or error} ({error.filename or self.path})"
            self._on_failure(self.failure)

    def close(self) -> None:
        """Close the files. Safe to call twice."""
        while self._descriptors:
            _, descriptor = self._descriptors.popitem()
            with suppress(OSError):  # a full disk may raise again here; it has been reported
                os.close(descriptor)

    def after_fork_in_child(self) -> None:
        """Drop the files without touching them: they belong to the parent."""
        self.failure = "this process is a fork of the one that records"
        self._descriptors.clear()
