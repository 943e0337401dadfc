"""Rows that do not cover the whole window: totals stand where rows were lost, and damage is refused."""

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler import load_run
from profiler.analysis.breakdown import parts_of
from profiler.errors import RunDamagedError
from profiler.reporting import report_of
from profiler.storage.schema import SPANS, SpanRow
from tests.support.runs import write_run

STEPS = 40
END = 2.0 + STEPS / 4
FULL_DISK = "cannot write the run directory: No space left on device (steps.csv). Training goes on"


def edit_meta(run_dir, **entries):
    file = run_dir / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def lines(run_dir, name="steps.csv"):
    return (run_dir / name).read_text().splitlines(keepends=True)


def rewrite(run_dir, kept, name="steps.csv"):
    (run_dir / name).write_text("".join(kept))


def put(run_dir, row, column, value, name="steps.csv"):
    """Overwrite a cell; rows count from 1, or from the end."""
    kept = lines(run_dir, name)
    cells = kept[row].rstrip("\n").split(",")
    cells[kept[0].rstrip("\n").split(",").index(column)] = value
    kept[row] = ",".join(cells) + "\n"
    rewrite(run_dir, kept, name)


@pytest.fixture
def run_dir(tmp_path):
    """Set-up, 40 steps and a teardown of one second, 400 W all along."""
    path = write_run(tmp_path / "run", steps=STEPS)
    teardown = SpanRow(
        start_seconds=int(END * 1e9), end_seconds=int((END + 1) * 1e9), kind="teardown", total_joules=400_000_000,
        modelled_joules=0, cumulative_joules=int((END + 1) * 4e8), uncertainty_joules=0.5,
    )  # fmt: skip
    rewrite(path, [*lines(path, "spans.csv"), SPANS.line(teardown)], "spans.csv")
    watts = {"gpu:0": 300.0, "cpu:package-0": 80.0, "dram:package-0": 20.0}
    samples = [
        f"{END + 1:.6f},{name},{power},{power * (END + 1):.6f},counter,,,\n" for name, power in watts.items()
    ]
    rewrite(path, [*lines(path, "samples.csv"), *samples], "samples.csv")
    totals = {
        "window_seconds": END + 1, "steps": STEPS, "step_joules": 100.0 * STEPS, "span_joules": 1200.0,
        "modelled_joules": 0.0, "edge_joules": 0.7,
        "domain_joules": {name: power * (END + 1) for name, power in watts.items()},
    }  # fmt: skip
    edit_meta(path, totals=totals)
    return path


def fill_the_disk(run_dir):
    """Leave what a disk that is full after 15 steps keeps: the beginning of each file, and all of run.json."""
    rewrite(run_dir, lines(run_dir)[:16])
    rewrite(run_dir, lines(run_dir, "spans.csv")[:2], "spans.csv")
    rewrite(run_dir, lines(run_dir, "samples.csv")[:30], "samples.csv")
    edit_meta(run_dir, warnings=[FULL_DISK])


def test_a_complete_record_has_no_warnings(run_dir):
    run = load_run(run_dir)
    assert run.total_joules == 5200.0
    assert run.warnings == ()


def test_totals_stand_where_a_full_disk_lost_rows(run_dir):
    whole = load_run(run_dir).summary()
    fill_the_disk(run_dir)
    run = load_run(run_dir)
    found = run.summary()
    names = ("window_seconds", "steps", "step_joules", "span_joules", "total_joules", "modelled_joules")
    assert {name: getattr(found, name) for name in names} == {name: getattr(whole, name) for name in names}
    assert {one.domain.name: one.joules for one in found.metered} == {
        one.domain.name: one.joules for one in whole.metered
    }
    rows = (
        "only part of the record was written: 15 of 40 steps, up to 5.75 s. Totals are from run.json; the last 7.25 s "
        "and 2.90 kJ are in no row: curve, forecast and figures lack them"
    )
    samples = (
        "samples.csv lacks samples of gpu:0, cpu:package-0, dram:package-0: their totals are from run.json"
    )
    assert sorted(found.warnings) == [FULL_DISK, rows, samples]
    assert len(run.curve()[0]) == 15
    assert (len(run.steps), len(run.spans)) == (15, 1)
    parts = parts_of(run.steps, run.spans, run.unrecorded)
    assert sum(part.joules for part in parts) == pytest.approx(5200.0)
    assert sum(part.seconds for part in parts) == pytest.approx(END + 1)


