"""Layout of a run: the directory that all processes of a job agree on, and the directory of each below it."""

import itertools
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from profiler._compat import node_directory, supports_locks
from profiler.distributed.kv_store import connect
from profiler.distributed.leader_election import Election, SoleProcess
from profiler.distributed.rank import Identity, host_id, run_key
from profiler.distributed.rendezvous import (
    Arrival,
    current_process,
    join_run,
    launcher_id,
    leave_run,
    publish_path,
)
from profiler.records import Domain

_JOIN_SECONDS = 60.0
"""Processes that have not joined by then are not expected: some jobs profile some of their processes only."""

LAUNCHER = "launcher"
"""Name of the directory of a process that started the ranks of its run and trained nothing itself."""
_FIRST_ATTEMPT = re.compile(r"rank-\d{5,}-attempt-0", re.ASCII)

_ordinals = itertools.count()
"""The runs of this process so far: a script with several of them has them in the same order on every rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLayout:
    """Directories of a run, as one of its processes sees them.

    Attributes:
        identity: The process, with the attempt of its run.
        run_path: The run's directory.
        path: The directory of this process: the same in a job of one process.
        key: Key of the run, the same in all processes of the job.
        rendezvous: The file through which the processes of this host met; None for a single process, or if they
            could not meet.
        joined_seconds: Time at which they met, on the monotonic clock.
        is_joined: True for a rank of a run that the process that started it records; that process reports.
    """

    identity: Identity
    run_path: Path
    path: Path
    key: str = ""
    rendezvous: Path | None = None
    joined_seconds: float = field(default_factory=time.monotonic)
    is_joined: bool = False

    @property
    def is_main(self) -> bool:
        """True for the process that reports for all processes of the job."""
        return self.identity.is_main and not self.is_joined

    def election(self, domains: tuple[Domain, ...]) -> Election | SoleProcess:
        """Return the election of the process that counts what this host's processes share."""
        if self.rendezvous is None:
            return SoleProcess()
        return Election(self.rendezvous.with_suffix(""), domains)

    def leave(self) -> None:
        """Mark this process as having ended in good order."""
        if self.rendezvous is not None:
            identity = self.identity
            all_joined = time.monotonic() - self.joined_seconds > _JOIN_SECONDS
            expected = 1 if all_joined else identity.local_world_size or identity.world_size
            leave_run(self.rendezvous, identity.rank, expected)


def agree_on_layout(identity: Identity, proposal: Path, environ: Mapping[str, str]) -> RunLayout:
    """Agree with the other processes of the job on the run's directory.

    Args:
        identity: This process.
        proposal: A directory that holds no run yet, for the process that joins first.
        environ: Environment variables, which hold the address of the job's store.
    """
    if not identity.is_distributed:
        return _single(identity, proposal)
    key = run_key(identity, next(_ordinals))
    rendezvous = node_directory() / f"energy-profiler-{key}-{host_id(environ)}.json"
    layout = _agree_on_host(identity, rendezvous, proposal)
    if not layout.identity.is_distributed:
        return layout
    if identity.may_span_hosts:
        layout = _agree_across_hosts(layout, key, environ)
    return _with_own_directory(replace(layout, key=key))


def _single(identity: Identity, path: Path) -> RunLayout:
    return RunLayout(identity=identity, run_path=path, path=path)


def _with_own_directory(layout: RunLayout) -> RunLayout:
    """Choose this process's directory: of the next attempt, if a record exists already."""
    identity = layout.identity
    while (path := layout.run_path / directory_name(identity.rank, identity.attempt)).exists():
        identity = replace(identity, attempt=identity.attempt + 1)
    return replace(layout, identity=identity, path=path)


def joined_ranks(run_path: Path, world_size: int) -> int:
    """Return the number of ranks after the first that have a directory in that of a run."""
    return len(_first_attempts(run_path) & {directory_name(rank, 0) for rank in range(1, world_size)})


def launched_ranks(run_path: Path) -> int:
    """Return the number of ranks that have a directory in that of a run."""
    return len(_first_attempts(run_path))


def _first_attempts(run_path: Path) -> set[str]:
    """Return the names of the directories of the ranks; none while the disk cannot be read."""
    try:
        return {name for name in os.listdir(run_path) if _FIRST_ATTEMPT.fullmatch(name)}  # noqa: PTH208 - each drain
    except OSError:
        return set()


def launcher_path(run_path: Path) -> Path:
    """Return the place of the record of a process that started the ranks of its run and trained nothing itself."""
    return run_path / LAUNCHER


def directory_name(rank: int, attempt: int) -> str:
    """Return the name of a process's directory in that of its run."""
    return f"rank-{rank:05d}-attempt-{attempt}"


def _agree_on_host(identity: Identity, rendezvous: Path, proposal: Path) -> RunLayout:
    arrival = Arrival(
        rank=identity.rank,
        attempt=identity.attempt,
        launcher=launcher_id(),
        is_elastic=identity.is_elastic,
        member=current_process(),
    )
    try:
        if not supports_locks():
            raise OSError("this system has no locks on files")  # noqa: TRY301 - as where there is no folder for them
        roster = join_run(rendezvous, arrival, proposal.absolute())
    except OSError:  # no folder or lock that this host's processes share: the records can be merged later
        return _single(identity, proposal)
    if roster is None:
        return _single(Identity(), proposal)
    path = Path(roster.path)
    return RunLayout(
        identity=replace(identity, attempt=roster.attempt), run_path=path, path=path, rendezvous=rendezvous
    )


def _agree_across_hosts(layout: RunLayout, key: str, environ: Mapping[str, str]) -> RunLayout:
    """Agree on the directory's name; each host has it below its own working directory."""
    store = connect(environ, key)
    if store is None:
        return layout
    try:
        path = layout.run_path.with_name(store.agree(layout.run_path.name))
    except (
        RuntimeError
    ):  # the store has gone: the records of each host have a name of their own, to be merged later
        return layout
    if layout.rendezvous is not None and path != layout.run_path:
        publish_path(layout.rendezvous, path)
    return replace(layout, run_path=path, path=path)
