"""Benchmark of merging the records of a large job, time and memory: ``python scripts/benchmark_merge.py``.

Writes a synthetic job (eight ranks a host, each with a GPU of its own, the first also counting processors and memory of
the host), merges it in a process of its own and prints time and peak memory. Temporary files are removed.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.runs import write_run

RANKS_A_HOST = 8
SHARED = ("cpu:package-0", "dram:package-0")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=1_024)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--merge", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.merge is not None:
        print(json.dumps(measure(options.merge)))
        return
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job"
        write_job(job, ranks=options.ranks, steps=options.steps)
        command = [sys.executable, __file__, "--merge", str(job)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout)
        size = sum(file.stat().st_size for file in job.glob("*/*")) / 1e6
    print(
        f"{options.ranks:,} ranks of {options.steps:,} steps, {size:,.0f} MB: merged in {found['seconds']:.1f} s "
        f"({found['processor_seconds']:.1f} s of one processor) with {found['peak_mib']:,.0f} MiB; for 1,024 ranks the "
        "bar is 15 s (42 s before)"
    )


def measure(job: Path) -> dict[str, float]:
    """Merge a job's directory in this process."""
    from profiler.merging.merge import merge
    from profiler.merging.write import write

    began, processor = time.perf_counter(), time.process_time()
    write(merge([job]), job)
    return {
        "seconds": time.perf_counter() - began,
        "processor_seconds": time.process_time() - processor,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def write_job(job: Path, *, ranks: int, steps: int) -> None:
    """Write the records of a job: the first of each host counts what the host shares."""
    first = write_run(job / "first", steps=steps)
    other = write_run(job / "other", steps=steps)
    _keep_own(other)
    meta = json.loads((first / "run.json").read_text())
    for rank in range(ranks):
        counts_host = rank % RANKS_A_HOST == 0
        folder = job / f"rank-{rank:05d}-attempt-0"
        folder.mkdir()
        for file in (first if counts_host else other).glob("*.csv"):
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / "run.json").write_text(json.dumps(_meta(meta, rank, ranks, counts_host=counts_host)))
    for made in (first, other):
        for file in made.iterdir():
            file.unlink()
        made.rmdir()


def _meta(meta: dict[str, object], rank: int, ranks: int, *, counts_host: bool) -> dict[str, object]:
    domains = [
        {**domain, "billed": counts_host or domain["name"] not in SHARED, "billed_from_seconds": 0.0,
         "device": f"GPU-{rank}" if domain["name"] == "gpu:0" else None}
        for domain in meta["domains"]
    ]  # fmt: skip
    clock = {"monotonic_seconds": 1000.0 + rank % RANKS_A_HOST / 100, "unix_seconds": 1767323045.0}
    host = f"host{rank // RANKS_A_HOST:04d}"
    own = 1.0 if counts_host else 0.75
    totals = {
        **meta["totals"],
        **{name: own * meta["totals"][name] for name in ("step_joules", "span_joules")},
    }
    return {
        **meta,
        "rank": rank,
        "world_size": ranks,
        "host": host,
        "clock": clock,
        "domains": domains,
        "totals": totals,
    }


def _keep_own(run: Path) -> None:
    """Take what the host shares out of a record."""
    with (run / "steps.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    spent = 0.0
    for row in rows:
        spent += float(row["gpu_joules"])
        row |= {"cpu_joules": "", "dram_joules": "", "total_joules": row["gpu_joules"]}
        row["cumulative_joules"] = f"{600 + spent:.6f}"
    with (run / "steps.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (run / "spans.csv").write_text((run / "spans.csv").read_text().replace("800.000000", "600.000000"))
    samples = (run / "samples.csv").read_text().splitlines(keepends=True)
    (run / "samples.csv").write_text("".join(line for line in samples if not any(n in line for n in SHARED)))


if __name__ == "__main__":
    main()
