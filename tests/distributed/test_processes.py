"""Real processes of one job on this machine: torchrun with gloo, and pairs that are killed, quick, late or forked."""

import json
import os
import subprocess
import sys
import time

import pytest

from profiler import load_run
from profiler.records import Status
from tests.support.rank_jobs import Job, check_books
from tests.support.warm_python import WarmPython

WATTS = 100.0


@pytest.fixture(scope="module")
def pythons():
    pair = [WarmPython(), WarmPython()]
    yield pair
    for python in pair:
        python.close()


@pytest.fixture
def job(tmp_path):
    made = Job(tmp_path)
    yield made
    made.forget()


@pytest.fixture
def start(pythons, job, tmp_path):
    """Start a rank's script in a process of its own, in the job's folder."""

    def begin(rank, body, **environ):
        folder = tmp_path / f"said-{rank}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        script = job.script(rank, body, **environ)
        return pythons[rank].start(f"import os; os.chdir({str(tmp_path)!r})\n{script}", folder)

    return begin


def finish(*children):
    return [(child.wait(), child.stderr) for child in children]


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for nothing"
        time.sleep(0.01)


def meta(path):
    return json.loads((path / "run.json").read_text())


def window(path):
    """When a rank's window began and what is written of it ended, on the monotonic clock."""
    begun = meta(path)["clock"]["monotonic_seconds"]
    part = load_run(path)
    return begun, begun + part.summary().window_seconds


def counted(path):
    (domain,) = meta(path)["domains"]
    return domain["billed"]


# -- pairs ---------------------------------------------------------------------------------------------------------

BOTH = """
with profiler() as prof:
    train(30, pause=0.01)
    if rank == 1:
        open("one", "w").close()
    else:
        until(lambda: os.path.exists("one"))
"""


@pytest.mark.slow
def test_two_ranks_make_one_run_and_count_their_host_once(start, job):
    children = [start(rank, BOTH) for rank in range(2)]
    ended = finish(*children)
    assert [code for code, _ in ended] == [0, 0], ended
    (path,) = job.runs
    ranks = sorted(path.glob("rank-*"))
    assert [rank.name for rank in ranks] == ["rank-00000-attempt-0", "rank-00001-attempt-0"]
    assert any(counted(rank) for rank in ranks)
    assert len({meta(rank)["job"] for rank in ranks}) == 1
    run = load_run(path)
    check_books(run)
    begun, end = min(window(rank)[0] for rank in ranks), max(window(rank)[1] for rank in ranks)
    assert run.total_joules == pytest.approx(WATTS * (end - begun), rel=0.02)
    assert run.status is Status.COMPLETED
    said = [text for _, text in ended]
    assert said[1] == ""
    assert said[0].count("\n== ") == 1
    assert f"-> {path.relative_to(job.folder)}\n" in said[0]
    assert f"record  {path.relative_to(job.folder)}\n" in said[0]
    assert list(job.folder.glob("energy_runs/*/.merging-*")) == []


LOGGED = """
import json
logged = []
prof = profiler(log_to=lambda values, step: logged.append(values), work_per_step={"tokens": 64})
with prof:
    train(10, pause=0.01, after=lambda step, loss: prof.step(samples=rank + 1))
    if rank == 1:
        open("one", "w").close()
    else:
        until(lambda: os.path.exists("one"))
open(f"logged-{rank}", "w").write(json.dumps(logged))
"""


@pytest.mark.slow
def test_rank_0_logs_the_energy_of_the_job_and_ranks_add_up_their_work(start, job):
    ended = finish(*[start(rank, LOGGED) for rank in range(2)])
    assert [code for code, _ in ended] == [0, 0], ended
    logged = [json.loads((job.folder / f"logged-{rank}").read_text()) for rank in range(2)]
    run = load_run(job.runs[0])
    assert logged[0][-1]["energy/job_joules"] == pytest.approx(run.total_joules)
    assert logged[1] == []
    assert {one.unit: one.total for one in run.summary().work} == {"tokens": 640.0, "samples": 30.0}


KILLED = """
with profiler():
    if rank == 0:
        train(1_000_000, pause=0.01, after=lambda step, loss: step == 20 and open("under way", "w").close())
    train(150, pause=0.01)
    open("both", "w").close()
    until(lambda: os.path.exists("killed"))
    train(20, pause=0.01)
"""


