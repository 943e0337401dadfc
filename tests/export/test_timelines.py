"""Trace Event Format: the rules of its viewers, and joules that add up."""

import json

import pytest

from profiler import load_run
from profiler.export import export
from profiler.export.timeline import tiles_of
from tests.support.runs import write_run


@pytest.fixture
def make(tmp_path):
    def build(steps=20, **options):
        return load_run(write_run(tmp_path / "run", steps=steps, **options))

    return build


def strict(content):
    """Parse JSON as browsers do, without NaN and infinity."""
    return json.loads(content, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


NEEDED = {
    "M": {"ph", "pid", "name", "args"},
    "X": {"ph", "pid", "tid", "name", "cat", "ts", "dur", "args"},
    "C": {"ph", "pid", "name", "ts", "args"},
}
"""Required keys of metadata, complete and counter events."""


def trace(run):
    file = strict(export(run, "chrome-trace"))
    for event in file["traceEvents"]:
        assert NEEDED[event["ph"]] <= set(event)
        assert all(isinstance(event[key], int) for key in ("pid", "ts", "dur") if key in event)
        if event["ph"] == "C":
            assert all(isinstance(value, (int, float)) for value in event["args"].values())
    return file["traceEvents"]


def test_trace_tiles_the_window(make):
    events = trace(make(20))
    complete = sorted((e for e in events if e["ph"] == "X"), key=lambda event: event["ts"])
    ends = [event["ts"] + event["dur"] for event in complete]
    assert [event["ts"] for event in complete] == [0, *ends[:-1]]
    assert ends[-1] == 7_000_000
    assert sum(event["args"]["joules"] for event in complete) == pytest.approx(2_800.0)
    assert [event["name"] for event in complete[:3]] == ["setup", "step 1", "step 2"]


def test_integral_of_the_traced_power_is_the_energy_of_the_run(make):
    run = make(20)
    counters = [event for event in trace(run) if event["ph"] == "C"]
    for domain, joules in run.energy_by_domain().items():
        power = [(e["ts"], e["args"]["watts"]) for e in counters if e["name"] == f"power {domain}"]
        energy = [(e["ts"], e["args"]["joules"]) for e in counters if e["name"] == f"energy {domain}"]
        ends = [time for time, _ in power[1:]] + [energy[-1][0]]
        integral = sum(w * (end - ts) / 1e6 for (ts, w), end in zip(power, ends, strict=True))
        assert integral == pytest.approx(joules, rel=1e-3)
        assert energy[-1][1] == pytest.approx(joules)
    assert sum(event["name"] == "loss" for event in counters) == 20


def test_non_finite_losses_are_excluded_from_the_trace(make):
    losses = {1: None, 2: float("nan"), 3: float("inf"), 4: 1.0}
    events = trace(make(4, loss=losses.get))
    assert [event["args"]["loss"] for event in events if event["name"] == "loss"] == [1.0]
    assert ["loss" in event["args"] for event in events if event["ph"] == "X"] == [
        False,
        False,
        False,
        False,
        True,
    ]


def test_blocks_are_named_by_their_steps(make):
    run = make(2)
    steps = run.path / "steps.csv"
    steps.write_text(steps.read_text().replace("\n2,1,", "\n9,8,"))
    meta = json.loads((run.path / "run.json").read_text())
    meta["totals"]["steps"] = 9
    (run.path / "run.json").write_text(json.dumps(meta))
    assert [tile.name for tile in tiles_of(load_run(run.path))] == ["setup", "step 1", "steps 2 to 9"]
