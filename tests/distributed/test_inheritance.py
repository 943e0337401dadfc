"""Processes that a profiled program starts: further ranks join its run, others that train are counted."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import energy_profiler_autoload
import profiler
from profiler import EnergyProfiler, energy_profiler, load_run
from profiler.distributed import inheritance
from profiler.distributed.inheritance import VARIABLE, Publication, child_layout, inherited, launched_rank
from profiler.integrations import child_process
from profiler.recording import session
from profiler.records import Status
from profiler.reporting import render, report_of
from tests.support.rank_jobs import check_books
from tests.support.small_training import scripted, train

CHECKOUT = Path(profiler.__file__).parents[1]
RANKED = {"LOCAL_RANK": "1", "WORLD_SIZE": "2"}


def test_the_variable_exists_during_the_recording_only(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]):
        assert json.loads(os.environ[VARIABLE])["run_path"] == str(tmp_path / "run")
        train(3)
    assert VARIABLE not in os.environ


def test_a_nested_recording_restores_the_variable_of_the_outer_one(tmp_path):
    outer = Publication(tmp_path)
    before = os.environ[VARIABLE]
    inner = Publication(tmp_path)
    inner.withdraw()
    assert os.environ[VARIABLE] == before
    outer.withdraw()
    outer.withdraw()
    assert VARIABLE not in os.environ


def test_recordings_that_end_in_the_order_of_their_starts_leave_no_variable(tmp_path):
    first, second, third = (Publication(tmp_path / name) for name in "abc")
    last = os.environ[VARIABLE]
    second.withdraw()
    first.withdraw()
    assert os.environ[VARIABLE] == last
    third.withdraw()
    assert VARIABLE not in os.environ


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"unknown": 1}', "null"])
def test_an_unusable_variable_is_ignored(text, monkeypatch):
    assert inherited({VARIABLE: text}) is None
    monkeypatch.setenv(VARIABLE, text)
    energy_profiler_autoload.autoload()


def test_the_entry_point_has_the_same_variable():
    assert energy_profiler_autoload.VARIABLE == VARIABLE


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        (RANKED, (1, 2)),
        (RANKED | {"NODE_RANK": "0"}, (1, 2)),
        (RANKED | {"NODE_RANK": "1"}, None),
        (RANKED | {"RANK": "1"}, None),
        (RANKED | {"LOCAL_RANK": "0"}, None),
        (RANKED | {"LOCAL_RANK": "2"}, None),
        (RANKED | {"WORLD_SIZE": "many"}, None),
        ({}, None),
    ],
)
def test_only_further_ranks_of_the_first_node_join(environ, found):
    assert launched_rank(environ, os.getppid()) == found
    assert launched_rank(environ, os.getppid() + 1) is None


@pytest.mark.parametrize(
    ("groups", "missing"),
    [([None], 0), ([(0, 2)], 1), ([(0, 2), None, (0, 4), None], 3), ([(0, 4), (0, 2)], 3), ([(0, 1)], 0)],
)
def test_ranks_without_a_record_are_in_every_report(tmp_path, monkeypatch, capsys, groups, missing):
    """The process group may be destroyed and made anew; its largest size counts."""
    left = list(groups)
    monkeypatch.setattr(session, "process_group", lambda: left.pop(0) if len(left) > 1 else left[0])
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        for _ in groups:
            train(3)
            prof._session._find_group(0)
    run = prof.run
    assert run.meta.get("missing_ranks", 0) == missing
    line = f"{missing} of the {missing + 1} ranks of the process group are not recorded"
    assert (line in " ".join(run.warnings)) == bool(missing)
    mark = f", incomplete ({missing} rank{'s' if missing > 1 else ''} missing)"
    assert (mark in capsys.readouterr().err) == bool(missing)
    for extension in (".txt", ".md", ".html"):
        assert (mark in render(report_of(run), extension)) == bool(missing), extension
    assert json.loads(render(report_of(run), ".json"))["summary"]["missing_ranks"] == missing


@pytest.fixture
def program(tmp_path):
    """Return a function that runs a script whose children find the entry point, as behind an installation."""
    packages = tmp_path / "packages" / "energy_profiler-0.dist-info"
    packages.mkdir(parents=True)
    (packages / "METADATA").write_text("Metadata-Version: 2.1\nName: energy-profiler-test\nVersion: 0\n")
    (packages / "entry_points.txt").write_text(
        "[torch.backends]\nenergy_profiler = energy_profiler_autoload:autoload\n"
    )
    path = os.pathsep.join([str(CHECKOUT), str(packages.parent)])

    def run(script, *command):
        (tmp_path / "script.py").write_text(script)
        environ = {name: value for name, value in os.environ.items() if name not in {"RANK", VARIABLE}}
        done = subprocess.run(
            [sys.executable, *command, "script.py"], cwd=tmp_path, text=True, capture_output=True, check=False,
            env=environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run


SPAWNED = """
import torch
from profiler import EnergyProfiler

