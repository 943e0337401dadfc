"""Each call that writes the record and each sensor read fails in turn; the books are checked after each failure."""

import errno
from contextlib import nullcontext, suppress

import pytest

from profiler import EnergyProfiler, load_run
from profiler.errors import ProfilerError
from profiler.storage.schema import TABLES
from tests.support.faults import FaultyCalls, FaultySensor
from tests.support.small_training import scripted, train

WATTS = 100.0
STEPS, PAUSE = 70, 0.01
"""Long enough for a flush while the training runs, besides those at the start and the end."""


@pytest.fixture(scope="module")
def losses():
    return train(STEPS)


def record(folder, sensor):
    with EnergyProfiler(run_dir=folder, sensors=[sensor]) as prof:
        trained = train(STEPS, pause=PAUSE)
    return prof, trained


def check_books(run):
    """Rows, and the part that no row holds, add up to the total to the microjoule; missing rows are stated."""
    total = run.total_joules
    in_rows = run.steps["total_joules"].sum() + run.spans["total_joules"].sum()
    totals = run.meta["totals"]
    assert total == pytest.approx(totals["step_joules"] + totals["span_joules"], abs=1e-5)
    assert sum(run.energy_by_domain().values()) == pytest.approx(total, abs=1e-5)
    assert in_rows == pytest.approx(total, abs=1e-5) or run.meta["rows_lost"]


def check_rows_of_unwritten_totals(run):
    """The total of a run whose ``run.json`` could not be written again is that of its rows."""
    in_rows = run.steps["total_joules"].sum() + run.spans["total_joules"].sum()
    if len(run.steps):
        assert run.total_joules == pytest.approx(in_rows, abs=1e-5)
        assert run.total_joules == pytest.approx(WATTS * run.window_seconds, rel=0.02)


def check_total(run):
    """The counter is cumulative, so the total is exact despite gaps in readings and rows."""
    assert run.total_joules == pytest.approx(WATTS * run.summary().window_seconds, rel=1e-3)


DISK = "write+write_bytes+posix_fallocate"
"""The calls that a full disk fails."""
CASES = [
    *[("open", number, errno.EMFILE) for number in (1, 2, 3, 4)],
    *[("write", number, errno.ENOSPC) for number in range(1, 11)],
    *[("write", number, FaultyCalls.SHORT) for number in (2, 5, 8)],
    ("write", 6, errno.EIO),
    *[("replace", number, errno.EACCES) for number in (1, 2)],
    *[("write_bytes", number, errno.ENOSPC) for number in (1, 2)],
    *[(DISK, number, errno.ENOSPC) for number in (1, 2, 6, 8, 12)],
    *[("close", number, errno.EIO) for number in (1, 4)],
]


@pytest.mark.slow
@pytest.mark.parametrize("lasts", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize(("call", "number", "code"), CASES)
def test_a_failing_call_costs_rows_and_nothing_else(  # noqa: PLR0917 - fixtures and parameters
    tmp_path, monkeypatch, capsys, losses, call, number, code, lasts
):
    folder = tmp_path / "run"
    faults = FaultyCalls(folder, call, first=number, last=10**9 if lasts else None, code=code)
    with monkeypatch.context() as patch:
        faults.install(patch)
        _, trained = record(folder, scripted(WATTS))
    printed = capsys.readouterr().err
    assert trained == losses, "the training is unaffected"
    assert faults.failed, f"the run makes too few such calls: {faults.counts}"
    may_be_unreadable = call in {"replace", "write_bytes", "open", DISK} or number <= len(TABLES)
    with suppress(ProfilerError) if may_be_unreadable else nullcontext():
        run = load_run(folder)
        if run.meta["totals"] is None:  # run.json could not be replaced at the end
            assert lasts
            assert call in {"replace", DISK}
            assert run.meta["status"] == "running"
            assert "cannot write" in printed
            check_rows_of_unwritten_totals(run)
        else:
            check_books(run)
            check_total(run)
            assert "cannot write" in printed or not run.meta.get("rows_lost")


def test_record_is_complete_without_a_flush_of_the_disk(tmp_path, monkeypatch):
    """A flush may take seconds and fail; rows survive the process in the system's cache without one."""
    faults = FaultyCalls(tmp_path / "run", "fsync", first=1, last=10**9, code=errno.EIO)
    with monkeypatch.context() as patch:
        faults.install(patch)
        prof, _ = record(tmp_path / "run", scripted(WATTS))
    assert faults.counts["write"] > 0
    assert faults.counts["fsync"] == 0
    check_books(prof.run)
    check_total(prof.run)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("number", [1, 2, 3, 5, 8, 9, 10, 12, 15])
def test_a_failing_sensor_read_costs_a_gap_and_nothing_else(tmp_path, capsys, losses, number, count):
    sensor = FaultySensor(scripted(WATTS), first=number, last=number + count - 1)
    prof, trained = record(tmp_path / "run", sensor)
    assert trained == losses, "the training is unaffected"
    assert sensor.failed, f"the run makes too few reads: {sensor.reads}"
    assert "injected failure" in capsys.readouterr().err
    check_books(prof.run)
    check_total(prof.run)
