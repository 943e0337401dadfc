"""Resumed runs: joules continue, and lost work is counted as such."""

import json
import math
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler import EnergyProfiler, load_run
from profiler.errors import UsageError
from profiler.reporting.text import joules
from tests.support.rank_jobs import check_books, rewrite, write_rank
from tests.support.runs import law, write_run
from tests.support.small_training import scripted, train


@pytest.fixture
def recording(tmp_path):
    return lambda place, **options: EnergyProfiler(run_dir=tmp_path / place, sensors=[scripted()], **options)


def resumed(path, earlier, step, joules=None):
    """Make a written run one that resumed another."""
    meta = json.loads((path / "run.json").read_text())
    meta["resumed"] = {"run": str(earlier), "step": step, "joules": joules}
    (path / "run.json").write_text(json.dumps(meta))
    return path


# -- as it is recorded ----------------------------------------------------------------------------------------------


def test_a_run_resumes_another_at_its_end(recording, tmp_path, capsys):
    with recording("first") as first:
        train(20)
    with recording("second", resume=tmp_path / "first") as second:
        train(10)
    run = second.run
    check_books(run)
    assert list(run.steps["step"]) == list(range(1, 31))
    alone = load_run(tmp_path / "first").total_joules
    assert run.total_joules > alone == first.run.total_joules
    assert "lost" not in set(run.spans["kind"])
    report = capsys.readouterr().err.split("== second")[1]
    costs = {f"cost    {joules(run.total_joules, digits)} " for digits in (2, 3)}
    assert any(cost in report for cost in costs), "the report at the end is of both"


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before the start", "after the start"])
def test_a_checkpoint_continues_the_joules(recording, tmp_path, when):
    saved = {}
    with recording("first") as prof:
        train(20, after=lambda step, loss: saved.update(prof.state_dict()) if step == 12 else None)
    assert saved["step"] == 12
    again = recording("second")
    if when == "before the start":
        again.load_state_dict(json.loads(json.dumps(saved)))
        again.start()
    else:
        again.start()
        again.load_state_dict(saved)
    train(8)
    assert again.state_dict()["step"] == 20
    again.stop()
    run = again.run
    check_books(run)
    assert list(run.steps["step"]) == list(range(1, 21))
    (lost,) = run.spans[run.spans["kind"] == "lost"].to_dict("records")
    first = prof.run.steps
    assert lost["total_joules"] == pytest.approx(first[first["step"] > 12]["total_joules"].sum())
    assert run.total_joules > prof.run.total_joules


def test_the_step_of_a_state_is_the_step_that_ended_last(recording):
    seen = []
    with recording("run") as prof:
        train(300, after=lambda step, loss: seen.append((step, prof.state_dict()["step"])))
    assert [told for _, told in seen] == [step for step, _ in seen]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["directory", "state", "state before the start"])
def test_resumed_run_keeps_the_given_name(recording, tmp_path, by):
    with recording("first", name="baseline") as first:
        train(5)
    options = {"resume": tmp_path / "first"} if by == "directory" else {}
    second, named = recording("second", **options), recording("third", name="other", **options)
    for prof in (second, named):
        if by == "state before the start":
            prof.load_state_dict(first.state_dict())
        with prof:
            if by == "state":
                prof.load_state_dict(json.loads(json.dumps(first.state_dict())))
            train(5)
    assert [load_run(tmp_path / name).meta["name"] for name in ("second", "third")] == ["baseline", "other"]


def test_name_of_a_directory_is_not_kept(recording, tmp_path):
    with recording("first") as first:
        train(5)
    with recording("second", resume=first.run.path) as second:
        train(5)
    assert second.run.meta["name"] == "second"


def test_the_joules_of_a_state_are_those_of_its_step(recording):
    """At 100 W the rows lag behind by up to a second of it."""
    seen = {}
    with recording("run") as prof:
        train(120, pause=0.02, after=lambda step, loss: seen.update({step: prof.state_dict()["joules"]}))
    assert prof.state_dict()["joules"] == prof.run.total_joules
    true = prof.run.steps.set_index("step")["cumulative_joules"]
    assert [seen[step] for step in (60, 90, 120)] == pytest.approx(
        [true[step] for step in (60, 90, 120)], rel=0.04
    )


def test_without_a_start_there_is_no_state(recording):
    prof = recording("run")
    assert prof.state_dict() == {}
    prof.load_state_dict({})
    with prof:
        train(3)
    assert "resumed" not in prof.run.meta


@pytest.mark.parametrize(
    "state",
    [
        {"step": 1},
        {"run": "r", "step": "x", "joules": 1.0},
        {"run": "r", "step": 1, "joules": "?"},
        {"run": "r", "step": -1, "joules": 1.0},
        {"run": "r", "step": math.inf, "joules": 1.0},
        {"run": "r", "step": 1, "joules": math.nan},
        {"run": "r", "step": 1, "joules": -math.inf},
    ],
)
def test_an_invalid_state_is_refused(recording, state):
    with pytest.raises(UsageError, match="this is not a state"):
        recording("run").load_state_dict(state)


