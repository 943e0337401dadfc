"""Find the model size with the lowest loss for an amount of energy, from runs of several sizes on this hardware.

The number of parameters of a run is recorded with it, or given as the setting `parameters`.
"""

import argparse

from profiler.cli.common import joules, write_stdout
from profiler.cli.runs import add_roots, load_all

EXAMPLE = """\
examples:
  energy-profiler size energy_runs --budget 50MJ
  energy-profiler size sweep --budget 1kWh --budget 10kWh --json"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_roots(parser)
    parser.add_argument(
        "--budget",
        metavar="ENERGY",
        action="append",
        required=True,
        help="energy of the training, such as 50MJ or 2kWh; may be repeated",
    )
    parser.add_argument(
        "--metric", metavar="NAME", default="loss", help="a metric that falls; by default the loss"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the best sizes."""
    from profiler.reporting.size import render_json, render_text, size_of

    budgets = [joules("--budget", text) for text in options.budget]
    known = size_of(load_all(options.roots), budgets, metric=options.metric)
    write_stdout(render_json(known) if options.json else render_text(known))
    return 0
