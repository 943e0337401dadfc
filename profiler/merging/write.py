"""Writing a merged run into a directory, as a recording writes its own."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from profiler.errors import RunError
from profiler.merging.merge import Merged
from profiler.storage.schema import RUN_FILE, TABLES, MetricRow, SampleRow, SpanRow, StepRow, Table
from profiler.storage.writer import RunWriter
from profiler.units import MICROJOULES_PER_JOULE, NANOSECONDS_PER_SECOND

if TYPE_CHECKING:
    import pandas as pd

_ROWS = (StepRow, SpanRow, SampleRow, MetricRow)
_TIMES = ("start_seconds", "end_seconds", "time_seconds", "data_seconds", "forward_seconds", "backward_seconds",
          "optimizer_seconds")  # fmt: skip


def write(merged: Merged, directory: Path) -> None:
    """Write ``run.json`` and the tables, in place of those that an earlier merging left.

    They are written beside each other first and then put in place, ``run.json`` last: whoever reads meanwhile, or
    after this was killed, finds an earlier merging or none, and merges anew.

    Raises:
        RunError: The directory cannot be written.
    """
    try:
        with TemporaryDirectory(prefix=".merging-", dir=directory, ignore_cleanup_errors=True) as folder:
            _write_all(merged, Path(folder))
            for name in (*(table.filename for table in TABLES), RUN_FILE):
                (Path(folder) / name).replace(directory / name)
    except OSError as error:
        _refuse(directory)(error.strerror or str(error))


def _write_all(merged: Merged, directory: Path) -> None:
    writer = RunWriter(directory, _refuse(directory))
    try:
        writer.open(merged.meta)
        frames = (merged.tables.steps, merged.tables.spans, merged.tables.samples, merged.tables.metrics)
        for table, row, frame in zip(TABLES, _ROWS, frames, strict=True):
            _write(writer, table, row, frame)
        writer.flush()
    finally:
        writer.close()


def _refuse(directory: Path) -> Callable[[str], None]:
    def refuse(reason: str) -> None:
        raise RunError(directory, f"cannot be written: {reason}.")

    return refuse


def _write(writer: RunWriter, table: Table, row: type[Any], frame: "pd.DataFrame") -> None:
    names = [field.name for field in fields(row)]
    columns = [[_cell(name, value) for value in frame[name].tolist()] for name in names]
    for values in zip(*columns, strict=True):
        writer.append(table, row(**dict(zip(names, values, strict=True))))


def _cell(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return value
    if value is None or value != value:  # noqa: PLR0124 - not a number: not measured
        return None
    if name in _TIMES:
        return round(value * NANOSECONDS_PER_SECOND)
    if name.endswith("_joules") and name != "uncertainty_joules":
        return round(value * MICROJOULES_PER_JOULE)
    return value
