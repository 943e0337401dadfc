"""Faults seen in other tools that only show in a complete run."""

import ast
import json
import time
from pathlib import Path

import pytest
import torch  # noqa: F401 - loaded before hooks are counted

import profiler
from profiler import EnergyProfiler
from profiler.records import Domain, Provenance
from profiler.reporting import render, report_of
from profiler.testing.replay import ReplaySensor, ScriptedMeter, Waveform
from tests.support.fixtures import run_python

__all__ = ["run_python"]

ROOT = Path(profiler.__file__).parent
GUEST = """
import sys
import torch
from profiler import EnergyProfiler
seen = []
watched = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.spawn")
sys.addaudithook(lambda event, _: seen.append(event) if event in watched else None)
weight = torch.nn.Parameter(torch.ones(2)); optimizer = torch.optim.SGD([weight], lr=0.1)
with EnergyProfiler():
    for _ in range(20):
        weight.sum().backward(); optimizer.step()
print(seen)
"""


@pytest.mark.slow
def test_recording_needs_no_network_and_starts_no_process(run_python):
    """Includes discovery on this machine, which falls back to tables where nothing is measured."""
    assert run_python(GUEST).stdout.strip() == "[]"


ANCHOR = ROOT / "recording" / "metadata.py"
"""The one module that may read the wall clock: to date the start of the monotonic clock."""


EXTERNAL = ROOT / "sensors" / "external.py"
"""Compares the wall clock with the times of an external meter, which are by the same clock."""


@pytest.mark.parametrize("room", ["sensors", "recording", "torch_hooks"])
def test_durations_never_come_from_the_wall_clock(room):
    for path in (ROOT / room).rglob("*.py"):
        calls = [
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
        ]
        assert calls.count("time.time") == (path == ANCHOR), path
        assert path == EXTERNAL or "time.time_ns" not in calls, path


def scripted(*watts):
    meters = [
        ScriptedMeter(
            domain=Domain(name=name, source="scripted", provenance=Provenance.COUNTER),
            waveform=Waveform.constant(w),
        )
        for name, w in watts
    ]
    return ReplaySensor(meters)


@pytest.fixture
def report(tmp_path):
    """Return the report of half a second on eight GPUs of 300 W and a processor whose package has a part."""
    part = Domain(name="core:package-0", source="scripted", provenance=Provenance.COUNTER, billed=False)
    parts = ReplaySensor([ScriptedMeter(domain=part, waveform=Waveform.constant(60.0))])
    boards = scripted(
        *((f"gpu:{n}", 300.0) for n in range(8)), ("cpu:package-0", 100.0), ("dram:package-0", 20.0)
    )
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[boards, parts]) as prof:
        time.sleep(0.5)
    return prof.run, json.loads(render(report_of(prof.run), ".json"))


def test_boards_are_summed_and_parts_are_not_counted_beside_their_whole(report):
    run, _ = report
    seconds = float(run.spans["end_seconds"].iloc[-1])
    assert run.total_joules == pytest.approx((8 * 300 + 100 + 20) * seconds, rel=1e-3)
    assert "core:package-0" not in run.energy_by_domain()


def test_nothing_is_multiplied_onto_the_joules(report):
    run, printed = report
    assert printed["energy"]["median"] == run.total_joules
    assert sum(run.energy_by_domain().values()) == pytest.approx(run.total_joules, abs=1e-5)


def test_a_second_run_in_one_directory_overwrites_nothing(tmp_path):
    for _ in range(2):
        with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted(("gpu:0", 100.0))]):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run-2"]
