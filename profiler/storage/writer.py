"""Appending to a run directory, so that an abrupt end of the process loses at most the last second.

Whole lines are written, with one ``write`` per file and flush. A failing disk ends the writing, and a slow one delays
it, never the training.
"""

import json
import os
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from profiler._compat import open_for_append, replace_file
from profiler.records import Status
from profiler.storage.schema import METRICS, RUN_FILE, SAMPLES, SPANS, STEPS, TABLES, Columns, Table

START_SECONDS = 0.5
"""Longest wait for the disk at the start of a recording."""
EXIT_SECONDS = 10.0
"""Longest wait for the disk at its end."""
_CAPACITY = 200_000
"""Rows that wait for a slow disk, about 30 MB; later ones are lost."""

_RESERVED_BYTES = 16_384
"""Minimum size of ``run.json`` during the recording."""

_ORDER = (SAMPLES.filename, METRICS.filename, SPANS.filename, STEPS.filename)
"""Order of the files in each flush: the samples of every row are written before it, should the process be killed."""

Batch = Mapping[str, list[str]]


def write_run_file(directory: Path, meta: Mapping[str, Any]) -> None:
    """Replace a directory's ``run.json`` atomically.

    Raises:
        OSError: It cannot be written.
    """
    _replace_run_file(directory, _encode(meta))


def _encode(meta: Mapping[str, Any]) -> bytes:
    content = (json.dumps(meta, indent=1, allow_nan=False) + "\n").encode()
    # During the recording, blanks reserve the blocks that its totals need if the disk is full at the end.
    return content.ljust(_RESERVED_BYTES) if meta.get("status") == Status.RUNNING else content


def _replace_run_file(directory: Path, content: bytes) -> None:
    target = directory / RUN_FILE
    bare = content.rstrip() + b"\n"
    try:
        _write_and_rename(target, content)
    except OSError:
        if _overwrite(target, bare):
            return
        _write_and_rename(target, bare)


