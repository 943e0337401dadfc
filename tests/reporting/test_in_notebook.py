"""In a notebook: cells run by the real IPython shell, in a process of their own."""

import json
import sys
from textwrap import dedent

import pytest

from profiler import load_run
from profiler.records import Status

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks its processes")

SHELL = """
import json, os, sys
os.environ["IPYTHONDIR"] = os.getcwd()
sys.path.insert(0, "")
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
from tests.support.small_training import scripted, train
from profiler import EnergyProfiler
shell = InteractiveShell.instance(colors="NoColor", config=Config(HistoryManager={"enabled": False}))
shell.user_ns |= {"EnergyProfiler": EnergyProfiler, "sensors": [scripted()], "train": train}
def run(cell):
    done = shell.run_cell(cell)
    return type(done.error_in_exec or done.error_before_exec).__name__
"""


@pytest.fixture
def notebook(warm_python, tmp_path):
    """Run cells, with code between them in the shell's own process; returns how each cell ended, and stderr."""

    def run(*cells, between=""):
        steps = "".join(f"ended.append(run({dedent(cell)!r}))\n{between}\n" for cell in cells)
        child = warm_python.start(
            f"{SHELL}\nended = []\n{steps}\nprint('ENDED', json.dumps(ended))", tmp_path
        )
        assert child.wait() == 0, child.stderr
        said = next(line for line in child.stdout.splitlines() if line.startswith("ENDED"))
        return json.loads(said.removeprefix("ENDED")), child

    return run


@pytest.mark.slow
def test_with_in_a_cell(notebook, tmp_path):
    ended, child = notebook(
        """
        with EnergyProfiler(run_dir="run", sensors=sensors) as prof:
            train(20)
        """,
        "print(prof)",
        "print(len(prof.run.steps))",
    )
    assert ended == ["NoneType"] * 3
    assert "EnergyProfiler(completed, 20 steps, " in child.stdout
    assert "\n20\n" in child.stdout
    assert child.stderr.count("== run: completed") == 1


@pytest.mark.slow
def test_started_in_one_cell_and_stopped_in_another(notebook, tmp_path):
    ended, _ = notebook(
        'prof = EnergyProfiler(run_dir="run", sensors=sensors).start()',
        "train(20)",
        "prof.metrics()",
        "train(20)",
        "prof.stop()",
        "train(20)",
    )
    assert ended == ["NoneType"] * 6
    run = load_run(tmp_path / "run")
    assert run.status is Status.COMPLETED
    assert len(run.steps) == 40


@pytest.mark.slow
def test_a_cell_that_fails_ends_its_with_and_not_the_notebook(notebook, tmp_path):
    ended, child = notebook(
        """
        with EnergyProfiler(run_dir="run", sensors=sensors) as prof:
            train(20)
            1 / 0
        """,
        """
        with EnergyProfiler(run_dir="run", sensors=sensors) as prof:
            train(5)
        """,
    )
    assert ended == ["ZeroDivisionError", "NoneType"]
    assert load_run(tmp_path / "run").status is Status.FAILED
    assert len(load_run(tmp_path / "run").steps) == 20
    assert load_run(tmp_path / "run-2").status is Status.COMPLETED
    assert "profiler" not in child.stdout.split("ZeroDivisionError", 1)[1], (
        "none of our frames in the traceback"
    )


@pytest.mark.slow
def test_a_cell_that_fails_between_start_and_stop_changes_nothing(notebook, tmp_path):
    ended, _ = notebook(
        'prof = EnergyProfiler(run_dir="run", sensors=sensors).start()',
        "train(10); 1 / 0",
        "prof.start()",
        "prof.stop()",
    )
    assert ended == ["NoneType", "ZeroDivisionError", "UsageError", "NoneType"]
    run = load_run(tmp_path / "run")
    assert run.status is Status.COMPLETED
    assert len(run.steps) == 10


@pytest.mark.slow
def test_a_training_module_edited_while_it_is_recorded_is_reloaded(notebook, tmp_path):
    edit = """
import os
with open("mine.py", "w") as file:
    file.write(f"from tests.support.small_training import train\\ndef work(): return len(train({3 * len(ended)}))\\n")
os.utime("mine.py", (2e9 + len(ended), 2e9 + len(ended)))
"""
    ended, child = notebook(
        "%load_ext autoreload\n%autoreload 2",
        'prof = EnergyProfiler(run_dir="run", sensors=sensors).start()\nimport mine',
        "print('DID', mine.work())",
        "print('DID', mine.work())",
        "prof.stop()",
        between=edit,
    )
    assert ended == ["NoneType"] * 5
    assert [line for line in child.stdout.splitlines() if line.startswith("DID")] == ["DID 6", "DID 9"]
    assert load_run(tmp_path / "run").status is Status.COMPLETED
    assert load_run(tmp_path / "run").steps["step"].iloc[-1] == 15
