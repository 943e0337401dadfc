"""Advise which runs of a sweep deserve more energy: the chance of each to be the best at a common budget.

Live and finished runs below a directory count. The advice keeps the runs that together are the best one with a
probability of 95 %, and is tested on the recorded past.
"""

import argparse

from profiler.cli.common import joules, write_stdout
from profiler.cli.runs import add_roots, load_all

EXAMPLE = """\
examples:
  energy-profiler allocate energy_runs --budget 5MJ
  energy-profiler allocate sweep --budget 2kWh --metric val_error --json"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_roots(parser)
    parser.add_argument(
        "--budget",
        metavar="ENERGY",
        required=True,
        help="energy of each run, since its start, at which the runs are compared, such as 5MJ or 2kWh",
    )
    parser.add_argument(
        "--metric", metavar="NAME", help="the metric; by default the main one, if all runs share it"
    )
    parser.add_argument(
        "--goal",
        choices=("min", "max"),
        help="the direction in which it improves; by default known from its name",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the advice."""
    from profiler.reporting.allocation import allocation_of, render_json, render_text

    budget = joules("--budget", options.budget)
    runs = load_all(options.roots)
    known = allocation_of(runs, budget, metric=options.metric, goal=options.goal)
    write_stdout(render_json(known) if options.json else render_text(known))
    return 0
