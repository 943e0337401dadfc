"""How the processes of a job on one host agree on a run without talking: a small file of theirs that the first makes.

The file says which directory the run has, which attempt of the job this is and who has joined it. Names of jobs come
again (a port, a rendezvous id), so whether it speaks of this job or of one that is over is decided from its members:
who started them, and which of them live.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from profiler._compat import open_private, process_start, try_lock

_PATIENCE_SECONDS = 1.0
_PAUSE_SECONDS = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A process that has joined: its number, the word that tells it from a later one of that number, and its end."""

    pid: int
    start: str | None
    done: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        return self.start is not None and process_start(self.pid) == self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the file says.

    Attributes:
        path: The run's directory.
        attempt: How often the job was started again before.
        launcher: Who started the members.
        members: Those of this attempt, by rank.
    """

    path: str
    attempt: int
    launcher: str
    members: Mapping[int, Member] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A process that looks for its run.

    Attributes:
        rank: Its rank.
        attempt: How often its launcher says that it started the job again.
        launcher: Who started it.
        is_elastic: Whether that launcher replaces dead processes.
        member: Itself.
    """

    rank: int
    attempt: int
    launcher: str
    is_elastic: bool
    member: Member


def join(entry: Entry | None, me: Arrival, new_path: Callable[[], str]) -> Entry:
    """Join the run that the file speaks of, open the next attempt of it, or begin another.

    Args:
        entry: What the file says; None when it says nothing.
        me: Who arrives.
        new_path: Names a directory for another run.
    """
    alone = {me.rank: me.member}
    if entry is None or not _is_same_job(entry, me):
        return Entry(path=new_path(), attempt=me.attempt, launcher=me.launcher, members=alone)
    if me.attempt > entry.attempt:
        return replace(entry, attempt=me.attempt, launcher=me.launcher, members=alone)
    if me.is_elastic and _is_over(entry, me.rank):
        return replace(entry, attempt=entry.attempt + 1, launcher=me.launcher, members=alone)
    return replace(entry, members={**entry.members, **alone})


def _is_same_job(entry: Entry, me: Arrival) -> bool:
    taken, restarted = entry.members.get(me.rank), me.attempt > entry.attempt
    is_ours = entry.launcher == me.launcher
    lives = taken is None and any(member.is_alive for member in entry.members.values())
    if me.is_elastic:  # the same launcher starts all attempts
        return (is_ours and (restarted or taken is None or not taken.is_alive)) or lives
    if taken is not None:
        return restarted
    return restarted or lives or (is_ours and not _has_died(entry))


def _has_died(entry: Entry) -> bool:
    """Whether everybody is gone, and somebody without a word."""
    members = entry.members.values()
    return not any(member.is_alive for member in members) and not all(member.done for member in members)


def _is_over(entry: Entry, rank: int) -> bool:
    """Whether a launcher that replaces its processes has replaced these: a membership change is not counted by it."""
    return rank in entry.members or _has_died(entry)


def leave(entry: Entry, rank: int, pid: int) -> Entry:
    """Mark a member as having ended in good order."""
    member = entry.members.get(rank)
    if member is None or member.pid != pid:
        return entry
    return replace(entry, members={**entry.members, rank: replace(member, done=True)})


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Hold a file of this user's alone, as a descriptor; a file that was removed meanwhile is opened anew.

    Raises:
        OSError: It cannot be opened, or somebody holds it for a second.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        descriptor = open_private(path)
        try:
            if try_lock(descriptor) and is_at(path, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > deadline:
            raise BlockingIOError(11, "is held by another process, or cannot be locked here", str(path))
        time.sleep(_PAUSE_SECONDS)


def is_at(path: Path, descriptor: int) -> bool:
    """Whether a path still leads to the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def read(descriptor: int) -> Entry | None:
    """Read the entry; None when there is none yet, or nothing that can be read as one."""
    try:
        found = json.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
        members = {int(rank): Member(**member) for rank, member in found.pop("members").items()}
        return Entry(**found, members=members)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def write(descriptor: int, entry: Entry) -> None:
    """Replace the entry."""
    data = json.dumps(asdict(entry)).encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, data, 0)


def is_outsider(entry: Entry | None, me: Arrival) -> bool:
    """Whether it was started by the very member whose rank it has: its environment says so, and it is no rank."""
    taken = entry.members.get(me.rank) if entry is not None else None
    return taken is not None and me.launcher == _name(taken)


def arrive(path: Path, me: Arrival, new_path: Callable[[], str]) -> Entry | None:
    """Join or begin a run through the file at ``path``; None for a process that is no part of the job.

    Raises:
        OSError: The file cannot be used.
    """
    with opened(path) as descriptor:
        found = read(descriptor)
        if is_outsider(found, me):
            return None
        entry = join(found, me, new_path)
        write(descriptor, entry)
        return entry


def settle(path: Path, run_path: Path) -> None:
    """Keep the directory that the hosts agreed on, for those who come when the job is started again."""
    with suppress(OSError), opened(path) as descriptor:  # then they have to agree again
        entry = read(descriptor)
        if entry is not None:
            write(descriptor, replace(entry, path=str(run_path)))


def depart(path: Path, rank: int, expected: int) -> None:
    """Say that this process has ended in good order; the last of ``expected`` removes the run's files."""
    with suppress(OSError), opened(path) as descriptor:  # who comes later finds out that this process is gone
        entry = read(descriptor)
        if entry is None:
            return
        entry = leave(entry, rank, os.getpid())
        write(descriptor, entry)
        if len(entry.members) >= expected and all(member.done for member in entry.members.values()):
            for lock in path.parent.glob(f"{path.stem}-*.lock"):
                lock.unlink()
            path.unlink()


def launcher() -> str:
    """Who started this process."""
    parent = os.getppid()
    return _name(Member(pid=parent, start=process_start(parent)))


def _name(member: Member) -> str:
    return f"{member.pid}:{member.start or ''}"


def myself() -> Member:
    """This process as a member."""
    return Member(pid=os.getpid(), start=process_start(os.getpid()))
