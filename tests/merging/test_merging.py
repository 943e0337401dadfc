"""Merging of the records of a job's processes."""

import json
import math
import os
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler import load_run
from profiler.errors import RunDamagedError, RunForeignError, UsageError
from profiler.export.facts import facts_of
from profiler.merging import alignment
from profiler.merging.discovery import find_records
from profiler.merging.merge import merge
from profiler.merging.write import write
from profiler.records import Status
from profiler.reporting import report_of
from tests.support.rank_jobs import CPU, DRAM, GPU, balance, check_books, rewrite, write_rank
from tests.support.runs import law, write_run

WINDOW = 12.0
"""Seconds of set-up and of 40 steps."""


@pytest.fixture
def job(tmp_path):
    return tmp_path / "job"


def write_host(job, world=2, **options):
    """The first rank counts what the host shares."""
    for rank in range(world):
        write_rank(job, rank, world=world, counts=rank == 0, **options)


# -- sums ----------------------------------------------------------------------------------------------------------


def test_gpus_of_all_ranks_and_one_host_are_added_up(job):
    write_host(job, world=4)
    run = load_run(job)
    assert check_books(run) == WINDOW
    assert run.total_joules == pytest.approx((4 * GPU + CPU + DRAM) * WINDOW)
    assert run.status is Status.COMPLETED
    assert run.warnings == ()
    by_domain = {f"gpu:0@rank-{rank}": GPU * WINDOW for rank in range(4)}
    by_domain |= {"cpu:package-0": CPU * WINDOW, "dram:package-0": DRAM * WINDOW}
    assert run.energy_by_domain() == pytest.approx(by_domain)
    assert run.energy(2.0, 7.0).median == pytest.approx(5 * (4 * GPU + CPU + DRAM))
    row = run.steps.iloc[10]
    assert (row["step"], row["step_count"]) == (11, 1)
    assert row["gpu_joules"] == pytest.approx(4 * GPU / 4)
    assert row["cpu_joules"] == pytest.approx(CPU / 4)
    assert row["loss"] == law(11)
    assert list(run.spans["kind"]) == ["setup"]


def test_reading_ahead_changes_nothing(job, monkeypatch):
    write_host(job, world=4)
    known = merge([job])
    monkeypatch.setattr("profiler.merging.merge._LEAST_ROWS_AHEAD", 1)
    found = merge([job])
    assert found.meta == known.meta
    for name in ("steps", "spans", "samples"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(known, name))


def test_damage_is_reported_where_ranks_are_read_ahead(job, monkeypatch):
    write_host(job, world=4)
    monkeypatch.setattr("profiler.merging.merge._LEAST_ROWS_AHEAD", 1)
    steps = job / "rank-00002-attempt-0" / "steps.csv"
    steps.write_text(steps.read_text().replace("20,1,", "20,one,", 1))
    with pytest.raises(RunDamagedError, match="step_count") as caught:
        merge([job])
    assert caught.value.path == steps


def test_the_loss_is_the_mean_over_the_ranks_that_have_one(job):
    losses = [lambda step: 1.0 + step, lambda step: 3.0 + step, lambda step: None]
    for rank, loss in enumerate(losses):
        write_rank(job, rank, world=3, loss=loss)
    assert list(load_run(job).steps["loss"]) == [2.0 + step for step in range(1, 41)]


def test_a_nan_loss_of_one_rank_is_excluded_and_counted(job):
    write_rank(job, 0, loss=lambda step: math.nan if step == 5 else 1.0)
    write_rank(job, 1, loss=lambda step: 3.0)
    row = load_run(job).steps.iloc[4]
    assert (row["loss"], row["nonfinite_count"]) == (3.0, 1)


def test_windows_that_start_at_different_times(job):
    write_rank(job, 0)
    write_rank(job, 1, counts=False, late=1.5)
    run = load_run(job)
    assert check_books(run) == WINDOW + 1.5
    assert run.total_joules == pytest.approx((2 * GPU + CPU + DRAM) * WINDOW)


