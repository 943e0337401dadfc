"""Election of the process that counts shared devices: one at a time, without loss or double counting."""

import os
import random
import signal
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from profiler.distributed.leader_election import Election, SoleProcess
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


def test_one_process_counts_all_shared_domains_of_the_node(elect):
    first, second = elect(), elect()
    first.try_lead()
    second.try_lead()
    names = [d.name for d in (CPU, DRAM, PSYS)]
    assert [first.counts(name) for name in names] == [True] * 3
    assert [second.counts(name) for name in names] == [False] * 3
    assert [first.counted_since(name) for name in names] == [0] * 3
    assert [second.counted_since(name) for name in names] == [None] * 3


def test_each_process_counts_its_gpu_and_one_of_two_a_shared_gpu(elect):
    first, second, third = (elect(domain("gpu:0", f"GPU-{uuid}")) for uuid in "aba")
    assert [one.counted_since("gpu:0") for one in (first, second, third)] == [0, 0, None]


def test_a_gpu_without_uuid_is_counted_by_each_process(elect):
    first, second = (elect(domain("gpu:0")) for _ in range(2))
    assert [one.counted_since("gpu:0") for one in (first, second)] == [0, 0]


@pytest.mark.parametrize("told", [True, False])
def test_the_next_leader_counts_from_the_time_of_the_last(elect, told):
    first, second = elect(), elect()
    first.try_lead()
    assert second.counted_since(CPU.name) is None
    first.mark_counted(5 * SECOND)
    if told:
        assert second.counted_since(CPU.name) is None
        assert second.counted_ns(CPU.name) == 5 * SECOND
    first.close()
    assert second.counted_since(CPU.name) == 5 * SECOND
    assert second.counts(CPU.name)
    assert not second.counts(DRAM.name)
    second.try_lead()
    assert second.counted_since(DRAM.name) == 5 * SECOND


def test_the_counted_time_never_decreases(elect):
    first, second = elect(), elect()
    first.try_lead()
    for moment in (5, 3, 4):
        first.mark_counted(moment * SECOND)
    second.mark_counted(9 * SECOND)
    first.close()
    assert second.counted_since(CPU.name) == 5 * SECOND


def test_a_killed_leader_is_replaced(elect, tmp_path):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        election = Election(tmp_path / "energy-profiler-run", (CPU,))
        election.try_lead()
        election.mark_counted(7 * SECOND)
        os.write(writer, b"!")
        os.kill(os.getpid(), 9)
    second = elect()
    os.read(reader, 1)
    os.waitpid(child, 0)
    assert second.counted_since(CPU.name) == 7 * SECOND
    os.close(reader)
    os.close(writer)


def test_a_forked_child_neither_keeps_nor_releases_the_lock(elect):
    """A worker that outlives its parent must not keep the others from counting."""
    first, second = elect(), elect()
    first.try_lead()
    go_reader, go = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        first.after_fork_in_child()
        os.read(go_reader, 1)
        os._exit(0)
    assert second.counted_since(CPU.name) is None
    first.close()
    taken = second.counted_since(CPU.name)
    os.write(go, b"!")
    assert os.waitpid(child, 0) == (child, 0)
    assert taken == 0
    os.close(go_reader)
    os.close(go)


def test_a_lock_on_a_removed_file_does_not_count(elect, tmp_path):
    first, second = elect(), elect()
    first.try_lead()
    assert second.counted_since(CPU.name) is None
    (lock,) = tmp_path.glob("*.lock")
    lock.unlink()
    first.close()
    third = elect()
    assert third.counted_since(CPU.name) == 0
    assert second.counted_since(CPU.name) is None


def test_a_time_of_an_earlier_boot_is_ignored(elect, tmp_path):
    """The monotonic clock starts anew, and the file may survive a reboot."""
    first = elect()
    first.try_lead()
    (lock,) = tmp_path.glob("*.lock")
    first.close()
    later = time.monotonic_ns() + 3600 * SECOND
    lock.write_bytes(b"%020d" % later)
    second = elect()
    assert second.counted_since(CPU.name) == 0
    second.mark_counted(5 * SECOND)
    second.close()
    assert elect().counted_since(CPU.name) == 5 * SECOND


def test_every_process_counts_if_no_file_can_be_created(tmp_path):
    (tmp_path / "file").touch()
    election = Election(tmp_path / "file" / "energy-profiler-run", (CPU,))
    assert election.counted_since(CPU.name) == 0
    election.close()


def test_a_full_file_system_does_not_end_the_recording(elect, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    first, second = elect(), elect()
    first.try_lead()
    first.mark_counted(5 * SECOND)
    monkeypatch.setattr(os, "pwrite", full)
    first.mark_counted(9 * SECOND)
    first.close()
    assert second.counted_since(CPU.name) == 5 * SECOND


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
def test_start_of_counting_after_another_process(elect, name, since, expected):
    """The window began at second 5, and the device is first asked for at second 7."""
    device = domain(name, "GPU-a")
    first, second = elect(device), elect(device)
    first.counted_since(name)
    first.mark_counted(since * SECOND)
    first.close()
    meters = Meters((device,), second)
    list(meters.add([Reading(domain=name, time_ns=t * SECOND, energy_joules=100.0 * t) for t in (1, 2)]))
    meters._start_ns = 5 * SECOND
    list(meters.count([name], 7 * SECOND))
    assert meters[name].counted_from_ns == expected * SECOND


def test_garbage_in_the_lock_file_is_ignored(elect, tmp_path):
    first = elect()
    first.try_lead()
    (lock,) = tmp_path.glob("*.lock")
    first.close()
    lock.write_text("not a number")
    assert elect().counted_since(CPU.name) == 0


def test_a_single_process_counts_everything():
    alone = SoleProcess()
    alone.try_lead()
    alone.mark_counted(SECOND)
    assert (alone.counted_since("psys"), alone.counts("psys"), alone.counted_ns("psys")) == (0, True, 0)
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
        list(self.meters.count([CPU.name], self.written_ns))
        self.written_ns = now_ns
        self.meters.prune(now_ns)
        self.election.mark_counted(now_ns)

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
def test_the_next_leader_counts_what_a_killed_one_had_not_written(tmp_path_factory, killed, later, seed):
    prefix = tmp_path_factory.mktemp("locks") / "energy-profiler-run"
    choose = random.Random(seed)
    lives = [(1, killed, True), (2, killed + later, False)]
    joules = live(prefix, lives, lambda: choose.random() < 0.3)
    assert joules == pytest.approx(10 * (killed + later - 1), abs=10 + 1e-3), (
        "at most the tick before it came"
    )
