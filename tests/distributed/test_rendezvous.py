"""How processes of one host come to one run, and never to another job's."""

import os
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.distributed import rendezvous
from profiler.distributed.rendezvous import Arrival, Entry, Member, arrive, depart, join, leave

ALIVE = rendezvous.myself()
DEAD = Member(pid=os.getpid(), start="another life")
DONE = replace(DEAD, done=True)
NEW = "a new one"


def arrival(rank=1, *, attempt=0, launcher="shell", elastic=False):
    return Arrival(rank=rank, attempt=attempt, launcher=launcher, is_elastic=elastic, member=ALIVE)


def entry(*, attempt=0, launcher="shell", **members):
    return Entry(
        path="theirs",
        attempt=attempt,
        launcher=launcher,
        members={int(rank[1:]): one for rank, one in members.items()},
    )


def joined(found, me):
    after = join(found, me, lambda: NEW)
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
        "nobody before",
        "somebody of the same launcher",
        "somebody alive, through a wrapper",
        "somebody who was quick",
        "what a crashed job left",
        "what an ended job left",
        "my place is taken by a living process",
        "my place was taken by one that crashed",
        "the same shell's last job",
        "a restart that the launcher counts",
        "a job that was queued again",
        "somebody of the same restart",
        "a restart that it does not count, my place taken",
        "a restart that it does not count, with a new rank first",
        "a restart while somebody is not dead yet",
        "somebody quick under an elastic launcher",
        "two jobs at once with one name",
        "another job's restart, whose first attempt never came here",
    ],
)
def test_who_joins_what(found, me, expected):
    assert joined(found, me) == expected


@given(st.permutations(range(6)), st.sampled_from(["one", "each its own"]))
def test_all_ranks_meet_in_whatever_order_they_come(order, launchers):
    found = None
    for number, rank in enumerate(order):
        me = arrival(rank, launcher="one" if launchers == "one" else str(rank))
        found = join(found, me, lambda number=number: f"run {number}")
    assert found.path == "run 0"
    assert sorted(found.members) == list(range(6))


@given(st.permutations(range(4)), st.permutations(range(4)), st.booleans())
def test_a_job_that_follows_another_of_the_same_name_never_joins_it(first, second, crashed):
    found = None
    for rank in first:
        found = join(found, arrival(rank), lambda: "first")
    gone = DEAD if crashed else DONE
    found = replace(found, members=dict.fromkeys(found.members, gone))
    for rank in second:
        found = join(found, arrival(rank), lambda: "second")
    assert found.path == "second"
    assert sorted(found.members) == list(range(4))


@given(st.permutations(range(4)), st.permutations(range(4)), st.booleans())
def test_all_ranks_of_a_restart_come_to_the_same_attempt(first, second, counted):
    found = None
    for rank in first:
        found = join(found, arrival(rank, elastic=True), lambda: "first")
    found = replace(found, members=dict.fromkeys(found.members, DEAD))
    for rank in second:
        found = join(found, arrival(rank, attempt=int(counted), elastic=True), lambda: "second")
    assert (found.path, found.attempt) == ("first", 1)
    assert sorted(found.members) == list(range(4))


def test_only_the_process_itself_leaves():
    found = entry(r0=ALIVE)
    assert leave(found, 0, os.getpid() + 1) == found
    assert leave(found, 0, os.getpid()).members[0].done
    assert leave(found, 5, os.getpid()) == found


def test_many_at_once_make_one_run(tmp_path):
    file, made, found = tmp_path / "job.json", [], []

    def new():
        made.append(len(made))
        return str(len(made))

    def come(rank):
        found.append(arrive(file, arrival(rank), new))

    threads = [threading.Thread(target=come, args=(rank,)) for rank in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert {one.path for one in found} == {"1"}
    assert made == [0]


def test_the_last_to_leave_tidies_up(tmp_path):
    file, lock, theirs = (tmp_path / name for name in ("job.json", "job-abc.lock", "jobs-abc.lock"))
    lock.touch()
    theirs.touch()
    for rank in range(2):
        arrive(file, arrival(rank), lambda: NEW)
    depart(file, 0, 2)
    assert file.exists()
    assert lock.exists()
    depart(file, 1, 2)
    assert not file.exists()
    assert not lock.exists()
    assert theirs.exists()


NO_MEMBER = '{"path": "p", "attempt": 0, "launcher": "l", "members": {"x": {}}}'


@pytest.mark.parametrize("text", ["", "{", "[]", '{"path": 1}', NO_MEMBER])
def test_a_file_that_says_nothing_sensible_is_written_anew(tmp_path, text):
    file = tmp_path / "job.json"
    file.write_text(text)
    assert arrive(file, arrival(), lambda: NEW).path == NEW


def test_somebody_elses_link_is_not_followed(tmp_path):
    """A file in a folder that all users write to must not lead elsewhere."""
    (tmp_path / "job.json").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        arrive(tmp_path / "job.json", arrival(), lambda: NEW)
    assert not (tmp_path / "target").exists()


def test_a_second_name_of_a_file_is_not_written_to(tmp_path):
    """Where anybody may link to anybody's file it can be one that must not be lost."""
    (tmp_path / "precious").write_text("data")
    (tmp_path / "job.json").hardlink_to(tmp_path / "precious")
    with pytest.raises(PermissionError, match="another name"):
        arrive(tmp_path / "job.json", arrival(), lambda: NEW)
    assert (tmp_path / "precious").read_text() == "data"


def test_what_a_member_starts_with_its_own_environment_is_no_rank(tmp_path):
    me = arrival(rank=1)
    arrive(tmp_path / "job.json", me, lambda: NEW)
    before = (tmp_path / "job.json").read_text()
    child = replace(me, launcher=f"{ALIVE.pid}:{ALIVE.start}")
    assert arrive(tmp_path / "job.json", child, lambda: "another") is None
    assert (tmp_path / "job.json").read_text() == before
    other_rank = arrive(tmp_path / "job.json", replace(child, rank=2), lambda: "another")
    assert other_rank.path == NEW, "some launchers are a rank themselves"


def test_the_file_is_this_users_alone(tmp_path):
    arrive(tmp_path / "job.json", arrival(), lambda: NEW)
    assert (tmp_path / "job.json").stat().st_mode & 0o077 == 0


def test_one_who_holds_the_file_for_ever_does_not_hold_a_training_up(tmp_path, monkeypatch):
    monkeypatch.setattr(rendezvous, "_PATIENCE_SECONDS", 0.05)
    file = tmp_path / "job.json"
    with rendezvous.opened(file), pytest.raises(BlockingIOError, match="held by another process"):
        arrive(file, arrival(), lambda: NEW)