def in_blocks(job, rank, size):
    """Write a rank's rows as blocks of so many steps."""
    path = job / f"rank-{rank:05d}-attempt-0" / "steps.csv"
    kept = {}
    names = [f"{kind}_joules" for kind in ("gpu", "cpu", "dram", "total", "modelled")]

    def join(row):
        for name in names:
            kept[name] = kept.get(name, 0.0) + float(row[name] or "nan")
        kept.setdefault("start_seconds", row["start_seconds"])
        if int(row["step"]) % size and int(row["step"]) != 40:
            return None
        amounts = {name: f"{kept[name]:.6f}".replace("nan", "") for name in names}
        count = int(row["step"]) % size or size
        new = {**amounts, "step_count": count, "start_seconds": kept["start_seconds"]}
        kept.clear()
        return new

    rewrite(path, join)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.sampled_from([1, 2, 4, 8]), min_size=2, max_size=3), late=st.floats(0, 2))
def test_rows_of_different_lengths_are_merged_in_common_blocks(tmp_path_factory, sizes, late):
    job = tmp_path_factory.mktemp("blocks") / "job"
    for rank, size in enumerate(sizes):
        write_rank(job, rank, world=len(sizes), counts=rank == 0, late=rank * late)
        in_blocks(job, rank, size)
    run = load_run(job)
    check_books(run)
    assert list(run.steps["step"]) == list(range(max(sizes), 41, max(sizes)))
    assert set(run.steps["step_count"]) == {max(sizes)}
    assert run.total_joules == pytest.approx((len(sizes) * GPU + CPU + DRAM) * WINDOW)


@given(
    st.lists(
        st.sets(st.integers(1, 60), min_size=1).map(lambda ends: np.array(sorted(ends))),
        min_size=1,
        max_size=4,
    )
)
def test_common_ends_are_those_of_all_ranks_still_running(ends):
    found = alignment.common_ends(ends)
    last = max(one[-1] for one in ends)
    assert found[-1] == last
    for step in range(1, last + 1):
        still = [one for one in ends if one[-1] >= step]
        assert (step in found) == all(step in one for one in still)


@pytest.mark.parametrize("size", [1, 4])
def test_the_outline_of_a_record_is_that_of_its_rows(job, size):
    """Rows of one step each are counted, not read."""
    path = write_rank(job, 0, world=1)
    in_blocks(job, 0, size)
    (record,) = find_records([path])
    quick, whole = (record.outline(partial=partial) for partial in (False, True))
    assert quick.ends.tolist() == whole.ends.tolist()
    assert quick.window_seconds == whole.window_seconds == WINDOW


def test_spans_keep_their_place_between_steps(job):
    """An evaluation of the first rank alone, while the second waits inside its next step."""
    write_host(job)
    path = job / "rank-00000-attempt-0"
    rewrite(path / "steps.csv", lambda row: None if row["step"] == "11" else _earlier(row))
    with (path / "spans.csv").open("a") as spans:
        spans.write("4.500000,4.750000,evaluation,100.000000,0.000000,1900.000000,0.5,0\n")
    balance(path)
    run = load_run(job)
    check_books(run)
    place = run.spans[run.spans["kind"] == "evaluation"].iloc[0]
    before = run.steps[run.steps["step"] == 10].iloc[0]
    assert place["start_seconds"] == before["end_seconds"]
    assert place["total_joules"] == 100.0
    assert place["end_seconds"] - place["start_seconds"] == pytest.approx(0.125), "the mean over ranks"


def _earlier(row):
    step = int(row["step"])
    return {"step": step - (step > 11)}


# -- counted once --------------------------------------------------------------------------------------------------


def test_a_host_that_every_rank_counted_is_counted_once(job):
    """As with other tools, each of N processes counted the whole machine."""
    for rank in range(4):
        write_rank(job, rank, world=4, late=0.01 * rank)
    run = load_run(job)
    check_books(run)
    assert run.total_joules == pytest.approx(4 * GPU * WINDOW + (CPU + DRAM) * (WINDOW + 0.03), rel=1e-4)
    assert "several processes counted cpu:package-0, dram:package-0; it is counted once here" in run.warnings
    assert run.steps["cpu_joules"].sum() + 2 * CPU == pytest.approx(CPU * WINDOW, rel=1e-2)