@pytest.mark.parametrize("extension", [".txt", ".json", ".html"])
def test_every_report_warns_of_lost_rows(run_dir, tmp_path, extension):
    fill_the_disk(run_dir)
    text = load_run(run_dir).report(tmp_path / f"report{extension}").read_text()
    assert " ".join(text.split()).count("only part of the record was written") == 1


def test_a_disk_that_was_full_from_the_start(run_dir):
    for name in ("steps.csv", "spans.csv", "samples.csv", "metrics.csv"):
        (run_dir / name).write_text("")
    edit_meta(run_dir, warnings=[FULL_DISK])
    run = load_run(run_dir)
    assert (run.total_joules, run.summary().steps) == (5200.0, STEPS)
    assert any("0 of 40 steps" in warning for warning in run.warnings)
    assert report_of(run).summary.total_joules == 5200.0


def test_a_disk_that_took_the_steps_of_the_last_flush_and_not_its_spans(run_dir):
    """Files are written one after the other: the later file may lack the rows between those of the earlier one."""
    rewrite(run_dir, lines(run_dir, "spans.csv")[:1], "spans.csv")
    edit_meta(run_dir, warnings=[FULL_DISK])
    run = load_run(run_dir)
    assert run.total_joules == 5200.0
    assert any("spans.csv: no row covers 0 s to 2 s" in warning for warning in run.warnings)


def truncate(run_dir):
    file = run_dir / "steps.csv"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def lose_the_middle(run_dir):
    kept = lines(run_dir)
    rewrite(run_dir, kept[:20] + kept[25:])