def _write_and_rename(target: Path, content: bytes) -> None:
    temporary = target.with_name(f".{RUN_FILE}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        replace_file(temporary, target)
    except OSError:
        with suppress(OSError):  # if nothing can be written, removing may fail too
            temporary.unlink()
        raise


def _overwrite(target: Path, content: bytes) -> bool:
    """Write a file in place if its blocks can hold the content, as on a full disk without room for a second file."""
    try:
        with target.open("r+b", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, len(content))  # raises before anything has changed
            file.write(content)
            file.truncate(len(content))
    except (OSError, AttributeError):  # macOS and Windows have no posix_fallocate
        return False
    return True


class _TableFile:
    """One CSV file, opened again if the program closes its descriptor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.length = 0
        self._file = open_for_append(str(path))

    def append(self, data: bytes) -> bool:
        """Write whole lines; return whether the file had to be opened again.

        Raises:
            OSError: They cannot be written completely; the file ends with the last complete line.
        """
        reopened = self._file.get() is None
        if reopened:
            self._reopen()
        descriptor = self._file.get()
        if descriptor is None:
            raise OSError(9, "its descriptor was closed by the program", str(self.path))
        written = 0
        try:
            while written < len(data):  # the second write after a partial one raises the reason
                count = os.write(descriptor, data[written:])
                if not count:  # no POSIX file system does this, but a loop would never end
                    raise OSError(5, "the file system accepts no data", str(self.path))  # noqa: TRY301 - handled below
                written += count
        except OSError:
            if written:
                os.ftruncate(descriptor, self.length)
            raise
        self.length += written
        return reopened

    def _reopen(self) -> None:
        again = open_for_append(str(self.path))
        if again.file_identity != self._file.file_identity:
            again.close()
            raise OSError(2, "the file was replaced", str(self.path))
        self._file = again

    def close(self) -> None:
        self._file.close()

    def release(self) -> None:
        self._file.release()


class RunWriter:
    """The files of one run. Used by one thread at a time.

    Attributes:
        path: The run directory.
        failure: Reason why writing has ended; None while it works.
        meta_failure: Reason why the last ``run.json`` could not be written; None if it was.
        rows_lost: By file, the number of rows that could not be written.
        bytes_written: Size of the tables.
        was_closed: Whether the program has closed a descriptor of the writer.
    """

    def __init__(self, path: Path, on_failure: Callable[[str], None]) -> None:
        self.path = path
        self.failure: str | None = None
        self.meta_failure: str | None = None
        self.rows_lost: Counter[str] = Counter()
        self.bytes_written = 0
        self.was_closed = False
        self._on_failure = on_failure
        self._lines: dict[str, list[str]] = {table.filename: [] for table in TABLES}
        self._files: dict[str, _TableFile] = {}

    def open(self, meta: Mapping[str, Any]) -> None:
        """Create the directory with ``run.json`` and the headers. A failure is reported, not raised."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for table in TABLES:
                self._files[table.filename] = _TableFile(self.path / table.filename)
        except FileExistsError:  # by mkdir: its "File exists" does not show what is wrong
            self._fail(NotADirectoryError(20, "Not a directory", str(self.path)))
        except OSError as error:
            self._fail(error)
        self.write_meta(meta)
        for table in TABLES:
            self._write(table.filename, table.header)

    def append(self, table: Table, row: Any) -> None:
        """Add a row to be written with the next flush."""
        self._lines[table.filename].append(table.line(row))

    def append_columns(self, table: Table, columns: Columns) -> None:
        """Add rows, given as columns, to be written with the next flush."""
        self._lines[table.filename] += table.lines(columns)

    def when_written(self, action: Callable[[], None]) -> None:
        """Call ``action`` now: rows are written with each flush."""
        action()

    def flush(self) -> None:
        """Write the appended rows, with one ``write`` per file."""
        lines, self._lines = self._lines, {table.filename: [] for table in TABLES}
        self.write_batch(lines)

    def write_batch(self, batch: Batch) -> None:
        """Write lines by file, with one ``write`` per file."""
        for name in _ORDER:
            lines = batch.get(name)
            if lines and not self._write(name, "".join(lines)):
                self.rows_lost[name] += len(lines)

    def _write(self, name: str, text: str) -> bool:
        if self.failure is not None:
            return False
        file, data = self._files[name], text.encode()
        try:
            self.was_closed |= file.append(data)
        except OSError as error:
            error.filename = error.filename or str(file.path)
            self._fail(error)
            return False
        self.bytes_written += len(data)
        return True

    def write_meta(self, meta: Mapping[str, Any]) -> None:
        """Replace ``run.json`` atomically.

        Raises:
            ValueError: ``meta`` holds a number that JSON lacks.
        """
        self.write_meta_content(_encode(meta))

    def write_meta_content(self, content: bytes) -> None:
        """Replace ``run.json`` atomically. A failure is reported, not raised."""
        try:
            _replace_run_file(self.path, content)
            self.meta_failure = None
        except OSError as error:
            self.meta_failure = error.strerror or str(error)
            error.filename = error.filename or str(self.path / RUN_FILE)
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        if self.failure is None:
            self.failure = f"{error.strerror or error} ({error.filename or self.path})"
            self._on_failure(self.failure)

    def close(self) -> None:
        """Close the files. Safe to call twice."""
        while self._files:
            _, file = self._files.popitem()
            file.close()

    def after_fork_in_child(self) -> None:
        """Drop the files without touching them: they belong to the parent."""
        self.failure = "this process is a fork of the one that records"
        for file in self._files.values():
            file.release()
        self._files.clear()


class BackgroundWriter:
    """Writer whose disk operations run on a thread of its own, so that a slow disk delays neither steps nor readings.

    All methods are for one thread at a time. If no thread can start, they write at once.

    Args:
        path: The run directory.
        on_failure: Called once, on any thread, with the reason why writing has ended.

    Attributes:
        is_late: Whether the disk did not respond within :data:`START_SECONDS` at the start.
        is_unfinished: Whether the disk had not accepted everything when :meth:`close` returned.
        rows_late: Rows that it had not accepted.
    """

    def __init__(self, path: Path, on_failure: Callable[[str], None]) -> None:
        self.path = path
        self.is_late = self.is_unfinished = False
        self.rows_late = 0
        self._writer = RunWriter(path, on_failure)
        self._lines: dict[str, list[str]] = {table.filename: [] for table in TABLES}
        self._rows_dropped: Counter[str] = Counter()
        self._batches: deque[Batch] = deque()
        self._rows_passed = self._rows_done = 0
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._deadline: float | None = None
        self._is_fork = False
        self._thread: threading.Thread | None = threading.Thread(
            target=self._run, name="energy-profiler-writer", daemon=True
        )

    @property
    def failure(self) -> str | None:
        """Reason why writing has ended; None while it works."""
        return self._writer.failure

    @property
    def meta_failure(self) -> str | None:
        """Reason why the last ``run.json`` could not be written; None if it was."""
        return self._writer.meta_failure

    @property
    def was_closed(self) -> bool:
        """True if the program has closed a descriptor of the writer."""
        return self._writer.was_closed

    @property
    def bytes_written(self) -> int:
        """Size of the tables."""
        return self._writer.bytes_written

    @property
    def rows_lost(self) -> Counter[str]:
        """By file, the number of rows that could not be written."""
        return self._writer.rows_lost + self._rows_dropped

    def open(self, meta: Mapping[str, Any]) -> None:
        """Create the run directory; wait for it up to :data:`START_SECONDS`."""
        try:
            if self._thread is not None:
                self._thread.start()
        except RuntimeError:  # some Pythons start no thread while the interpreter ends
            self._thread = None
        self._submit(lambda: self._writer.open(meta))
        self.is_late = not self.sync(START_SECONDS)

    def append(self, table: Table, row: Any) -> None:
        """Add a row to be written with the next flush."""
        self._lines[table.filename].append(table.line(row))

    def append_columns(self, table: Table, columns: Columns) -> None:
        """Add rows, given as columns, to be written with the next flush."""
        self._lines[table.filename] += table.lines(columns)

    def flush(self) -> None:
        """Pass the appended rows to the thread; rows beyond its capacity are lost."""
        batch = {name: lines for name, lines in self._lines.items() if lines}
        count = sum(map(len, batch.values()))
        if not count or self._is_fork:
            return
        self._lines = {table.filename: [] for table in TABLES}
        if self._rows_passed - self._rows_done + count > _CAPACITY:
            self._rows_dropped.update({name: len(lines) for name, lines in batch.items()})
            return
        self._rows_passed += count
        self._batches.append(batch)
        self._submit(self._write)

    def when_written(self, action: Callable[[], None]) -> None:
        """Call ``action`` on the thread as soon as everything passed so far is written."""
        self._submit(action)

    def _write(self) -> None:
        """Write every batch that waits, with one ``write`` per file: a slow disk takes its time per call."""
        joined: dict[str, list[str]] = {}
        while self._batches:
            for name, lines in self._batches.popleft().items():
                joined.setdefault(name, []).extend(lines)
        self._writer.write_batch(joined)
        self._rows_done += sum(map(len, joined.values()))

    def write_meta(self, meta: Mapping[str, Any]) -> None:
        """Replace ``run.json`` atomically.

        Raises:
            ValueError: ``meta`` holds a number that JSON lacks.
        """
        content = _encode(meta)
        self._submit(lambda: self._writer.write_meta_content(content))

    def sync(self, seconds: float | None = None) -> bool:
        """Wait until everything is written; return False after ``seconds``.

        Without ``seconds``, all calls together wait up to :data:`EXIT_SECONDS`.

        Raises:
            Exception: The thread failed with it.
        """
        done = threading.Event()
        self._submit(done.set)
        is_done = self._thread is None or done.wait(self._remaining() if seconds is None else seconds)
        error, self._error = self._error, None
        if error is not None:
            raise error
        return is_done

    def _remaining(self) -> float:
        now = time.monotonic()
        self._deadline = self._deadline or now + EXIT_SECONDS
        return max(self._deadline - now, 0.0)

    def close(self) -> None:
        """Write the rest and close the files; wait up to :data:`EXIT_SECONDS`. Safe to call twice."""
        self.flush()
        self._submit(self._writer.close)
        try:
            self.sync()
        finally:
            self._tasks.put(None)
            if self._thread is not None and self._thread.ident is not None:
                self._thread.join(self._remaining())
                self.is_unfinished = self._thread.is_alive()
                if not self.is_unfinished:
                    self._thread = None
            self.rows_late = self._rows_passed - self._rows_done

    def after_fork_in_child(self) -> None:
        """Drop the files without touching them: they belong to the parent."""
        self._is_fork, self._thread = True, None
        self._writer.after_fork_in_child()

    def _submit(self, task: Callable[[], None]) -> None:
        if self._is_fork:
            return
        if self._thread is None or self._thread.ident is None:
            task()
        else:
            self._tasks.put(task)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except Exception as error:  # noqa: BLE001 - raised by sync() on the thread of the recording
                self._error = error
