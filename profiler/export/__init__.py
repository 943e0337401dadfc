"""Export of recorded runs to the formats of other tools.

A new format is one module with ``export(runs)``, which returns the content, or `Files` if there are more, and one row
in ``FORMATS``, over which ``tests/export/test_formats.py`` runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from profiler.errors import RunError, UsageError

if TYPE_CHECKING:
    from profiler.run import Run


class Format(NamedTuple):
    """Row of the table of formats.

    Attributes:
        module: Module that defines ``export``.
        help: One line for the help text of ``energy-profiler export``.
        is_text: Whether the output is UTF-8 text that may go to a terminal.
        takes_several: Whether several runs fit into one file.
        skips_damaged: Whether a damaged run among several is left out, with a warning.
        beside: Name of a second file, written beside that of several runs; empty if there is none.
    """

    module: str
    help: str
    is_text: bool = True
    takes_several: bool = False
    skips_damaged: bool = False
    beside: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Exported files.

    Attributes:
        content: The file asked for.
        beside: Files beside it, by name.
        damaged: The errors of runs that are in none of them.
    """

    content: bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)
    damaged: tuple[RunError, ...] = ()


FORMATS = {
    "csv": Format("profiler.export.steps_csv", "table of steps, safe to open in a spreadsheet"),
    "parquet": Format(
        "profiler.export.parquet", "steps of many runs with types, and runs.parquet beside it; needs pyarrow",
        is_text=False, takes_several=True, skips_damaged=True, beside="runs.parquet",
    ),
    "codecarbon": Format(
        "profiler.export.codecarbon", "rows of codecarbon's emissions.csv, one per run", takes_several=True
    ),
    "chrome-trace": Format("profiler.export.chrome_trace", "timeline with power, for ui.perfetto.dev"),
    "prometheus": Format(
        "profiler.export.prometheus", "metrics for node_exporter's textfile collector", takes_several=True
    ),
    "model-card": Format(
        "profiler.export.model_card", "co2_eq_emissions and a section for Hugging Face cards", takes_several=True
    ),
    "eu-model-form": Format(
        "profiler.export.eu_model_form", "computation and energy for the EU's Model Documentation Form",
        takes_several=True,
    ),
    "cyclonedx": Format("profiler.export.cyclonedx", "bill of materials in CycloneDX 1.6", takes_several=True),
    "boamps": Format("profiler.export.boamps", "report in BoAmps 0.1", takes_several=True),
    "spdx": Format("profiler.export.spdx", "AI package in SPDX 3.0.1", takes_several=True),
}  # fmt: skip


def export(runs: "Run | Sequence[Run]", name: str) -> bytes:
    """Return the content of a file in the format ``name``.

    Args:
        runs: One run, or several; forms add them up.
        name: A key of `FORMATS`.

    Raises:
        UsageError: The format is unknown, takes one run only, or requires values that the runs lack.
        MissingDependencyError: The format needs a package that is not installed.
    """
    return export_files(runs if isinstance(runs, Sequence) else [runs], name).content


def export_files(runs: "Sequence[Run]", name: str) -> Files:
    """Return the files of the format ``name``: see :func:`export`."""
    if name not in FORMATS:
        raise UsageError(f"unknown export format {name!r}; choose from {', '.join(FORMATS)}.")
    if len(runs) > 1 and not FORMATS[name].takes_several:
        raise UsageError(f"{name} takes one run; several were given.")
    made: bytes | Files = import_module(FORMATS[name].module).export(runs)
    return made if isinstance(made, Files) else Files(content=made)