def test_two_hosts_have_two_processors(job):
    for rank in range(4):
        write_rank(job, rank, world=4, host=f"host-{rank // 2}", counts=rank % 2 == 0)
    run = load_run(job)
    assert run.total_joules == pytest.approx((4 * GPU + 2 * (CPU + DRAM)) * WINDOW)
    assert {"cpu:package-0@node-0", "cpu:package-0@node-1"} < run.energy_by_domain().keys()


def test_a_gpu_that_two_ranks_share_is_counted_once(job):
    for rank in range(2):
        write_rank(job, rank, counts=rank == 0, device="GPU-one")
    run = load_run(job)
    assert run.total_joules == pytest.approx((GPU + CPU + DRAM) * WINDOW)
    assert run.energy_by_domain()["gpu:0"] == pytest.approx(GPU * WINDOW)


def test_single_processes_can_be_merged(tmp_path):
    """Processes started by hand, each with world size 1."""
    paths = [write_rank(tmp_path / name, 0, world=1, device=f"GPU-{name}") for name in ("a", "b")]
    merged = merge(paths)
    assert [entry["rank"] for entry in merged.meta["ranks"]] == [0, 1]
    (tmp_path / "both").mkdir()
    write(merged, tmp_path / "both")
    run = load_run(tmp_path / "both")
    assert run.total_joules == pytest.approx((2 * GPU + CPU + DRAM) * WINDOW)


def test_a_domain_that_another_rank_took_over(job):
    """The first rank was killed after 20 steps; the second billed processors and memory from then on."""
    write_rank(job, 0, status="running", totals=None)
    cut(job / "rank-00000-attempt-0", 7.0)
    _take_over_at_seven(write_rank(job, 1))
    run = load_run(job)
    check_books(run)
    assert run.total_joules == pytest.approx(GPU * (WINDOW + 7.0) + (CPU + DRAM) * WINDOW)
    assert run.energy_by_domain()["cpu:package-0"] == pytest.approx(CPU * WINDOW)
    assert any("rank 0 of attempt 0 ended without totals" in line for line in run.warnings)


def test_a_rank_whose_late_claim_is_contested_keeps_its_other_energy(job):
    """Its rows have no energy of the host before it took over, and that energy is counted by the first rank."""
    write_rank(job, 0)
    _take_over_at_seven(write_rank(job, 1))
    run = load_run(job)
    check_books(run)
    assert run.total_joules == pytest.approx((2 * GPU + CPU + DRAM) * WINDOW)
    assert run.ranks["joules"].sum() == pytest.approx(run.total_joules)
    assert any("several processes counted cpu:package-0" in line for line in run.warnings)


def test_a_rank_that_took_over_after_its_own_end_contests_nothing(job):
    """Rank 1 counts the host until 12.3 s; rank 0 and rank 2, which ended at 12 s, have both taken over then."""
    for rank, late in enumerate((0.6, 0.3, 0.0)):
        path = write_rank(job, rank, world=3, late=late, counts=rank == 1)
        meta = json.loads((path / "run.json").read_text())
        for domain in meta["domains"]:
            if not domain["billed"]:
                domain |= {"billed": True, "billed_from_seconds": 0.3 + WINDOW - late}
        (path / "run.json").write_text(json.dumps(meta))
    run = load_run(job)
    check_books(run)
    assert run.total_joules == pytest.approx((3 * GPU + CPU + DRAM) * WINDOW)
    assert run.warnings == ()


def _take_over_at_seven(path):
    """Change a record so that its process counts processors and memory from second 7 on."""
    meta = json.loads((path / "run.json").read_text())
    for domain in meta["domains"]:
        domain["billed_from_seconds"] = 0.0 if domain["name"] == "gpu:0" else 7.0
    (path / "run.json").write_text(json.dumps(meta))
    shared = dict.fromkeys(("cpu_joules", "dram_joules"), "")

    def since(row):
        if float(row["end_seconds"]) > 7.0:
            return {}
        return {**shared, "total_joules": row["gpu_joules"]}

    rewrite(path / "steps.csv", since)
    rewrite(path / "spans.csv", lambda _: {"total_joules": "600.000000"})
    rewrite(path / "samples.csv", _from_seven)


