"""Writing on a thread of its own: slow disks, closed descriptors, full disks, forks."""

import json
import os
import threading
import time

import pytest

from profiler.storage import writer as writer_module
from profiler.storage.schema import METRICS, RUN_FILE, MetricRow
from profiler.storage.writer import BackgroundWriter


@pytest.fixture
def failures():
    return []


@pytest.fixture
def writer(tmp_path, failures):
    made = BackgroundWriter(tmp_path / "run", failures.append)
    yield made
    made.close()


def metric(n):
    return MetricRow(time_seconds=n, step=n, cumulative_joules=n, name="val_error", value=1.0)


def rows(writer):
    return (writer.path / METRICS.filename).read_text(encoding="utf-8").splitlines()[1:]


@pytest.fixture
def disk(monkeypatch):
    """Disk whose writes wait until ``disk.set()``."""
    ready, write = threading.Event(), os.write

    def slow_write(descriptor, data):
        ready.wait(20)
        return write(descriptor, data)

    monkeypatch.setattr(writer_module.os, "write", slow_write)
    yield ready
    ready.set()


def test_rows_and_metadata_are_written_in_order(writer):
    writer.open({"status": "running"})
    for n in range(100):
        writer.append(METRICS, metric(n))
        writer.flush()
    writer.write_meta({"status": "completed"})
    writer.close()
    assert [line.split(",")[1] for line in rows(writer)] == [str(n) for n in range(100)]
    assert json.loads((writer.path / RUN_FILE).read_text()) == {"status": "completed"}
    assert (writer.rows_late, writer.is_unfinished, writer.rows_lost) == (0, False, {})


def test_slow_disk_delays_neither_the_start_nor_a_flush(writer, disk, monkeypatch):
    monkeypatch.setattr(writer_module, "START_SECONDS", 0.05)
    begun = time.monotonic()
    writer.open({})
    for n in range(1000):
        writer.append(METRICS, metric(n))
        writer.flush()
    assert time.monotonic() - begun < 1.0
    assert writer.is_late
    disk.set()
    writer.close()
    assert len(rows(writer)) == 1000
    assert writer.rows_late == 0


def test_exit_does_not_wait_longer_than_its_limit(writer, disk, monkeypatch):
    monkeypatch.setattr(writer_module, "START_SECONDS", 0.05)
    monkeypatch.setattr(writer_module, "EXIT_SECONDS", 0.2)
    writer.open({})
    for n in range(7):
        writer.append(METRICS, metric(n))
    begun = time.monotonic()
    assert not writer.sync()
    writer.close()
    assert time.monotonic() - begun < 1.0
    assert (writer.rows_late, writer.is_unfinished) == (7, True)
    disk.set()
    writer._thread.join()  # it must end before the test does


def test_rows_beyond_the_capacity_are_counted(writer, disk, monkeypatch):
    monkeypatch.setattr(writer_module, "START_SECONDS", 0.05)
    monkeypatch.setattr(writer_module, "_CAPACITY", 10)
    writer.open({})
    for n in range(25):
        writer.append(METRICS, metric(n))
        writer.flush()
    disk.set()
    writer.close()
    assert len(rows(writer)) == 10
    assert writer.rows_lost == {METRICS.filename: 15}


def test_invalid_metadata_raises_to_the_caller(writer):
    writer.open({})
    with pytest.raises(ValueError, match="not JSON compliant"):
        writer.write_meta({"joules": float("nan")})


def test_error_of_the_thread_raises_at_the_next_wait(writer, monkeypatch):
    monkeypatch.setattr(writer._writer, "write_batch", lambda batch: 1 / 0)
    writer.open({})
    writer.append(METRICS, metric(1))
    writer.flush()
    with pytest.raises(ZeroDivisionError):
        writer.sync(5.0)


def test_closed_descriptors_are_opened_again(writer, failures):
    writer.open({})
    for file in writer._writer._files.values():  # as a program does that closes all descriptors
        os.close(file._file.get())
    writer.append(METRICS, metric(1))
    writer.flush()
    writer.close()
    assert len(rows(writer)) == 1
    assert (failures, writer.was_closed) == ([], True)


def test_reused_descriptors_are_neither_written_nor_closed(writer, tmp_path, failures):
    writer.open({})
    numbers = [file._file.get() for file in writer._writer._files.values()]
    theirs = os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT)
    for number in numbers:
        os.dup2(theirs, number)
    writer.append(METRICS, metric(1))
    writer.flush()
    writer.close()
    for number in numbers:
        os.fstat(number)
        os.close(number)
    assert os.fstat(theirs).st_size == 0
    os.close(theirs)
    assert len(rows(writer)) == 1
    assert failures == []


def test_descriptors_are_above_the_standard_streams(tmp_path, failures):
    saved = os.dup(0)
    os.close(0)
    try:
        writer = BackgroundWriter(tmp_path / "low", failures.append)
        writer.open({})
        writer.sync(5.0)
        assert all(file._file.get() > 2 for file in writer._writer._files.values())
        writer.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(0)
    finally:
        os.dup2(saved, 0)
        os.close(saved)
    assert failures == []


def test_replaced_file_is_a_failure(writer, failures):
    writer.open({})
    path = writer.path / METRICS.filename
    path.unlink()
    path.write_text("theirs\n")
    os.close(writer._writer._files[METRICS.filename]._file.get())
    writer.append(METRICS, metric(1))
    writer.flush()
    writer.sync(5.0)
    assert path.read_text() == "theirs\n"
    assert failures == [f"the file was replaced ({path})"]
    assert writer.rows_lost == {METRICS.filename: 1}


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs posix_fallocate")
def test_totals_fit_in_the_space_that_the_run_file_reserved_at_the_start(tmp_path, monkeypatch):
    """A full disk accepts neither a second file nor more blocks for the first one."""
    writer_module.write_run_file(tmp_path, {"status": "running"})

    def refuse(path, content):
        raise OSError(28, "No space left on device", str(path))

    def allocate(descriptor, offset, length):
        if offset + length > os.fstat(descriptor).st_size:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer_module.Path, "write_bytes", refuse)
    monkeypatch.setattr(os, "posix_fallocate", allocate)
    writer_module.write_run_file(tmp_path, {"status": "completed", "totals": "x" * 10_000})
    assert json.loads((tmp_path / RUN_FILE).read_text())["status"] == "completed"


def test_run_file_is_overwritten_where_there_is_no_room_for_a_second_one(tmp_path, monkeypatch):
    writer_module.write_run_file(tmp_path, {"status": "running", "padding": "x" * 100})

    def refuse(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(writer_module.Path, "write_bytes", refuse)
    writer_module.write_run_file(tmp_path, {"status": "completed"})
    assert json.loads((tmp_path / RUN_FILE).read_text()) == {"status": "completed"}
    assert [file.name for file in tmp_path.iterdir()] == [RUN_FILE]
