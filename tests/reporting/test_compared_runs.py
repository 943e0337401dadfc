"""Reading of compared runs, in one process and in several."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from profiler import load_run
from profiler.emissions import Prices
from profiler.errors import ForecastRefusedError, RunDamagedError
from profiler.reporting import compared_runs, render_comparison
from profiler.reporting.compared_runs import processes, read_runs
from profiler.reporting.comparison import compare
from profiler.storage.reader import StoredRun, Tables
from tests.support.runs import law, write_run


@pytest.fixture
def paths(tmp_path):
    return [
        write_run(tmp_path / name, steps=steps, loss=lambda step, part=part: part * law(step))
        for name, steps, part in (("a", 200, 1.0), ("b", 400, 1.1), ("short", 2, 1.0), ("c", 300, 0.9))
    ]


def json_of(paths, pool=None):
    return render_comparison(compare([load_run(path) for path in paths], pool=pool), ".json")


@pytest.fixture
def shared(monkeypatch):
    """Let the tests start processes on any machine, which only the command line does for many runs."""
    monkeypatch.setattr(compared_runs, "LEAST_RUNS", 2)
    monkeypatch.setattr(compared_runs, "_processors", lambda: 2)
    monkeypatch.setattr(compared_runs, "_is_command_line", lambda: True)


@pytest.fixture
def threads(monkeypatch):
    """Use threads in place of processes."""
    monkeypatch.setattr(compared_runs, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))


@pytest.mark.slow
@pytest.mark.usefixtures("shared")
def test_processes_compute_what_one_computes(paths):
    with processes(len(paths)) as pool:
        assert pool is not None
        assert json_of(paths, pool) == json_of(paths)


@pytest.mark.slow
@pytest.mark.usefixtures("shared")
def test_killed_processes_do_not_matter(paths):
    with processes(len(paths)) as pool:
        os.kill(pool.submit(os.getpid).result(), signal.SIGTERM)
        assert json_of(paths, pool) == json_of(paths)


@pytest.mark.slow
@pytest.mark.usefixtures("shared")
def test_processes_that_started_before_one_was_refused_end(monkeypatch):
    class Refused:
        def __init__(self, *_):
            multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60.0,)).start()

        def submit(self, _):
            raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(compared_runs, "ProcessPoolExecutor", Refused)
    before = {child.pid for child in multiprocessing.active_children()}  # of pools that are still ending
    with processes(1_000) as pool:
        assert pool is None
        assert {child.pid for child in multiprocessing.active_children()} <= before


@pytest.mark.usefixtures("shared")
def test_a_system_without_semaphores_starts_no_process(monkeypatch):
    def refuse(*_):
        raise NotImplementedError

    monkeypatch.setattr(compared_runs, "ProcessPoolExecutor", refuse)
    with processes(1_000) as pool:
        assert pool is None


def test_few_runs_start_no_process():
    with processes(compared_runs.LEAST_RUNS - 1) as pool:
        assert pool is None


@pytest.mark.usefixtures("shared")
def test_one_processor_starts_no_process(monkeypatch):
    monkeypatch.setattr(compared_runs, "_processors", lambda: 1)
    with processes(1_000) as pool:
        assert pool is None


MAINS = {
    "python -m profiler": (ModuleSpec("profiler.__main__", None), "/lib/profiler/__main__.py", True),
    "the console script": (None, "/bin/energy-profiler", True),
    "a script": (None, "/home/me/sweep.py", False),
    "a module": (ModuleSpec("sweep", None), "/home/me/sweep.py", False),
    "standard input": (None, None, False),
}


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("spec", "file", "expected"), MAINS.values(), ids=MAINS)
def test_only_the_command_line_starts_processes(monkeypatch, spec, file, expected):
    main = ModuleType("__main__")
    main.__spec__, main.__file__ = spec, file
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(compared_runs, "_processors", lambda: 2)
    with processes(1_000) as pool:
        assert (pool is not None) == expected


@pytest.mark.slow
def test_the_command_compares_many_runs(tmp_path):
    first = write_run(tmp_path / "00", steps=60)
    paths = [first, *(tmp_path / f"{number:02d}" for number in range(1, compared_runs.LEAST_RUNS))]
    for path in paths[1:]:
        shutil.copytree(first, path)
    command = [sys.executable, "-m", "profiler", "compare", "--json", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout == json_of(paths)


class Forbidden(Executor):
    """A machine on which no process can be started."""

    def submit(self, *_arguments, **_options):
        raise BlockingIOError(11, "Resource temporarily unavailable")


def test_runs_are_read_where_no_process_can_start(paths):
    assert json_of(paths, Forbidden()) == json_of(paths)


def test_a_damaged_run_raises_the_same_error(paths):
    steps = paths[1] / "steps.csv"
    steps.write_text(steps.read_text().replace("200,1,", "200,one,", 1))
    messages = []
    with ThreadPoolExecutor(2) as pool:
        for one in (None, pool):
            with pytest.raises(RunDamagedError, match="step_count") as caught:
                json_of(paths, one)
            messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_rows_before_the_damage_are_read(paths):
    steps = paths[1] / "steps.csv"
    steps.write_text(steps.read_text().replace("200,1,", "200,one,", 1))
    runs = [load_run(path, partial=True) for path in paths]
    with ThreadPoolExecutor(2) as pool:
        found = read_runs(runs, [Prices()] * len(runs), "loss", {}, pool=pool)
    assert found[1].fit().points == 199
    assert found[1].report.warnings


def test_tables_in_memory_are_not_read_again(paths, tmp_path):
    known = load_run(paths[0])
    tables = Tables(steps=known.steps, spans=known.spans, samples=known.samples, metrics=known.metrics)
    merged = StoredRun(tmp_path / "nowhere", known.meta, tables=tables)
    with ThreadPoolExecutor(2) as pool:
        found = read_runs([merged], [Prices()], "loss", {}, pool=pool)
    assert found[0].report.summary.steps == 200
    assert found[0].fit().level == known.fit().level


def test_reasons_for_no_curve_cross_processes(paths):
    with ThreadPoolExecutor(2) as pool:
        found = read_runs([load_run(paths[0])], [Prices()], "accuracy", {}, pool=pool)
    with pytest.raises(ForecastRefusedError, match="no metric accuracy"):
        found[0].fit()