def _from_seven(row):
    if row["domain"] == "gpu:0":
        return {}
    watts = CPU if row["domain"].startswith("cpu") else DRAM
    since = float(row["time_seconds"]) - 7.0
    return {"energy_joules": f"{watts * since:.6f}"} if since >= 0 else None


def cut(path, seconds):
    """Leave what a process has written that was killed: its rows up to a moment, and samples a bit longer."""
    rewrite(path / "steps.csv", lambda row: {} if float(row["end_seconds"]) <= seconds else None)
    rewrite(path / "samples.csv", lambda row: {} if float(row["time_seconds"]) <= seconds + 0.25 else None)
    _wrote_long_ago(path)


def _wrote_long_ago(path):
    for file in path.iterdir():
        os.utime(file, (1_000_000_000, 1_000_000_000))


def test_a_killed_rank_counts_up_to_its_last_row(job):
    write_host(job, world=3)
    cut(job / "rank-00001-attempt-0", 7.0)
    path = job / "rank-00001-attempt-0" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "running", "totals": None}))
    _wrote_long_ago(path.parent)
    run = load_run(job)
    check_books(run)
    assert run.status is Status.INTERRUPTED
    assert run.total_joules == pytest.approx((2 * GPU + CPU + DRAM) * WINDOW + GPU * 7.0)
    assert list(run.steps["step"]) == list(range(1, 41))


def test_ranks_without_any_record_are_named(job):
    write_rank(job, 1, world=5)
    write_rank(job, 2, world=5, counts=False)
    assert any("ranks 0, 3-4 of attempt 0 left no record here" in line for line in load_run(job).warnings)


# -- over the network, and on other clocks --------------------------------------------------------------------------


def test_a_directory_without_tables_is_no_record(job):
    """Schema 1.0 wrote run.json alone for ranks on other file systems."""
    write_host(job)
    path = write_rank(job, 2, world=3, host="host-b")
    for file in path.glob("*.csv"):
        file.unlink()
    run = load_run(job)
    check_books(run)
    assert run.total_joules == pytest.approx((2 * GPU + CPU + DRAM) * WINDOW)


@pytest.mark.parametrize(("group", "apart"), [(True, 0.0), (False, 5.0)])
def test_clock_offsets_are_estimated_from_common_steps(job, group, apart):
    """Five seconds off. Without a process group, steps of two hosts need not end together."""
    for rank in range(2):
        path = write_rank(job, rank, host=f"host-{rank}", process_group=group)
        meta = json.loads((path / "run.json").read_text())
        meta["clock"]["unix_seconds"] += 5.0 * rank
        (path / "run.json").write_text(json.dumps(meta))
    run = load_run(job)
    assert check_books(run) == pytest.approx(WINDOW + apart, abs=1e-6)
    clock = run.meta["merged"]["clocks"][1]
    assert clock["source"] == ("steps" if group else "wall clock")
    assert clock["offset_seconds"] == pytest.approx(5.0 - apart, abs=1e-6)
    assert (clock["uncertainty_seconds"] is None) is not group


# -- ranks ---------------------------------------------------------------------------------------------------------


def test_joules_by_rank_are_its_own_gpu_and_its_share_of_the_node(job):
    write_rank(job, 0)
    write_rank(job, 1, counts=False)
    ranks = load_run(job).ranks.set_index("rank")
    assert ranks["own_joules"].tolist() == pytest.approx([GPU * WINDOW] * 2)
    assert ranks["shared_joules"].tolist() == pytest.approx([(CPU + DRAM) * WINDOW / 2] * 2)
    assert ranks["joules"].sum() == pytest.approx(load_run(job).total_joules)


def test_a_run_of_one_process_has_no_ranks(tmp_path):
    assert len(load_run(write_run(tmp_path / "run", steps=12)).ranks) == 0


# -- many ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_many_devices_are_added_up_by_kind(job):
    for rank in range(40):
        write_rank(job, rank, world=40, host=f"host-{rank // 8}", counts=rank % 8 == 0, steps=12)
    run = load_run(job)
    seconds = 5.0
    assert run.energy_by_domain() == pytest.approx(
        {"gpu:all": 40 * GPU * seconds, "cpu:all": 5 * CPU * seconds, "dram:all": 5 * DRAM * seconds}
    )
    assert run.domains["gpu:all"].gain_uncertainty == pytest.approx(0.05 / math.sqrt(40)), (
        "boards err independently"
    )
    assert len(run.ranks) == 40
    assert run.samples["domain"].nunique() == 3
    assert run.domains["gpu:all"].device_count == 40
    assert report_of(run).device_hours == pytest.approx(40 * seconds / 3600)
    assert facts_of([run]).accelerator_seconds == pytest.approx(40 * seconds)


