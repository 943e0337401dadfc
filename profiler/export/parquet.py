"""Steps of one or many runs as a Parquet table, with a table of the runs beside it."""

import io
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.emissions import read_prices
from profiler.errors import MissingDependencyError, RunDamagedError
from profiler.export import Files
from profiler.export.steps_csv import steps_of
from profiler.reporting.run_row import COLUMNS, group_columns, row_of
from profiler.storage.schema import STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from profiler.run import Run

RUN_KEY = "run_key"
_TYPES = {"int": "int64", "float": "float64", "str": "string"}
_CHANGING = {"directory", "age_seconds"}
_NUMBERS = {
    "joules", "joules_low", "joules_high", "kwh", "gco2e", "cost", "level", "measured_share", "window_seconds",
}  # fmt: skip
_ROWS_PER_GROUP = 100_000
"""Rows of small runs share a row group: engines read a few large groups faster than many small ones."""


def export(runs: "Sequence[Run]") -> Files:
    """Return the steps of the runs as one table. Values that were not measured are null.

    The last column, ``run_key``, identifies the run by the name of its directory, or by its path if two directories
    have the same name. For several runs, ``runs.parquet`` is returned too: one row per run, with the same key. A
    damaged run among several is excluded from both.

    Raises:
        MissingDependencyError: pyarrow is not installed.
        RunDamagedError: The only run is damaged.
    """
    if find_spec("pyarrow") is None:
        raise MissingDependencyError(
            "pyarrow", needed_for="The format parquet", install="pip install pyarrow"
        )
    import pyarrow as pa  # type: ignore[import-untyped] # it has no types
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    out, damaged = io.BytesIO(), dict[Path, RunDamagedError]()
    schema = _schema(pa)
    with pq.ParquetWriter(out, schema) as writer:
        for frame in _groups(_frames(runs, damaged)):
            writer.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False))
    beside = {}
    if len(runs) > 1:
        beside["runs.parquet"] = _runs_table(
            [(run, key) for run, key in _keyed(runs) if run.path not in damaged]
        )
    return Files(content=out.getvalue(), beside=beside, damaged=tuple(damaged.values()))


def run_keys(paths: "Sequence[Path]") -> list[str]:
    """Return a different key for each run directory: its name, or its path where two have the same name."""
    places = [path.resolve() for path in paths]
    names = [place.name for place in places]
    if len(set(names)) == len(names):
        return names
    top = os.path.commonpath([place.parent for place in places])
    return [place.relative_to(top).as_posix() for place in places]


def _keyed(runs: "Sequence[Run]") -> "list[tuple[Run, str]]":
    return list(zip(runs, run_keys([run.path for run in runs]), strict=True))


def _schema(pa: Any) -> Any:
    columns = {
        "run": "string",
        **{name: _TYPES[kind] for name, kind in STEPS.types.items()},
        RUN_KEY: "string",
    }
    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])


def _frames(runs: "Sequence[Run]", damaged: "dict[Path, RunDamagedError]") -> "Iterator[pd.DataFrame]":
    for run, key in _keyed(runs):
        try:
            # A new object is read and dropped, so that one run at a time is in memory.
            table = steps_of(run.of(run))
        except RunDamagedError as error:
            if len(runs) == 1:
                raise
            damaged[run.path] = error
            continue
        table[RUN_KEY] = key
        yield table


def _groups(frames: "Iterator[pd.DataFrame]") -> "Iterator[pd.DataFrame]":
    """Join frames to at least a row group's number of rows."""
    import pandas as pd

    held: list[pd.DataFrame] = []
    for frame in frames:
        held.append(frame)
        if sum(map(len, held)) >= _ROWS_PER_GROUP:
            yield pd.concat(held, ignore_index=True)
            held = []
    if held:
        yield pd.concat(held, ignore_index=True)


def _runs_table(runs: "Sequence[tuple[Run, str]]") -> bytes:
    """Return one row per run; the columns are those of ``energy-profiler list`` that do not change with time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [row_of(run, read_prices(run.meta)) for run, _ in runs]
    columns = {RUN_KEY: [key for _, key in runs]}
    for name in COLUMNS:
        if name not in _CHANGING:
            columns[name] = [row.columns[name] for row in rows]
    columns |= {name: [row.get(name) for row in rows] for name in group_columns(rows)}
    table = pa.table({name: _column(pa, name, values) for name, values in columns.items()})
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def _column(pa: Any, name: str, values: list[Any]) -> Any:
    """Return an Arrow array; values of several types, as a setting may have in different runs, become text."""
    if name in _NUMBERS:
        return pa.array(values, type=pa.float64())
    types = {
        int if isinstance(value, int) and not isinstance(value, bool) else type(value) for value in values
    }
    types.discard(type(None))
    if types == {int, float}:
        return pa.array([None if value is None else float(value) for value in values], type=pa.float64())
    if types <= {str} or len(types) > 1:
        return pa.array([None if value is None else _text(value) for value in values], type=pa.string())
    return pa.array(values)


def _text(value: object) -> str:
    # JSON allows lone surrogates, UTF-8 none.
    return str(value).encode(errors="replace").decode()
