"""Compare the energy that several runs of one task used for the same losses, and project the cheapest of them."""

import argparse
from pathlib import Path

from profiler.cli.common import add_partial, write_stdout
from profiler.errors import UsageError

EXAMPLE = "example:\n  energy-profiler compare energy_runs/small energy_runs/medium energy_runs/large"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run directories, two or more")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_partial(parser)


def run(options: argparse.Namespace) -> int:
    """Print the comparison."""
    from profiler.reporting.comparison import compare, render_json, render_text
    from profiler.run import load_run

    paths = [Path(path).resolve() for path in options.runs]
    if repeated := [path for path in options.runs if paths.count(Path(path).resolve()) > 1]:
        raise UsageError(f"{repeated[0]} is given twice; a comparison needs different runs.")
    comparison = compare([load_run(path, partial=options.partial) for path in options.runs])
    write_stdout(render_json(comparison) if options.json else render_text(comparison))
    return 0