# -- what is on disk ------------------------------------------------------------------------------------------------


def test_a_written_merge_reads_as_the_one_in_memory(job):
    write_host(job)
    loaded = load_run(job)
    write(merge([job]), job)
    written = load_run(job)
    pd.testing.assert_frame_equal(written.steps, loaded.steps, check_dtype=False, rtol=1e-3)
    pd.testing.assert_frame_equal(written.samples, loaded.samples, check_dtype=False, rtol=1e-3)
    assert written.total_joules == loaded.total_joules
    check_books(written)
    assert sorted(path.name for path in job.iterdir()) == [
        "metrics.csv", "rank-00000-attempt-0", "rank-00001-attempt-0", "run.json", "samples.csv", "spans.csv",
        "steps.csv",
    ]  # fmt: skip


def test_grown_records_are_merged_again(job):
    write_host(job)
    write(merge([job]), job)
    write_rank(job, 2, world=3, counts=False)
    assert load_run(job).total_joules == pytest.approx((3 * GPU + CPU + DRAM) * WINDOW)


def test_the_status_of_a_running_rank_is_read_again(job):
    """Rank 0 merged just after rank 1 was killed; half a minute later its status is interrupted."""
    write_rank(job, 0)
    path = write_rank(job, 1, counts=False, status="running", totals=None)
    write(merge([job]), job)
    assert list(load_run(job).ranks["status"]) == ["completed", "running"]
    assert load_run(job).status is Status.INTERRUPTED
    _wrote_long_ago(path)
    run = load_run(job)
    assert list(run.ranks["status"]) == ["completed", "interrupted"]
    assert run.status is Status.INTERRUPTED


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ("completed completed", "completed"),
        ("completed failed", "failed"),
        ("failed interrupted", "failed"),
        ("interrupted completed", "interrupted"),
        ("running completed", "running"),
    ],
)
def test_the_status_of_a_job(job, statuses, expected):
    for rank, status in enumerate(statuses.split()):
        write_rank(job, rank, counts=rank == 0, steps=12, status=status)
    assert load_run(job).status == expected


def test_directories_of_several_hosts_make_one_run(tmp_path):
    """Copied from file systems that are not shared."""
    here, there = tmp_path / "a" / "job", tmp_path / "b" / "job"
    write_rank(here, 0, host="host-a")
    write_rank(there, 1, host="host-b")
    merged = merge([here, there])
    assert [entry["host"] for entry in merged.meta["ranks"]] == ["host-a", "host-b"]
    assert merged.meta["warnings"] == []


def test_records_of_different_runs_are_refused(tmp_path):
    write_rank(tmp_path / "a", 0, host="host-a")
    write_rank(tmp_path / "b", 0, host="host-b")
    with pytest.raises(UsageError, match="different runs: both are rank 0, attempt 0"):
        merge([tmp_path / "a", tmp_path / "b"])


def test_a_directory_without_records_is_refused(tmp_path):
    with pytest.raises(RunForeignError):
        load_run(tmp_path)


def test_values_logged_on_several_ranks_are_averaged(job):
    for rank in range(2):
        path = write_rank(job, rank, counts=rank == 0)
        with (path / "metrics.csv").open("a") as metrics:
            metrics.write(f"4.500000,10,1800.000000,val_error,{0.2 + rank / 10}\n")
            metrics.write(f"7.000000,20,2800.000000,val_error,{0.1 + rank / 10}\n")
            metrics.write("7.000000,20,2800.000000,val_error,0.5\n")
    logged = load_run(job).metrics
    assert list(logged["step"]) == [10, 20, 20]
    assert list(logged["value"]) == pytest.approx([0.25, 0.15, 0.5])
    assert list(logged["cumulative_joules"]) == pytest.approx([4.5 * 700, 7 * 700, 7 * 700])


