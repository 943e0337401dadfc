"""Benchmark of the commands that read runs: page, comparison, list, merge, live page and export.

Each command runs in a process of its own, imports included. Its seconds, its processor time and its peak memory are
printed beside the bar. ``--write`` makes the whole of docs/readers.md from this run; ``--output FILE`` writes the page
elsewhere. Takes about three minutes and 5 GB of disk; ``--scale 0.01`` tries it with a hundredth of the runs, ranks and
rows.
"""

import argparse
import os
import platform
import runpy
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from tests.support.runs import write_run

ROOT = Path(__file__).resolve().parent.parent
_LIST = runpy.run_path(str(ROOT / "scripts" / "benchmark_list.py"))
_WRITE = """
import sys
from pathlib import Path
from tests.support.runs import write_run
write_run(Path(sys.argv[1]), steps=int(sys.argv[2]))
"""
_WRITE_JOB = """
import runpy, sys
from pathlib import Path
script, job, ranks, steps = sys.argv[1:]
runpy.run_path(script)["write_job"](Path(job), ranks=int(ranks), steps=int(steps))
"""
_POLL = """
import sys
from pathlib import Path
from profiler.cli.watch_folder import Folder
Folder(Path(sys.argv[1]), every=1.0).get()
"""


class Cost(NamedTuple):
    """Cost of a process: seconds, seconds of processor time, and peak memory in MiB."""

    seconds: float
    processor_seconds: float
    peak_mib: float


class Bar(NamedTuple):
    """Most seconds of a command, or of its processor time."""

    seconds: float
    is_processor_time: bool = False

    def __str__(self) -> str:
        return f"{self.seconds:g} s{' of processor time' if self.is_processor_time else ''}"

    def is_met_by(self, cost: Cost) -> bool:
        """Return true if a command took at most this long."""
        return (cost.processor_seconds if self.is_processor_time else cost.seconds) <= self.seconds


class Row(NamedTuple):
    """One line of the table; some commands have no bar."""

    name: str
    cost: Cost
    bar: Bar | None = None


def cost_of(*arguments: str) -> Cost:
    """Run Python with some arguments and return the cost of the process.

    Raises:
        RuntimeError: It failed.
    """
    # An installation has its modules compiled. Where they are not written, each process would compile them again.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, cwd=ROOT, env=environment
    )
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{arguments} failed with exit code {child.returncode}.")
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def command(*arguments: object) -> Cost:
    """Run a command of the profiler."""
    return cost_of("-m", "profiler", *map(str, arguments))


def copies(root: Path, count: int, *, steps: int) -> list[Path]:
    """Write runs of which all but the metadata is that of one."""
    template = write_run(root / "run-00000", steps=steps)
    paths = [template]
    for number in range(1, count):
        paths.append(template.with_name(f"run-{number:05d}"))
        paths[-1].mkdir()
        for file in template.iterdir():
            os.link(file, paths[-1] / file.name)
    return paths


def reports(folder: Path, scale: float) -> Iterator[Row]:
    """Measure the reports of one run."""
    rows = round(1_000_000 * scale)
    short = write_run(folder / "short", steps=3_000)
    command("report", short, "-o", folder / "short.html")  # compiles the modules, as an installation does
    text_report = command("report", short)
    # The peak memory of a process starts from that of its parent, so that the rows are written by another one.
    run = folder / "long"
    cost_of("-c", _WRITE, str(run), str(rows))
    cost = command("report", run, "-o", folder / "long.html")
    yield Row(f"page of {rows:,} rows of steps and {3 * rows:,} of samples", cost, Bar(2.5))
    yield Row("text report of 3,000 rows", text_report, Bar(0.8, is_processor_time=True))