@pytest.mark.slow
def test_a_killed_rank_is_replaced_at_once(start, job, tmp_path):
    """The first counts the host until it is killed; the second takes over, and no joule is lost or counted twice."""
    first = start(0, KILLED)
    until((tmp_path / "under way").exists)
    second = start(1, KILLED)
    until((tmp_path / "both").exists)
    first.kill(9)
    (tmp_path / "killed").touch()
    assert [code for code, _ in finish(first, second)] == [-9, 0]
    (path,) = job.runs
    killed, other = sorted(path.glob("rank-*"))
    assert counted(killed)
    assert counted(other)
    since = meta(other)["clock"]["monotonic_seconds"] + meta(other)["domains"][0]["billed_from_seconds"]
    assert since == pytest.approx(window(killed)[1], abs=0.05)
    run = load_run(path)
    check_books(run)
    assert run.total_joules == pytest.approx(WATTS * (window(other)[1] - window(killed)[0]), rel=0.02)
    assert run.energy_by_domain()["cpu:package-0"] == pytest.approx(run.total_joules, rel=0.01)


KILLED_AT_ITS_END = """
from profiler.recording.sampler import Sampler

settle = Sampler.settle

def killed(sampler, end_ns):
    settle(sampler, end_ns)
    open("ended", "w").close()
    until(lambda: os.path.exists("other"))
    os.kill(os.getpid(), 9)

if rank == 0:
    Sampler.settle = killed
with profiler() as prof:
    train(60, pause=0.01)
    if rank == 0:
        open("zero", "w").close()
        while not os.path.exists("one"):
            train(10, pause=0.01)
    else:
        open("one", "w").close()
        until(lambda: os.path.exists("ended"))
        train({more}, pause=0.01)
        open("other", "w").close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("more", [1, 90], ids=["ends meanwhile", "goes on"])
def test_a_rank_killed_between_its_end_and_its_last_write_costs_no_shared_energy(start, job, tmp_path, more):
    body = KILLED_AT_ITS_END.replace("{more}", str(more))
    leader = start(0, body)
    until((tmp_path / "zero").exists)
    (ended, _), (code, said) = finish(leader, start(1, body))
    assert (ended, code) == (-9, 0), said
    (path,) = job.runs
    run = load_run(path)
    check_books(run)
    zero, one = (window(rank) for rank in sorted(path.glob("rank-*")))
    assert run.total_joules == pytest.approx(WATTS * (one[1] - zero[0]), rel=0.02)
    assert sum(run.energy_by_domain().values()) == pytest.approx(run.total_joules, abs=1e-5)
    assert run.status is Status.INTERRUPTED


@pytest.mark.slow
def test_another_rank_takes_over_from_one_that_ends_early(start, job):
    script = """
    with profiler():
        train(20 if rank == 0 else 60, pause=0.01)
        if rank == 0:
            until(lambda: os.path.exists("there"))
        else:
            open("there", "w").close()
    """
    children = [start(rank, script) for rank in range(2)]
    assert [code for code, _ in finish(*children)] == [0, 0]
    (path,) = job.runs
    run = load_run(path)
    check_books(run)
    windows = [window(rank) for rank in sorted(path.glob("rank-*"))]
    whole = max(end for _, end in windows) - min(begin for begin, _ in windows)
    assert run.total_joules == pytest.approx(WATTS * whole, rel=0.02)


@pytest.mark.slow
def test_a_job_of_the_same_name_is_another_run(start, job):
    """A killed job leaves its rendezvous file, and the next job of that name does not join it."""
    alone = "with profiler():\n    train(5)\n    os.kill(os.getpid(), 9)\n"
    (killed,) = finish(start(0, alone))
    assert killed[0] == -9
    children = [start(rank, BOTH) for rank in range(2)]
    assert [code for code, _ in finish(*children)] == [0, 0]
    assert sorted(len(list(path.glob("rank-*"))) for path in job.runs) == [1, 2]


@pytest.mark.slow
def test_several_runs_in_one_script_have_separate_directories(start, job):
    script = """
    for number in range(2):
        with profiler(run_dir=f"energy_runs/{number}"):
            train(5 + number)
            open(f"done-{number}-{rank}", "w").close()
            until(lambda: os.path.exists(f"done-{number}-{1 - rank}"))
    """
    children = [start(rank, script) for rank in range(2)]
    assert [code for code, _ in finish(*children)] == [0, 0]
    assert [len(load_run(path).steps) for path in job.runs] == [5, 6]
    assert [len(load_run(path).ranks) for path in job.runs] == [2, 2]


@pytest.mark.slow
def test_rank_0_waits_at_most_three_seconds_for_a_dead_rank(start, job):
    """Its record has no totals, and rank 0 waits for them for three seconds."""
    dead = """
    with profiler():
        train(5)
        until(lambda: os.path.exists("joined"))
        open("dead", "w").close()
        os.kill(os.getpid(), 9)
    """
    waits = """
    with profiler():
        open("joined", "w").close()
        until(lambda: os.path.exists("dead"))
        train(5)
    """
    children = [start(0, waits), start(1, dead)]
    assert [code for code, _ in finish(*children)] == [0, -9]
    (path,) = job.runs
    run = load_run(path)
    assert run.meta["merged"]["sources"].keys() == {"rank-00000-attempt-0", "rank-00001-attempt-0"}
    assert len(run.steps) == 5


@pytest.mark.slow
def test_a_failed_rank_shows_in_the_run(start, job):
    script = """
    with profiler():
        train(5)
        open(f"done-{rank}", "w").close()
        until(lambda: os.path.exists(f"done-{1 - rank}"))
        if rank == 1:
            raise ValueError("theirs")
    """
    ended = finish(*(start(rank, script) for rank in range(2)))
    assert [code for code, _ in ended] == [0, 1]
    assert "ValueError: theirs" in ended[1][1]
    assert load_run(job.runs[0]).status is Status.FAILED


# -- torchrun ------------------------------------------------------------------------------------------------------

DDP = """
import os, sys, time
import torch
import torch.distributed as dist
from tests.support.small_training import scripted
from profiler import EnergyProfiler

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
with EnergyProfiler(sensors=[scripted(100.0), scripted(50.0 + rank, name="gpu:0")]) as prof:
    for step in range(60):
        time.sleep(0.004 if rank == 1 else 0.0)
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
print("RUN", rank, prof.run.path, flush=True)
dist.destroy_process_group()
"""


def torchrun(folder, script, *arguments, before=(), environ=()):
    (folder / "script.py").write_text(script)
    known = {
        name: value for name, value in os.environ.items() if not name.startswith(("TORCHELASTIC", "SLURM"))
    }
    command = [*before, sys.executable, "-m", "torch.distributed.run", *map(str, arguments), "script.py"]
    return subprocess.Popen(
        command, cwd=folder, env={**known, "OMP_NUM_THREADS": "1", **dict(environ)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_torchrun_with_gloo(tmp_path):
    """Four ranks that train together: each its own GPU, and the machine once."""
    process = torchrun(tmp_path, DDP, "--standalone", "--nproc-per-node", 4)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    (path,) = (tmp_path / "energy_runs").iterdir()
    run = load_run(path)
    check_books(run)
    assert said.count("\n== ") == 1
    assert len(run.steps) == 60
    assert len(run.ranks) == 4
    joules = run.energy_by_domain()
    seconds = run.summary().window_seconds
    assert joules["cpu:package-0"] == pytest.approx(WATTS * seconds, rel=0.05)
    for rank, seconds in zip(run.ranks["rank"], run.ranks["window_seconds"], strict=True):
        assert joules[f"gpu:0@rank-{rank}"] == pytest.approx((50 + rank) * seconds, rel=0.02)
    assert run.ranks["joules"].sum() == pytest.approx(run.total_joules)


ELASTIC = """
import json, os, sys, time
from pathlib import Path
from profiler import EnergyProfiler
from tests.support.small_training import scripted, train

