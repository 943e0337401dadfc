"""Rendezvous of a job's processes on one host, through a small file that the first one creates.

The file holds the run's directory, the attempt of the job, and the processes that have joined. Names of jobs recur (a
port, a rendezvous id), so whether the file belongs to this job or to one that has ended follows from its members: which
launcher started them, and which of them are alive.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from profiler._compat import open_private, process_start, try_lock

_TIMEOUT_SECONDS = 1.0
_PAUSE_SECONDS = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A process that has joined.

    Attributes:
        pid: Its process id.
        start: Its start time, which distinguishes it from a later process with the same id.
        done: True once it has ended in good order.
    """

    pid: int
    start: str | None
    done: bool = False

    @property
    def is_alive(self) -> bool:
        """True while that process runs."""
        return self.start is not None and process_start(self.pid) == self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """Content of the file.

    Attributes:
        path: The run's directory.
        attempt: Number of restarts of the job.
        launcher: Identifier of the process that started the members.
        members: Those of this attempt, by rank.
    """

    path: str
    attempt: int
    launcher: str
    members: Mapping[int, Member] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A process that wants to join its run.

    Attributes:
        rank: Its rank.
        attempt: Number of restarts of the job according to its launcher.
        launcher: Identifier of the process that started it.
        is_elastic: True if that launcher replaces dead processes.
        member: Its entry.
    """

    rank: int
    attempt: int
    launcher: str
    is_elastic: bool
    member: Member


def join(roster: Roster | None, arrival: Arrival, proposal: Path) -> Roster:
    """Join the run of a roster, open its next attempt, or begin another run.

    Args:
        roster: The present roster; None if there is none.
        arrival: The process that joins.
        proposal: Directory for another run.
    """
    alone = {arrival.rank: arrival.member}
    if roster is None or not _is_same_job(roster, arrival):
        return Roster(path=str(proposal), attempt=arrival.attempt, launcher=arrival.launcher, members=alone)
    if arrival.attempt > roster.attempt:
        return replace(roster, attempt=arrival.attempt, launcher=arrival.launcher, members=alone)
    if arrival.is_elastic and _is_over(roster, arrival.rank):
        return replace(roster, attempt=roster.attempt + 1, launcher=arrival.launcher, members=alone)
    return replace(roster, members={**roster.members, **alone})


def _is_same_job(roster: Roster, arrival: Arrival) -> bool:
    taken, is_restart = roster.members.get(arrival.rank), arrival.attempt > roster.attempt
    same_launcher = roster.launcher == arrival.launcher
    is_alive = taken is None and any(member.is_alive for member in roster.members.values())
    if arrival.is_elastic:  # the same launcher starts all attempts
        return (same_launcher and (is_restart or taken is None or not taken.is_alive)) or is_alive
    if taken is not None:
        return is_restart
    return is_restart or is_alive or (same_launcher and not _has_died(roster))


def _has_died(roster: Roster) -> bool:
    """Return true if no member is alive and one of them did not end in good order."""
    members = roster.members.values()
    return not any(member.is_alive for member in members) and not all(member.done for member in members)


def _is_over(roster: Roster, rank: int) -> bool:
    """Return true if an elastic launcher has replaced the members: it does not count changes of membership."""
    return rank in roster.members or _has_died(roster)


def leave(roster: Roster, rank: int, pid: int) -> Roster:
    """Mark a member as having ended in good order."""
    member = roster.members.get(rank)
    if member is None or member.pid != pid:
        return roster
    return replace(roster, members={**roster.members, rank: replace(member, done=True)})


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Open and lock a file of this user, as a descriptor; a file that was removed meanwhile is opened anew.

    Raises:
        OSError: It cannot be opened, or another process holds the lock for a second.
    """
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        descriptor = open_private(path)
        try:
            if try_lock(descriptor) and is_same_file(path, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > deadline:
            raise BlockingIOError(11, "is held by another process, or cannot be locked here", str(path))
        time.sleep(_PAUSE_SECONDS)


def is_same_file(path: Path, descriptor: int) -> bool:
    """Return true if a path still leads to the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def read_roster(descriptor: int) -> Roster | None:
    """Read the roster; None if the file holds none."""
    try:
        found = json.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
        members = {int(rank): Member(**member) for rank, member in found.pop("members").items()}
        return Roster(**found, members=members)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def write_roster(descriptor: int, roster: Roster) -> None:
    """Replace the roster."""
    data = json.dumps(asdict(roster)).encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, data, 0)


def is_child_of_member(roster: Roster | None, arrival: Arrival) -> bool:
    """Return true if the member of the same rank started this process: it inherited the environment, not the rank."""
    taken = roster.members.get(arrival.rank) if roster is not None else None
    return taken is not None and arrival.launcher == _identifier(taken)


def join_run(path: Path, arrival: Arrival, proposal: Path) -> Roster | None:
    """Join or begin a run through the file at ``path``; None for a process that is not part of the job.

    Raises:
        OSError: The file cannot be used.
    """
    with locked(path) as descriptor:
        found = read_roster(descriptor)
        if is_child_of_member(found, arrival):
            return None
        roster = join(found, arrival, proposal)
        write_roster(descriptor, roster)
        return roster


def publish_path(path: Path, run_path: Path) -> None:
    """Write the directory that the hosts agreed on, for processes that join when the job is restarted."""
    with suppress(OSError), locked(path) as descriptor:  # if it fails, they have to agree again
        roster = read_roster(descriptor)
        if roster is not None:
            write_roster(descriptor, replace(roster, path=str(run_path)))


def leave_run(path: Path, rank: int, expected: int) -> None:
    """Mark this process as having ended in good order; the last of ``expected`` removes the run's files."""
    with (
        suppress(OSError),
        locked(path) as descriptor,
    ):  # if it fails, later processes see that this one has ended
        roster = read_roster(descriptor)
        if roster is None:
            return
        roster = leave(roster, rank, os.getpid())
        write_roster(descriptor, roster)
        if len(roster.members) >= expected and all(member.done for member in roster.members.values()):
            for lock in path.parent.glob(f"{path.stem}-*.lock"):
                lock.unlink()
            path.unlink()


def launcher_id() -> str:
    """Return an identifier of the process that started this one."""
    parent = os.getppid()
    return _identifier(Member(pid=parent, start=process_start(parent)))


def _identifier(member: Member) -> str:
    return f"{member.pid}:{member.start or ''}"


def current_process() -> Member:
    """Return the entry of this process."""
    return Member(pid=os.getpid(), start=process_start(os.getpid()))
