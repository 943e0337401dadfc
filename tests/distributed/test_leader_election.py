"""Who counts what processes share: one at a time, and the next from where the last one stopped."""

import os
import random
import signal
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from profiler.distributed.leader_election import Election, Unopposed
from profiler.recording.meter import Meters
from profiler.records import Domain, Provenance, Reading

SECOND = 1_000_000_000


def domain(name, device=None):
    return Domain(name=name, source="scripted", provenance=Provenance.COUNTER, device=device)


CPU, DRAM, PSYS = domain("cpu:package-0"), domain("dram:package-0"), domain("psys")


@pytest.fixture
def elect(tmp_path):
    """Make the election of one more process; all are closed at the end."""
    made = []

    def one(*domains):
        made.append(Election(tmp_path / "energy-profiler-run", domains or (CPU, DRAM, PSYS)))
        return made[-1]

    yield one
    for election in made:
        election.close()


def test_one_counts_all_that_the_node_shares(elect):
    first, second = elect(), elect()
    first.stand()
    second.stand()
    names = [d.name for d in (CPU, DRAM, PSYS)]
    assert [first.counts(name) for name in names] == [True] * 3
    assert [second.counts(name) for name in names] == [False] * 3
    assert [first.since(name) for name in names] == [0] * 3
    assert [second.since(name) for name in names] == [None] * 3


def test_each_counts_its_own_gpu_and_one_of_two_on_the_same(elect):
    first, second, third = (elect(domain("gpu:0", f"GPU-{uuid}")) for uuid in "aba")
    assert [one.since("gpu:0") for one in (first, second, third)] == [0, 0, None]


def test_a_gpu_without_an_identifier_is_each_ones_own(elect):
    first, second = (elect(domain("gpu:0")) for _ in range(2))
    assert [one.since("gpu:0") for one in (first, second)] == [0, 0]


@pytest.mark.parametrize("told", [True, False])
def test_the_next_one_counts_from_where_the_last_stopped(elect, told):
    first, second = elect(), elect()
    first.stand()
    assert second.since(CPU.name) is None
    first.count(5 * SECOND)
    if told:
        assert second.since(CPU.name) is None
        assert second.counted_ns(CPU.name) == 5 * SECOND
    first.close()
    assert second.since(CPU.name) == 5 * SECOND
    assert second.counts(CPU.name)
    assert not second.counts(DRAM.name)
    second.stand()
    assert second.since(DRAM.name) == 5 * SECOND


def test_counting_never_goes_back(elect):
    first, second = elect(), elect()
    first.stand()
    for moment in (5, 3, 4):
        first.count(moment * SECOND)
    second.count(9 * SECOND)
    first.close()
    assert second.since(CPU.name) == 5 * SECOND


def test_a_holder_that_is_killed_is_replaced(elect, tmp_path):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        election = Election(tmp_path / "energy-profiler-run", (CPU,))
        election.stand()
        election.count(7 * SECOND)
        os.write(writer, b"!")
        os.kill(os.getpid(), 9)
    second = elect()
    os.read(reader, 1)
    os.waitpid(child, 0)
    assert second.since(CPU.name) == 7 * SECOND
    os.close(reader)
    os.close(writer)


def test_a_forked_child_neither_keeps_the_right_nor_takes_it_away(elect):
    """A worker that outlives its parent must not keep the others from counting."""
    first, second = elect(), elect()
    first.stand()
    go_reader, go = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        first.forget()
        os.read(go_reader, 1)
        os._exit(0)
    assert second.since(CPU.name) is None
    first.close()
    taken = second.since(CPU.name)
    os.write(go, b"!")
    assert os.waitpid(child, 0) == (child, 0)
    assert taken == 0
    os.close(go_reader)
    os.close(go)


def test_a_file_that_was_removed_meanwhile_is_no_right(elect, tmp_path):
    first, second = elect(), elect()
    first.stand()
    assert second.since(CPU.name) is None
    (lock,) = tmp_path.glob("*.lock")
    lock.unlink()
    first.close()
    third = elect()
    assert third.since(CPU.name) == 0
    assert second.since(CPU.name) is None


def test_what_was_counted_before_the_machine_started_again_is_forgotten(elect, tmp_path):
    """Its clock began anew, and the file may lie where a start of the machine leaves it."""
    first = elect()
    first.stand()
    (lock,) = tmp_path.glob("*.lock")
    first.close()
    later = time.monotonic_ns() + 3600 * SECOND
    lock.write_bytes(b"%020d" % later)
    second = elect()
    assert second.since(CPU.name) == 0
    second.count(5 * SECOND)
    second.close()
    assert elect().since(CPU.name) == 5 * SECOND


def test_where_no_file_can_be_made_everybody_counts(tmp_path):
    (tmp_path / "file").touch()
    election = Election(tmp_path / "file" / "energy-profiler-run", (CPU,))
    assert election.since(CPU.name) == 0
    election.close()


