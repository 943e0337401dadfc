"""Processes that are killed, interrupted, forked or blocked: their files and their exit status."""

import csv
import json
import signal
import subprocess
import sys
from decimal import Decimal
from textwrap import dedent

import pytest

from profiler import load_run
from profiler.cli import main
from profiler.records import Status


@pytest.fixture
def start(warm_python, tmp_path):
    """Start a script in a process of its own, which records to ``run``."""
    return lambda script: warm_python.start(PREAMBLE + dedent(script), tmp_path)


@pytest.fixture
def finished(start):
    """Run a script to its end and return its exit status and the process."""

    def run(script):
        child = start(script)
        return child.wait(), child

    return run


PREAMBLE = """
import os, sys, time
from profiler import EnergyProfiler
from tests.support.small_training import scripted, train

def profiler(**options):
    options.setdefault("sensors", [scripted()])
    options.setdefault("run_dir", "run")
    return EnergyProfiler(**options)

def train_by_hand(prof):
    for _ in range(10):
        prof.step(loss=1.0)
"""

ENDLESS = """
def show(step, loss):
    print(step, time.monotonic_ns(), repr(loss), flush=True)

with profiler():
    train(1_000_000, pause=0.002, after=show)
"""


def rows(folder, name="steps"):
    """Return the complete lines; a killed process may leave a partial last one."""
    text = (folder / f"{name}.csv").read_text()
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))


def meta(folder):
    return json.loads((folder / "run.json").read_text())


def list_runs(root, capsys):
    assert main(["list", "--json", str(root)]) == 0
    return json.loads(capsys.readouterr().out)


def reports(child):
    return child.stderr.count("\n== ")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_killed_run_keeps_all_but_its_last_second(start, tmp_path, capsys, number):
    child = start(ENDLESS)
    printed = [next(child.lines).split() for _ in range(400)]
    child.kill(number)
    assert child.wait() == -number
    whole = child.stdout[: child.stdout.rfind("\n") + 1]
    printed += [line.split() for line in whole.splitlines()]
    written = rows(tmp_path / "run")
    assert [row["loss"] for row in written] == [loss for _, _, loss in printed[: len(written)]]
    missing = printed[len(written) :]
    assert int(missing[-1][1]) - int(missing[0][1]) < 1e9 if missing else True
    assert meta(tmp_path / "run")["status"] == "running"
    assert load_run(tmp_path / "run").status is Status.INTERRUPTED
    assert meta(tmp_path / "run")["totals"] is None
    (listed,) = list_runs(tmp_path, capsys)
    assert (listed["status"], listed["metric"]) == ("interrupted", "loss")
    losses = [float(row["loss"]) for row in written]
    assert min(losses) < listed["level"] < max(losses)
    both = [*written, *rows(tmp_path / "run", "spans")]
    last = max(Decimal(row["cumulative_joules"]) for row in both)
    assert sum(Decimal(row["total_joules"]) for row in both) == last > 0


@pytest.mark.slow
def test_an_interrupted_process_has_a_complete_record(start, tmp_path):
    child = start(ENDLESS)
    printed = [next(child.lines).split() for _ in range(50)]
    child.kill(signal.SIGINT)
    assert child.wait() == -signal.SIGINT
    printed += [line.split() for line in child.stdout.splitlines()]
    assert meta(tmp_path / "run")["status"] == "interrupted"
    written = [row["loss"] for row in rows(tmp_path / "run")]
    assert written[: len(printed)] == [loss for _, _, loss in printed]
    assert len(written) <= len(printed) + 1, "interrupted between an update and its print"
    assert reports(child) == 1, child.stderr
    assert child.stderr.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "code", "status"),
    [
        ("pass", 0, "completed"),
        ("sys.exit(0)", 0, "completed"),
        ("sys.exit(3)", 3, "failed"),
        ("sys.exit('no')", 1, "failed"),
        ("raise ValueError('theirs')", 1, "failed"),
    ],
)
def test_the_exit_code_is_that_of_the_script(finished, tmp_path, ending, code, status):
    found, child = finished(f"""
    with profiler():
        train(20)
        {ending}
    """)
    assert found == code
    assert meta(tmp_path / "run")["status"] == status
    assert len(rows(tmp_path / "run")) == 20
    assert reports(child) == 1, child.stderr
    assert ("ValueError: theirs" in child.stderr) == ("ValueError" in ending)
    assert child.stderr.count("Traceback") == ("ValueError" in ending)


