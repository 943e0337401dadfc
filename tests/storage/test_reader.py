"""Records can be read back, and damage is reported with its line."""

import json
import os
import shutil
import subprocess
import sys
import time

import pandas as pd
import pytest

from profiler import load_run
from profiler._compat import process_namespace, process_start
from profiler.errors import (
    RunDamagedError,
    RunError,
    RunForeignError,
    RunNotFoundError,
    RunTooNewError,
    UsageError,
)
from profiler.forecasting import fit_curve
from profiler.records import Status
from profiler.storage import csv_reader
from profiler.storage.csv_reader import read_table
from profiler.storage.schema import SAMPLES, STEPS, TABLES
from tests.support.runs import write_run


def test_totals_are_exact_and_agree_with_each_other(run_dir):
    run = load_run(run_dir)
    assert run.total_joules == 40_800.0
    assert run.energy_by_domain() == {"gpu:0": 30_600.0, "cpu:package-0": 8_160.0, "dram:package-0": 2_040.0}
    assert run.steps["total_joules"].sum() + run.spans["total_joules"].sum() == pytest.approx(40_800.0)
    assert run.status is Status.COMPLETED


def test_total_is_that_of_the_rows_where_the_run_file_was_written_only_at_the_start(run_dir):
    """The counted domains are known from the first row on, and a disk may be full by then."""
    meta = json.loads((run_dir / "run.json").read_text())
    for domain in meta["domains"]:
        domain["billed"] = False
    (run_dir / "run.json").write_text(json.dumps(meta | {"status": "running", "totals": None}))
    run = load_run(run_dir)
    assert run.total_joules == 40_800.0
    assert sum(run.energy_by_domain().values()) == pytest.approx(40_800.0)
    assert [line for line in run.warnings if "was not written after the start" in line]


def test_energy_of_a_window_is_the_power_times_its_length(run_dir):
    run = load_run(run_dir)
    window = run.energy(10.0, 20.1)
    assert window.median == pytest.approx(400 * 10.1)
    assert window.low < window.median < window.high
    # A board's gain is common to the whole run: 5 % of 3,030 J, 2 % of 808 and of 202 J, at 1.645 sigma.
    assert window.high - window.median == pytest.approx(
        1.645 * (151.5**2 + 16.16**2 + 4.04**2) ** 0.5, rel=1e-3
    )


@pytest.mark.parametrize(("start", "end"), [(5, 4), (-1, 4), (0, 1000)])
def test_a_window_outside_the_record_is_refused(run_dir, start, end):
    with pytest.raises(UsageError, match="between 0 and 102"):
        load_run(run_dir).energy(start, end)


@pytest.mark.slow
def test_reading_a_run_needs_no_torch(run_dir):
    script = (
        "import sys; from profiler import load_run; run = load_run(sys.argv[1]);"
        "run.report('r.txt'); run.report('r.json');"
        "assert run.total_joules == 40800.0; assert not {'torch', 'pynvml', 'psutil'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, run_dir], check=True)


def test_a_torn_last_line_is_dropped(tmp_path):
    run_dir = write_run(tmp_path / "run", meta={"status": "interrupted", "totals": None})
    file = run_dir / "steps.csv"
    file.write_bytes(file.read_bytes()[:-20])
    assert len(load_run(run_dir).steps) == 399


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.filename)
def test_a_missing_or_empty_file_reads_as_one_without_rows(tmp_path, table):
    """As at the very beginning of a run, whose files are made one after the other."""
    run_dir = write_run(tmp_path / "run", steps=3, meta={"status": "running", "totals": None})
    for leave in (lambda f: f.write_bytes(b""), lambda f: f.unlink()):
        leave(run_dir / table.filename)
        frame = getattr(load_run(run_dir), table.filename.removesuffix(".csv"))
        assert list(frame.columns) == list(table.columns)
        assert frame.empty


BROKEN = {
    "a word for a number": (b"1,1,", b"one,1,", "step is 'one', which is not a number"),
    "a cell too few": (b"\n1,1,", b"\n1,", "21 cells where the header has 22"),
    "a cell too many": (b"\n1,1,", b"\n1,1,1,", "23 cells where the header has 22"),
    "another program's header": (
        b"cumulative_joules",
        b"total_power",
        "the column cumulative_joules is missing",
    ),
    "binary rubbish": (b"\n1,1,2.0", b"\n1,1,\xff\x00", "start_seconds is"),
}