def work(index):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for _ in range(4 * index):  # the first one trains nothing
        weight.square().sum().backward()
        optimizer.step()

if __name__ == "__main__":
    with EnergyProfiler(run_dir="run") as prof:
        prof.log(started=1)
        torch.multiprocessing.spawn(work, nprocs=2)
"""


@pytest.mark.slow
def test_spawned_processes_that_train_are_counted(program, tmp_path):
    error = program(SPAWNED)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["unrecorded_processes"] == 1
    assert "1 child process trained; its steps were not recorded" in error


def test_a_program_that_fails_after_its_children_have_trained_keeps_its_run(tmp_path):
    with pytest.raises(ValueError), EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]):  # noqa: PT012
        inherited_by_a_child = inheritance.Inheritance(**json.loads(os.environ[VARIABLE]))
        inherited_by_a_child.mark()
        raise ValueError
    run = load_run(tmp_path / "run")
    assert run.meta["unrecorded_processes"] == 1
    assert "The training ran in child processes." in render(report_of(run), ".txt")


def test_a_child_with_a_process_group_has_a_place_in_the_run_of_its_parent(tmp_path, monkeypatch):
    parent = inheritance.Inheritance(run_path=str(tmp_path), pid=os.getppid())
    assert child_layout(parent, {}) is None, "no process group"
    monkeypatch.setattr(inheritance, "process_group", lambda: (0, 2))
    place = child_layout(parent, {})
    assert (place.path, place.run_path) == (tmp_path / "rank-00000-attempt-0", tmp_path)
    assert not place.is_main, "the parent reports"
    assert child_layout(replace(parent, pid=os.getppid() + 1), {}) is None, "not the parent"
    assert child_layout(replace(parent, is_rank=True), {}) is None, "the child of a rank"
    assert child_layout(parent, RANKED) is None, "the parent is rank 0 itself"
    place.path.mkdir()
    assert child_layout(parent, {}) is None, "the rank has a record already"


@pytest.mark.parametrize("steps", [1, 60])
def test_a_parent_that_trains_keeps_its_own_record_beside_those_of_its_ranks(tmp_path, steps):
    """Its last steps are not in rows yet when it stops at once."""
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        train(steps)
        for rank in range(2):
            (tmp_path / "run" / f"rank-0000{rank}-attempt-0").mkdir()
    assert len(prof.run.steps) == steps
    assert not (tmp_path / "run" / "launcher").exists()
    assert any(line.startswith("2 child processes trained beside this one") for line in prof.run.warnings)
    check_books(prof.run)


def test_a_place_that_cannot_be_looked_up_does_not_reach_the_training(monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(child_process, "child_layout", refuse)
    child_process._Child(inheritance.Inheritance(run_path="run")).join()  # the hook that torch calls


GROUP = """
import torch
import torch.multiprocessing as mp
from profiler import EnergyProfiler

def join(rank, name):
    torch.distributed.init_process_group("gloo", init_method=f"file://{os.getcwd()}/{name}", rank=rank, world_size=2)

def work(rank):
    join(rank, "first")
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for step in range(8):
        optimizer.zero_grad()
        (weight.square().sum() * 0 + rank + step).backward()
        optimizer.step()
        if step == 4:
            at_five(rank)

def again(rank):
    torch.distributed.destroy_process_group()
    join(rank, "second")

def die(rank):
    if rank == 1:
        time.sleep(0.8)  # rows are written twice per second
        os.kill(os.getpid(), 9)

def start(at, how="fork"):
    global at_five
    at_five = at
    with EnergyProfiler(run_dir="run"):
        try:
            mp.start_processes(work, nprocs=2, start_method=how)
        except mp.ProcessExitedException:
            print("died")
