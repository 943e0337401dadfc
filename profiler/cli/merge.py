"""Merge the records of the processes of one job into one run, in which each device is counted once.

Name the directory of the run or, if the hosts share no file system, all the directories that were copied here.
"""

import argparse
from pathlib import Path

from profiler._compat import write_message
from profiler.cli.common import add_partial, write_stdout
from profiler.errors import RunNotFoundError, UsageError

EXAMPLE = (
    "examples:\n  energy-profiler merge energy_runs/20261121-101500-a1b2c3\n"
    "  energy-profiler merge node-0/20261121-101500-a1b2c3 node-1/20261121-101500-a1b2c3 -o merged"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="run directories of one job")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        help="directory of the merged run; by default the only RUN",
    )
    add_partial(parser)
    parser.add_argument("--force", action="store_true", help="merge records that are not of one job, too")


def run(options: argparse.Namespace) -> int:
    """Merge, and print the directory of the run."""
    from profiler.merging.discovery import children
    from profiler.merging.merge import merge
    from profiler.merging.write import write
    from profiler.storage.schema import RUN_FILE

    runs: list[Path] = options.runs
    for path in runs:
        if not path.exists():
            raise RunNotFoundError(path, "there is no such directory.")
    output: Path | None = options.output or (runs[0] if len(runs) == 1 and children(runs[0]) else None)
    if output is None:
        raise UsageError("name the merged run's directory with -o DIR.")
    if output not in runs and (output / RUN_FILE).exists():
        raise UsageError(f"{output} holds a run; name another directory.")
    merged = merge(runs, partial=options.partial, force=options.force)
    output.mkdir(parents=True, exist_ok=True)
    write(merged, output)
    ranks, hosts = len(merged.meta["ranks"]), len(merged.meta["merged"]["clocks"])
    summary = f"{ranks} records of {hosts} host{'s' if hosts > 1 else ''}"
    write_stdout(f"{output}: {summary if ranks > 1 else 'a copy of the only record; nothing to merge'}\n")
    for line in merged.meta["warnings"]:
        write_message(line)
    return 0
