"""What a run cost, and what lower loss will cost. Reads the run directory alone; torch is not needed."""

import argparse
import math
import sys
from pathlib import Path

from profiler.cli.output import refuse_to_overwrite, saying_where
from profiler.errors import UsageError

EXAMPLE = """\
examples:
  energy-profiler report energy_runs/20261121-101500-a1b2c3 --target 1.2
  energy-profiler report energy_runs/20261121-101500-a1b2c3 -o report.html"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run", metavar="RUN", help="a run directory")
    output = parser.add_mutually_exclusive_group()
    output.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="write to FILE; .html, .txt or .json picks the format",
    )
    output.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--target", metavar="LOSS", action="append", default=[], help="also price this loss; may be repeated"
    )
    parser.add_argument(
        "--partial", action="store_true", help="where a file is damaged, read what stands before the damage"
    )
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument(
        "--plotlyjs",
        metavar="PLACE",
        choices=("inline", "cdn", "directory"),
        default="inline",
        help="where a page has the script of its figures: inline (in itself, the default; 5 MB), directory (in a file"
        " beside it) or cdn (at plotly's server, which each reader's browser then asks)",
    )


def run(options: argparse.Namespace) -> int:
    """Print or write the report."""
    from profiler.reporting import render, report_of, write
    from profiler.run import load_run

    targets = [_number(text) for text in options.target]
    output: Path | None = options.output
    if output is not None:
        refuse_to_overwrite(output, force=options.force)
    report = report_of(load_run(options.run, partial=options.partial), targets)
    if output is None:
        sys.stdout.write(render(report, ".json" if options.json else ".txt"))
    else:
        with saying_where(output):
            write(report, output, plotlyjs=options.plotlyjs)
    return 0


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise UsageError(f"--target must be a number, not {text!r}.")
    return value
