"""Export of a recorded run to the formats of other tools.

A new format is one module with ``export(run) -> bytes`` and one row in ``FORMATS``, over which
``tests/export/test_formats.py`` runs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from profiler.errors import UsageError

if TYPE_CHECKING:
    from profiler.run import Run


class Format(NamedTuple):
    """Row of the table of formats.

    Attributes:
        module: Module that defines ``export``.
        help: One line for the help text of ``energy-profiler export``.
        is_text: Whether the output is UTF-8 text that may go to a terminal.
    """

    module: str
    help: str
    is_text: bool = True


FORMATS = {
    "csv": Format("profiler.export.steps_csv", "table of steps, safe to open in a spreadsheet"),
    "parquet": Format("profiler.export.parquet", "the same table with types; needs pyarrow", is_text=False),
    "codecarbon": Format("profiler.export.codecarbon", "the row of codecarbon's emissions.csv"),
    "chrome-trace": Format("profiler.export.chrome_trace", "timeline with power, for ui.perfetto.dev"),
}


def export(run: "Run", name: str) -> bytes:
    """Return the content of a file in the format ``name``.

    Raises:
        UsageError: The format is unknown.
        MissingDependencyError: The format needs a package that is not installed.
    """
    if name not in FORMATS:
        raise UsageError(f"unknown export format {name!r}; choose from {', '.join(FORMATS)}.")
    content: bytes = import_module(FORMATS[name].module).export(run)
    return content