def many(folder: Path, scale: float) -> Iterator[Row]:
    """Measure the commands on many runs."""
    paths = copies(folder / "compared", max(round(1_000 * scale), 2), steps=400)
    yield Row(f"`compare` of {len(paths):,} runs", command("compare", *paths), Bar(6.0))
    parquet = folder / "steps.parquet"
    cost = command("export", *paths, "--format", "parquet", "-o", parquet)
    yield Row(f"`export --format parquet` of {len(paths):,} runs", cost)
    count = max(round(10_000 * scale), 10)
    _LIST["write_runs"](folder / "listed", count)
    yield Row(f"`list` of {count:,} runs", command("list", folder / "listed"), Bar(3.0))
    count = max(round(200 * scale), 10)
    _LIST["write_runs"](folder / "watched", count)
    cost = cost_of("-c", _POLL, str(folder / "watched"))
    yield Row(f"first poll of `watch --web` with {count:,} runs, imports included", cost)


def jobs(folder: Path, scale: float) -> Iterator[Row]:
    """Measure merges of the records of jobs."""
    script = str(ROOT / "scripts" / "benchmark_merge.py")
    for ranks, steps, bar in ((1_024, 10_000, Bar(15.0)), (64, 100_000, None)):
        count = max(round(ranks * scale), 2)
        job = str(folder / f"job-{ranks}")
        cost_of("-c", _WRITE_JOB, script, job, str(count), str(steps))
        cost = cost_of(script, "--merge", job)
        yield Row(f"merge of {count:,} ranks of {steps:,} rows", cost, bar)


def line(row: Row) -> str:
    """Format a row of the table."""
    seconds, processor, peak = row.cost
    met = "-" if row.bar is None else "yes" if row.bar.is_met_by(row.cost) else "no"
    return f"| {row.name} | {seconds:.2f} | {processor:.2f} | {peak:,.0f} | {row.bar or '-'} | {met} |"


HEAD = ("| what | s | processor, s | peak, MiB | at most | met |", "|---|---|---|---|---|---|")
PAGE = """\
# What reading runs costs

{made}

Each command runs in a process of its own, imports included. Seconds depend on what else the machine does; processor
time does so less. Peak memory is that of the largest process.

{table}

- Tables are read with pyarrow where it is installed (extra `parquet`), else with pandas, in about twice the time.
- `compare` of 64 or more runs reads them in one process per processor, at most eight; its processor time is that of all
  of them. Well over a third of it goes into the posterior of each run's curve, and a quarter into reading tables.
- `merge` of two million rows or more reads the next rank in a second thread.
"""


def page(lines: list[str], scale: float, load: float) -> str:
    """Return docs/readers.md.

    Args:
        lines: The lines of the table.
        scale: Part of the runs, ranks and rows that were measured.
        load: Number of other running processes at the start, as a mean over a minute.
    """
    versions = ", ".join(f"{name} {version(name)}" for name in ("pandas", "pyarrow"))
    made = (
        f"Made by `scripts/benchmark_readers.py --write`, in one run, on a machine with {os.cpu_count()} processors "
        f"({platform.machine()}), Python {platform.python_version()}, {versions}. "
        f"Its load before the start was {load:.1f}."
    )
    if scale != 1.0:
        made += f" Runs, ranks and rows are {scale:g} times those of the full benchmark, so that no limit applies."
    return PAGE.format(made=textwrap.fill(made, 120), table="\n".join((*HEAD, *lines)))


def main() -> None:
    """Measure, print, and write the page if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="part of the runs, ranks and rows")
    parser.add_argument("--write", action="store_true", help="write docs/readers.md")
    parser.add_argument("--output", type=Path, help="write the page to this file")
    options = parser.parse_args()
    if options.write and options.scale != 1.0:
        parser.error("docs/readers.md has the full benchmark: give --output FILE with --scale.")
    output = options.output or (ROOT / "docs" / "readers.md" if options.write else None)
    load = os.getloadavg()[0]
    print(*HEAD, sep="\n")
    lines = []
    for group in (reports, many, jobs):
        with tempfile.TemporaryDirectory() as folder:
            for row in group(Path(folder), options.scale):
                lines.append(line(row))
                print(lines[-1], flush=True)
    if output is not None:
        output.write_text(page(lines, options.scale, load), encoding="utf-8")


if __name__ == "__main__":
    main()
