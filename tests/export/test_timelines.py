"""The formats with a timeline: every rule that their viewers rely on, and joules that add up."""

import json
import re
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import load_run
from profiler.export import export, speedscope
from profiler.export.timeline import Tile, tiles_of
from tests.support.runs import write_run

UNITS = {"none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"}


@pytest.fixture
def make(tmp_path):
    def build(steps=20, **options):
        return load_run(write_run(tmp_path / "run", steps=steps, **options))

    return build


def strict(content):
    """Parse JSON as browsers do: no NaN, no infinity."""
    return json.loads(content, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def check_speedscope(file):
    """What https://www.speedscope.app/file-format-schema.json and the comments of its types ask for."""
    assert file["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert all(isinstance(frame["name"], str) for frame in file["shared"]["frames"])
    assert 0 <= file["activeProfileIndex"] < len(file["profiles"])
    for profile in file["profiles"]:
        assert profile["type"] == "evented"
        assert profile["unit"] in UNITS
        assert isinstance(profile["name"], str)
        check_events(profile, len(file["shared"]["frames"]))


def check_events(profile, frames):
    at, stack = profile["startValue"], []
    for event in profile["events"]:
        assert set(event) == {"type", "frame", "at"}
        assert event["at"] >= at, "never back"
        assert 0 <= event["frame"] < frames
        at = event["at"]
        if event["type"] == "O":
            stack.append(event["frame"])
        else:
            assert event["type"] == "C"
            assert stack.pop() == event["frame"], "what opened last closes first"
    assert stack == []
    assert at <= profile["endValue"]


def lengths(file, profile):
    """Total length of each name's frames."""
    names = [frame["name"] for frame in file["shared"]["frames"]]
    total, opened = defaultdict(float), {}
    for event in file["profiles"][profile]["events"]:
        name = names[event["frame"]]
        if event["type"] == "O":
            opened[name] = event["at"]
        else:
            total[name] += event["at"] - opened.pop(name)
    return total


def test_speedscope_shows_where_time_and_energy_went(make):
    run = make(20, meta={"name": "</script> \u2028"})
    file = strict(export(run, "speedscope"))
    check_speedscope(file)
    assert file["name"] == "</script> \u2028"
    assert [(profile["name"], profile["unit"]) for profile in file["profiles"]] == [
        ("time", "seconds"), ("energy (joules)", "none"),
    ]  # fmt: skip
    time, energy = lengths(file, 0), lengths(file, 1)
    assert time == pytest.approx(
        {"setup": 2.0, "training": 5.0, "step": 5.0, "backward": 2.5, "optimizer": 0.5}
    )
    assert energy == pytest.approx({"setup": 800.0, "training": 2000.0, "step": 2000.0})
    assert file["profiles"][1]["endValue"] == pytest.approx(run.total_joules)


def test_speedscope_without_a_meter_or_without_anything(make):
    run = make(5)
    steps = run.path / "steps.csv"
    steps.write_text(re.sub(r",75\.0+,20\.0+,5\.0+,,100\.0+,0\.0+,[\d.]+,", ",,,,,,,,", steps.read_text()))
    spans = run.path / "spans.csv"
    spans.write_text(spans.read_text().replace(",800.000000,0.000000,800.000000,", ",,,,"))
    unmetered = json.loads((run.path / "run.json").read_text()) | {"totals": None}
    (run.path / "run.json").write_text(json.dumps(unmetered))
    file = strict(export(load_run(run.path), "speedscope"))
    check_speedscope(file)
    assert len(file["profiles"]) == 1
    for name in ("steps", "spans", "samples"):
        (run.path / f"{name}.csv").unlink()
    empty = strict(export(load_run(run.path), "speedscope"))
    check_speedscope(empty)
    assert empty["profiles"][0]["events"] == []


seconds = st.floats(0, 1e6)
tiles = st.builds(
    Tile,
    name=st.just("step 1"),
    group=st.sampled_from(["training", "evaluation", "setup"]),
    is_step=st.booleans(),
    start_seconds=seconds,
    end_seconds=seconds,
    joules=st.none() | st.floats(0, 1e9),
    parts=st.dictionaries(st.sampled_from(["data", "forward", "backward"]), seconds),
    facts=st.just({}),
)


@given(st.lists(tiles, max_size=20))
def test_whatever_the_rows_say_the_graph_can_be_drawn(listed):
    frames = speedscope._Frames()
    profiles = [speedscope._by_time(listed, frames), speedscope._by_energy(listed, frames)]
    for profile in profiles:
        check_events(profile, len(frames.numbers))
    assert profiles[1]["endValue"] == pytest.approx(sum(tile.joules or 0.0 for tile in listed), abs=1e-4)


# -- the Trace Event Format ----------------------------------------------------------------------------------------

NEEDED = {
    "M": {"ph", "pid", "name", "args"},
    "X": {"ph", "pid", "tid", "name", "cat", "ts", "dur", "args"},
    "C": {"ph", "pid", "name", "ts", "args"},
}
"""What the format's definition asks of metadata, complete events and counters."""


def trace(run):
    file = strict(export(run, "chrome-trace"))
    for event in file["traceEvents"]:
        assert NEEDED[event["ph"]] <= set(event)
        assert all(isinstance(event[key], int) for key in ("pid", "ts", "dur") if key in event)
        if event["ph"] == "C":
            assert all(isinstance(value, (int, float)) for value in event["args"].values())
    return file["traceEvents"]


def test_the_trace_tiles_the_window(make):
    events = trace(make(20))
    complete = sorted((e for e in events if e["ph"] == "X"), key=lambda event: event["ts"])
    ends = [event["ts"] + event["dur"] for event in complete]
    assert [event["ts"] for event in complete] == [0, *ends[:-1]]
    assert ends[-1] == 7_000_000
    assert sum(event["args"]["joules"] for event in complete) == pytest.approx(2_800.0)
    assert [event["name"] for event in complete[:3]] == ["setup", "step 1", "step 2"]


def test_the_power_of_the_trace_is_the_energy_of_the_run(make):
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


def test_what_is_not_a_number_is_left_out_of_the_trace(make):
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


def test_blocks_of_steps_say_which(make):
    run = make(2)
    steps = run.path / "steps.csv"
    steps.write_text(steps.read_text().replace("\n2,1,", "\n9,8,"))
    meta = json.loads((run.path / "run.json").read_text())
    meta["totals"]["steps"] = 9
    (run.path / "run.json").write_text(json.dumps(meta))
    assert [tile.name for tile in tiles_of(load_run(run.path))] == ["setup", "step 1", "steps 2 to 9"]
