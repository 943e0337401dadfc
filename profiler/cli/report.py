"""Report what a run cost and what a lower loss would cost. Reads the run directory only; torch is not needed."""

import argparse
import math
from pathlib import Path

from profiler.cli.common import (
    add_metric,
    add_partial,
    add_prices,
    check_output,
    explain_write_error,
    prices_of,
    write_stdout,
)
from profiler.cli.runs import add_run, find_run
from profiler.errors import UsageError

EXAMPLE = """\
examples:
  energy-profiler report energy_runs/20261121-101500-a1b2c3 --target 1.2
  energy-profiler report energy_runs/20261121-101500-a1b2c3 -o report.html"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_run(parser)
    output = parser.add_mutually_exclusive_group()
    output.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="write to FILE; its extension selects the format: .html, .txt or .json",
    )
    output.add_argument("--json", action="store_true", help="print JSON")
    add_metric(parser)
    parser.add_argument(
        "--target",
        metavar="LOSS",
        action="append",
        default=[],
        help="also forecast the energy of this loss; may be repeated",
    )
    add_prices(parser)
    add_partial(parser)
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument(
        "--plotlyjs",
        metavar="PLACE",
        choices=("inline", "cdn", "directory"),
        default="inline",
        help="source of the script that draws the figures of a page: inline (in the page, 5 MB, the default), directory"
        " (a file beside the page) or cdn (loaded from plotly's server by each reader's browser)",
    )


def run(options: argparse.Namespace) -> int:
    """Print or write the report."""
    from profiler.reporting import render, report_of, write
    from profiler.run import load_run

    targets = [_number(text) for text in options.target]
    output: Path | None = options.output
    if output is not None:
        check_output(output, force=options.force)
    run = load_run(find_run(options.run, options.root), partial=options.partial)
    prices = prices_of(options, run.meta)
    report = report_of(run, targets, metric=options.metric, goal=options.goal, prices=prices)
    if output is None:
        write_stdout(render(report, ".json" if options.json else ".txt"))
    else:
        with explain_write_error(output):
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
