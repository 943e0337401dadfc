"""Logged values, phases and warnings during a run: bounded, and from any thread."""

import asyncio
import threading
import time
from itertools import groupby

import pytest
import torch

from profiler import EnergyProfiler
from profiler.recording.annotations import Annotations, RateLimit
from profiler.recording.inbox import Inbox
from profiler.recording.warning_log import WarningLog
from profiler.torch_hooks.async_scalars import ScalarReader
from profiler.units import NANOSECONDS_PER_SECOND
from profiler.units import NANOSECONDS_PER_SECOND as SECOND
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
    return [name for name, _ in groupby(change.name for change in annotations._inbox.phases)]


def test_phases_nest(annotations):
    outer = annotations.enter_phase("a")
    inner = annotations.enter_phase("b")
    annotations.leave_phase(inner)
    annotations.leave_phase(outer)
    assert phases(annotations) == ["a", "b", "a", ""]
    assert annotations.overlapping == set()


def test_time_of_overlapping_threads_counts_for_the_phase_opened_first(emitted, annotations):
    theirs = []
    mine = annotations.enter_phase("mine")
    on_a_thread(lambda: theirs.append(annotations.enter_phase("theirs")))
    annotations.leave_phase(mine)
    annotations.leave_phase(theirs[0])
    assert phases(annotations) == ["mine", "theirs", ""]
    assert annotations.overlapping == {"mine", "theirs"}
    assert len(emitted) == 1


def test_phase_may_end_on_another_thread(annotations):
    phase = annotations.enter_phase("a")
    on_a_thread(lambda: annotations.leave_phase(phase))
    assert phases(annotations) == ["a", ""]
    assert annotations.enter_phase("b").around is None


def test_phase_may_end_twice_or_out_of_order(annotations):
    outer, inner = annotations.enter_phase("a"), annotations.enter_phase("b")
    annotations.leave_phase(outer)
    annotations.leave_phase(outer)
    assert phases(annotations) == ["a", "b"]
    annotations.leave_phase(inner)
    assert phases(annotations) == ["a", "b", ""]


def test_phases_follow_their_tasks(annotations):
    """Two tasks take turns; each one's phase inside its own is nested, not overlapping."""

    async def work(name, first, second):
        outer = annotations.enter_phase(name)
        await first.wait()
        inner = annotations.enter_phase(f"{name} inner")
        second.set()
        await asyncio.sleep(0)
        annotations.leave_phase(inner)
        annotations.leave_phase(outer)
        return inner.around is outer

    async def both():
        one, other, end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        asyncio.get_running_loop().call_soon(one.set)
        return await asyncio.gather(work("a", one, other), work("b", other, end))

    assert asyncio.run(both()) == [True, True]
    assert phases(annotations)[:2] == ["a", "a inner"]
    assert phases(annotations)[-1] == ""
    assert "b" in annotations.overlapping
    counted = [name for name in phases(annotations) if name]
    assert counted.index("b inner") > counted.index("a inner")


def test_tasks_inside_a_phase_are_nested_in_it(annotations):
    async def work(name):
        phase = annotations.enter_phase(name)
        await asyncio.sleep(0)
        annotations.leave_phase(phase)

    async def both():
        outer = annotations.enter_phase("outer")
        await asyncio.gather(work("a"), work("b"))
        annotations.leave_phase(outer)

    asyncio.run(both())
    assert phases(annotations) == ["outer", "a", "b", "outer", ""]
    assert annotations.overlapping == {"a", "b"}


def test_overlapping_phases_are_marked_in_the_record(tmp_path):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:

        def load():
            with prof.phase("load"):
                prof.step(loss=1.0)

        with prof.phase("train"):
            on_a_thread(load)
    assert prof.run.meta["overlapping_phases"] == ["load", "train"]
    assert set(prof.run.steps["phase"]) == {"train"}


def test_spans_in_which_phases_overlapped_are_marked(tmp_path):
    """The common time is one span of its own, of the phase that was opened first."""
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        with prof.phase("load"):
            with prof.phase("decode"):  # nested phases do not overlap
                time.sleep(0.002)
            leave, entered = threading.Event(), threading.Event()

            def check():
                with prof.phase("check"):
                    entered.set()
                    leave.wait()

            thread = threading.Thread(target=check)
            thread.start()
            entered.wait()
            time.sleep(0.002)
            leave.set()
            thread.join()
            time.sleep(0.002)
        prof.step(loss=1.0)
    spans = prof.run.spans[["kind", "overlapping"]]
    named = spans[~spans["kind"].isin(["setup", "teardown"])].itertuples(index=False, name=None)
    assert set(named) == {("decode", 0), ("load", 0), ("load", 1)}
    header = (tmp_path / "run" / "spans.csv").read_text().splitlines()[0]
    assert header.endswith(",uncertainty_joules,overlapping")


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


def test_a_state_whose_units_change_is_one_line(emitted):
    warnings = WarningLog(emitted.append)
    for amount in ("900 ms", "59.0 s", "1.20 h", "3.1 days"):
        warnings.update(f"no reading for {amount}, in which 12 kJ were used")
    assert warnings.lines == ["no reading for 3.1 days, in which 12 kJ were used"]


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


def test_rate_limit_admits_ten_thousand_rows_then_five_per_second():
    limit = RateLimit()
    assert all(limit.admits(n) for n in range(10_000))
    passed = [limit.admits(SECOND + n * SECOND // 100) for n in range(1000)]
    assert sum(passed) == 50
    assert limit.dropped == 950
    assert {len(list(group)) for kept, group in groupby(passed) if not kept} == {19}
