"""What the user says while a run goes on, and what is said to the user: once, bounded, from any thread."""

import threading

import pytest
import torch

from profiler import EnergyProfiler
from profiler.recording.annotations import Remarks
from profiler.recording.pipeline import Inbox
from profiler.recording.warnings import Notices
from profiler.torch_hooks.async_scalars import ScalarReader
from profiler.units import NANOSECONDS_PER_SECOND
from tests.support.small_training import scripted


@pytest.fixture
def said():
    return []


@pytest.fixture
def remarks(said, monkeypatch):
    """On a clock that a second passes on with each look at it, so that no phase follows another too fast."""
    seconds = iter(range(1, 1_000_000))
    monkeypatch.setattr(
        "profiler.recording.annotations.time.monotonic_ns", lambda: next(seconds) * NANOSECONDS_PER_SECOND
    )
    return Remarks(Inbox(), lambda value, several: float(value), said.append)


def on_a_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def phases(remarks):
    return [name for _, name in remarks._inbox.phases]


def test_phases_nest(remarks):
    remarks.enter_phase("a")
    remarks.enter_phase("b")
    remarks.leave_phase()
    remarks.leave_phase()
    assert phases(remarks) == ["a", "b", "a", ""]


def test_a_thread_ends_its_own_phase(remarks):
    remarks.enter_phase("mine")
    on_a_thread(lambda: remarks.enter_phase("theirs"))
    remarks.leave_phase()
    assert phases(remarks) == ["mine", "theirs", "theirs"]


def test_a_phase_may_end_on_another_thread_than_it_began_on(remarks):
    remarks.enter_phase("a")
    on_a_thread(remarks.leave_phase)
    assert phases(remarks) == ["a", ""]


def test_an_end_without_a_beginning_does_no_harm(remarks):
    remarks.leave_phase()
    assert phases(remarks) == [""]


def test_bad_values_of_a_name_are_one_warning(said, remarks):
    kept = Notices(said.append)
    remarks._notice = kept
    for epoch in range(5_000):
        remarks.log("note", f"epoch {epoch}")
    assert said == kept.lines == ["prof.log(note=...) got something that is not a number (a str; ValueError)"]


def test_bad_losses_are_one_warning(tmp_path):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        for epoch in range(500):
            prof.step(loss=f"epoch {epoch}")
    (warning,) = prof.run.warnings
    assert warning == "prof.step(loss=...) got something that is not a number (a str; ValueError)"


def test_reasons_why_losses_cannot_be_read_are_bounded():
    scalars = ScalarReader(torch)
    for number in range(5_000):
        scalars.warn(f"reason {number}")
    assert len(scalars.warnings) == 100


def test_warnings_are_said_once_and_no_more_than_somebody_reads(said):
    notices = Notices(said.append)
    for number in range(1_000):
        notices(f"warning {number}")
        notices(f"warning {number}")
    assert said == notices.lines
    assert said[:100] == [f"warning {number}" for number in range(100)]
    assert said[100:] == ["there were more than 100 warnings; the others are left out"]
