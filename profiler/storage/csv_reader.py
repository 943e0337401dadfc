"""Strict reading of one CSV file of a run directory; errors name the line that violates the schema."""

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.errors import RunDamagedError
from profiler.storage.schema import Table

if TYPE_CHECKING:
    import pandas as pd

_EXACT_BY_DEFAULT = 3
PARTIAL = "The rows before it can be read with load_run(path, partial=True) or --partial."


def read_table(directory: Path, table: Table, *, partial: bool) -> tuple["pd.DataFrame", str | None]:
    """Read a table.

    An incomplete last line, which a killed process leaves, is dropped. Extra columns, from a newer minor version, are
    kept. A missing file has no rows.

    Args:
        directory: The run directory.
        table: The table.
        partial: Read the lines before the first invalid one instead of raising.

    Returns:
        The rows, and a sentence on those that were excluded (None if there are none).

    Raises:
        RunDamagedError: A line violates the schema, unless ``partial``.
    """
    path = directory / table.filename
    text = _whole_lines(path, table)
    broken = None
    try:
        frame = _parse(text, table)
    except (ValueError, UnicodeDecodeError) as error:
        line, reason = next(_broken_lines(text, table), (1, str(error)))
        if not partial:
            raise RunDamagedError(path, reason, line=line, remedy=PARTIAL) from None
        broken = f"{path.name}, line {line}: {reason} This line and the following ones are excluded."
        frame = _parse(b"".join(text.splitlines(keepends=True)[: line - 1]) or table.header.encode(), table)
    return frame, broken


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
    try:
        return _parse(header + lines, table)
    except (ValueError, UnicodeDecodeError) as error:
        line, reason = next(_broken_lines(header + lines, table), (1, str(error)))
        raise RunDamagedError(path, reason, line=line + max(before - 1, 0) * (line > 1)) from None


def _whole_lines(path: Path, table: Table) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return table.header.encode()
    except OSError as error:
        raise RunDamagedError(path, f"cannot be read: {error.strerror}.") from None
    whole = content[: content.rfind(b"\n") + 1]
    return whole or table.header.encode()


def _parse(text: bytes, table: Table) -> "pd.DataFrame":
    import pandas as pd

    header = text[: text.index(b"\n")].decode().rstrip("\r").split(",")
    if missing := [column for column in table.columns if column not in header]:
        raise ValueError(f"the column {missing[0]} is missing.")
    numeric = {
        name: "float64" if kind == "float" else "int64" for name, kind in table.types.items() if kind != "str"
    }
    words = {name: "str" for name, kind in table.types.items() if kind == "str"}
    frame: pd.DataFrame = pd.read_csv(
        io.BytesIO(text),
        dtype=numeric | words,
        **_exact_floats(),
        keep_default_na=False,
        na_values={name: ["", "nan"] for name in numeric},
        index_col=False,
        on_bad_lines="error",
    )
    if "step" in frame and table.columns[0] == "step" and not frame["step"].is_monotonic_increasing:
        raise ValueError("steps are out of order.")
    return frame


def _exact_floats() -> dict[str, Any]:
    """Return the option for floats that round-trip; pandas 3 always does that and deprecates it."""
    import pandas as pd

    return {} if int(pd.__version__.split(".")[0]) >= _EXACT_BY_DEFAULT else {"float_precision": "round_trip"}


def _broken_lines(text: bytes, table: Table) -> Iterator[tuple[int, str]]:
    """Yield the number and the fault of each line that violates the schema; the header is line 1."""
    lines = text.decode("utf-8", errors="replace").splitlines()
    header = lines[0].split(",")
    if missing := [column for column in table.columns if column not in header]:
        yield 1, f"the column {missing[0]} is missing."
        return
    last_step = -math.inf
    for number, line in enumerate(lines[1:], start=2):
        cells = next(csv.reader([line]), [])
        if fault := _fault(cells, header, table):
            yield number, fault
        elif table.columns[0] == "step":
            step = int(cells[header.index("step")])
            if step < last_step:
                yield number, "steps are out of order."
            last_step = step


def _fault(cells: list[str], header: list[str], table: Table) -> str:
    if len(cells) != len(header):
        return f"{len(cells)} cells where the header has {len(header)}."
    for name, cell in zip(header, cells, strict=True):
        kind = table.types.get(name, "str")
        try:
            if kind == "int":
                int(cell)
            elif kind == "float" and cell:
                float(cell)
        except ValueError:
            return f"{name} is {cell!r}, which is not a number."
    return ""
