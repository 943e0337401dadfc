"""Strict reading of one CSV file of a run directory; errors name the line that violates the schema."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO

from profiler.errors import RunDamagedError
from profiler.storage.files import MOST_LINE_BYTES, open_inside, printable
from profiler.storage.schema import Column, Table

if TYPE_CHECKING:
    import pandas as pd

_EXACT_BY_DEFAULT = 3
_INVALID = (ValueError, OverflowError)
"""Errors of pandas for content that violates the schema; those of its parser and of decoding are ValueErrors."""
_CHUNK_BYTES = 1 << 18
_LARGE_BYTES = 10_000_000
"""Size of a file from which several threads parse it; starting them takes longer than parsing a smaller one."""
_MOST_ARROW_BYTES = 200_000_000
_MOST_WHOLE = 10**15
_MOST_SCALED = 2**63
_SHOWN = 40
PARTIAL = "The rows before it can be read with load_run(path, partial=True) or --partial."


def read_table(
    directory: Path,
    table: Table,
    *,
    partial: bool,
    columns: list[str] | None = None,
    categories: bool = False,
) -> tuple["pd.DataFrame", str | None]:
    """Read a table.

    An incomplete last line, which a killed process leaves, is dropped. Extra columns, from a newer minor version, are
    kept. A missing file has no rows.

    Args:
        directory: The run directory.
        table: The table.
        partial: Read the lines before the first invalid one instead of raising.
        columns: Read these columns only.
        categories: Read the words of the schema as categories, which take less time and memory.

    Returns:
        The rows, and a sentence on those that were excluded (None if there are none).

    Raises:
        RunDamagedError: A line violates the schema, unless ``partial``; or the file is not one that is read.
    """
    path = directory / table.filename
    try:
        with open_inside(path) as file:
            return _read(path, file, table, partial=partial, columns=columns, categories=categories)
    except FileNotFoundError:
        return _parse(io.BytesIO(), 0, table, columns), None
    except OSError as error:
        raise RunDamagedError(path, f"cannot be read: {error.strerror}.") from None


def _read(
    path: Path, file: BinaryIO, table: Table, *, partial: bool, columns: list[str] | None, categories: bool
) -> tuple["pd.DataFrame", str | None]:
    if file.seek(0, io.SEEK_END) <= _CHUNK_BYTES:
        file.seek(0)
        file = io.BytesIO(file.read())
    end = _end_of_lines(path, file)
    try:
        return _parse(file, end, table, columns, categories=categories), None
    except _INVALID as error:
        line, offset, reason = next(_faults(file, end, table), (1, 0, _sentence(error)))
    if not partial:
        raise RunDamagedError(path, reason, line=line, remedy=PARTIAL)
    frame = _parse(file, offset, table, columns, categories=categories)
    return frame, f"{path.name}, line {line}: {reason} This line and the following ones are excluded."


def last_row(directory: Path, table: Table) -> tuple[int, dict[str, str]]:
    """Return the number of rows of a table and the cells of the last one, unchecked; none of a table without rows.

    Raises:
        RunDamagedError: The file is not one that is read, or a line is too long.
    """
    path = directory / table.filename
    try:
        with open_inside(path) as file:
            end = _end_of_lines(path, file)
            count = _count_lines(file, end)
            if count < 2:  # noqa: PLR2004 - the header and a row
                return 0, {}
            file.seek(0)
            header = _text(file.readline(MOST_LINE_BYTES)).split(",")
            start = max(end - MOST_LINE_BYTES, 0)
            file.seek(start)
            line = file.read(end - start - 1)
            cells = _text(line[line.rfind(b"\n") + 1 :]).split(",")
            return count - 1, dict(zip(header, cells, strict=False))
    except FileNotFoundError:
        return 0, {}
    except (OSError, ValueError) as error:
        raise RunDamagedError(path, _sentence(error)) from None


def first_row(directory: Path, table: Table) -> dict[str, str]:
    """Return the cells of the first row of a table, unchecked; none of a table without rows.

    Raises:
        RunDamagedError: The file is not one that is read.
    """
    path = directory / table.filename
    try:
        with open_inside(path) as file:
            header, line = (file.readline(MOST_LINE_BYTES) for _ in range(2))
            if not line.endswith(b"\n"):
                return {}
            names, cells = (_text(one).rstrip("\n").split(",") for one in (header, line))
            return dict(zip(names, cells, strict=False))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunDamagedError(path, _sentence(error)) from None


def last_rows(directory: Path, table: Table, most_bytes: int) -> list[dict[str, str]]:
    """Return the cells of the last whole rows of a table, unchecked, as many as fit in ``most_bytes``.

    Raises:
        RunDamagedError: The file is not one that is read.
    """
    path = directory / table.filename
    try:
        with open_inside(path) as file:
            header = file.readline(MOST_LINE_BYTES)
            start = max(file.seek(0, 2) - most_bytes, len(header))
            file.seek(start)
            lines = file.read(most_bytes).split(b"\n")
            names = _text(header).rstrip("\n").split(",")
            # The last piece is an incomplete line, and the first one too where the reading started within a line.
            whole = lines[0 if start == len(header) else 1 : -1]
            return [dict(zip(names, _cells(_text(line)), strict=False)) for line in whole]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise RunDamagedError(path, _sentence(error)) from None


def _cells(line: str) -> list[str]:
    return next(csv.reader([line])) if '"' in line else line.split(",")


def parse_lines(path: Path, lines: bytes, table: Table, *, header: bytes, before: int) -> "pd.DataFrame":
    """Parse whole lines from the middle of a table.

    Args:
        path: The file, for the error.
        lines: Whole lines.
        table: The table.
        header: Its first line.
        before: Number of lines before these, the header included.

    Raises:
        RunDamagedError: A line violates the schema.
    """
    content = io.BytesIO(header + lines)
    try:
        return _parse(content, len(header + lines), table)
    except _INVALID as error:
        line, _, reason = next(_faults(content, len(header + lines), table), (1, 0, _sentence(error)))
        raise RunDamagedError(path, reason, line=line + max(before - 1, 0) * (line > 1)) from None


def _end_of_lines(path: Path, file: BinaryIO) -> int:
    """Return the offset after the last complete line."""
    size = file.seek(0, io.SEEK_END)
    start = max(size - MOST_LINE_BYTES, 0)
    file.seek(start)
    tail = file.read(MOST_LINE_BYTES)
    end = tail.rfind(b"\n") + 1
    if not end and start:
        raise RunDamagedError(path, f"its last line is longer than {MOST_LINE_BYTES / 1e6:.0f} MB.")
    return start + end if end else 0


def _count_lines(file: BinaryIO, end: int) -> int:
    lines = _BoundedLines(file, end)
    while lines.read(_CHUNK_BYTES):
        pass
    return lines.count


class _BoundedLines(io.RawIOBase):
    """The beginning of a file; reading raises ValueError within a line that is too long.

    Attributes:
        count: Number of line ends read.
    """

    def __init__(self, file: BinaryIO, end: int) -> None:
        file.seek(0)
        self._file = file
        self._lock = Lock()
        self._left = end
        self._unbroken = 0
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        chunk = self.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def read(self, size: int = -1, /) -> bytes:
        """Read bytes, all that are left by default."""
        with self._lock:
            chunk = self._file.read(self._left if size < 0 else min(size, self._left))
            self._left -= len(chunk)
        first = chunk.find(b"\n")
        self._unbroken += len(chunk) if first < 0 else first
        if self._unbroken > MOST_LINE_BYTES:
            raise ValueError(f"a line is longer than {MOST_LINE_BYTES / 1e6:.0f} MB.")
        if first >= 0:
            self._unbroken = len(chunk) - chunk.rfind(b"\n") - 1
            self.count += _count(chunk, "\n")
        return chunk

    def end(self) -> None:
        """Let no other thread, such as one of pyarrow that reads ahead, move the position of the file from now on."""
        with self._lock:
            self._left = 0


class _CountedCells(_BoundedLines):
    """Lines that are read once, whose cells are counted.

    Attributes:
        commas: Number of commas read.
        are_quoted: True if there are quotation marks, so that not every comma separates cells.
    """

    def __init__(self, file: BinaryIO, end: int) -> None:
        super().__init__(file, end)
        self.commas = 0
        self.are_quoted = False

    def read(self, size: int = -1, /) -> bytes:
        chunk = super().read(size)
        self.commas += _count(chunk, ",")
        self.are_quoted = self.are_quoted or b'"' in chunk
        return chunk


def _count(chunk: bytes, character: str) -> int:
    """Count a character, in a fraction of the time of `bytes.count` where there are many."""
    import numpy as np

    return int(np.count_nonzero(np.frombuffer(chunk, dtype=np.uint8) == ord(character)))


def _parse(
    file: BinaryIO, end: int, table: Table, columns: list[str] | None = None, *, categories: bool = False
) -> "pd.DataFrame":
    """Parse the lines before an offset, the first of which is the header; without lines there are no rows."""
    if not end:
        file, end = io.BytesIO(table.header.encode()), len(table.header)
    file.seek(0)
    first = file.readline(MOST_LINE_BYTES)
    if first == table.header.encode() and len(first) == end:
        empty = _empty(table)
        return (empty[columns] if columns else empty).copy()
    header = first.decode().rstrip("\r\n").split(",")
    if missing := [name for name in table.columns if name not in header and name not in table.absent]:
        raise ValueError(f"the column {missing[0]} is missing.")
    present = columns and [name for name in columns if name in header]
    frame = _parse_with_arrow(file, end, table, present, categories=categories)
    if frame is None:
        frame = _parse_with_pandas(file, end, table, present, first.decode(), categories=categories)
    for name, value in table.absent.items():
        if name not in header and (not columns or name in columns):
            frame[name] = value
    for column in table.schema:
        if column.type != "str" and column.name in frame:
            _check(frame, column)
    if "step" in frame and table.columns[0] == "step" and not frame["step"].is_monotonic_increasing:
        raise ValueError("steps are out of order.")
    return frame


def _parse_with_pandas(
    file: BinaryIO, end: int, table: Table, columns: list[str] | None, header: str, *, categories: bool
) -> "pd.DataFrame":
    import pandas as pd

    types = dict.fromkeys(table.where(type="int"), "int64")
    types |= dict.fromkeys(table.where(type="float"), "float64")
    numeric = tuple(types)
    types |= dict.fromkeys(table.where(type="str"), "category" if categories else "str")
    lines = _CountedCells(file, end)
    frame: pd.DataFrame = pd.read_csv(
        io.BufferedReader(lines, _CHUNK_BYTES),
        usecols=columns,
        dtype=types,
        **_exact_floats(),
        keep_default_na=False,
        na_values={name: ["", "nan"] for name in numeric},
        index_col=False,
        skip_blank_lines=False,
        on_bad_lines="error",
    )
    if len(frame) != lines.count - 1:  # a quotation mark or a carriage return has joined or split lines
        raise ValueError("its lines are not rows.")
    # pandas fills up short lines, and ignores further cells where it reads some columns only.
    if not lines.are_quoted and lines.commas != lines.count * header.count(","):
        raise ValueError("its lines have different numbers of cells.")
    if lines.are_quoted and columns:
        return _parse_with_pandas(file, end, table, None, header, categories=categories)[columns]
    return frame


def _parse_with_arrow(
    file: BinaryIO, end: int, table: Table, columns: list[str] | None, *, categories: bool
) -> "pd.DataFrame | None":
    """Parse in half the time, where pyarrow is installed; None if it refuses the content."""
    if end > _MOST_ARROW_BYTES or find_spec("pyarrow") is None:
        return None
    import pyarrow as pa  # type: ignore[import-untyped] # it has no types
    from pyarrow import csv as arrow

    is_large = end > _LARGE_BYTES
    lines = _BoundedLines(file, end)
    # The whole text of a large file takes longer to allocate than to parse.
    source = lines if is_large else pa.BufferReader(lines.read(end))
    word = pa.dictionary(pa.int32(), pa.string()) if categories else pa.string()
    kinds = {"int": pa.int64(), "float": pa.float64(), "str": word}
    # Arrow's own pool returns memory to the system so often that a large table takes twice as long.
    pool = pa.system_memory_pool()
    try:
        rows = arrow.read_csv(
            source,
            read_options=arrow.ReadOptions(use_threads=is_large),
            parse_options=arrow.ParseOptions(ignore_empty_lines=False),
            convert_options=arrow.ConvertOptions(
                column_types={name: kinds[kind] for name, kind in table.types.items()},
                null_values=["", "nan"],
                include_columns=columns,
            ),
            memory_pool=pool,
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError):
        return None
    finally:
        lines.end()
    whole_numbers = set(table.where(type="int")).intersection(rows.column_names)
    is_whole = all(rows.column(name).null_count == 0 for name in whole_numbers)
    if not is_whole or rows.num_rows != lines.count - 1:
        return None
    # A large table is held only once: each column is dropped when it is converted.
    frame: pd.DataFrame = rows.to_pandas(
        use_threads=is_large, split_blocks=is_large, self_destruct=is_large, memory_pool=pool
    )
    return frame


@cache
def _empty(table: Table) -> "pd.DataFrame":
    import pandas as pd

    kinds = {"int": "int64", "float": "float64", "str": "str"}
    return pd.DataFrame({column.name: pd.Series(dtype=kinds[column.type]) for column in table.schema})


def _check(frame: "pd.DataFrame", column: Column) -> None:
    """Check the range of a column's values; those that cannot be, and hold nothing up, become unknown."""
    import numpy as np

    values = frame[column.name].to_numpy()
    if column.type == "int":
        if len(values) and not -_MOST_WHOLE <= values.min() <= values.max() <= _MOST_WHOLE:
            raise ValueError(f"{column.name} is out of range.")
        return
    if column.scale > 1 and not column.nullable and np.isnan(values).any():
        raise ValueError(f"{column.name} is empty.")
    # Extremes, without missing values, need no array of flags per column.
    largest = max(-np.fmin.reduce(values), np.fmax.reduce(values)) if len(values) else 0.0
    if column.scale > 1 and largest >= _MOST_SCALED / column.scale:
        raise ValueError(f"{column.name} is out of range.")
    if column.scale == 1 and column.unit and np.isinf(largest):
        frame[column.name] = np.where(np.isinf(values), np.nan, values)


