"""Writing a merged run into a directory, in the format of a recorded one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from profiler._compat import replace_file
from profiler.errors import RunError
from profiler.storage.reader import StoredRun
from profiler.storage.schema import RUN_FILE, TABLES, TOTALS, Column, Table
from profiler.storage.writer import RunWriter

if TYPE_CHECKING:
    import pandas as pd


def write(run: StoredRun, directory: Path) -> None:
    """Write ``run.json`` and the tables, in place of those of an earlier merge.

    They are written to a temporary directory first and then put in place, ``run.json`` last: a reader meanwhile, or
    after this was killed, finds the earlier merge or none, and merges again.

    Raises:
        RunError: The directory cannot be written.
    """
    try:
        with TemporaryDirectory(prefix=".merging-", dir=directory, ignore_cleanup_errors=True) as folder:
            _write_all(run, Path(folder))
            for name in (*(table.filename for table in TABLES), RUN_FILE):
                replace_file(Path(folder) / name, directory / name)
    except OSError as error:
        _refuse(directory)(error.strerror or str(error))


def _write_all(run: StoredRun, directory: Path) -> None:
    writer = RunWriter(directory, _refuse(directory))
    try:
        writer.open(_with_totals(run))
        for table in TABLES:
            _write(writer, table, getattr(run, table.name))
        writer.flush()
    finally:
        writer.close()


def _with_totals(run: StoredRun) -> Mapping[str, Any]:
    """Return the metadata with the totals of the tables, so that lists of runs need not read them.

    Without the totals of every process, the tables lack the end of at least one, and the run has no totals.
    """
    totals = run.meta.get(TOTALS)
    if not totals:
        return run.meta
    summary = run.summary()
    names = ("window_seconds", "steps", "step_joules", "span_joules", "modelled_joules")
    domains = {one.domain.name: one.joules for one in summary.metered if one.domain.billed}
    added = {**{name: getattr(summary, name) for name in names}, "domain_joules": domains}
    return {**run.meta, TOTALS: {**totals, **added}}


def _refuse(directory: Path) -> Callable[[str], None]:
    def refuse(reason: str) -> None:
        raise RunError(directory, f"cannot be written: {reason}.")

    return refuse


def _write(writer: RunWriter, table: Table, frame: "pd.DataFrame") -> None:
    columns = [[_value(column, value) for value in frame[column.name].tolist()] for column in table.schema]
    for values in zip(*columns, strict=True):
        writer.append(table, table.row(**dict(zip(table.columns, values, strict=True))))


def _value(column: Column, value: Any) -> Any:
    """Return a cell's value in the unit of rows; None for NaN, which is not measured."""
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return None
    return value if column.scale == 1 or column.type == "str" else round(value * column.scale)
