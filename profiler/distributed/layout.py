"""Where a process of a job records: the directory that all of them agree on, and its own below it."""

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from profiler._compat import node_directory, supports_locks
from profiler.distributed.kv_store import open_board
from profiler.distributed.leader_election import Election, Unopposed
from profiler.distributed.rank import Identity, host_id, run_key
from profiler.distributed.rendezvous import Arrival, arrive, depart, launcher, myself, settle
from profiler.records import Domain

_LATEST_SECONDS = 60.0
"""After this long nobody else is waited for: some jobs profile some of their processes only."""

_ordinals = itertools.count()
"""The runs that this process has taken part in: a script with several of them has them in the same order everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where this process records.

    Attributes:
        identity: Who it is, with the attempt that its run has come to.
        run_path: The run's directory.
        path: This process's own: the same when it is alone.
        key: What the processes of this job call this run, on every host.
        meeting: The file through which those of this host met; None when it is alone, or could not meet them.
        met_seconds: When that was, on the monotonic clock.
    """

    identity: Identity
    run_path: Path
    path: Path
    key: str = ""
    meeting: Path | None = None
    met_seconds: float = field(default_factory=time.monotonic)

    def election(self, domains: tuple[Domain, ...]) -> Election | Unopposed:
        """Decide who counts what this host's processes share."""
        if self.meeting is None:
            return Unopposed()
        return Election(self.meeting.with_suffix(""), domains)

    def leave(self) -> None:
        """Say that this process has ended in good order."""
        if self.meeting is not None:
            identity = self.identity
            all_here = time.monotonic() - self.met_seconds > _LATEST_SECONDS
            expected = 1 if all_here else identity.local_world_size or identity.world_size
            depart(self.meeting, identity.rank, expected)


def find_place(identity: Identity, new_path: Callable[[], Path], environ: Mapping[str, str]) -> Place:
    """Agree with the other processes of the job on the run's directory.

    Args:
        identity: Who this process is.
        new_path: Names a directory that no run has yet.
        environ: The environment's variables: where the job's store listens.
    """
    if not identity.has_company:
        return _alone(identity, new_path())
    key = run_key(identity, next(_ordinals))
    meeting = node_directory() / f"energy-profiler-{key}-{host_id(environ)}.json"
    place = _met(identity, meeting, new_path)
    if not place.identity.has_company:
        return place
    if identity.may_span_hosts:
        place = _agreed(place, key, environ)
    return _settled(replace(place, key=key))


def _alone(identity: Identity, path: Path) -> Place:
    return Place(identity=identity, run_path=path, path=path)


def _settled(place: Place) -> Place:
    """Choose this process's own directory; a record that is there already is somebody's."""
    identity = place.identity
    while (path := place.run_path / directory_name(identity.rank, identity.attempt)).exists():
        identity = replace(identity, attempt=identity.attempt + 1)
    return replace(place, identity=identity, path=path)


def directory_name(rank: int, attempt: int) -> str:
    """What a process's directory is called in that of its run."""
    return f"rank-{rank:05d}-attempt-{attempt}"


def _met(identity: Identity, meeting: Path, new_path: Callable[[], Path]) -> Place:
    """Ask this host's processes."""
    me = Arrival(
        rank=identity.rank,
        attempt=identity.attempt,
        launcher=launcher(),
        is_elastic=identity.is_elastic,
        member=myself(),
    )
    try:
        if not supports_locks():
            raise OSError("this system has no locks on files")  # noqa: TRY301 - as where there is no folder for them
        entry = arrive(meeting, me, lambda: str(new_path().absolute()))
    except OSError:  # no folder or lock that this host's processes share: merging brings them together later
        return _alone(identity, new_path())
    if entry is None:
        return _alone(Identity(), new_path())
    path = Path(entry.path)
    return Place(identity=replace(identity, attempt=entry.attempt), run_path=path, path=path, meeting=meeting)


def _agreed(place: Place, key: str, environ: Mapping[str, str]) -> Place:
    """Ask the other hosts what the directory is called; where it lies is each one's own."""
    board = open_board(environ, key)
    if board is None:
        return place
    try:
        path = place.run_path.with_name(board.agree(place.run_path.name))
    except RuntimeError:  # the store has gone: each host has a name of its own, to be merged later
        return place
    if place.meeting is not None and path != place.run_path:
        settle(place.meeting, path)
    return replace(place, run_path=path, path=path)
