"""Jobs of several processes: made-up records of them, and real ones."""

import csv
import json
import uuid
from decimal import Decimal
from textwrap import dedent

import pandas as pd

from profiler._compat import node_directory
from profiler.distributed.rank import Identity, run_key
from tests.support.runs import write_run

SHARED = ("cpu:package-0", "dram:package-0")
_SHARED_COLUMNS = ("cpu_joules", "dram_joules")
GPU, CPU, DRAM = 300.0, 80.0, 20.0


def write_rank(job, rank, /, *, world=2, attempt=0, steps=40, late=0.0, host="host-a", counts=True, device="own",
               loss=None, resumed=None, backward=None, **meta):  # fmt: skip
    """Write the record of one rank: 300 W of its GPU, and 100 W of the host's if it counts what is shared.

    ``late`` seconds after the first one its window begins; ``backward`` gives the seconds in each backward pass.
    """
    path = job / f"rank-{rank:05d}-attempt-{attempt}"
    write_run(path, steps=steps, **({"loss": loss} if loss else {}))
    found = json.loads((path / "run.json").read_text())
    for domain in found["domains"]:
        domain["billed"] = counts or domain["name"] not in SHARED
        domain["billed_from_seconds"] = 0.0 if domain["billed"] else None
        if domain["name"].startswith("gpu") and device:
            domain["device"] = f"GPU-{rank}" if device == "own" else device
    found |= {"rank": rank, "world_size": world, "attempt": attempt, "host": host, **meta}
    found |= {"clock": {"monotonic_seconds": 100.0 + late, "unix_seconds": 1767323045.0 + late}}
    if resumed is not None:
        found["resumed"] = resumed
    (path / "run.json").write_text(json.dumps(found))
    if not counts:
        _leave_out_shared(path)
    if backward is not None:
        rewrite(path / "steps.csv", lambda row: {"backward_seconds": f"{backward(int(row['step'])):.6f}"})
    return path


def _leave_out_shared(path):
    spent = Decimal(600)

    def own(row):
        nonlocal spent
        spent += Decimal(row["gpu_joules"])
        return {
            **dict.fromkeys(_SHARED_COLUMNS, ""),
            "total_joules": row["gpu_joules"],
            "cumulative_joules": spent,
        }

    rewrite(path / "steps.csv", own)
    rewrite(path / "spans.csv", lambda row: {"total_joules": "600.000000", "cumulative_joules": "600.000000"})
    lines = (path / "samples.csv").read_text().splitlines(keepends=True)
    (path / "samples.csv").write_text("".join(line for line in lines if not any(n in line for n in SHARED)))


def rewrite(file, change):
    """Change cells of a table, row by row; ``change`` returns the new ones, or None to drop the row."""
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    header = list(rows[0])
    changed = [{**row, **new} for row in rows if (new := change(row)) is not None]
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, fieldnames=header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(changed)
    if file.name in ("steps.csv", "spans.csv"):
        balance(file.parent)


def balance(path):
    """Make the cumulative energy and the end mark of a record what its rows come to."""
    tables = {
        name: pd.read_csv(path / f"{name}.csv", dtype=str, keep_default_na=False)
        for name in ("steps", "spans")
    }
    rows = pd.concat(tables.values(), keys=tables).astype({"start_seconds": float, "end_seconds": float})
    rows = rows.sort_values(["start_seconds", "end_seconds"])
    spent = rows["total_joules"].astype(float).cumsum()
    for name, table in tables.items():
        if len(table):
            table["cumulative_joules"] = spent[name].sort_index().map("{:.6f}".format)
        table.to_csv(path / f"{name}.csv", index=False, lineterminator="\n")
    meta = json.loads((path / "run.json").read_text())
    if meta["totals"]:
        joules = {
            f"{name[:-1]}_joules": float(table["total_joules"].astype(float).sum())
            for name, table in tables.items()
        }
        steps = int(tables["steps"]["step_count"].astype(int).sum())
        meta["totals"] |= {"steps": steps, "window_seconds": float(rows["end_seconds"].max()), **joules}
        (path / "run.json").write_text(json.dumps(meta))


def check_books(run):
    """Steps and spans tile the window, and their joules add up to the last cumulative value, to the microjoule."""
    rows = [*run.steps.to_dict("records"), *run.spans.to_dict("records")]
    rows.sort(key=lambda row: (row["start_seconds"], row["end_seconds"]))
    cursor, spent = 0.0, 0
    for row in rows:
        assert abs(row["start_seconds"] - cursor) < 2e-9, row
        cursor = row["end_seconds"]
        if row["total_joules"] == row["total_joules"]:
            spent += round(row["total_joules"] * 1e6)
            assert round(row["cumulative_joules"] * 1e6) == spent
    assert run.total_joules == spent / 1e6
    assert run.steps["step"].is_monotonic_increasing
    return cursor


class Job:
    """The environment of a job of this test alone, and scripts for its processes."""

    def __init__(self, folder):
        self.folder = folder
        self.name = uuid.uuid4().hex

    def environ(self, rank, world=2, attempt=None, **more):
        found = {
            "RANK": rank,
            "WORLD_SIZE": world,
            "LOCAL_WORLD_SIZE": world,
            "TORCHELASTIC_RUN_ID": self.name,
        }
        if attempt is not None:
            found["TORCHELASTIC_RESTART_COUNT"] = attempt
        return {name: str(value) for name, value in {**found, **more}.items()}

    def script(self, rank, body, **environ):
        return (
            f"import os; os.environ |= {self.environ(rank, **environ)!r}\n" + dedent(PREAMBLE) + dedent(body)
        )

    @property
    def runs(self):
        return sorted(self.folder.glob("energy_runs/*")) if (self.folder / "energy_runs").exists() else []

    def forget(self):
        for ordinal in range(4):
            key = run_key(Identity(job=f"torchelastic {self.name}"), ordinal)
            for file in node_directory().glob(f"energy-profiler-{key}*"):
                file.unlink()


PREAMBLE = """
import sys, time
from profiler import EnergyProfiler
from tests.support.small_training import scripted, train

rank = int(os.environ["RANK"])

def profiler(**options):
    options.setdefault("sensors", [scripted(100.0)])
    return EnergyProfiler(**options)

def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited for nothing"
        time.sleep(0.005)
"""
