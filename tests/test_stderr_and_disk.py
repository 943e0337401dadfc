"""Streams and disks that do not respond: the training continues, and the record counts the losses."""

import json
import os
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from profiler import _compat
from profiler._compat import dropped_messages, printable, write_stderr
from profiler.storage.run_file import read_run_file

TRAIN = """
    import os, sys, time, torch
    from profiler import EnergyProfiler
    from tests.support.small_training import scripted, train
"""


@contextmanager
def full_pipe(monkeypatch):
    """Replace stderr by a pipe without room; yield its two ends."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    with open(writer, "w", encoding="utf-8", closefd=False) as stream:
        with monkeypatch.context() as patch:
            patch.setattr(_compat, "_STDERR", _compat._Stderr())  # its count starts at zero
            patch.setattr(sys, "stderr", stream)
            yield reader, writer
        os.set_blocking(reader, False)
        while stream_has_bytes(reader):
            pass
    os.close(reader)
    os.close(writer)


def stream_has_bytes(reader):
    try:
        return bool(os.read(reader, 1 << 20))
    except BlockingIOError:
        return False


def test_full_pipe_drops_the_message_and_counts_it(monkeypatch):
    with full_pipe(monkeypatch) as (_, writer):
        begun = time.monotonic()
        assert not any(write_stderr(f"message {number}") for number in range(10))
        assert time.monotonic() - begun < 2.0, "only the first one waits"
        assert dropped_messages() == 10
        assert os.get_blocking(writer), "the flags of a shared descriptor are left alone"


def test_message_is_written_when_the_reader_returns(monkeypatch):
    with full_pipe(monkeypatch) as (reader, _):
        assert not write_stderr("lost")
        os.set_blocking(reader, False)
        while stream_has_bytes(reader):
            pass
        assert write_stderr("kept " + "y" * 3000)
        assert os.read(reader, 1 << 20) == b"kept " + b"y" * 3000 + b"\n"


@pytest.mark.slow
def test_stderr_that_nobody_reads_does_not_stop_the_training(tmp_path):
    script = (
        TRAIN
        + """
    os.set_blocking(2, False)
    try:
        while True:
            os.write(2, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(2, True)
    with EnergyProfiler(run_dir="run", sensors=[scripted()], live=True):
        train(20)
    print("trained", flush=True)
    os._exit(0)  # python itself would wait for the pipe
    """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "trained\n"
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
    meta = read_run_file(tmp_path / "run")
    assert meta["totals"]["steps"] == 20
    assert meta["overhead"]["messages_dropped"] == 2, "the first line and the report"


@pytest.mark.slow
def test_slow_disk_is_named_and_delays_neither_start_nor_readings(tmp_path):
    script = (
        TRAIN
        + """
    write = os.write
    def slow(descriptor, data):
        time.sleep(1.0)
        return write(descriptor, data)
    os.write = slow
    begun = time.monotonic()
    with EnergyProfiler(run_dir="run", sensors=[scripted()], sample_period_seconds=0.01):
        started = time.monotonic() - begun
        train(50, pause=0.02)
    print(started)
    """
    )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 2.0, "imports included"
    assert "the disk of the run directory did not respond within" in done.stderr
    assert "a sensor hangs" not in done.stderr
    meta = read_run_file(tmp_path / "run")
    assert meta["overhead"]["longest_read_seconds"] < 1.0
    assert (meta["totals"]["steps"], meta["status"]) == (50, "completed")


@pytest.mark.slow
def test_closed_standard_streams_and_files_leave_the_record_whole(tmp_path):
    script = (
        TRAIN
        + """
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    with EnergyProfiler(run_dir="run", sensors=[scripted()]):
        train(10)
        os.closerange(3, 4096)
        streams = [os.open(os.devnull, os.O_RDWR) for _ in range(3)]
        assert streams == [0, 1, 2], "none of ours was moved there"
        theirs = [os.open(f"theirs-{n}", os.O_WRONLY | os.O_CREAT) for n in range(600)]
        train(10)
        time.sleep(1.5)
    assert all(os.write(descriptor, b"x") for descriptor in theirs)
    """
    )
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert done.returncode == 0
    assert {Path(f"theirs-{n}").stat().st_size for n in range(600)} == {1}
    meta = json.loads((tmp_path / "run" / "run.json").read_text())
    assert meta["totals"]["steps"] == 20
    assert any("closed files of the profiler" in warning for warning in meta["warnings"])
    assert len((tmp_path / "run" / "steps.csv").read_text().splitlines()) == 21


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ± 5 %\nline", "plain ± 5 %\nline"),
        ("\x1b[31mred", "\N{REPLACEMENT CHARACTER}[31mred"),
        ("a\u202eb\u2066c", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"),
        ("tab\tand\rreturn\u2028", "tab and return "),
        ("\ud800", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_characters_that_a_terminal_acts_on_are_replaced(text, shown):
    assert printable(text) == shown