# The end of a script, its exit status, the status of its run, and the number of reports that it prints.
ENDS = {
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", -15, "interrupted", 0),
    "SIGHUP": ("os.kill(os.getpid(), signal.SIGHUP)", -1, "interrupted", 0),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", -9, "interrupted", 0),
    "os._exit": ("os._exit(7)", 7, "interrupted", 0),
    "SIGTERM whose handler exits": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); os.kill(os.getpid(), signal.SIGTERM)",
        143, "failed", 1,
    ),
    "SIGTERM whose handler sets a flag": (
        "signal.signal(signal.SIGTERM, lambda *_: print('stop')); os.kill(os.getpid(), signal.SIGTERM)",
        0, "completed", 1,
    ),
    "SIGINT": ("os.kill(os.getpid(), signal.SIGINT)", -2, "interrupted", 1),
    "SIGINT while another is handled": (
        "try: os.kill(os.getpid(), signal.SIGINT)\n    finally: os.kill(os.getpid(), signal.SIGINT)",
        -2, "interrupted", 1,
    ),
    "exception in a worker of a data loader": (
        "list(torch.utils.data.DataLoader([1, 2], num_workers=1, collate_fn=lambda _: 1 / 0))", 1, "failed", 1,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDS)
def test_a_script_ends_as_without_the_profiler(finished, tmp_path, name):
    ending, code, status, count = ENDS[name]
    script = """
    import contextlib, signal, torch
    with {context}:
        train(20, after=print)
        sys.stdout.flush()
        {ending}
        train(5)
    print("done", flush=True)
    """
    ends = []
    for context in ("contextlib.nullcontext()", "profiler()"):
        found, child = finished(dedent(script).replace("{context}", context).replace("{ending}", ending))
        ends.append((found, child.stdout, child.stderr.count("Traceback")))
        (tmp_path / "stdout").unlink()
    assert ends[0] == ends[1]
    assert ends[0][0] == code
    assert reports(child) == count, child.stderr
    run = load_run(tmp_path / "run")
    assert run.status.value == status
    if count:
        assert len(run.steps) == (25 if code == 0 else 20)


@pytest.mark.slow
def test_a_start_without_a_stop_ends_with_the_process(finished, tmp_path):
    code, child = finished("""
    prof = profiler().start()
    train(20)
    """)
    assert code == 0
    assert meta(tmp_path / "run")["status"] == "completed"
    assert len(rows(tmp_path / "run")) == 20
    assert reports(child) == 1, child.stderr


@pytest.mark.slow
def test_a_start_without_a_stop_ends_with_sigint_status_after_an_interrupt(finished, tmp_path):
    code, child = finished("""
    prof = profiler().start()
    train(20)
    raise KeyboardInterrupt
    """)
    assert code == -signal.SIGINT
    assert meta(tmp_path / "run")["status"] == "interrupted"
    assert len(rows(tmp_path / "run")) == 20
    assert reports(child) == 1, child.stderr