DAMAGE = {
    "half a file": (truncate, r"steps\.csv: no row covers .* It holds \d+ of 40 steps"),
    "no file": (lambda path: (path / "steps.csv").unlink(), r"no row covers 2 s to 12 s\. It holds 0 of 40 steps"),
    "an empty file": (lambda path: (path / "steps.csv").write_text(""), "It holds 0 of 40 steps"),
    "binary": (lambda path: (path / "steps.csv").write_bytes(b"\x00\xff" * 1000), "It holds 0 of 40 steps"),
    "binary lines": (lambda path: (path / "steps.csv").write_bytes(b"\x00\xff\n" * 1000), "line 1"),
    "rows gone": (lose_the_middle, r"no row covers 6\.75 s to 8 s\. It holds 35 of 40 steps"),
    "no spans": (lambda path: (path / "spans.csv").unlink(), r"spans\.csv: no row covers 0 s to 2 s"),
    "a row twice": (lambda path: rewrite(path, lines(path) + lines(path)[-1:]), "line 42"),
    "joules": (lambda path: put(path, 20, "total_joules", "1e12"), r"line 21: .*contradict each other"),
    "modelled": (lambda path: put(path, 20, "modelled_joules", "1e12"), r"line 21: .*contradict each other"),
    "a part": (lambda path: put(path, 20, "gpu_joules", "1e12"), r"line 21: .*contradict each other"),
    "infinity": (lambda path: put(path, 20, "total_joules", "inf"), r"line 21: total_joules is 'inf'"),
    "cumulative": (lambda path: put(path, 20, "cumulative_joules", "1e12"), r"line 21: its cumulative_joules"),
    "an end": (lambda path: put(path, 20, "end_seconds", "6.8"), r"no row covers 6\.8 s to 7 s"),
    "a count": (lambda path: put(path, 20, "step_count", "7"), r"line 21: steps before it are missing"),
    "a span": (lambda path: put(path, 2, "total_joules", "1", "spans.csv"), r"spans\.csv, line 3: its cumulative"),
    "a sample": (lambda path: put(path, -1, "energy_joules", "1e12", "samples.csv"), r"samples\.csv: its last sample"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "what"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_refused_and_partial_reads_the_rest(run_dir, damage, what):
    damage(run_dir)
    with pytest.raises(RunDamagedError, match=what) as caught:
        load_run(run_dir).summary()
    assert "--partial" in str(caught.value)
    run = load_run(run_dir, partial=True)
    assert run.total_joules == 5200.0
    assert run.energy_by_domain() == {"gpu:0": 3900.0, "cpu:package-0": 1040.0, "dram:package-0": 260.0}
    assert run.summary().window_seconds == END + 1
    assert any("from run.json" in warning for warning in run.warnings)


def kill(run_dir):
    edit_meta(run_dir, totals=None, status="interrupted")


def test_totals_of_a_killed_run_are_those_of_its_rows(run_dir):
    kill(run_dir)
    rewrite(run_dir, lines(run_dir, "spans.csv")[:2], "spans.csv")
    file = run_dir / "steps.csv"
    file.write_bytes(file.read_bytes()[:-20])
    run = load_run(run_dir)
    assert (run.total_joules, run.summary().steps, run.warnings) == (800.0 + 3900.0, 39, ())


def test_a_killed_run_that_lacks_rows_in_the_middle_is_refused(run_dir):
    kill(run_dir)
    lose_the_middle(run_dir)
    with pytest.raises(RunDamagedError, match=r"no row covers 6\.75 s to 8 s"):
        load_run(run_dir).summary()
    run = load_run(run_dir, partial=True)
    assert run.total_joules == 800.0 + 1900.0
    assert any("Rows after 6.75 s are excluded" in warning for warning in run.warnings)


@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_a_kill_between_the_writes_of_two_files(run_dir, status):
    """A reader, or a kill, may come between two files: the rows after the gap are then of one table alone."""
    kill(run_dir)
    edit_meta(run_dir, status=status)
    rewrite(run_dir, lines(run_dir)[:-3])
    run = load_run(run_dir)
    assert run.summary().steps == STEPS - 3
    assert len(run.warnings) == (status == "interrupted")


def test_the_history_of_a_resumed_run_keeps_its_warning(run_dir, tmp_path):
    fill_the_disk(run_dir)
    later = write_run(tmp_path / "later", steps=5)
    edit_meta(later, resumed={"run": str(run_dir), "step": STEPS})
    run = load_run(later)
    assert run.total_joules == 5200.0 + 800.0 + 500.0
    assert any("only part of the record" in warning for warning in run.warnings)


def test_a_process_of_a_job(run_dir, tmp_path):
    job = tmp_path / "job"
    for rank in range(2):
        shutil.copytree(run_dir, job / f"rank-{rank:05d}-attempt-0")
        edit_meta(job / f"rank-{rank:05d}-attempt-0", rank=rank, world_size=2, host=f"host {rank}")
    assert not any("account" in warning for warning in load_run(job).warnings)
    lose_the_middle(job / "rank-00001-attempt-0")
    with pytest.raises(RunDamagedError, match=r"rank-00001-attempt-0/steps\.csv: no row covers"):
        load_run(job)
    told = load_run(job, partial=True).warnings
    assert any(line.startswith("rank-00001-attempt-0: rows (35 of 40 steps) do not account") for line in told)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_lost_row_and_no_changed_cell_goes_unnoticed(tmp_path_factory, data):
    path = write_run(tmp_path_factory.mktemp("runs") / "run", steps=12)
    row = data.draw(st.integers(1, 12), label="row")
    column = data.draw(
        st.sampled_from(
            [
                "",
                "start_seconds",
                "end_seconds",
                "total_joules",
                "cumulative_joules",
                "gpu_joules",
                "step_count",
            ]
        )
    )
    if column:
        put(
            path,
            row,
            column,
            data.draw(
                st.sampled_from(["0", "-5", "1e12", "inf"]) if column != "step_count" else st.just("9")
            ),
        )
    else:
        kept = lines(path)
        rewrite(path, kept[:row] + kept[row + 1 :])
    try:
        run = load_run(path)
        run.summary()
    except RunDamagedError:
        run = load_run(path, partial=True)
    assert (run.total_joules, run.summary().steps) == (2000.0, 12)
    assert run.warnings