"""


@pytest.fixture
def forked(warm_python, tmp_path):
    """Run a script whose children are forked; returns its stdout and stderr."""

    def run(ending):
        child = warm_python.start(f"import os, time\n{GROUP}\n{ending}", tmp_path)
        assert child.wait() == 0, child.stderr
        return child.stdout, child.stderr

    return run


@pytest.mark.slow
def test_forked_ranks_join_the_run_although_their_process_group_is_made_anew(forked, tmp_path):
    """As with a notebook launcher. The parent is no rank: its energy before and after them is part of the total."""
    _, error = forked("start(again)")
    run = load_run(tmp_path / "run")
    assert list(run.ranks["steps"]) == [8, 8]
    assert list(run.steps["loss"]) == [0.5 + step for step in range(8)]
    assert run.meta["world_size"] == 2
    assert "unrecorded_processes" not in run.meta
    parent = load_run(tmp_path / "run" / "launcher").summary()
    assert check_books(run) == pytest.approx(parent.window_seconds)
    assert run.total_joules == pytest.approx(parent.total_joules, rel=0.2)
    assert {"setup", "teardown"} <= set(run.spans["kind"])
    assert error.count("\n== ") == 1
    assert "several processes" not in error


@pytest.mark.slow
def test_a_forked_rank_that_is_killed_leaves_an_interrupted_run(forked, tmp_path):
    out, _ = forked("start(die)")
    assert out == "died\n"
    run = load_run(tmp_path / "run")
    assert run.ranks.loc[1, "status"] == "interrupted"
    assert run.ranks.loc[1, "steps"] == 5
    assert run.status is Status.INTERRUPTED
    assert any("ended without totals" in line for line in run.warnings)
    check_books(run)


SPAWNED_RANKS = """
import os
import torch

def work(rank):
    torch.distributed.init_process_group("gloo", init_method=f"file://{os.getcwd()}/group", rank=rank, world_size=2)
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for step in range(6):
        optimizer.zero_grad()
        (weight.square().sum() * 0 + rank + step).backward()
        optimizer.step()

if __name__ == "__main__":
    torch.multiprocessing.spawn(work, nprocs=2)
"""


@pytest.mark.slow
def test_spawned_ranks_join_the_run(program, tmp_path):
    error = program(SPAWNED_RANKS, "-m", "profiler", "run", "--run-dir", "run")
    run = load_run(tmp_path / "run")
    assert list(run.ranks["steps"]) == [6, 6]
    assert list(run.steps["loss"]) == [0.5 + step for step in range(6)]
    assert "incomplete" not in error
    assert error.count("\n== ") == 1


LAUNCHER = """
import os, socket, subprocess, sys
if "LOCAL_RANK" not in os.environ:  # as Lightning starts its ranks
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    os.environ |= {"NODE_RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    other = subprocess.Popen([sys.executable, *sys.argv], env=os.environ | {"LOCAL_RANK": "1"})
import torch
rank = int(os.environ["LOCAL_RANK"])
torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
weight = torch.nn.Parameter(torch.ones(3))
optimizer = torch.optim.SGD([weight], lr=0.1)
for step in range(5):
    optimizer.zero_grad()
    (weight.square().sum() * 0 + rank + step).backward()
    torch.distributed.all_reduce(weight.grad)
    optimizer.step()
torch.distributed.destroy_process_group()
if rank == 0:
    other.wait()
"""


@pytest.mark.slow
def test_a_rank_that_the_framework_started_joins_the_run(program, tmp_path):
    error = program(LAUNCHER, "-m", "profiler", "run", "--run-dir", "run")
    run = load_run(tmp_path / "run")
    assert list(run.ranks["steps"]) == [5, 5]
    assert list(run.steps["loss"]) == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert run.meta["world_size"] == 2
    assert "incomplete" not in error
    assert error.count("\n== ") == 1


def test_a_run_whose_rank_0_was_killed_is_read_with_the_other_ranks(tmp_path, monkeypatch):
    """The record of rank 0 is still in the run's own directory then."""
    monkeypatch.setattr(session, "process_group", lambda: (0, 2))
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]):
        first = train(5)
    place = inheritance.Inheritance(run_path=str(tmp_path / "run")).layout(1, 2)
    with EnergyProfiler(run_dir=tmp_path / "second", sensors=[scripted()]) as other:
        train(5)
    monkeypatch.undo()
    meta = json.loads((other.run.path / "run.json").read_text()) | {"rank": 1, "world_size": 2}
    other.run.path.rename(place.path)
    (place.path / "run.json").write_text(json.dumps(meta))
    run = load_run(tmp_path / "run")
    assert list(run.ranks["rank"]) == [0, 1]
    assert list(run.steps["loss"]) == pytest.approx(first)
    assert "missing_ranks" not in run.meta


def test_directories_of_children_do_not_hide_the_record_of_their_parent(tmp_path):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]):
        train(5)
    with EnergyProfiler(run_dir=tmp_path / "run" / "rank-00001-attempt-0", sensors=[scripted()]):
        train(2)
    assert len(load_run(tmp_path / "run").steps) == 5


def test_a_fork_where_torch_is_blocked_installs_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "torch.optim.optimizer")
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]):
        energy_profiler._after_fork_in_child()  # a fork of the test process would print its error only
