"""What is written survives whatever ends the process; what cannot be written costs one warning."""

import json
import os
import resource
import signal
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.storage.csv_reader import read_table
from profiler.storage.schema import METRICS, RUN_FILE, SPANS, TABLES, MetricRow, SpanRow
from profiler.storage.writer import RunWriter


@pytest.fixture
def failures():
    return []


@pytest.fixture
def writer(tmp_path, failures):
    made = RunWriter(tmp_path / "run", failures.append)
    made.open({"schema_version": "1.0"})
    yield made
    made.close()


def metric(n, name="val_error"):
    return MetricRow(time_seconds=n, step=n, cumulative_joules=n, name=name, value=1.0)


def lines(writer, table=METRICS):
    return (writer.path / table.filename).read_text(encoding="utf-8").splitlines()


def names(writer):
    return sorted(file.name for file in writer.path.iterdir())


def test_a_new_run_has_its_headers_and_its_meta(writer):
    for table in TABLES:
        assert (writer.path / table.filename).read_text() == table.header
    assert json.loads((writer.path / RUN_FILE).read_text()) == {"schema_version": "1.0"}
    assert names(writer) == sorted([RUN_FILE, *(table.filename for table in TABLES)])


def test_rows_are_on_disk_after_a_flush(writer):
    writer.append(METRICS, metric(1))
    assert len(lines(writer)) == 1
    writer.flush()
    assert len(lines(writer)) == 2
    assert writer.bytes_written == sum(len(table.header) for table in TABLES) + len(METRICS.line(metric(1)))


def test_the_meta_is_replaced_and_nothing_is_left_beside_it(writer):
    writer.write_meta({"status": "completed"})
    assert json.loads((writer.path / RUN_FILE).read_text()) == {"status": "completed"}
    assert len(names(writer)) == len(TABLES) + 1


def test_files_follow_the_users_umask(tmp_path, failures):
    before = os.umask(0o027)
    try:
        made = RunWriter(tmp_path / "masked", failures.append)
        made.open({})
        made.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((made.path / METRICS.filename).stat().st_mode) == 0o640


def test_closing_twice_is_harmless(writer):
    writer.close()
    writer.close()


def test_a_path_that_is_a_file(tmp_path, failures):
    (tmp_path / "run").write_text("mine")
    made = RunWriter(tmp_path / "run", failures.append)
    made.open({})
    made.append(METRICS, metric(1))
    made.flush()
    made.write_meta({})
    made.close()
    assert failures == [f"Not a directory ({tmp_path / 'run'})"], "mkdir's own reason is that the file exists"
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which not even root may write")
def test_a_folder_that_cannot_be_made(failures):
    made = RunWriter(Path("/proc/self/run"), failures.append)
    made.open({})
    made.append(METRICS, metric(1))
    made.flush()
    made.close()
    assert failures == ["No such file or directory (/proc/self/run)"]


def test_a_folder_that_vanishes_costs_no_row_in_memory_and_one_failure(writer, failures):
    for name in names(writer):
        (writer.path / name).unlink()
    writer.path.rmdir()
    writer.write_meta({})
    writer.write_meta({})
    assert len(failures) == 1


def limited(limit, work):
    """Run ``work`` in a child process whose files may not grow beyond ``limit`` bytes; returns its exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("room", range(300, 400, 13))
def test_a_full_disk_leaves_whole_lines_and_is_reported_once(tmp_path, room):
    """The last write fits only in part: what it left is cut back to the last whole line."""

    def fill():
        failures = []
        writer = RunWriter(tmp_path / "run", failures.append)
        writer.open({})
        for n in range(100):
            writer.append(METRICS, metric(n))
            writer.append(METRICS, metric(n))
            writer.flush()
        writer.close()
        (tmp_path / "lost").write_text(str(writer.rows_lost[METRICS.filename]))
        (tmp_path / "failures").write_text("\n".join(failures))

    assert limited(room, fill) == 0
    text = (tmp_path / "run" / METRICS.filename).read_text()
    assert text.endswith("\n")
    assert len({line.count(",") for line in text.splitlines()}) == 1
    assert len(text.splitlines()) % 2 == 1, "a flush is written whole or not at all"
    assert len(text.splitlines()) - 1 + int((tmp_path / "lost").read_text()) == 200
    failures = (tmp_path / "failures").read_text().splitlines()
    assert len(failures) == 1
    assert METRICS.filename in failures[0] or str(tmp_path / "run") in failures[0]


def test_a_forgotten_writer_touches_nothing(writer):
    """A forked child's rows must not reach its parent's files."""
    writer.append(METRICS, metric(1))
    writer.after_fork_in_child()
    writer.append(METRICS, metric(2))
    writer.flush()
    assert len(lines(writer)) == 1


@pytest.mark.slow
@given(label=st.text(st.characters(exclude_categories=()), max_size=20))
def test_any_label_is_one_cell(tmp_path_factory, label):
    """Also one that UTF-8 has no code for, such as a file name from another encoding."""
    failures = []
    writer = RunWriter(tmp_path_factory.mktemp("run"), failures.append)
    writer.open({})
    row = SpanRow(
        start_seconds=0, end_seconds=1, kind=label, total_joules=1, modelled_joules=0, cumulative_joules=1,
        uncertainty_joules=0.0,
    )  # fmt: skip
    writer.append(SPANS, row)
    writer.append(SPANS, row)
    writer.flush()
    writer.close()
    assert not failures
    frame, left_out = read_table(writer.path, SPANS, partial=False)
    assert left_out is None
    assert len(frame) == 2
