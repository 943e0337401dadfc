"""Following a run directory: polling reads the same rows as loading, and each row once."""

import json
import os

import pandas as pd
import pytest

from profiler import load_run
from profiler.errors import RunDamagedError, RunForeignError, RunNotFoundError
from profiler.merging.follow import Follower
from profiler.storage import tail
from profiler.storage.growing import GrowingRows
from tests.support.growing_run import GrowingRun
from tests.support.runs import write_run

TABLES = ("steps", "spans", "samples", "metrics")


@pytest.fixture
def growing(tmp_path):
    return GrowingRun(tmp_path / "run", steps=60)


def assert_same(seen, path):
    whole = load_run(path)
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(seen, name), getattr(whole, name))
    assert list(seen.samples_by_domain) == list(whole.samples_by_domain)
    for name, rows in seen.samples_by_domain.items():
        expected = whole.samples_by_domain[name][list(rows.columns)].reset_index(drop=True)
        pd.testing.assert_frame_equal(
            rows.reset_index(drop=True), expected.astype({"throttle": rows["throttle"].dtype})
        )
    assert seen.summary() == whole.summary()


@pytest.mark.parametrize("chunk", [700, 8_000_000])
def test_every_poll_equals_load_run(growing, monkeypatch, chunk):
    monkeypatch.setattr(tail, "CHUNK_BYTES", chunk)
    follower = Follower(growing.path)
    for steps in (0, 0, 1, 7, 7, 60):
        growing.grow(steps)
        assert_same(follower.poll(), growing.path)
    growing.say("completed")
    assert follower.poll().status == "completed"


def test_runs_of_earlier_polls_remain_as_they_were(growing):
    follower = Follower(growing.path)
    growing.grow(3)
    earlier = [follower.poll()]
    for steps in (4, 5, 30):
        growing.grow(steps)
        earlier.append(follower.poll())
    assert [len(run.steps) for run in earlier] == [3, 4, 5, 30]
    last = earlier[-1]
    for run in earlier:
        pd.testing.assert_frame_equal(run.steps, last.steps.iloc[: len(run.steps)])
        for name, rows in run.samples_by_domain.items():
            whole = last.samples_by_domain[name]["energy_joules"].tolist()
            assert rows["energy_joules"].tolist() == whole[: len(rows)]


def test_only_new_lines_are_parsed(growing, monkeypatch):
    growing.grow(40)
    follower = Follower(growing.path)
    follower.poll()
    parsed = []
    parse = tail.parse_lines
    monkeypatch.setattr(
        tail,
        "parse_lines",
        lambda path, lines, *more, **options: parsed.append(lines) or parse(path, lines, *more, **options),
    )
    follower.poll()
    assert parsed == []
    growing.grow(41)
    follower.poll()
    assert sorted(lines.count(b"\n") for lines in parsed) == [1, 3]


def test_an_incomplete_line_is_read_once_it_is_complete(growing):
    growing.grow(5)
    follower = Follower(growing.path)
    follower.poll()
    growing.grow(6)
    file = growing.path / "steps.csv"
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    assert len(follower.poll().steps) == 5
    file.write_bytes(whole)
    assert len(follower.poll().steps) == 6


def test_a_directory_without_tables_is_a_run_without_rows(growing):
    for name in TABLES:
        (growing.path / f"{name}.csv").unlink(missing_ok=True)
    seen = Follower(growing.path).poll()
    assert [len(getattr(seen, name)) for name in TABLES] == [0, 0, 0, 0]


def test_damage_in_a_growing_file_is_reported_with_its_line(growing):
    growing.grow(20)
    follower = Follower(growing.path)
    follower.poll()
    with (growing.path / "steps.csv").open("a") as file:
        file.write("21,1,nonsense\n")
    with pytest.raises(RunDamagedError, match=r"steps\.csv, line 22: 3 cells where the header has 22"):
        follower.poll()


def test_damage_is_reported_at_every_poll(growing):
    growing.grow(20)
    follower = Follower(growing.path)
    follower.poll()
    file = growing.path / "steps.csv"
    whole = file.read_bytes()
    growing.grow(22)
    longer = file.read_bytes()
    file.write_bytes(whole + b"nonsense\n" + longer[len(whole) :])
    for _ in range(2):
        with pytest.raises(RunDamagedError, match="line 22: 1 cells"):
            follower.poll()
    file.write_bytes(longer)
    assert follower.poll().steps["step"].tolist() == list(range(1, 23))


def test_rows_of_another_type_may_be_appended():
    rows = GrowingRows(pd.DataFrame({"watts": [1.0, 2.0]}))
    for values in ([3.0], [4], [5.0]):
        rows.append(pd.DataFrame({"watts": values}))
    assert rows.frame["watts"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_foreign_header_is_reported(growing):
    (growing.path / "steps.csv").write_text("one,two\n1,2\n")
    with pytest.raises(RunDamagedError, match=r"steps\.csv, line 1: the column step is missing"):
        Follower(growing.path).poll()


def test_a_file_that_becomes_shorter_is_damage(growing):
    growing.grow(20)
    follower = Follower(growing.path)
    follower.poll()
    os.truncate(growing.path / "steps.csv", 200)
    with pytest.raises(RunDamagedError, match="has become shorter"):
        follower.poll()


def test_a_job_is_merged_at_each_poll(tmp_path):
    job = tmp_path / "job"
    job.mkdir()
    for rank in range(2):
        whole = json.loads((write_run(job / f"rank-{rank:05d}-attempt-0", steps=40) / "run.json").read_text())
        meta = {
            "rank": rank,
            "world_size": 2,
            "host": "host-a",
            "clock": {"monotonic_seconds": 1.0, "unix_seconds": 2.0},
        }
        (job / f"rank-{rank:05d}-attempt-0" / "run.json").write_text(json.dumps({**whole, **meta}))
    seen = Follower(job).poll()
    assert_same(seen, job)
    assert seen.meta["world_size"] == 2
    assert len(seen.steps) == 40


def test_a_foreign_directory_is_refused_at_once(tmp_path):
    with pytest.raises(RunNotFoundError):
        Follower(tmp_path / "nothing")
    with pytest.raises(RunForeignError):
        Follower(tmp_path)