rank, attempt = int(os.environ["RANK"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
checkpoint = Path("checkpoint.json")

def save(step, loss):
    global done
    if step == 20 and rank == 0 and attempt == 0:
        Path("new").write_text(json.dumps(prof.state_dict()))
        Path("new").replace(checkpoint)
    if step == 30 and attempt == 0 and rank == 1:
        while not checkpoint.exists():
            time.sleep(0.01)
        time.sleep(0.7)
        os.kill(os.getpid(), 9)

with EnergyProfiler(sensors=[scripted(100.0)]) as prof:
    if attempt:
        prof.load_state_dict(json.loads(checkpoint.read_text()))
    train(30 if attempt == 0 else 15, pause=0.01, after=save)
    if attempt == 0 and rank == 0:
        time.sleep(60)
"""


@pytest.mark.slow
def test_torchrun_restarts_a_job_from_its_checkpoint(tmp_path):
    """One of two ranks is killed at step 30; both go on from step 20. The ten steps between are lost work."""
    arguments = ("--standalone", "--nproc-per-node", 2, "--max-restarts", 1, "--monitor-interval", 0.1)
    process = torchrun(tmp_path, ELASTIC, *arguments)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    (path,) = (tmp_path / "energy_runs").iterdir()
    assert len(list(path.glob("rank-*-attempt-[01]"))) == 4
    run = load_run(path)
    check_books(run)
    assert list(run.steps["step"]) == list(range(1, 36))
    assert "lost" in set(run.spans["kind"])
    assert sorted(zip(run.ranks["rank"], run.ranks["attempt"], strict=True)) == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]
    assert not any("did not say" in line for line in run.warnings)


# -- two hosts -----------------------------------------------------------------------------------------------------


def ip(*arguments):
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)


@pytest.fixture
def two_hosts():
    """Two network namespaces with a cable between them."""
    names = [f"ep{os.getpid()}{side}" for side in "ab"]
    try:
        for name in names:
            ip("netns", "add", name)
        ip(
            "link",
            "add",
            "cable",
            "netns",
            names[0],
            "type",
            "veth",
            "peer",
            "name",
            "cable",
            "netns",
            names[1],
        )
        for number, name in enumerate(names, start=1):
            ip("-n", name, "addr", "add", f"10.213.7.{number}/24", "dev", "cable")
            for device in ("cable", "lo"):
                ip("-n", name, "link", "set", device, "up")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces cannot be made here: {error}")
    else:
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.slow
def test_two_hosts_without_a_common_file_system(tmp_path, two_hosts):
    """They agree on the run's name through the job's store, and their records are merged later."""
    started = []
    for number, name in enumerate(two_hosts):
        folder = tmp_path / name
        folder.mkdir()
        arguments = ("--nnodes", 2, "--node-rank", number, "--nproc-per-node", 1, "--master-addr", "10.213.7.1",
                     "--master-port", 29417)  # fmt: skip
        environ = {"GLOO_SOCKET_IFNAME": "cable", "ENERGY_PROFILER_HOST_ID": name}
        before = ("ip", "netns", "exec", name)
        started.append(torchrun(folder, DDP, *arguments, before=before, environ=environ))
    said = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    paths = [next((tmp_path / name / "energy_runs").iterdir()) for name in two_hosts]
    assert paths[0].name == paths[1].name
    first = next(index for index in range(2) if "RUN 0 " in said[index])
    run = load_run(paths[first])
    check_books(run)
    assert len(run.ranks) == 1
    assert any("left no record here" in line for line in run.warnings)
    assert said[first].count("\n== ") == 1
    assert said[1 - first].count("\n== ") == 0
    done = subprocess.run(
        [sys.executable, "-m", "profiler", "merge", *map(str, paths), "-o", str(tmp_path / "both")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'both'}: 2 records of 2 hosts\n"
    both = load_run(tmp_path / "both")
    check_books(both)
    alone = [load_run(next(path.glob("rank-*"))).total_joules for path in paths]
    assert both.total_joules == pytest.approx(sum(alone), abs=1e-4)
    assert {"cpu:package-0@node-0", "cpu:package-0@node-1"} < both.energy_by_domain().keys()
    clock = both.meta["merged"]["clocks"][1]
    assert clock["source"] == "steps"
    assert abs(clock["offset_seconds"]) <= 2 * clock["uncertainty_seconds"] + 0.02, "it is the same clock"