@pytest.mark.slow
def test_a_training_may_change_its_working_directory(finished, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    code, child = finished("""
    with profiler() as prof:
        os.chdir("elsewhere")
        train(20)
    print(len(prof.run.steps))
    """)
    assert (code, child.stdout) == (0, "20\n")
    assert meta(tmp_path / "run")["status"] == "completed"
    assert "cannot" not in child.stderr
    assert "-> run\n" in child.stderr
    printed = child.stderr.split()[-1].removesuffix("…")
    assert printed.startswith("/"), "absolute, since the working directory has changed"
    assert str(tmp_path / "run").startswith(printed)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("os._exit(7)", 7),
        ("sys.exit(5)", 5),
        ("raise ValueError", 1),
        ("os.abort()", -6),
        ("os.kill(os.getpid(), 9)", -9),
    ],
)
def test_a_forked_child_records_nothing_and_keeps_its_exit_status(finished, tmp_path, ending, code):
    """The child's training, logging and stopping do not affect the parent's run."""
    found, child = finished(f"""
    with profiler() as prof:
        train_by_hand(prof)
        child = os.fork()
        if child == 0:
            train(10)
            prof.log(theirs=1)
            prof.step(loss=1.0)
            with prof.phase("theirs"):
                pass
            {ending}
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        train_by_hand(prof)
    """)
    assert found == 0
    assert child.stdout == f"{code}\n"
    assert reports(child) == 1, child.stderr
    assert meta(tmp_path / "run")["status"] == "completed"
    assert len(rows(tmp_path / "run")) == 20
    assert meta(tmp_path / "run")["unrecorded_processes"] == 1
    assert rows(tmp_path / "run", "metrics") == []
    assert "theirs" not in {row["kind"] for row in rows(tmp_path / "run", "spans")}


@pytest.mark.slow
def test_a_forked_child_that_cannot_join_the_run_trains_as_without_a_profiler(finished, tmp_path):
    """The error occurs inside the child's first backward pass. The parent names the child as not recorded."""
    code, child = finished("""
    import torch
    from profiler import energy_profiler

    def refuse(*_):
        print("asked", flush=True)
        raise PermissionError(13, "Permission denied")

    def weights():
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(3))
        optimizer = torch.optim.SGD([weight], lr=0.1)
        for _ in range(10):
            optimizer.zero_grad()
            weight.square().sum().backward()
            optimizer.step()
        return weight.tolist()

    expected = weights()
    energy_profiler.child_layout = refuse
    with profiler() as prof:
        train_by_hand(prof)
        child = os.fork()
        if child == 0:
            os._exit(3 if weights() == expected else 4)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        train_by_hand(prof)
    """)
    assert code == 0
    assert child.stdout == "asked\n3\n"
    assert "Traceback" not in child.stderr
    assert len(rows(tmp_path / "run")) == 20
    run = load_run(tmp_path / "run")
    assert run.meta["unrecorded_processes"] == 1
    assert run.status is Status.COMPLETED
    assert any("1 child process trained" in line for line in run.warnings), run.warnings


@pytest.mark.slow
def test_a_forked_child_may_record_a_run_of_its_own(finished, tmp_path):
    code, _ = finished("""
    with profiler():
        child = os.fork()
        if child == 0:
            with profiler(run_dir="childs"):
                train(7)
            os._exit(0)
        os.waitpid(child, 0)
        train(20)
    """)
    assert code == 0
    assert len(rows(tmp_path / "run")) == 20
    assert len(rows(tmp_path / "childs")) == 7
    assert meta(tmp_path / "childs")["status"] == "completed"
    assert "unrecorded_processes" not in meta(tmp_path / "run")


@pytest.mark.slow
def test_data_loader_workers_have_no_effect(finished, tmp_path):
    code, child = finished("""
    import torch

    data = torch.utils.data.TensorDataset(torch.randn(40, 4))
    loader = torch.utils.data.DataLoader(data, batch_size=4, num_workers=2)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with profiler():
        for _ in range(2):
            for (x,) in loader:
                model(x).square().mean().backward()
                optimizer.step()
    """)
    assert code == 0
    assert len(rows(tmp_path / "run")) == 20
    assert reports(child) == 1, child.stderr


