"""What several runs of one task paid for the same losses, which is the cheapest way to each, and where that leads."""

import argparse
import sys
from pathlib import Path

from profiler.errors import UsageError

EXAMPLE = "example:\n  energy-profiler compare energy_runs/small energy_runs/medium energy_runs/large"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run directories, two or more")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--partial", action="store_true", help="where a file is damaged, read what stands before the damage"
    )


def run(options: argparse.Namespace) -> int:
    """Print the comparison."""
    from profiler.reporting.comparison import compare, render_json, render_text
    from profiler.run import load_run

    paths = [Path(path).resolve() for path in options.runs]
    if repeated := [path for path in options.runs if paths.count(Path(path).resolve()) > 1]:
        raise UsageError(f"{repeated[0]} is named twice; a comparison needs different runs.")
    comparison = compare([load_run(path, partial=options.partial) for path in options.runs])
    sys.stdout.write(render_json(comparison) if options.json else render_text(comparison))
    return 0
