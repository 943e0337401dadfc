"""Compare the energy that several runs of one task used for the same levels, and project the cheapest of them."""

import argparse

from profiler.cli.common import (
    add_metric,
    add_output,
    add_partial,
    add_prices,
    check_output,
    explain_write_error,
    number,
    prices_of,
    write_stdout,
)
from profiler.cli.runs import add_root, find_run
from profiler.errors import UsageError

EXAMPLE = """\
examples:
  energy-profiler compare energy_runs/small energy_runs/medium energy_runs/large
  energy-profiler compare before after --why
  energy-profiler compare small large --metric val_acc --target 0.9 -o compare.html"""
_PERCENT = 100.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="paths, names or unique prefixes of two or more runs"
    )
    add_root(parser)
    add_output(parser, ".html, .txt or .json")
    add_metric(parser)
    parser.add_argument(
        "--target",
        metavar="LEVEL",
        action="append",
        default=[],
        help="compare the energy to this level; may be repeated; by default at three levels that two runs reached",
    )
    parser.add_argument(
        "--seed-spread",
        metavar="PERCENT",
        type=float,
        help="standard deviation of the energy to a level between runs that differ only in their seed; by default"
        " estimated from repeats, runs of one config apart from its seed",
    )
    parser.add_argument(
        "--why",
        action="store_true",
        help="split the energy of the last run over that of the first into steps, seconds, watts and the rest",
    )
    add_prices(parser)
    add_partial(parser)


def run(options: argparse.Namespace) -> int:
    """Print or write the comparison."""
    from profiler.reporting import render_comparison, write_comparison
    from profiler.reporting.comparison import compare
    from profiler.run import load_run

    levels = [number("--target", text) for text in options.target]
    output = options.output
    if output is not None:
        check_output(output, force=options.force)
    found = {text: find_run(text, options.root) for text in options.runs}
    resolved = [found[text].resolve() for text in options.runs]
    if repeated := [text for text in options.runs if resolved.count(found[text].resolve()) > 1]:
        raise UsageError(f"{repeated[0]} is given twice; a comparison needs different runs.")
    runs = [load_run(path, partial=options.partial) for path in found.values()]
    comparison = compare(
        runs,
        metric=options.metric,
        goal=options.goal,
        levels=levels,
        seed_spread=None if options.seed_spread is None else options.seed_spread / _PERCENT,
        prices=[prices_of(options, run.meta) for run in runs],
        why=options.why,
    )
    if output is None:
        write_stdout(render_comparison(comparison, ".json" if options.json else ".txt"))
    else:
        with explain_write_error(output):
            write_comparison(comparison, output, plotlyjs=options.plotlyjs)
    return 0
