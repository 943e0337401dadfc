"""Directories of a job and of its processes."""

import errno
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch.distributed as dist

from profiler import _compat
from profiler._compat import node_directory
from profiler.distributed import layout as places
from profiler.distributed.kv_store import KeyValueStore
from profiler.distributed.layout import agree_on_layout
from profiler.distributed.rank import Identity, detect_rank
from tests.support.rank_jobs import Job


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The processes of this test's job are this one, again and again: each finds its first run."""
    made = Job(tmp_path)
    monkeypatch.setattr(places, "next", lambda _: 0, raising=False)
    yield made
    made.forget()


def place_of(job, rank, *, world=2, name="new", **environ):
    known = job.environ(rank, world, **environ)
    return agree_on_layout(detect_rank(known), Path(name), known)


def left_behind(place):
    return [
        path for path in node_directory().iterdir() if path.name.startswith(f"energy-profiler-{place.key}")
    ]


def test_a_single_process_needs_no_rendezvous(tmp_path):
    place = agree_on_layout(Identity(), tmp_path / "run", {})
    assert place.path == place.run_path == tmp_path / "run"
    assert place.rendezvous is None
    place.leave()


def test_ranks_are_counted_by_their_directories(tmp_path):
    for name in ("rank-00001-attempt-0", "rank-00002-attempt-0", "rank-00002-attempt-1", "rank-x-attempt-0"):
        (tmp_path / name).mkdir()
    assert places.launched_ranks(tmp_path) == 2
    assert [places.joined_ranks(tmp_path, size) for size in (1, 2, 4)] == [0, 1, 2]


def test_a_disk_that_cannot_be_read_shows_no_ranks(tmp_path, monkeypatch):
    (tmp_path / "rank-00001-attempt-0").mkdir()

    def listdir(path):
        raise OSError(errno.ESTALE, "Stale file handle", path)

    monkeypatch.setattr(places.os, "listdir", listdir)
    assert (places.launched_ranks(tmp_path), places.joined_ranks(tmp_path, 2)) == (0, 0)


def test_a_child_with_the_environment_of_a_rank_is_a_single_process(job, monkeypatch):
    place_of(job, 0)
    this = places.current_process()
    monkeypatch.setattr(places, "launcher_id", lambda: f"{this.pid}:{this.start}")
    child = place_of(job, 0, name="its own")
    assert child.identity == Identity()
    assert child.path == child.run_path == Path("its own")
    assert child.rendezvous is None


def test_each_process_has_a_directory_below_that_of_the_run(job, tmp_path):
    places = [place_of(job, rank, name=f"named by {rank}") for rank in range(2)]
    assert {place.run_path for place in places} == {tmp_path / "named by 0"}
    assert [place.path.name for place in places] == ["rank-00000-attempt-0", "rank-00001-attempt-0"]


def test_an_existing_record_is_not_overwritten(job, tmp_path):
    (tmp_path / "new" / "rank-00001-attempt-0").mkdir(parents=True)
    assert place_of(job, 1).path.name == "rank-00001-attempt-1"


def test_the_last_process_removes_the_files(job):
    first, second = (place_of(job, rank) for rank in range(2))
    election = first.election(())
    election.close()
    first.leave()
    assert left_behind(first)
    second.leave()
    assert not left_behind(first)


def test_ranks_that_are_not_profiled_are_expected_for_a_minute(job):
    place = place_of(job, 0)
    replace(place, joined_seconds=place.joined_seconds - 61).leave()
    assert not left_behind(place)


def test_processes_that_share_no_folder_record_separately(job, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(places, "node_directory", lambda: tmp_path / "file")
    places_found = [place_of(job, rank, name=tmp_path / f"run-{rank}") for rank in range(2)]
    assert [place.path.parent.name for place in places_found] == ["run-0", "run-1"]
    assert [place.path.name for place in places_found] == ["rank-00000-attempt-0", "rank-00001-attempt-0"]
    for place in places_found:
        assert place.election(()).counts("cpu:package-0")
        place.leave()


def test_the_agreed_directory_is_kept_for_a_restart(job, tmp_path, monkeypatch):
    """The other host came first; when the job is restarted, its store is empty."""
    store = dist.HashStore()
    store.set(f"energy_profiler/{place_of(job, 1).key}/directory", "theirs")
    job.forget()
    monkeypatch.setattr(places, "connect", lambda environ, key: KeyValueStore(store, key))
    first = place_of(job, 0, LOCAL_WORLD_SIZE=1)
    assert first.path == tmp_path / "theirs" / "rank-00000-attempt-0"
    monkeypatch.setattr(places, "connect", lambda environ, key: None)
    again = place_of(job, 0, LOCAL_WORLD_SIZE=1, attempt=1)
    assert again.path == tmp_path / "theirs" / "rank-00000-attempt-1"


def test_a_system_without_locks_records_separately(job, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(_compat, "find_spec", lambda name: None)
    place = place_of(job, 0)
    assert place.path == Path("new") / "rank-00000-attempt-0"
    assert place.rendezvous is None
    assert not left_behind(place)


@pytest.mark.parametrize(
    "address", [{}, {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}, {"MASTER_PORT": "x"}]
)
def test_hosts_without_a_store_record_separately(job, tmp_path, address):
    """No process listens at the address."""
    place = place_of(job, 0, LOCAL_WORLD_SIZE=1, **address)
    assert place.run_path == tmp_path / "new"


def test_processes_meet_elsewhere_where_shared_memory_is_read_only(monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert node_directory() == Path(tempfile.gettempdir())
