"""Where a process of a job records."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch.distributed as dist

from profiler import _compat
from profiler._compat import node_directory
from profiler.distributed import layout as places
from profiler.distributed.kv_store import Board
from profiler.distributed.layout import find_place
from profiler.distributed.rank import Identity, identify
from tests.support.rank_jobs import Job


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The processes of this test's job are this one, again and again: each finds its first run."""
    made = Job(tmp_path)
    monkeypatch.setattr(places, "next", lambda _: 0, raising=False)
    yield made
    made.forget()


def place_of(job, rank, *, world=2, names=("new",), **environ):
    known = job.environ(rank, world, **environ)
    fresh = iter(names)
    return find_place(identify(known), lambda: Path(next(fresh)), known)


def left_behind(place):
    return [
        path for path in node_directory().iterdir() if path.name.startswith(f"energy-profiler-{place.key}")
    ]


def test_a_process_alone_meets_nobody(tmp_path):
    place = find_place(Identity(), lambda: tmp_path / "run", {})
    assert place.path == place.run_path == tmp_path / "run"
    assert place.meeting is None
    place.leave()


def test_a_process_that_a_rank_starts_with_its_environment_is_alone(job, monkeypatch):
    place_of(job, 0)
    myself = places.myself()
    monkeypatch.setattr(places, "launcher", lambda: f"{myself.pid}:{myself.start}")
    child = place_of(job, 0, names=["its own"])
    assert child.identity == Identity()
    assert child.path == child.run_path == Path("its own")
    assert child.meeting is None


def test_each_has_a_directory_of_its_own_below_the_runs(job, tmp_path):
    places = [place_of(job, rank, names=[f"named by {rank}"]) for rank in range(2)]
    assert {place.run_path for place in places} == {tmp_path / "named by 0"}
    assert [place.path.name for place in places] == ["rank-00000-attempt-0", "rank-00001-attempt-0"]


def test_a_record_that_is_there_already_is_left_alone(job, tmp_path):
    (tmp_path / "new" / "rank-00001-attempt-0").mkdir(parents=True)
    assert place_of(job, 1).path.name == "rank-00001-attempt-1"


def test_the_last_one_leaves_nothing_behind(job):
    first, second = (place_of(job, rank) for rank in range(2))
    election = first.election(())
    election.close()
    first.leave()
    assert left_behind(first)
    second.leave()
    assert not left_behind(first)


def test_ranks_that_are_not_profiled_are_not_waited_for_for_ever(job):
    place = place_of(job, 0)
    replace(place, met_seconds=place.met_seconds - 61).leave()
    assert not left_behind(place)


def test_where_no_file_can_be_shared_each_is_on_its_own(job, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(places, "node_directory", lambda: tmp_path / "file")
    places_found = [place_of(job, rank, names=[tmp_path / f"run-{rank}"]) for rank in range(2)]
    assert [place.path.parent.name for place in places_found] == ["run-0", "run-1"]
    assert [place.path.name for place in places_found] == ["rank-00000-attempt-0", "rank-00001-attempt-0"]
    for place in places_found:
        assert place.election(()).counts("cpu:package-0")
        place.leave()


def test_what_hosts_agreed_on_is_kept_for_the_next_start(job, tmp_path, monkeypatch):
    """The other host came first; when the job is started again, its store knows nothing any more."""
    store = dist.HashStore()
    store.set(f"energy_profiler/{place_of(job, 1).key}/directory", "theirs")
    job.forget()
    monkeypatch.setattr(places, "open_board", lambda environ, key: Board(store, key))
    first = place_of(job, 0, LOCAL_WORLD_SIZE=1)
    assert first.path == tmp_path / "theirs" / "rank-00000-attempt-0"
    monkeypatch.setattr(places, "open_board", lambda environ, key: None)
    again = place_of(job, 0, LOCAL_WORLD_SIZE=1, attempt=1)
    assert again.path == tmp_path / "theirs" / "rank-00000-attempt-1"


def test_a_system_without_locks_keeps_records_apart(job, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(_compat, "find_spec", lambda name: None)
    place = place_of(job, 0)
    assert place.path == Path("new") / "rank-00000-attempt-0"
    assert place.meeting is None
    assert not left_behind(place)


@pytest.mark.parametrize(
    "address", [{}, {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}, {"MASTER_PORT": "x"}]
)
def test_without_a_store_hosts_are_on_their_own(job, tmp_path, address):
    """Nobody listens there, and nothing is waited for."""
    place = place_of(job, 0, LOCAL_WORLD_SIZE=1, **address)
    assert place.run_path == tmp_path / "new"
