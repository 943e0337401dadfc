"""Ranks that were started by a recording process that trains nothing itself."""

import json
import shutil

import pytest

from profiler import load_run
from profiler.recording.device_selection import UNUSED_GPUS
from profiler.records import Status
from tests.support.rank_jobs import CPU, DRAM, GPU, check_books, rewrite, write_rank
from tests.support.runs import law, write_run

LATE, RANKS_SECONDS, WINDOW = 10.0, 12.0, 40.0
"""Seconds from the launcher's start to that of the ranks, of their windows, and of the launcher's window."""
OUTSIDE = WINDOW - RANKS_SECONDS


def write_launcher(path, *, device="GPU-0", **meta):
    """Write the record of a process without a step, whose meters measure all of the node."""
    write_run(path, steps=int((WINDOW - 2.0) * 4))
    rewrite(path / "steps.csv", lambda row: None)
    (path / "steps.csv").write_text((path / "steps.csv").read_text().splitlines(keepends=True)[0])
    joules = f"{(GPU + CPU + DRAM) * WINDOW:.6f}"
    rewrite(path / "spans.csv", lambda row: {"end_seconds": f"{WINDOW:.6f}", "total_joules": joules})
    found = json.loads((path / "run.json").read_text())
    found["domains"][0]["device"] = device
    found |= {"host": "host-a", "name": "mine", "launched_ranks": 2}
    found |= {"clock": {"monotonic_seconds": 100.0, "unix_seconds": 1767323045.0}, **meta}
    (path / "run.json").write_text(json.dumps(found))


@pytest.fixture
def job(tmp_path):
    job = tmp_path / "job"
    for rank in range(2):
        write_rank(job, rank, late=LATE)
    return job


def test_energy_before_and_after_the_ranks_is_that_of_their_launcher(job):
    write_launcher(job / "launcher")
    run = load_run(job)
    assert check_books(run) == WINDOW
    assert run.total_joules == pytest.approx(
        (GPU + CPU + DRAM) * OUTSIDE + (2 * GPU + CPU + DRAM) * RANKS_SECONDS
    )
    by_domain = run.energy_by_domain()
    assert by_domain["cpu:package-0"] == pytest.approx(CPU * WINDOW)
    assert sum(by_domain.values()) == pytest.approx(run.total_joules)
    assert run.ranks["joules"].sum() == pytest.approx(run.total_joules)
    assert list(run.spans["kind"]) == ["setup", "teardown"]
    setup, teardown = run.spans.to_dict("records")
    assert setup["end_seconds"] == LATE + 2.0
    assert (teardown["start_seconds"], teardown["end_seconds"]) == (LATE + RANKS_SECONDS, WINDOW)
    assert run.steps["loss"].iloc[10] == law(11)
    assert (run.meta["name"], run.meta["world_size"]) == ("mine", 2)
    assert "launched_ranks" not in run.meta
    assert run.warnings == ()


def test_facts_about_the_training_are_those_of_its_ranks(job):
    """A launcher trains nothing, and a rank may hold other layers than the first."""
    write_launcher(job / "launcher")
    for rank, facts in enumerate(({"alternating_steps": 3, "libraries": ["gym"]}, {"convolutional": True})):
        file = job / f"rank-{rank:05d}-attempt-0" / "run.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | facts))
    summary = load_run(job).summary()
    assert (summary.alternating_steps, summary.libraries, summary.convolutional) == (3, ("gym",), True)


def test_a_board_that_no_rank_used_is_not_counted(job):
    write_launcher(job / "launcher", device="GPU-9", warnings=[UNUSED_GPUS, "mine"])
    run = load_run(job)
    assert run.warnings == ("mine",)
    check_books(run)
    assert run.total_joules == pytest.approx((CPU + DRAM) * WINDOW + 2 * GPU * RANKS_SECONDS)


def test_the_record_of_a_launcher_that_was_killed_is_still_in_the_directory_of_the_run(job):
    write_launcher(job / "moved", status="running", totals=None)
    for file in (job / "moved").iterdir():
        file.rename(job / file.name)
    (job / "moved").rmdir()
    run = load_run(job)
    assert check_books(run) == WINDOW
    assert len(run.steps) == 40
    assert run.status is not Status.COMPLETED


def test_a_rank_without_a_record_makes_the_total_incomplete(job):
    write_launcher(job / "launcher")
    shutil.rmtree(job / "rank-00001-attempt-0")
    run = load_run(job)
    check_books(run)
    assert run.meta["missing_ranks"] == 1
    assert run.summary().is_incomplete
