"""Write a recorded run in the format of another tool: to stdout, or to FILE."""

import argparse
import sys
from pathlib import Path

from profiler._compat import write_atomically
from profiler.cli.output import refuse_to_overwrite, saying_where
from profiler.errors import UsageError
from profiler.export import FORMATS

_LISTED = "\n".join(f"  {name:<14}{one.help}" for name, one in FORMATS.items())
EXAMPLE = f"""\
formats:
{_LISTED}

examples:
  energy-profiler export energy_runs/20261121-101500-a1b2c3 --format codecarbon -o emissions.csv
  energy-profiler export energy_runs/20261121-101500-a1b2c3 --format chrome-trace -o trace.json"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument("--format", metavar="FORMAT", choices=FORMATS, required=True, help=", ".join(FORMATS))
    parser.add_argument("-o", "--output", metavar="FILE", default="-", help="write to FILE; - is stdout")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument(
        "--partial", action="store_true", help="where a file is damaged, read what stands before the damage"
    )


def run(options: argparse.Namespace) -> int:
    """Export the run."""
    from profiler.export import export
    from profiler.run import load_run

    is_file = options.output != "-"
    if not is_file and not FORMATS[options.format].is_text:
        raise UsageError(f"{options.format} is not text; name a file with -o.")
    if is_file:
        refuse_to_overwrite(Path(options.output), force=options.force)
    content = export(load_run(options.run, partial=options.partial), options.format)
    if is_file:
        with saying_where(Path(options.output)):
            write_atomically(Path(options.output), content)
    else:
        sys.stdout.write(content.decode())
    return 0