def test_memory_that_is_full_does_not_end_the_recording(elect, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    first, second = elect(), elect()
    first.stand()
    first.count(5 * SECOND)
    monkeypatch.setattr(os, "pwrite", full)
    first.count(9 * SECOND)
    first.close()
    assert second.since(CPU.name) == 5 * SECOND


@pytest.mark.parametrize(
    ("name", "since", "expected"),
    [
        ("cpu:package-0", 0, 7),
        ("cpu:package-0", 3, 5),
        ("cpu:package-0", 6, 6),
        ("gpu:0", 3, 7),
        ("gpu:0", 6, 6),
    ],
)
def test_from_when_a_device_is_billed_that_others_counted(elect, name, since, expected):
    """The window began at second 5, and the device is first asked for at second 7."""
    device = domain(name, "GPU-a")
    first, second = elect(device), elect(device)
    first.since(name)
    first.count(since * SECOND)
    first.close()
    meters = Meters((device,), second)
    list(meters.add([Reading(domain=name, time_ns=t * SECOND, energy_joules=100.0 * t) for t in (1, 2)]))
    meters._start_ns = 5 * SECOND
    meters.bill([name], 7 * SECOND)
    assert meters.billed_from_ns == {name: expected * SECOND}


def test_somebody_elses_words_are_not_taken_for_a_time(elect, tmp_path):
    first = elect()
    first.stand()
    (lock,) = tmp_path.glob("*.lock")
    first.close()
    lock.write_text("not a number")
    assert elect().since(CPU.name) == 0


def test_alone_everything_is_ones_own():
    alone = Unopposed()
    alone.stand()
    alone.count(SECOND)
    assert (alone.since("psys"), alone.counts("psys"), alone.counted_ns("psys")) == (0, True, 0)
    alone.close()


class Process:
    """A process's meters under one election, without threads: 100 W on a clock that all share."""

    def __init__(self, election, start_ns):
        self.election, self.start_ns, self.written_ns = election, start_ns, start_ns
        self.meters = Meters((CPU,), election)
        self.read(start_ns)
        list(self.meters.begin(start_ns))

    def read(self, now_ns):
        list(self.meters.add([Reading(domain=CPU.name, time_ns=now_ns, energy_joules=100 * now_ns / SECOND)]))

    def beat(self, now_ns):
        """Read, bill, write up to now, and say so."""
        self.read(now_ns)
        self.meters.bill([CPU.name], self.written_ns)
        self.written_ns = now_ns
        self.meters.prune(now_ns)
        self.election.count(now_ns)

    @property
    def joules(self):
        return (self.meters.ledger.bill(self.written_ns).total or 0) / 1e6


TICK = SECOND // 10


def live(prefix, lives, beats):
    """Let processes come, beat when ``beats`` says so, and go; an orderly one beats when it goes. Returns their joules.

    Args:
        prefix: Where their locks are.
        lives: Begin, end and whether it is killed, in ticks, of each.
        beats: Whether a process beats now.
    """
    processes, ended = {}, []
    for now in range(max(end for _, end, _ in lives) + 1):
        for index, (begin, end, killed) in enumerate(lives):
            if now == begin:
                processes[index] = Process(Election(prefix, (CPU,)), now * TICK)
            elif now == end:
                if not killed:
                    processes[index].beat(now * TICK)
                processes[index].election.close()
                ended.append(processes.pop(index))
            elif index in processes:
                (processes[index].beat if beats() else processes[index].read)(now * TICK)
    return sum(process.joules for process in ended)


spans = st.tuples(st.integers(1, 10), st.integers(12, 50)).map(lambda pair: (*pair, False))


@settings(max_examples=25, deadline=None)
@given(lives=st.lists(spans, min_size=1, max_size=5), seed=st.integers(0, 999))
def test_no_joule_is_lost_or_counted_twice(tmp_path_factory, lives, seed):
    """All come before the first goes, in good order: what they counted is the union of their lives."""
    prefix = tmp_path_factory.mktemp("locks") / "energy-profiler-run"
    covered = {now for begin, end, _ in lives for now in range(begin, end)}
    choose = random.Random(seed)
    assert live(prefix, lives, lambda: choose.random() < 0.5) == pytest.approx(10 * len(covered), abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(killed=st.integers(10, 40), later=st.integers(1, 30), seed=st.integers(0, 999))
@example(killed=10, later=1, seed=600)  # killed before it had written anything
def test_what_a_killed_process_had_not_written_is_counted_by_the_next(tmp_path_factory, killed, later, seed):
    prefix = tmp_path_factory.mktemp("locks") / "energy-profiler-run"
    choose = random.Random(seed)
    lives = [(1, killed, True), (2, killed + later, False)]
    joules = live(prefix, lives, lambda: choose.random() < 0.3)
    assert joules == pytest.approx(10 * (killed + later - 1), abs=10 + 1e-3), (
        "at most the tick before it came"
    )
