"""Export a recorded run to the format of another tool, on stdout or in FILE."""

import argparse
from pathlib import Path

from profiler._compat import write_atomically
from profiler.cli.common import add_partial, check_output, explain_write_error, write_stdout
from profiler.cli.runs import add_run, find_run
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
    """Add the arguments."""
    add_run(parser)
    parser.add_argument("--format", metavar="FORMAT", choices=FORMATS, help=", ".join(FORMATS))
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="-", help="write to FILE; - is stdout, the default"
    )
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    add_partial(parser)


def run(options: argparse.Namespace) -> int:
    """Export the run."""
    from profiler.export import export
    from profiler.run import load_run

    if options.format is None:
        raise UsageError(f"name a format with --format: {', '.join(FORMATS)}.")
    is_file = options.output != "-"
    if not is_file and not FORMATS[options.format].is_text:
        raise UsageError(f"{options.format} is a binary format; name a file with -o.")
    if is_file:
        check_output(Path(options.output), force=options.force)
    content = export(load_run(find_run(options.run, options.root), partial=options.partial), options.format)
    if is_file:
        with explain_write_error(Path(options.output)):
            write_atomically(Path(options.output), content)
    else:
        write_stdout(content.decode())
    return 0
