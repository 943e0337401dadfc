"""Logged values, phases and warnings during a run: bounded, and from any thread."""

import threading

import pytest
import torch

from profiler import EnergyProfiler
from profiler.recording.annotations import Annotations
from profiler.recording.inbox import Inbox
from profiler.recording.warning_log import WarningLog
from profiler.torch_hooks.async_scalars import ScalarReader
from profiler.units import NANOSECONDS_PER_SECOND
from tests.support.small_training import scripted


@pytest.fixture
def emitted():
    return []


@pytest.fixture
def annotations(emitted, monkeypatch):
    """Annotations on a clock that advances by a second per call, so that no phase follows another too fast."""
    seconds = iter(range(1, 1_000_000))
    monkeypatch.setattr(
        "profiler.recording.annotations.time.monotonic_ns", lambda: next(seconds) * NANOSECONDS_PER_SECOND
    )
    return Annotations(Inbox(), ScalarReader(torch), WarningLog(emitted.append))


def on_a_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def phases(annotations):
    return [name for _, name in annotations._inbox.phases]


def test_phases_nest(annotations):
    annotations.enter_phase("a")
    annotations.enter_phase("b")
    annotations.leave_phase()
    annotations.leave_phase()
    assert phases(annotations) == ["a", "b", "a", ""]


def test_thread_ends_its_own_phase(annotations):
    annotations.enter_phase("mine")
    on_a_thread(lambda: annotations.enter_phase("theirs"))
    annotations.leave_phase()
    assert phases(annotations) == ["mine", "theirs", "theirs"]


def test_phase_may_end_on_another_thread(annotations):
    annotations.enter_phase("a")
    on_a_thread(annotations.leave_phase)
    assert phases(annotations) == ["a", ""]


def test_end_without_start_is_ignored(annotations):
    annotations.leave_phase()
    assert phases(annotations) == [""]


def test_bad_values_of_one_name_give_one_warning(emitted, annotations):
    for epoch in range(5_000):
        annotations.log("note", f"epoch {epoch}")
    assert emitted == ["prof.log(note=...) got something that is not a number (a str; ValueError)"]


def test_bad_losses_give_one_warning(tmp_path):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        for epoch in range(500):
            prof.step(loss=f"epoch {epoch}")
    (warning,) = prof.run.warnings
    assert warning == "prof.step(loss=...) got something that is not a number (a str; ValueError)"


def test_number_of_reasons_for_unreadable_losses_is_bounded():
    scalars = ScalarReader(torch)
    for number in range(5_000):
        scalars.warn(f"reason {number}")
    assert len(scalars.warnings) == 100


def test_warnings_are_emitted_once_and_bounded(emitted):
    warnings = WarningLog(emitted.append)
    for number in range(1_000):
        warnings.warn(f"warning {number}")
        warnings.warn(f"warning {number}")
    assert emitted == warnings.lines
    assert emitted[:100] == [f"warning {number}" for number in range(100)]
    assert emitted[100:] == ["there were more than 100 warnings; the others were dropped"]
