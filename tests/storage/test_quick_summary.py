"""Summaries from metadata and last rows agree with those from whole tables."""

import json
import subprocess
import sys

import pytest

from profiler.merging.load import load
from profiler.merging.merge import merge
from profiler.merging.write import write
from profiler.reporting.model import gain_variance
from profiler.storage.quick_summary import quick_summary_of
from tests.support.rank_jobs import write_rank
from tests.support.runs import write_run

ESTIMATED = {"provenance": "modelled", "gain_uncertainty": 0.3}


def domains(path, **changed):
    entries = json.loads((path / "run.json").read_text())["domains"]
    return [{**entry, **changed.get(entry["name"].partition(":")[0], {})} for entry in entries]


def restate(path, **meta):
    file = path / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **meta}))
    return path


def several_trainings(path):
    write_run(path, steps=4, meta={"status": "running", "totals": None})
    table = path / "steps.csv"
    head, *lines = table.read_text().splitlines()
    lines = [*lines[:2], *(f"{line[:-1]}1" for line in lines[2:])]
    table.write_text("\n".join([head, *lines]) + "\n")
    return path


def all_estimated(path):
    write_run(path, steps=9, meta={"status": "running", "totals": None})
    for file, total, estimated in (("steps.csv", 12, 13), ("spans.csv", 3, 4)):
        head, *lines = (path / file).read_text().splitlines()
        rows = [line.split(",") for line in lines]
        for row in rows:
            row[estimated] = row[total]
        (path / file).write_text("\n".join([head, *map(",".join, rows)]) + "\n")
    return restate(path, domains=domains(path, gpu=ESTIMATED, cpu=ESTIMATED, dram=ESTIMATED))


def samples_ahead(path):
    """Write a run that was killed after samples and before the rows of the same time."""
    write_run(path, steps=30, meta={"status": "running", "totals": None})
    for name, kept in (("steps.csv", 11), ("spans.csv", 2)):
        lines = (path / name).read_text().splitlines(keepends=True)
        (path / name).write_text("".join(lines[:kept]))
    return path


def merged_job(path):
    for rank in range(2):
        write_rank(path, rank, counts=rank == 0)
    write(merge([path]), path)
    return path


RUNS = {
    "samples ahead": samples_ahead,
    "completed": lambda path: write_run(path, steps=30),
    "running": lambda path: write_run(path, steps=30, meta={"status": "running", "totals": None}),
    "killed in its set-up": lambda path: write_run(path, steps=0, meta={"status": "running", "totals": None}),
    "without energy": lambda path: write_run(path, steps=3, meta={"domains": [], "totals": None}),
    "several trainings": several_trainings,
    "all estimated": all_estimated,
    "merged job": merged_job,
}


@pytest.mark.parametrize("name", RUNS)
def test_totals_agree_with_those_of_the_tables(tmp_path, name):
    run = load(RUNS[name](tmp_path / "run"), partial=False)
    quick, full = quick_summary_of(run), load(run.path, partial=False).summary()
    assert quick.steps == full.steps
    assert quick.total_joules == pytest.approx(full.total_joules)
    assert quick.modelled_joules == pytest.approx(full.modelled_joules)
    assert quick.window_seconds == pytest.approx(full.window_seconds)
    assert quick.edge_joules == pytest.approx(full.edge_joules)
    assert gain_variance(quick.metered) == pytest.approx(gain_variance(full.metered))


def test_energy_of_an_unknown_domain_has_the_largest_error(tmp_path):
    path = RUNS["completed"](tmp_path / "run")
    known = gain_variance(quick_summary_of(load(path, partial=False)).metered)
    (path / "samples.csv").unlink()
    assert gain_variance(quick_summary_of(load(path, partial=False)).metered) >= known > 0.0


def test_domains_of_a_killed_run_are_those_of_its_last_samples(tmp_path):
    run = load(RUNS["running"](tmp_path / "run"), partial=False)
    quick = {one.domain.name: one.joules for one in quick_summary_of(run).metered}
    assert quick == pytest.approx(load(run.path, partial=False).joules_by_domain())


def test_the_estimated_part_of_a_killed_run_follows_its_last_samples(tmp_path):
    path = RUNS["running"](tmp_path / "run")
    restate(path, domains=domains(path, dram=ESTIMATED))
    quick = quick_summary_of(load(path, partial=False))
    assert quick.modelled_joules == pytest.approx(quick.total_joules / 20)


def test_the_estimated_part_is_unknown_without_samples_of_every_domain(tmp_path):
    path = RUNS["running"](tmp_path / "run")
    restate(path, domains=domains(path, dram=ESTIMATED))
    samples = path / "samples.csv"
    samples.write_text("".join(line for line in samples.open() if "dram" not in line))
    assert quick_summary_of(load(path, partial=False)).modelled_joules is None


def test_no_table_of_a_merged_job_is_read(tmp_path):
    path = merged_job(tmp_path / "job")
    run = load(path, partial=False)
    for table in ("steps", "spans", "samples"):
        (path / f"{table}.csv").unlink()
    assert quick_summary_of(run).total_joules > 0.0


def test_no_table_of_a_completed_run_is_read_and_pandas_is_not_loaded(tmp_path):
    path = write_run(tmp_path / "energy_runs" / "run", steps=3)
    write_run(tmp_path / "energy_runs" / "killed", steps=3, meta={"status": "running", "totals": None})
    (path / "steps.csv").write_text("no table\n")
    script = (
        "import sys; from profiler.cli import main\n"
        f"assert main(['list', {str(tmp_path / 'energy_runs')!r}]) == 0\n"
        "assert not {'pandas', 'numpy', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "damaged" not in done.stdout
