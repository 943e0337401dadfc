"""Report what a run cost and what a lower loss would cost. Reads the run directory only; torch is not needed."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from profiler.cli.common import (
    add_metric,
    add_output,
    add_partial,
    add_prices,
    number,
    output_of,
    prices_of,
    write_stdout,
    written,
)
from profiler.cli.runs import add_run, find_run
from profiler.errors import UsageError

if TYPE_CHECKING:
    from profiler.run import Run

EXAMPLE = """\
examples:
  energy-profiler report energy_runs/20261121-101500-a1b2c3 --target 1.2
  energy-profiler report energy_runs/20261121-101500-a1b2c3 -o report.html
  energy-profiler report old-run --on minute-on-the-new-machine --target 1.2"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_run(parser)
    add_output(parser, ".html, .txt, .md, .json, or for the figure .svg, .png, .pdf")
    add_metric(parser)
    parser.add_argument(
        "--best",
        metavar="VALUE",
        help="the best possible value of that metric, for one that rises and is no share, such as a reward",
    )
    parser.add_argument(
        "--target",
        metavar="LOSS",
        action="append",
        default=[],
        help="also forecast the energy of this loss; may be repeated",
    )
    parser.add_argument(
        "--on",
        metavar="PROBE",
        help="price the targets on other hardware: PROBE is a run of a minute of the same script there",
    )
    add_prices(parser)
    add_partial(parser)


def run(options: argparse.Namespace) -> int:
    """Print or write the report."""
    from profiler.reporting import render, report_of, write
    from profiler.run import load_run

    targets = [number("--target", text) for text in options.target]
    output = output_of(options, "report.html")
    run = load_run(find_run(options.run, options.root), partial=options.partial)
    best = None if options.best is None else number("--best", options.best)
    if options.on is not None:
        return _price_elsewhere(options, run, targets)
    prices = prices_of(options, run)
    report = report_of(run, targets, metric=options.metric, goal=options.goal, best=best, prices=prices)
    if output is None:
        write_stdout(render(report, ".json" if options.json else ".txt"))
    else:
        with written(output, options):
            write(report, output, plotlyjs=options.plotlyjs)
    return 0


def _price_elsewhere(options: argparse.Namespace, run: "Run", targets: Sequence[float]) -> int:
    """Print the prices on the hardware of a probe."""
    from profiler.reporting.elsewhere import elsewhere_of, render_json, render_text
    from profiler.run import load_run

    if options.best is not None:
        raise UsageError("--on prices targets of the loss or a share; --best does not apply.")
    if options.output is not None:
        raise UsageError("--on prints text, or JSON with --json; it writes no file.")
    probe = load_run(find_run(options.on, options.root), partial=options.partial)
    if probe.path.resolve() == run.path.resolve():
        raise UsageError("the run and its probe are the same; --on needs a run on other hardware.")
    prices = prices_of(options, probe)
    known = elsewhere_of(run, probe, targets, metric=options.metric, goal=options.goal, prices=prices)
    write_stdout(render_json(known) if options.json else render_text(known))
    return 0
