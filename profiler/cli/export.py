"""Export recorded runs to the format of another tool, on stdout or in FILE.

Forms such as model-card add up all the runs given, so that they describe a model that was trained in several.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from profiler import emissions
from profiler._compat import display_path, write_atomically, write_message
from profiler.cli.common import (
    add_partial,
    add_prices,
    check_output,
    explain_write_error,
    prices_of,
    write_stdout,
)
from profiler.cli.runs import add_root, find_run
from profiler.errors import RunError, RunNotFoundError, UsageError
from profiler.export import FORMATS

if TYPE_CHECKING:
    from profiler.run import Run

_LISTED = "\n".join(f"  {name:<15}{one.help}" for name, one in FORMATS.items())
EXAMPLE = f"""\
formats:
{_LISTED}

examples:
  energy-profiler export energy_runs/20261121-101500-a1b2c3 --format chrome-trace -o trace.json
  energy-profiler export energy_runs/* --format parquet -o all.parquet
  energy-profiler export pretrain-1 pretrain-2 --format model-card"""
_SHOWN = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        help="paths, names or unique prefixes of runs; by default the newest one",
    )
    add_root(parser)
    parser.add_argument("--format", metavar="FORMAT", choices=FORMATS, help=", ".join(FORMATS))
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="-", help="write to FILE; - is stdout, the default"
    )
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    add_prices(parser)
    add_partial(parser)


def run(options: argparse.Namespace) -> int:
    """Export the runs."""
    from profiler.export import export_files

    if options.format is None:
        raise UsageError(f"name a format with --format: {', '.join(FORMATS)}.")
    output = None if options.output == "-" else Path(options.output)
    if output is None and not FORMATS[options.format].is_text:
        raise UsageError(f"{options.format} is a binary format; name a file with -o.")
    if output is not None:
        _check_outputs(output, options)
    runs, damaged = _load(options)
    for run in runs:
        run.meta = {**run.meta, emissions.SECTION: prices_of(options, run).as_dict()}
    files = export_files(runs, options.format)
    _warn_of(damaged + list(files.damaged), len(runs) + len(damaged))
    if output is None:
        write_stdout(files.content.decode())
        return 0
    for name, content in {output.name: files.content, **files.beside}.items():
        with explain_write_error(output.with_name(name)):
            write_atomically(output.with_name(name), content)
    return 0


def _check_outputs(output: Path, options: argparse.Namespace) -> None:
    """Check the file, and the one that is written beside it."""
    beside = FORMATS[options.format].beside if len(options.runs) > 1 else ""
    if output.name == beside:
        raise UsageError(
            f"{beside} is the name of the table of runs, which is written beside; name another file."
        )
    for name in filter(None, (output.name, beside)):
        check_output(output.with_name(name), force=options.force)


def _load(options: argparse.Namespace) -> "tuple[list[Run], list[RunError]]":
    """Open the runs; damaged ones are errors, unless the format leaves them out."""
    from profiler.run import load_run

    skips = FORMATS[options.format].skips_damaged and len(options.runs) > 1
    found: list[Run] = []
    damaged: list[RunError] = []
    for text in options.runs or [None]:
        try:
            found.append(load_run(find_run(text, options.root), partial=options.partial))
        except RunNotFoundError:
            raise
        except RunError as error:
            if not skips:
                raise
            damaged.append(error)
    if not found:
        raise damaged[0]
    return found, damaged


def _warn_of(damaged: list[RunError], count: int) -> None:
    if damaged:
        shown = ", ".join(display_path(error.path) for error in damaged[:_SHOWN])
        more = f" and {len(damaged) - _SHOWN} more" if len(damaged) > _SHOWN else ""
        write_message(
            f"{len(damaged)} of {count} runs cannot be read and were left out: {shown}{more}. "
            "Use --partial for the rows before a damage."
        )