@pytest.mark.parametrize(("old", "new", "what"), BROKEN.values(), ids=BROKEN)
def test_damage_is_reported_with_file_and_line(run_dir, old, new, what):
    file = run_dir / "steps.csv"
    text = file.read_bytes()
    assert old in text
    file.write_bytes(text.replace(old, new, 1))
    with pytest.raises(RunDamagedError, match=what) as caught:
        _ = load_run(run_dir).steps
    assert caught.value.path == file
    assert caught.value.line in (1, 2)
    assert "partial=True" in str(caught.value)


@pytest.mark.parametrize("has_arrow", [True, False], ids=["arrow", "pandas"])
@pytest.mark.parametrize("lost", ["\n", ",,,\n"], ids=["a line end", "cells"])
def test_a_line_with_other_cells_is_damage_where_some_columns_are_read(run_dir, monkeypatch, lost, has_arrow):
    if not has_arrow:
        monkeypatch.setattr("profiler.storage.csv_reader.find_spec", lambda _: None)
    file = run_dir / "samples.csv"
    lines = file.read_text().splitlines(keepends=True)
    lines[20] = lines[20].removesuffix(lost) + ("\n" if "," in lost else "")
    file.write_text("".join(lines))
    for name in ("samples", "samples_by_domain", "total_joules"):
        with pytest.raises(RunDamagedError, match=r"samples\.csv, line 21: \d+ cells where the header has 8"):
            getattr(load_run(run_dir), name)


def test_rows_before_the_damage_can_be_read(run_dir):
    file = run_dir / "steps.csv"
    lines = file.read_text().splitlines(keepends=True)
    lines[301] = "rubbish\n"
    file.write_text("".join(lines))
    with pytest.raises(RunDamagedError, match=r"steps\.csv, line 302"):
        _ = load_run(run_dir).total_joules
    run = load_run(run_dir, partial=True)
    assert len(run.curve()[0]) == 300
    assert run.total_joules == 40_800.0
    assert any("line 302" in warning for warning in run.warnings)
    assert run.fit().level > 1.5


def test_steps_out_of_order_are_damage(run_dir):
    file = run_dir / "steps.csv"
    lines = file.read_text().splitlines(keepends=True)
    lines[5], lines[6] = lines[6], lines[5]
    file.write_text("".join(lines))
    with pytest.raises(RunDamagedError, match=r"line 7: steps are out of order"):
        _ = load_run(run_dir).steps


def test_extra_columns_of_a_newer_minor_version_are_ignored(run_dir):
    file = run_dir / "steps.csv"
    first, *rows = file.read_text().splitlines()
    file.write_text("\n".join([first + ",temperature", *(row + ",hot" for row in rows)]) + "\n")
    assert load_run(run_dir).total_joules == 40_800.0


@pytest.mark.parametrize(
    ("content", "error", "what"),
    [
        (
            '{"schema_version": "2.0"}',
            RunTooNewError,
            r"schema 2.0.*pip install -U energy-profiler.*steps\.csv",
        ),
        ('{"schema_version": "1.7", "status": "completed", "domains": []}', None, ""),
        ('{"schema_version": "1.7"}', RunDamagedError, "status is missing"),
        ('{"schema_version": "0.1"}', RunForeignError, "written in schema 0.1"),
        ('{"duration": 3}', RunForeignError, "not written by energy-profiler"),
        ("[]", RunForeignError, "not written by energy-profiler"),
        ('{"a": 1,\n', RunDamagedError, "line 2: this is not JSON"),
        ("", RunDamagedError, "this is not JSON"),
    ],
)
def test_run_json_decides_whether_this_is_a_run(run_dir, content, error, what):
    (run_dir / "run.json").write_text(content)
    if error is None:
        assert load_run(run_dir).path == run_dir
        return
    with pytest.raises(error, match=what):
        load_run(run_dir)


def test_a_missing_path_a_file_and_a_folder_of_runs_are_refused(tmp_path):
    with pytest.raises(RunNotFoundError, match="no such directory"):
        load_run(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunForeignError, match="a run is a directory"):
        load_run(tmp_path / "file")
    write_run(tmp_path / "runs" / "b", steps=1)
    with pytest.raises(RunForeignError, match=r"holds 1 run.*runs/b"):
        load_run(tmp_path / "runs")