def _exact_floats() -> dict[str, Any]:
    """Return the option for floats that round-trip; pandas 3 always does that and deprecates it."""
    import pandas as pd

    return {} if int(pd.__version__.split(".")[0]) >= _EXACT_BY_DEFAULT else {"float_precision": "round_trip"}


def _faults(file: BinaryIO, end: int, table: Table) -> Iterator[tuple[int, int, str]]:
    """Yield number, offset and fault of each line that violates the schema; the header is line 1."""
    lines = io.BufferedReader(_BoundedLines(file, end), _CHUNK_BYTES)
    header: list[str] = []
    offset, last_step, number = 0, -math.inf, 0
    columns: list[Column | None] = []
    try:
        for number, line in enumerate(lines, start=1):
            if number == 1:
                header = _text(line).split(",")
                if missing := [
                    name for name in table.columns if name not in header and name not in table.absent
                ]:
                    yield 1, 0, f"the column {missing[0]} is missing."
                    return
                known = {column.name: column for column in table.schema}
                columns = [known.get(name) for name in header]
            elif fault := _line_fault(line, columns):
                yield number, offset, fault
            elif table.columns[0] == "step":
                step = int(_text(line).split(",")[header.index("step")])
                if step < last_step:
                    yield number, offset, "steps are out of order."
                last_step = step
            offset += len(line)
    except ValueError as error:
        yield number + 1, offset, _sentence(error)


