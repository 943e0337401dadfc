"""``energy-profiler cap`` on simulated boards, whose limit outlives the process that set it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pynvml
import pytest

from profiler import load_run
from profiler.cli import main
from profiler.cli.cap import Cap
from profiler.distributed.rank import host_id
from profiler.errors import SensorUnavailableError, UsageError
from profiler.sensors.power_limit import STATE_VARIABLE, read_saved, state_path, suggestion
from profiler.testing.replay import Waveform
from tests.support.fixtures import fake_clock, nvml_library, simulated_gpus
from tests.support.live_job import LiveJob, step_joules, step_seconds
from tests.support.runs import write_run
from tests.support.simulated_nvml import hopper, library_environment, simulated_nvml, write_script

__all__ = ["fake_clock", "nvml_library", "simulated_gpus"]

UUID = "GPU-aaaa"
LADDER = [600.0, 500.0, 400.0, 300.0, 200.0]
FIRST = 700.0


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    return state_path(os.environ)


def board(**changes):
    return hopper(Waveform.constant(300), **{"uuid": UUID, "is_privileged": True, **changes})


def meta(folder, **changes):
    """The ``run.json`` of a running run on a simulated board of this machine."""
    found = json.loads((write_run(folder / "other", steps=1) / "run.json").read_text())
    gpu = {**found["domains"][0], "device": UUID}
    return {
        **found,
        "domains": [gpu],
        "host": host_id(os.environ),
        "pid": os.getpid(),
        "status": "running",
        **changes,
    }


@pytest.fixture
def job(tmp_path, fake_clock, simulated_gpus):
    """Function that starts a job on a simulated board."""

    def start(seconds=400.0, *, gpu=None, **changes):
        simulated_gpus([gpu or board()])
        pynvml.nvmlInit()
        return LiveJob(tmp_path / "run", fake_clock, pynvml, seconds=seconds, meta=meta(tmp_path, **changes))

    return start


def cap(job, clock, ladder=LADDER, **options):
    options = {"max_slowdown": 10.0, "dwell_seconds": 15.0} | options
    return Cap(pynvml, job.path, ladder, clock=clock, **options)


@pytest.mark.parametrize("max_slowdown", [10.0, 0.12, 0.0])
def test_the_best_limit_is_kept_until_the_run_ends_and_then_restored(
    job, fake_clock, state, capsys, max_slowdown
):
    running = job()
    accepted = [w for w in LADDER if step_seconds(w) <= (1 + max_slowdown) * step_seconds(LADDER[0]) + 1e-9]
    truth = min(accepted, key=step_joules)
    assert cap(running, fake_clock, max_slowdown=max_slowdown).run() == 0
    enforced = load_run(running.path).samples["limit_watts"]
    assert abs(LADDER.index(float(enforced.iloc[-1])) - LADDER.index(truth)) <= 1
    assert running.limit_watts == FIRST
    assert not state.exists()
    out, err = capsys.readouterr()
    assert f"{enforced.iloc[-1]:.0f} W" in out
    assert "kept until the run ends" in out
    assert "restored" in err


def test_the_present_limit_is_on_disk_while_others_are_tried(job, fake_clock, state):
    running, seen = job(), []
    fake_clock.watch(lambda _: seen.append((read_saved(state) or {}).get("milliwatts")))
    cap(running, fake_clock).run()
    assert seen[0] == {UUID: 700_000}
    assert seen[-1] == {UUID: 700_000}
    assert suggestion(os.environ) == ""


def test_a_run_that_ends_early_names_no_limit(job, fake_clock, capsys):
    running = job(40.0)
    assert cap(running, fake_clock).run() == 1
    assert "the run ended before every limit was tried twice" in capsys.readouterr().out
    assert running.limit_watts == FIRST


def test_an_error_restores_the_limits(job, fake_clock, state):
    running = job()

    def damage(now_ns):
        if fake_clock.seconds > 40:
            (running.path / "run.json").write_text("{")

    fake_clock.watch(damage)
    with pytest.raises(Exception, match=r"run.json"):
        cap(running, fake_clock).run()
    assert running.limit_watts == FIRST
    assert not state.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_limits(job, fake_clock, state, number):
    running, sent = job(), []

    def interrupt(_):
        if fake_clock.seconds > 30 and not sent:
            sent.append(running.limit_watts)
            signal.raise_signal(number)

    fake_clock.watch(interrupt)
    handler = signal.getsignal(number)
    assert cap(running, fake_clock).run() == 128 + number
    assert sent[0] in LADDER
    assert running.limit_watts == FIRST
    assert not state.exists()
    assert signal.getsignal(number) is handler


def test_foreign_processes_are_refused(job, fake_clock):
    running = job(gpu=board(processes=((0, 2**30), (4_000_000, 2**30))))
    with pytest.raises(SensorUnavailableError, match="also used by process 4000000"):
        cap(running, fake_clock)
    assert running.limit_watts == FIRST


def test_processes_of_the_run_are_not_foreign(job, fake_clock):
    assert cap(job(gpu=board(processes=((0, 2**30),))), fake_clock)


def test_missing_rights_change_nothing(job, fake_clock, state):
    running = job(gpu=board(is_privileged=False))
    with pytest.raises(SensorUnavailableError, match="may not set the power limit") as refused:
        cap(running, fake_clock).run()
    assert "sudo" in refused.value.remedy
    assert running.limit_watts == FIRST


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"host": "elsewhere"}, "counts no NVIDIA GPU of this machine"),
        ({"domains": []}, "counts no NVIDIA GPU of this machine"),
    ],
)
def test_other_runs_are_refused(job, fake_clock, changes, reason):
    with pytest.raises(UsageError, match=reason):
        cap(job(**changes), fake_clock)


def test_limits_out_of_range_are_refused(job, fake_clock):
    with pytest.raises(UsageError, match="must be between 200 and 700 W"):
        cap(job(), fake_clock, [700.0, 100.0])


def test_a_finished_run_is_refused(tmp_path, fake_clock, simulated_gpus):
    simulated_gpus([board()])
    with pytest.raises(UsageError, match="is not a running run"):
        Cap(pynvml, write_run(tmp_path / "run", steps=3), LADDER, max_slowdown=0.1, clock=fake_clock)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--try", "400"],
        ["--try", "a,b"],
        ["--try", "400,300", "--max-slowdown", "slow"],
        ["--try", "400,300", "--dwell", "nan"],
        ["--try", "400,300", "--rounds", "1"],
    ],
)
def test_impossible_options_are_refused(simulated_gpus, words, capsys):
    simulated_gpus([board()])
    assert main(["cap", *words]) == 2
    assert "energy-profiler:" in capsys.readouterr().err


def test_limits_of_a_killed_process_are_restored_on_request(job, fake_clock, state, capsys):
    running = job()
    state.parent.mkdir()
    dead = {"version": 1, "pid": 2**22 + 1, "started": "1", "milliwatts": {UUID: 450_000}}
    state.write_text(json.dumps(dead))
    assert "restore it with: sudo energy-profiler cap --restore" in suggestion(os.environ)
    with pytest.raises(UsageError, match="first run energy-profiler cap --restore"):
        cap(running, fake_clock).run()
    assert main(["cap", "--restore"]) == 0
    assert "1 power limit restored" in capsys.readouterr().out
    assert running.limit_watts == 450.0
    assert not state.exists()
    assert main(["cap", "--restore"]) == 0
    assert "0 power limits restored" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "[]", '{"milliwatts": 3}', '{"milliwatts": {"GPU-aaaa": "x"}}'])
def test_a_damaged_file_is_reported(job, fake_clock, state, content):
    running = job()
    state.parent.mkdir()
    state.write_text(content)
    assert "is damaged" in suggestion(os.environ)
    with pytest.raises(UsageError, match="nvidia-smi -pl"):
        cap(running, fake_clock).run()
    assert running.limit_watts == FIRST


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_ended_leaves_the_limits_restorable(tmp_path, nvml_library, state, number):
    """SIGTERM restores them; after SIGKILL the next command does."""
    script = write_script(tmp_path / "gpus.txt", [board()])
    path = write_run(tmp_path / "run", steps=1)
    (path / "run.json").write_text(json.dumps(meta(tmp_path) | {"totals": None}))
    environ = {**os.environ, **library_environment(nvml_library, script, os.environ)}
    command = [sys.executable, "-m", "profiler", "cap", "--try", "400,300", "--dwell", "60", str(path)]
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE)
    limit = Path(f"{script}.limit.0")
    deadline = time.monotonic() + 30
    while not (limit.exists() and limit.read_text()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    process.wait(10)
    process.stderr.close()
    with simulated_nvml(nvml_library, script):
        if number == signal.SIGKILL:
            assert (process.returncode, limit.read_text()) == (-number, "400000\n")
            assert "cap --restore" in suggestion(os.environ)
            assert main(["cap", "--restore"]) == 0
        else:
            assert process.returncode == 128 + number
    assert limit.read_text() == "700000\n"
    assert not state.exists()
