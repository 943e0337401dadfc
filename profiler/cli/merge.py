"""Put what the processes of a job recorded together as one run, each device counted once.

Name the run's directory, or, where hosts have no file system in common, all the directories that were copied here.
"""

import argparse
import sys
from pathlib import Path

from profiler.errors import RunNotFoundError, UsageError

EXAMPLE = (
    "examples:\n  energy-profiler merge energy_runs/20261121-101500-a1b2c3\n"
    "  energy-profiler merge node-0/20261121-101500-a1b2c3 node-1/20261121-101500-a1b2c3 -o merged"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="run directories of one job")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        help="write the merged run here; by default into the only RUN",
    )
    parser.add_argument(
        "--partial", action="store_true", help="where a file is damaged, read what stands before the damage"
    )


def run(options: argparse.Namespace) -> int:
    """Merge and say where the run is."""
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
    merged = merge(runs, partial=options.partial)
    output.mkdir(parents=True, exist_ok=True)
    write(merged, output)
    ranks, hosts = len(merged.meta["ranks"]), len(merged.meta["merged"]["clocks"])
    told = f"{ranks} records of {hosts} host{'s' if hosts > 1 else ''}"
    print(f"{output}: {told if ranks > 1 else 'a copy of the only record; there was nothing to merge'}")
    for line in merged.meta["warnings"]:
        print(f"energy-profiler: {line}", file=sys.stderr)
    return 0
