"""System calls with fall-backs: what other systems than Linux do differently."""

import os
from pathlib import Path

import pytest

from profiler import _compat
from profiler._compat import process_start, replace_file
from profiler.torch_hooks.manager import HookManager


def test_processes_are_found_without_a_signal_where_there_is_no_proc(tmp_path, monkeypatch):
    def interrupt(pid, number):  # what this call does on Windows
        raise AssertionError(f"Ctrl-C for {pid}: {number}")

    monkeypatch.setattr(_compat, "Path", lambda path: tmp_path / path.lstrip("/"))
    monkeypatch.setattr(os, "kill", interrupt)
    monkeypatch.setattr("psutil.pid_exists", lambda pid: pid == os.getpid())
    assert process_start(os.getpid()) == "alive"
    assert process_start(2**30) is None


@pytest.mark.parametrize("refusals", [0, 3, 99])
def test_file_that_is_open_elsewhere_is_replaced_when_it_is_closed(tmp_path, monkeypatch, refusals):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    target.write_text("old")
    replace, tries = Path.replace, []

    def replace_later(path, other):
        tries.append(path)
        if len(tries) <= refusals:
            raise PermissionError(13, "The process cannot access the file", str(other))
        return replace(path, other)

    monkeypatch.setattr(Path, "replace", replace_later)
    monkeypatch.setattr(_compat.time, "sleep", lambda seconds: None)
    if refusals < 10:
        replace_file(source, target)
        assert target.read_text() == "new"
    else:
        with pytest.raises(PermissionError):
            replace_file(source, target)
        assert target.read_text() == "old"


def test_lock_that_another_thread_held_at_a_fork_is_free_in_the_child():
    hooks = HookManager()
    hooks._lock.acquire()  # the state in which the fork of another thread leaves the child
    hooks.after_fork_in_child()
    hooks.attach(lambda event: None)
    hooks.leave(hooks._sinks[0])
