"""Benchmark of listing a folder of many runs: ``python scripts/benchmark_list.py``.

Most runs are completed. Of a hundred, one is running and one was killed, so neither has totals, and a few runs in all
are damaged. Prints the seconds of each command, the interpreter's start and the import of the package included.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.runs import write_run

DAMAGED = 5
COMMANDS = {
    "list": [],
    "list --json": ["--json"],
    "list --where --sort": ["--where", "config.lr<=0.01", "--sort=-joules"],
}


def write_runs(root: Path, count: int) -> None:
    """Write ``count`` runs of 400 steps; all but their metadata is that of one."""
    template = write_run(root.parent / "template", steps=400)
    meta = json.loads((template / "run.json").read_text())
    meta["totals"] |= {
        "domain_joules": {"gpu:0": 30_600.0, "cpu:package-0": 8_160.0, "dram:package-0": 2_040.0}
    }
    for number in range(count):
        path = root / f"20260102-{number:06d}-abcdef"
        path.mkdir(parents=True)
        for name in ("steps.csv", "spans.csv", "samples.csv"):
            os.link(template / name, path / name)
        entries = {"name": f"sweep-{number % 100}", "config": {"lr": 0.1 ** (1 + number % 4), "model": "mlp"}}
        state = {"status": "running", "totals": None} if number % 100 in (1, 2) else {}
        (path / "run.json").write_text(json.dumps({**meta, **entries, **state}))
        if number < DAMAGED:
            (path / "run.json").write_text("{")


def seconds_of(arguments: list[str]) -> float:
    """Run a command and return its duration."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "profiler", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    """Write the runs and time the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "energy_runs"
        write_runs(root, options.runs)
        for name, arguments in COMMANDS.items():
            print(f"{name:22} {options.runs:6} runs  {seconds_of(['list', str(root), *arguments]):6.2f} s")


if __name__ == "__main__":
    main()
