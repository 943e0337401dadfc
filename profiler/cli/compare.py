"""Compare the energy that several runs of one task used for the same losses, and project the cheapest of them."""

import argparse

from profiler.cli.common import add_partial, write_stdout
from profiler.cli.runs import add_root, find_run
from profiler.errors import UsageError

EXAMPLE = "example:\n  energy-profiler compare energy_runs/small energy_runs/medium energy_runs/large"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="paths, names or unique prefixes of two or more runs"
    )
    add_root(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_partial(parser)


def run(options: argparse.Namespace) -> int:
    """Print the comparison."""
    from profiler.reporting.comparison import compare, render_json, render_text
    from profiler.run import load_run

    found = {text: find_run(text, options.root) for text in options.runs}
    resolved = [found[text].resolve() for text in options.runs]
    if repeated := [text for text in options.runs if resolved.count(found[text].resolve()) > 1]:
        raise UsageError(f"{repeated[0]} is given twice; a comparison needs different runs.")
    comparison = compare([load_run(path, partial=options.partial) for path in found.values()])
    write_stdout(render_json(comparison) if options.json else render_text(comparison))
    return 0