HANGING = """
import threading
from profiler.recording import sampler

sampler._HANG_SECONDS = 0.3

class Hanging:
    domains = scripted().domains

    def __init__(self, hangs):
        self.sensor, self.hangs, self.hung = scripted(), hangs, threading.Event()

    def read(self):
        if self.hangs(self):
            self.hung.set()
            threading.Event().wait()
        return self.sensor.read()

    def close(self):
        pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["at the first read", "half way", "behind the window"])
def test_a_hanging_sensor_does_not_block_the_training(start, tmp_path, when):
    hangs = {
        "at the first read": "lambda sensor: True",
        "half way": "lambda sensor: half_way.is_set()",
        "behind the window": "lambda sensor: prof._session.status != 'running'",
    }[when]
    child = start(
        HANGING
        + dedent(f"""
        half_way = threading.Event()
        sensor = Hanging({hangs})
        prof = profiler(sensors=[sensor], sample_period_seconds=0.01)
        with prof:
            train(10)
            half_way.set()
            if "{when}" == "half way":
                sensor.hung.wait()
            train(10)
            print("trained", flush=True)
        print("left", flush=True)
        """)
    )
    signal.alarm(30)
    try:
        assert child.wait() == 0
    finally:
        signal.alarm(0)
    assert child.stdout == "trained\nleft\n"
    assert sum(line.startswith("energy-profiler: a sensor hangs") for line in child.stderr.splitlines()) == 1
    assert meta(tmp_path / "run")["status"] == "completed"
    assert len(rows(tmp_path / "run")) == 20


@pytest.mark.slow
def test_a_sensor_that_answers_after_the_end_changes_nothing(start, tmp_path):
    child = start(
        HANGING
        + dedent("""
        class Late(Hanging):
            wake = threading.Event()

            def read(self):
                if self.hangs(self):
                    self.hung.set()
                    self.wake.wait()
                return self.sensor.read()

        half_way = threading.Event()
        sensor = Late(lambda sensor: half_way.is_set())
        with profiler(sensors=[sensor], sample_period_seconds=0.01):
            train(10)
            half_way.set()
            sensor.hung.wait()
            sampler = [thread for thread in threading.enumerate() if thread.name == "energy-profiler"]
        before = {name: open("run/" + name).read() for name in os.listdir("run")}
        half_way.clear()
        sensor.wake.set()
        for thread in sampler:
            thread.join()
        assert before == {name: open("run/" + name).read() for name in os.listdir("run")}
        """)
    )
    code = child.wait()
    assert code == 0, child.stderr
    assert child.stderr.count("energy-profiler: ") == 2, "the start, and that a sensor hangs"
    assert len(rows(tmp_path / "run")) == 10


@pytest.mark.slow
def test_warnings_as_errors_have_no_effect(tmp_path):
    script = PREAMBLE + "with profiler() as prof:\n    train(20)\nprint(len(prof.run.steps))"
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("20\n", 0), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "closing",
    [
        "os.close(2); sys.stderr = None",  # what Python makes of 2>&-
        "sys.stderr.close()",
        "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)",
    ],
)
def test_an_unwritable_stderr_has_no_effect(finished, tmp_path, closing):
    """Nothing is written to the script's own output."""
    code, child = finished(f"""
    {closing}
    with profiler():
        train(20)
    print("theirs")
    """)
    assert (child.stdout, code) == ("theirs\n", 0)
    assert len(rows(tmp_path / "run")) == 20


@pytest.mark.slow
def test_a_full_disk_costs_one_warning(finished, tmp_path):
    """No file may grow beyond 4,000 bytes: rows stop, the training and the totals continue."""
    code, child = finished("""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
    with profiler() as prof:
        train(500, pause=0.001)
    print(prof._session.summary().steps)
    """)
    assert code == 0
    assert child.stdout == "500\n"
    assert sum(line.startswith("energy-profiler: cannot write") for line in child.stderr.splitlines()) == 1
    assert (tmp_path / "run" / "steps.csv").read_text().endswith("\n")
    assert meta(tmp_path / "run")["status"] == "completed"