@pytest.mark.slow
def test_a_merged_run_works_wherever_a_run_does(job, tmp_path):
    write_host(job, steps=400)
    run = load_run(job)
    assert run.fit().floor.median == pytest.approx(1.5, abs=0.3)
    for name in ("report.txt", "report.json", "report.html"):
        assert run.report(tmp_path / name).stat().st_size > 0
    text = (tmp_path / "report.txt").read_text()
    assert "gpu:0@rank-1" in text
    assert json.loads((tmp_path / "report.json").read_text())["summary"]["steps"] == 400


def test_a_large_job_is_merged(job):
    """64 ranks on eight hosts, as ``scripts/benchmark_merge.py`` makes them; docs/ranks.md has those of 1,024."""
    script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "benchmark_merge.py"))
    job.mkdir()
    script["write_job"](job, ranks=64, steps=100)
    assert script["measure"](job)["peak_mib"] < 2048
    run = load_run(job)
    check_books(run)
    assert run.total_joules == pytest.approx((64 * GPU + 8 * (CPU + DRAM)) * (2 + 100 / 4))
    assert len(run.ranks) == 64
    assert run.steps["step"].iloc[-1] == 100


# -- meters of the node ----------------------------------------------------------------------------------------------


def add_node_meter(path, watts=800.0):
    """Add the log of a meter of the node, which is not counted, to the record of a process."""
    found = json.loads((path / "run.json").read_text())
    cpu = next(entry for entry in found["domains"] if entry["name"] == "cpu:package-0")
    node = {**cpu, "name": "node", "source": "x", "billed": False, "billed_from_seconds": None}
    (path / "run.json").write_text(json.dumps(found | {"domains": [*found["domains"], node]}))
    with (path / "samples.csv").open("a") as file:
        file.writelines(f"{s:.6f},node,{watts},{s * watts:.6f},counter,,,\n" for s in (0.0, WINDOW))


def two_hosts(job):
    for rank in range(4):
        write_rank(job, rank, world=4, host=f"host-{rank // 2}", counts=rank % 2 == 0)
    return [job / f"rank-{rank:05d}-attempt-0" for rank in (0, 2)]


def test_meters_of_all_nodes_are_compared_with_the_total(job):
    for path in two_hosts(job):
        add_node_meter(path)
    run = load_run(job)
    check_books(run)
    parts = (4 * GPU + 2 * (CPU + DRAM)) * WINDOW
    assert run.total_joules == pytest.approx(parts)
    (meter,) = report_of(run).node_meters
    assert (meter.name, meter.joules) == ("node", pytest.approx(2 * 800 * WINDOW))
    assert meter.ratio == pytest.approx(2 * 800 * WINDOW / parts)
    assert sum(rank["joules"] for rank in run.meta["ranks"]) == pytest.approx(parts)


def test_a_meter_of_some_nodes_is_not_compared_with_the_total_of_all(job):
    add_node_meter(two_hosts(job)[0])
    run = load_run(job)
    assert report_of(run).node_meters == ()
    assert set(run.domains) == {*run.energy_by_domain()}


def test_a_meter_that_two_processes_of_a_node_logged_is_not_added_up(job):
    write_host(job)
    for rank in range(2):
        add_node_meter(job / f"rank-{rank:05d}-attempt-0")
    assert report_of(load_run(job)).node_meters == ()


def test_states_of_boards_are_kept(job):
    write_host(job)
    path = job / "rank-00001-attempt-0" / "samples.csv"
    limits = iter(range(300, 1_000))

    def limited(row):
        is_read = row["domain"] == "gpu:0" and float(row["time_seconds"]) % 1 == 0
        return {"limit_watts": next(limits), "throttle": "sw_power_cap"} if is_read else {}

    rewrite(path, limited)
    samples = load_run(job).samples
    read = samples[samples["limit_watts"].notna()]
    assert set(read["domain"]) == {"gpu:0@rank-1"}
    assert list(read["limit_watts"]) == [300 + second for second in range(int(WINDOW) + 1)]
    assert list(read["time_seconds"]) == [float(second) for second in range(int(WINDOW) + 1)]
    assert set(samples["throttle"].fillna("")) == {"", "sw_power_cap"}