def _line_fault(line: bytes, columns: Sequence[Column | None]) -> str:
    text = _text(line)
    if text.count('"') % 2 or "\r" in text:
        return "a quotation mark or a line end is missing."
    cells = next(csv.reader([text]), [])
    if len(cells) != len(columns):
        return f"{len(cells)} cells where the header has {len(columns)}."
    faults = (_cell_fault(cell, column) for cell, column in zip(cells, columns, strict=True) if column)
    return next(filter(None, faults), "")


def _cell_fault(cell: str, column: Column) -> str:
    if column.type == "str":
        return ""
    shown = f"{column.name} is {printable(repr(cell[:_SHOWN]))}, which is"
    if not cell:
        return "" if column.nullable or not column.unit else f"{column.name} is empty."
    try:
        value = int(cell) if column.type == "int" else float(cell)
    except ValueError:
        return f"{shown} not a number."
    limit = _MOST_WHOLE if column.type == "int" else _MOST_SCALED / column.scale
    if "_" in cell or not cell.isascii():
        return f"{shown} not a number."
    if (column.type == "int" or column.scale > 1) and abs(value) > limit:
        return f"{shown} out of range."
    return f"{shown} not a number." if column.scale > 1 and math.isnan(value) and not column.nullable else ""


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").rstrip("\n").removesuffix("\r")


def _sentence(error: Exception) -> str:
    return printable(str(error)[:200]).rstrip(".") + "."
