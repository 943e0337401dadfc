"""Processes of one host join the run of their job, and never that of another job."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.distributed import rendezvous
from profiler.distributed.rendezvous import Arrival, Member, Roster, join, join_run, leave, leave_run

ALIVE = rendezvous.current_process()
DEAD = Member(pid=os.getpid(), start="another life")
DONE = replace(DEAD, done=True)
NEW = "a new one"


def arrival(rank=1, *, attempt=0, launcher="shell", elastic=False):
    return Arrival(rank=rank, attempt=attempt, launcher=launcher, is_elastic=elastic, member=ALIVE)


def entry(*, attempt=0, launcher="shell", **members):
    return Roster(
        path="theirs",
        attempt=attempt,
        launcher=launcher,
        members={int(rank[1:]): one for rank, one in members.items()},
    )


def joined(found, me):
    after = join(found, me, Path(NEW))
    assert after.members[me.rank] == me.member
    return after.path, after.attempt, sorted(after.members)


@pytest.mark.parametrize(
    ("found", "me", "expected"),
    [
        (None, arrival(), (NEW, 0, [1])),
        (entry(r0=ALIVE), arrival(), ("theirs", 0, [0, 1])),
        (entry(r0=ALIVE), arrival(launcher="a wrapper of its own"), ("theirs", 0, [0, 1])),
        (entry(r0=DONE), arrival(), ("theirs", 0, [0, 1])),
        (entry(r0=DEAD), arrival(), (NEW, 0, [1])),
        (entry(r0=DONE), arrival(launcher="another shell"), (NEW, 0, [1])),
        (entry(r1=ALIVE), arrival(), (NEW, 0, [1])),
        (entry(r1=DEAD), arrival(), (NEW, 0, [1])),
        (entry(r0=DONE, r1=DONE), arrival(), (NEW, 0, [1])),
        (entry(r0=DEAD, r1=DEAD), arrival(attempt=1, elastic=True), ("theirs", 1, [1])),
        (entry(r0=DEAD, r1=DEAD), arrival(attempt=1, launcher="requeued"), ("theirs", 1, [1])),
        (entry(attempt=1, r0=ALIVE), arrival(attempt=1, elastic=True), ("theirs", 1, [0, 1])),
        (entry(r0=DEAD, r1=DEAD), arrival(elastic=True), ("theirs", 1, [1])),
        (entry(r0=DEAD, r2=DEAD), arrival(elastic=True), ("theirs", 1, [1])),
        (entry(r0=ALIVE, r1=DEAD), arrival(elastic=True), ("theirs", 1, [1])),
        (entry(r0=DONE), arrival(elastic=True), ("theirs", 0, [0, 1])),
        (entry(r1=ALIVE), arrival(elastic=True), (NEW, 0, [1])),
        (entry(r0=DEAD, r1=DEAD), arrival(attempt=1, launcher="another", elastic=True), (NEW, 1, [1])),
    ],
    ids=[
        "the first process",
        "a member of the same launcher",
        "a living member, through a wrapper",
        "a member that ended early",
        "the file of a crashed job",
        "the file of an ended job",
        "the rank belongs to a living process",
        "the rank belonged to a process that crashed",
        "the same shell's last job",
        "a restart that the launcher counts",
        "a job that was queued again",
        "a member of the same restart",
        "a restart that it does not count, with the same rank",
        "a restart that it does not count, with a new rank first",
        "a restart while another member still runs",
        "a member that ended early under an elastic launcher",
        "two jobs at once with one name",
        "another job's restart, whose first attempt never came here",
    ],
)
def test_which_run_a_process_joins(found, me, expected):
    assert joined(found, me) == expected


@given(st.permutations(range(6)), st.sampled_from(["one", "each its own"]))
def test_all_ranks_meet_in_any_order(order, launchers):
    found = None
    for number, rank in enumerate(order):
        me = arrival(rank, launcher="one" if launchers == "one" else str(rank))
        found = join(found, me, Path(f"run {number}"))
    assert found.path == "run 0"
    assert sorted(found.members) == list(range(6))


@given(st.permutations(range(4)), st.permutations(range(4)), st.booleans())
def test_a_job_that_follows_another_of_the_same_name_never_joins_it(first, second, crashed):
    found = None
    for rank in first:
        found = join(found, arrival(rank), Path("first"))
    gone = DEAD if crashed else DONE
    found = replace(found, members=dict.fromkeys(found.members, gone))
    for rank in second:
        found = join(found, arrival(rank), Path("second"))
    assert found.path == "second"
    assert sorted(found.members) == list(range(4))


@given(st.permutations(range(4)), st.permutations(range(4)), st.booleans())
def test_all_ranks_of_a_restart_have_the_same_attempt(first, second, counted):
    found = None
    for rank in first:
        found = join(found, arrival(rank, elastic=True), Path("first"))
    found = replace(found, members=dict.fromkeys(found.members, DEAD))
    for rank in second:
        found = join(found, arrival(rank, attempt=int(counted), elastic=True), Path("second"))
    assert (found.path, found.attempt) == ("first", 1)
    assert sorted(found.members) == list(range(4))


def test_a_process_can_only_mark_itself_as_done():
    found = entry(r0=ALIVE)
    assert leave(found, 0, os.getpid() + 1) == found
    assert leave(found, 0, os.getpid()).members[0].done
    assert leave(found, 5, os.getpid()) == found


def test_simultaneous_arrivals_join_one_run(tmp_path):
    file, found = tmp_path / "job.json", []

    def come(rank):
        found.append(join_run(file, arrival(rank), Path(f"run {rank}")))

    threads = [threading.Thread(target=come, args=(rank,)) for rank in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    (path,) = {one.path for one in found}
    assert path in {f"run {rank}" for rank in range(16)}


def test_the_last_process_to_leave_removes_the_files(tmp_path):
    file, lock, theirs = (tmp_path / name for name in ("job.json", "job-abc.lock", "jobs-abc.lock"))
    lock.touch()
    theirs.touch()
    for rank in range(2):
        join_run(file, arrival(rank), Path(NEW))
    leave_run(file, 0, 2)
    assert file.exists()
    assert lock.exists()
    leave_run(file, 1, 2)
    assert not file.exists()
    assert not lock.exists()
    assert theirs.exists()


NO_MEMBER = '{"path": "p", "attempt": 0, "launcher": "l", "members": {"x": {}}}'


@pytest.mark.parametrize("text", ["", "{", "[]", '{"path": 1}', NO_MEMBER])
def test_an_unreadable_roster_is_replaced(tmp_path, text):
    file = tmp_path / "job.json"
    file.write_text(text)
    assert join_run(file, arrival(), Path(NEW)).path == NEW


def test_a_symlink_is_not_followed(tmp_path):
    """A file in a folder that all users write to must not lead elsewhere."""
    (tmp_path / "job.json").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        join_run(tmp_path / "job.json", arrival(), Path(NEW))
    assert not (tmp_path / "target").exists()


def test_a_hard_link_is_not_written_to(tmp_path):
    """Where anybody may link to anybody's file it can be one that must not be lost."""
    (tmp_path / "precious").write_text("data")
    (tmp_path / "job.json").hardlink_to(tmp_path / "precious")
    with pytest.raises(PermissionError, match="several names"):
        join_run(tmp_path / "job.json", arrival(), Path(NEW))
    assert (tmp_path / "precious").read_text() == "data"


def test_a_child_of_a_member_is_no_rank(tmp_path):
    me = arrival(rank=1)
    join_run(tmp_path / "job.json", me, Path(NEW))
    before = (tmp_path / "job.json").read_text()
    child = replace(me, launcher=f"{ALIVE.pid}:{ALIVE.start}")
    assert join_run(tmp_path / "job.json", child, Path("another")) is None
    assert (tmp_path / "job.json").read_text() == before
    other_rank = join_run(tmp_path / "job.json", replace(child, rank=2), Path("another"))
    assert other_rank.path == NEW, "some launchers are a rank themselves"


def test_only_this_user_can_open_the_file(tmp_path):
    join_run(tmp_path / "job.json", arrival(), Path(NEW))
    assert (tmp_path / "job.json").stat().st_mode & 0o077 == 0


def test_a_held_lock_times_out(tmp_path, monkeypatch):
    monkeypatch.setattr(rendezvous, "_TIMEOUT_SECONDS", 0.05)
    file = tmp_path / "job.json"
    with rendezvous.locked(file), pytest.raises(BlockingIOError, match="held by another process"):
        join_run(file, arrival(), Path(NEW))