def test_resuming_a_missing_run_is_refused(recording, tmp_path):
    with pytest.raises(UsageError, match="resume must be a run directory"):
        recording("run", resume=tmp_path / "nothing")


# -- as it is read --------------------------------------------------------------------------------------------------


def test_a_chain_of_three_runs(tmp_path):
    first = write_run(tmp_path / "a", steps=40)
    second = resumed(write_run(tmp_path / "b", steps=20), first, 30)
    run = load_run(resumed(write_run(tmp_path / "c", steps=5), second, 45))
    check_books(run)
    assert list(run.steps["step"]) == list(range(1, 51))
    assert run.total_joules == 400 * (3 * 2 + 65 / 4)
    assert list(run.spans[run.spans["kind"] == "lost"]["total_joules"]) == [1000.0, 500.0]
    assert run.energy_by_domain()["gpu:0"] == pytest.approx(300 * (3 * 2 + 65 / 4))
    assert run.energy(0.0, run.summary().window_seconds).median == pytest.approx(run.total_joules)
    assert run.steps.set_index("step")["loss"][31] == law(1), "the curve is the later run's from there"


def test_both_directories_may_be_moved(tmp_path):
    first = write_run(tmp_path / "here" / "a", steps=12)
    resumed(write_run(tmp_path / "here" / "b", steps=12), first, 12)
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert len(load_run(tmp_path / "there" / "b").steps) == 24


@pytest.mark.parametrize("joules", [5000.0, None])
def test_a_missing_earlier_run_is_a_warning(tmp_path, joules):
    run = load_run(resumed(write_run(tmp_path / "b", steps=12), tmp_path / "gone", 100, joules))
    own = 400 * (2 + 12 / 4)
    assert run.total_joules == own + (joules or 0.0)
    assert list(run.steps["step"]) == list(range(101, 113))
    assert run.steps["cumulative_joules"].iloc[-1] == run.total_joules
    assert list(run.spans["kind"]) == ["carried", "setup"]
    (warning,) = run.warnings
    assert f"the run that this one resumed ({tmp_path / 'gone'}) is not here" in warning
    assert ("its energy is unknown" in warning) == (joules is None)


def test_runs_that_resume_each_other_are_read_once(tmp_path):
    for name, other in (("a", "b"), ("b", "a")):
        resumed(write_run(tmp_path / name, steps=12), tmp_path / other, 12)
    run = load_run(tmp_path / "a")
    check_books(run)
    assert run.total_joules == 2 * 400 * (2 + 12 / 4)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.sampled_from([1, 2, 8]))
def test_no_joule_is_lost_at_any_checkpoint(tmp_path_factory, step, size):
    """Also inside a block of steps, which is shared out."""
    folder = tmp_path_factory.mktemp("resume")
    first = write_run(folder / "a", steps=40)
    if size > 1:
        rewrite(first / "steps.csv", blocks_of(size))
    run = load_run(resumed(write_run(folder / "b", steps=12), first, step))
    check_books(run)
    assert run.total_joules == 400 * (4 + 52 / 4)
    assert run.steps["step_count"].sum() == step + 12
    lost = run.spans[run.spans["kind"] == "lost"]["total_joules"].sum()
    assert lost == pytest.approx(100.0 * (40 - step), abs=1e-5)


def blocks_of(size):
    """Leave the last row of each block, with the block's joules and start."""

    def join(row):
        step = int(row["step"])
        if step % size:
            return None
        amounts = {
            name: f"{float(row[name]) * size:.6f}"
            for name in ("gpu_joules", "cpu_joules", "dram_joules", "total_joules", "modelled_joules")
        }
        return {**amounts, "step_count": size, "start_seconds": f"{2 + (step - size) / 4:.6f}"}

    return join


def test_attempts_of_a_job_follow_each_other(tmp_path):
    """Restarted from a checkpoint of step 30 after 40 steps, with one rank less."""
    job = tmp_path / "job"
    for rank in range(2):
        write_rank(job, rank, counts=rank == 0)
    write_rank(job, 0, world=1, attempt=1, steps=20, resumed={"run": str(job), "step": 30, "joules": None})
    run = load_run(job)
    check_books(run)
    assert list(run.steps["step"]) == list(range(1, 51))
    assert run.total_joules == (300 * 2 + 100) * 12 + 400 * 7
    assert list(run.ranks["attempt"]) == [0, 0, 1]
    assert run.warnings == ()


def test_an_attempt_without_a_resumed_step_repeats_all_steps(tmp_path):
    job = tmp_path / "job"
    for attempt, steps in enumerate((40, 20)):
        write_rank(job, 0, world=1, attempt=attempt, steps=steps)
    run = load_run(job)
    check_books(run)
    assert list(run.steps["step"]) == list(range(1, 21))
    assert run.total_joules == 400 * (12 + 7)
    assert any("attempt 1 did not record the step it resumed from" in line for line in run.warnings)
