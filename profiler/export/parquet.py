"""Steps of one or many runs as a Parquet table."""

import io
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from profiler.errors import MissingDependencyError, RunDamagedError
from profiler.export import Files
from profiler.export.table import steps_of
from profiler.storage.schema import STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pandas as pd

    from profiler.run import Run

RUN_KEY = "run_key"
_TYPES = {"int": "int64", "float": "float64", "str": "string"}
_ROWS_PER_GROUP = 100_000
"""Rows of small runs share a row group: engines read a few large groups faster than many small ones."""


def export(runs: "Sequence[Run]") -> Files:
    """Return the table; values that were not measured are null.

    The last column, ``run_key``, is different for every run: the name of its directory, or its path where two runs of
    different directories have the same one. A damaged run among several is left out.

    Raises:
        MissingDependencyError: pyarrow is not installed.
        RunDamagedError: The only run is damaged.
    """
    if find_spec("pyarrow") is None:
        raise MissingDependencyError(
            "pyarrow", needed_for="The format parquet", install='pip install "energy-profiler[parquet]"'
        )
    import pyarrow as pa  # type: ignore[import-untyped] # it has no types
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    out, damaged = io.BytesIO(), list[RunDamagedError]()
    schema = _schema(pa)
    with pq.ParquetWriter(out, schema) as writer:
        for frame in _groups(_frames(runs, damaged)):
            writer.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False))
    return Files(content=out.getvalue(), damaged=tuple(damaged))


def run_keys(paths: "Sequence[Path]") -> list[str]:
    """Return a different key for each run directory: its name, or its path where two have the same name."""
    places = [path.resolve() for path in paths]
    names = [place.name for place in places]
    if len(set(names)) == len(names):
        return names
    top = os.path.commonpath([place.parent for place in places])
    return [place.relative_to(top).as_posix() for place in places]


def _schema(pa: Any) -> Any:
    columns = {
        "run": "string",
        **{name: _TYPES[kind] for name, kind in STEPS.types.items()},
        RUN_KEY: "string",
    }
    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])


def _frames(runs: "Sequence[Run]", damaged: list[RunDamagedError]) -> "Iterator[pd.DataFrame]":
    for run, key in zip(runs, run_keys([run.path for run in runs]), strict=True):
        try:
            # A new object is read and dropped, so that one run at a time is in memory.
            table = steps_of(run.of(run))
        except RunDamagedError as error:
            if len(runs) == 1:
                raise
            damaged.append(error)
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
