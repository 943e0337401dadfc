"""A recorded run in the formats of other tools.

A new format is one file here and one row in ``FORMATS``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from profiler.errors import UsageError

if TYPE_CHECKING:
    from profiler.run import Run


class Format(NamedTuple):
    """A row of the table: where a format is written, what it is for, and whether a terminal can show it."""

    module: str
    help: str
    is_text: bool = True


FORMATS = {
    "csv": Format("profiler.export.steps_csv", "one table of steps, safe to open in a spreadsheet"),
    "parquet": Format("profiler.export.parquet", "the same table, typed; needs pyarrow", is_text=False),
    "codecarbon": Format("profiler.export.codecarbon", "the one row of codecarbon's emissions.csv"),
    "speedscope": Format(
        "profiler.export.speedscope", "flame graphs of time and of energy, for speedscope.app"
    ),
    "chrome-trace": Format("profiler.export.chrome_trace", "a timeline with power, for ui.perfetto.dev"),
}


def export(run: "Run", name: str) -> bytes:
    """Write a run in the format called ``name``.

    Raises:
        UsageError: There is no such format.
        MissingDependencyError: It needs a package that is not installed.
    """
    if name not in FORMATS:
        raise UsageError(f"no export is called {name!r}; there are: {', '.join(FORMATS)}.")
    written: bytes = import_module(FORMATS[name].module).export(run)
    return written
