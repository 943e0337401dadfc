"""Compare the energy that several runs of one task used for the same levels, and project the cheapest of them."""

import argparse
import re
from collections import Counter
from typing import TYPE_CHECKING

from profiler._compat import write_atomically
from profiler.cli.common import (
    add_metric,
    add_output,
    add_partial,
    add_prices,
    check_output,
    explain_write_error,
    number,
    output_of,
    prices_of,
    write_stdout,
    written,
)
from profiler.cli.runs import add_root, find_run
from profiler.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from profiler.run import Run

EXAMPLE = """\
examples:
  energy-profiler compare energy_runs/small energy_runs/medium energy_runs/large
  energy-profiler compare before after --why
  energy-profiler compare small large --metric val_acc --target 0.9 -o compare.html
  energy-profiler compare main branch --fail-above 5% --markdown"""
_PERCENT = 100.0
_LIMIT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%?")
_OF = re.compile(r"(step|total)|level=(.+)")


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
    _add_regression(parser)


def _add_regression(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "regression test",
        "With --fail-above, compare takes BASE and NEW. The exit code is 1 if NEW uses over\n"
        "PERCENT more energy with a probability of at least 95 %, 0 if that is not shown, and\n"
        "2 for errors.",
    )
    group.add_argument(
        "--fail-above", metavar="PERCENT", help="the largest increase that is accepted, such as 5%%"
    )
    group.add_argument(
        "--of",
        metavar="ENERGY",
        default="step",
        help="step (the mean energy of a step, the default), total (of a completed run) or level=LOSS (until the loss"
        " has fallen to a level)",
    )
    group.add_argument(
        "--repeat",
        metavar="RUN",
        action="append",
        default=[],
        help="another run like BASE; may be repeated: their spread enters the probability, as --seed-spread does",
    )
    group.add_argument("--markdown", action="store_true", help="print Markdown, for a pull request")


def run(options: argparse.Namespace) -> int:
    """Print or write the comparison."""
    from profiler.reporting import render_comparison, write_comparison
    from profiler.reporting.compared_runs import processes
    from profiler.reporting.comparison import compare

    if options.fail_above is not None:
        return _regression(options)
    if options.repeat or options.markdown or options.of != "step":
        raise UsageError("--of, --repeat and --markdown belong to --fail-above.")
    levels = [number("--target", text) for text in options.target]
    output = output_of(options, "compare.html")
    with processes(len(options.runs)) as pool:
        runs = _load(options.runs, options)
        comparison = compare(
            runs,
            metric=options.metric,
            goal=options.goal,
            levels=levels,
            seed_spread=None if options.seed_spread is None else options.seed_spread / _PERCENT,
            prices=[prices_of(options, run) for run in runs],
            why=options.why,
            pool=pool,
        )
    if output is None:
        write_stdout(render_comparison(comparison, ".json" if options.json else ".txt"))
    else:
        with written(output, options):
            write_comparison(comparison, output, plotlyjs=options.plotlyjs)
    return 0


def _load(texts: list[str], options: argparse.Namespace) -> "list[Run]":
    from profiler.run import load_run

    paths = [find_run(text, options.root) for text in texts]
    places = [path.resolve() for path in paths]
    times = Counter(places)
    if repeated := [text for text, place in zip(texts, places, strict=True) if times[place] > 1]:
        raise UsageError(f"{repeated[0]} is given twice; a comparison needs different runs.")
    return [load_run(path, partial=options.partial) for path in paths]


def _regression(options: argparse.Namespace) -> int:
    """Compare NEW with BASE, and return 1 for a regression."""
    from profiler.analysis.regression import regression_of
    from profiler.reporting.model import build
    from profiler.reporting.regression import FORMATS, RegressionReport, render_regression

    if len(options.runs) != 2:  # noqa: PLR2004 - base and new
        raise UsageError(
            "--fail-above compares two runs: BASE NEW. Give further runs like BASE with --repeat."
        )
    limit, of = _LIMIT.fullmatch(options.fail_above.strip()), _OF.fullmatch(options.of)
    if options.metric or options.goal or options.target or options.why:
        raise UsageError(
            "--fail-above compares energies; --metric, --goal, --target and --why do not apply to it."
        )
    if limit is None:
        raise UsageError(f"--fail-above must be a percentage such as 5%, not {options.fail_above!r}.")
    if of is None:
        raise UsageError(f"--of must be step, total or level=LOSS, not {options.of!r}.")
    extension = ".json" if options.json else ".md" if options.markdown else ".txt"
    output: Path | None = options.output
    if output is not None:
        extension = output.suffix
        if extension not in FORMATS:
            raise UsageError(f"a regression test is written as {', '.join(FORMATS)}, not as {extension!r}.")
        check_output(output, force=options.force)
    base, new, *repeats = _load([*options.runs, *options.repeat], options)
    regression = regression_of(
        base,
        new,
        limit=float(limit[1]) / _PERCENT,
        of=of[1] or "level",
        level=number("--of level", of[2]) if of[2] else None,
        repeats=repeats,
        spread=None if options.seed_spread is None else options.seed_spread / _PERCENT,
    )
    reports = [build(run.summary(), prices=prices_of(options, run)) for run in (base, new)]
    content = render_regression(RegressionReport(regression, *reports), extension)
    if output is None:
        write_stdout(content)
    else:
        with explain_write_error(output):
            write_atomically(output, content.encode())
    return int(regression.is_regression)
