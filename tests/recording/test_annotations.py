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


LETTERS = [f"{first}{second}" for first in "abcdefghijklmnop" for second in "abcdefghijklmnop"]


def test_warnings_of_a_kind_are_one_line_with_their_number(emitted):
    warnings = WarningLog(emitted.append)
    for number in range(1_000):
        warnings.warn(f"gpu:0 failed for {number} s")
        warnings.warn(f"gpu:1 failed for {number} s")
    assert emitted == ["gpu:0 failed for 0 s", "gpu:1 failed for 0 s"]
    assert [line.partition(" in ")[0] for line in warnings.lines] == [
        "gpu:0 failed for 999 s [1,000 times",
        "gpu:1 failed for 999 s [1,000 times",
    ]


def test_state_replaces_the_earlier_one_without_a_count(emitted):
    warnings = WarningLog(emitted.append)
    for number in range(5):
        warnings.update(f"gpu:0 could not be read for {number}.5 s in all")
    assert emitted == ["gpu:0 could not be read for 0.5 s in all"]
    assert warnings.lines == ["gpu:0 could not be read for 4.5 s in all"]


def test_severe_warnings_have_room_and_dropped_ones_are_counted(emitted):
    warnings = WarningLog(emitted.append)
    for letters in LETTERS:
        warnings.warn(f"warning {letters}")
        warnings.warn(f"warning {letters}")
    warnings.warn("severe", is_severe=True)
    assert emitted == [*(f"warning {letters}" for letters in LETTERS[:100]), "severe"]
    assert warnings.lines[-2:] == ["severe", "156 more kinds of warnings were dropped"]
    assert len(warnings.lines) == 102


def test_number_of_logged_values_and_names_is_bounded(emitted):
    inbox = Inbox()
    annotations = Annotations(inbox, ScalarReader(torch), WarningLog(emitted.append))
    for number in range(50_000):
        annotations.log("often", number)
    for number in range(5_000):
        annotations.log(f"name {number}", number)
    assert 10_000 <= len(inbox.metrics) <= 10_000 + 1_000 + 100
    assert len({logged.name for logged in inbox.metrics}) == 1_000
    assert emitted == ["prof.log() got more than 1,000 names; values of further names are not recorded"]