@pytest.mark.parametrize(("age", "status"), [(5, Status.RUNNING), (40, Status.INTERRUPTED)])
def test_a_run_without_totals_is_interrupted_after_30_silent_seconds(tmp_path, age, status):
    run_dir = write_run(tmp_path / "run", steps=3, meta={"status": "running", "totals": None})
    then = time.time() - age
    for file in run_dir.iterdir():
        os.utime(file, (then, then))
    run = load_run(run_dir)
    assert run.status is status
    assert run.total_joules == 1_100.0
    is_named = any("without closing its record" in warning for warning in run.warnings)
    assert is_named == (status is Status.INTERRUPTED)


@pytest.fixture
def sleeper():
    """A process that lives until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def running(tmp_path, sleeper):
    """The record of a run whose process still records."""
    process = {"namespace": process_namespace(), "start": process_start(sleeper.pid)}
    meta = {"status": "running", "totals": None, "pid": sleeper.pid, "process": process}
    return write_run(tmp_path / "run", steps=3, meta=meta)


def test_a_run_is_interrupted_as_soon_as_its_process_has_ended(running, sleeper):
    run = load_run(running)
    assert run.status is Status.RUNNING
    sleeper.kill()
    sleeper.wait()
    assert run.status is Status.INTERRUPTED


@pytest.mark.parametrize(
    "elsewhere", [{"process": {"namespace": "0123456789ab", "start": "1"}}, {"process": None}, {"pid": None}]
)
def test_a_process_that_may_be_of_another_host_is_not_looked_for(running, sleeper, elsewhere):
    sleeper.kill()
    sleeper.wait()
    meta = json.loads((running / "run.json").read_text()) | elsewhere
    (running / "run.json").write_text(
        json.dumps({name: one for name, one in meta.items() if one is not None})
    )
    assert load_run(running).status is Status.RUNNING


def test_another_process_with_the_same_number_is_not_that_of_the_run(running):
    meta = json.loads((running / "run.json").read_text())
    meta["process"]["start"] = "1"
    (running / "run.json").write_text(json.dumps(meta))
    assert load_run(running).status is Status.INTERRUPTED


def test_a_run_that_ended_after_it_was_read_is_not_interrupted(running, sleeper):
    run = load_run(running)
    sleeper.kill()
    sleeper.wait()
    meta = json.loads((running / "run.json").read_text())
    (running / "run.json").write_text(json.dumps(meta | {"status": "completed"}))
    assert run.status is Status.RUNNING


@pytest.mark.parametrize("meta", [{"status": "exploded"}, {"domains": [{"name": "gpu:0"}]}])
def test_an_invalid_run_json_is_damage(tmp_path, meta):
    run_dir = write_run(tmp_path / "run", steps=3, meta=meta)
    with pytest.raises(RunError, match=r"run\.json"):
        load_run(run_dir).summary()


def test_an_unknown_metric_names_the_known_ones(run_dir):
    with pytest.raises(UsageError, match="it has: loss"):
        load_run(run_dir).fit(metric="accuracy")


def test_meta_is_strict_json(run_dir):
    assert json.loads((run_dir / "run.json").read_text())["name"] == load_run(run_dir).meta["name"]


@pytest.mark.slow
def test_a_recorded_learning_rate_enters_the_fit(tmp_path):
    run = load_run(write_run(tmp_path / "run", learning_rate=lambda step: 1e-3 * (1 - step / 500)))
    joules, losses, weights = (column.to_numpy() for column in run.curve())
    rate = run.steps["learning_rate"].to_numpy()
    told = run.fit()
    assert told.scenarios == ("held", "annealed")
    origin = run.learning_rate.origin_joules
    by_hand = fit_curve(joules, losses, weights=weights, origin_joules=origin, learning_rate=rate)
    assert told.loss_at(1e5).median == pytest.approx(by_hand.loss_at(1e5).median, rel=1e-3)
    own = run.fit(planned_learning_rate=([0.0, 1e6], [1e-3, 1e-4]))
    assert own.scenarios[0] == "planned"


def test_a_constant_learning_rate_leaves_the_fit_as_it_is(run_dir):
    run = load_run(run_dir)
    joules, losses, weights = (column.to_numpy() for column in run.curve())
    origin = run.learning_rate.origin_joules
    assert origin > 0.0
    expected = fit_curve(joules, losses, weights=weights, origin_joules=origin)
    assert run.fit().loss_at(1e5) == expected.loss_at(1e5)


@pytest.mark.parametrize("damage", [None, b"x", b"1e400", b'"', b"\xff"])
def test_both_parsers_read_a_large_table_alike(tmp_path, monkeypatch, damage):
    """A large table is parsed by pyarrow where it is installed."""
    pytest.importorskip("pyarrow")
    run_dir = write_run(tmp_path / "run", steps=2_000)
    file = run_dir / "steps.csv"
    if damage:
        lines = file.read_bytes().splitlines(keepends=True)
        lines[900] = lines[900].replace(b",100.000000,", b"," + damage + b",")
        file.write_bytes(b"".join(lines))
    fast = read_table(run_dir, STEPS, partial=True)
    monkeypatch.setattr(csv_reader, "find_spec", lambda name: None)
    general = read_table(run_dir, STEPS, partial=True)
    pd.testing.assert_frame_equal(fast[0], general[0])
    assert fast[1] == general[1]
    assert (fast[1] is None) == (damage is None)


@pytest.mark.parametrize("damaged_line", [None, 2, 7_000])
def test_a_table_of_several_blocks_is_read_like_one_of_one_block(tmp_path, monkeypatch, damaged_line):
    """A large file is parsed while it is read, on another thread."""
    pytest.importorskip("pyarrow")
    file = write_run(tmp_path / "run", steps=8_000) / "steps.csv"
    if damaged_line:
        lines = file.read_bytes().splitlines(keepends=True)
        lines[damaged_line - 1] = lines[damaged_line - 1].replace(b",100.000000,", b",x,")
        file.write_bytes(b"".join(lines))
    whole = read_table(file.parent, STEPS, partial=True)
    monkeypatch.setattr(csv_reader, "_LARGE_BYTES", 1_000)
    blocks = read_table(file.parent, STEPS, partial=True)
    pd.testing.assert_frame_equal(blocks[0], whole[0])
    assert blocks[1] == whole[1]
    assert len(blocks[0]) == (damaged_line - 2 if damaged_line else 8_000)


def test_the_domains_of_a_run_that_grows_while_it_is_read_add_up_to_the_total(tmp_path, monkeypatch):
    running = {"status": "running", "totals": None}
    run = load_run(write_run(tmp_path / "run", steps=3, meta=running))
    later = write_run(tmp_path / "later", steps=9, meta=running)

    def read_and_grow(path, table, **options):
        found = read_table(path, table, **options)
        for file in later.glob("*.csv"):
            shutil.copy(file, path)
        return found

    monkeypatch.setattr("profiler.storage.reader.read_table", read_and_grow)
    summary = run.summary()
    assert sum(one.joules for one in summary.metered if one.domain.billed) == summary.total_joules


@pytest.mark.parametrize("grouped_first", [True, False])
def test_samples_are_those_of_the_file_in_its_order(tmp_path, grouped_first):
    run = load_run(write_run(tmp_path / "run", steps=5))
    if grouped_first:
        assert list(run.samples_by_domain) == ["gpu:0", "cpu:package-0", "dram:package-0"]
    pd.testing.assert_frame_equal(run.samples, read_table(run.path, SAMPLES, partial=False)[0])
    rows = run.samples[run.samples["domain"] == "cpu:package-0"]
    assert run.samples_by_domain["cpu:package-0"]["energy_joules"].tolist() == rows["energy_joules"].tolist()


@pytest.mark.parametrize("parser", ["pyarrow", "pandas"])
def test_words_are_read_as_categories_on_demand(tmp_path, monkeypatch, parser):
    if parser == "pandas":
        monkeypatch.setattr(csv_reader, "find_spec", lambda name: None)
    path = write_run(tmp_path / "run", steps=5)
    categories = read_table(path, SAMPLES, partial=False, categories=True)[0]
    assert categories["domain"].dtype == "category"
    assert categories["domain"].tolist() == read_table(path, SAMPLES, partial=False)[0]["domain"].tolist()
