"""Leader election: of the processes of a node, the one that holds a file lock counts what they share.

Every process reads the shared counters; the leader logs and counts them. It writes into the locked file the time up to
which its rows are written. The kernel releases the lock when the leader ends or is killed, and the next leader counts
from that time: nothing is lost or counted twice. At the end of its window, a leader announces this end and keeps the
lock until its last rows are written, so that processes which end meanwhile wait for it. All times are of the host's
monotonic clock, which its processes share.
"""

import hashlib
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from profiler._compat import OwnedDescriptor, open_private, try_lock, unlock
from profiler.distributed.rendezvous import is_same_file
from profiler.records import Domain

_NODE = "node"
_WIDTH = 20


class Lock:
    """A lock file for one device.

    Attributes:
        is_held: Whether this process holds the lock.
        counted_ns: Time up to which the device was counted; 0 for never.
        ending_ns: End of the window of the process that holds the lock; 0 while it counts on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: OwnedDescriptor | None = None
        self._guard = threading.RLock()  # the writer's thread marks, the others acquire and release
        self.is_held = False
        self.counted_ns = self.ending_ns = 0

    @property
    def _descriptor(self) -> int | None:
        return None if self._file is None else self._file.get()

    def acquire(self) -> bool:
        """Try to acquire the lock, without waiting; True if it is held now."""
        with self._guard:
            return self._acquire()

    def _acquire(self) -> bool:
        descriptor = self._descriptor
        if descriptor is None:  # not opened yet, or closed by the program, which has released the lock
            self.is_held = False
            self._file = OwnedDescriptor(open_private(self._path))
            descriptor = self._descriptor
        if self.is_held or descriptor is None:
            return self.is_held
        if try_lock(descriptor):
            if not is_same_file(self._path, descriptor):  # its last holder removed it
                self.close()
                return self._acquire()
            self.is_held = True
        self.counted_ns, self.ending_ns = _read_time(descriptor, 0), _read_time(descriptor, _WIDTH)
        if self.is_held:
            self._write(_WIDTH, 0)
        return self.is_held

    def _write(self, offset: int, time_ns: int) -> bool:
        descriptor = self._descriptor
        if not self.is_held or descriptor is None:
            return False
        try:
            os.pwrite(descriptor, b"%0*d" % (_WIDTH, time_ns), offset)
        except OSError:  # memory is full: the next leader counts from the time written last
            return False
        return True

    def announce_end(self, end_ns: int) -> None:
        """Write the end of this process's window while its last rows are not written yet."""
        with self._guard:
            self._write(_WIDTH, end_ns)

    def mark_counted(self, until_ns: int) -> None:
        """Write the time up to which the device is counted."""
        with self._guard:
            if until_ns > self.counted_ns and self._write(0, until_ns):
                self.counted_ns = until_ns

    def release(self) -> None:
        """Release the lock."""
        with self._guard:
            descriptor = self._descriptor
            if descriptor is not None:
                unlock(descriptor)
            self.close()

    def close(self) -> None:
        """Close the file without releasing the lock of a parent that forked this process."""
        file, self._file, self.is_held = self._file, None, False
        if file is not None:
            file.close()


class Election:
    """Election of this process as the one that counts a domain.

    Args:
        prefix: Prefix of the paths of this run's lock files.
        domains: The domains that this process samples.
    """

    def __init__(self, prefix: Path, domains: Iterable[Domain]) -> None:
        self._keys = {domain.name: _device(domain) for domain in domains}
        self._locks = {
            key: Lock(prefix.with_name(f"{prefix.name}-{_short(key)}.lock"))
            for key in set(self._keys.values())
            if key is not None
        }
        self._since: dict[str, int] = {}

    def counted_since(self, name: str) -> int | None:
        """Return the time from which this process counts a domain, in ns; 0 if always, None while another does.

        If the other process has ended, this one takes over.
        """
        if name not in self._since:
            lock = self._lock(name)
            if lock is not None and not self._acquire(lock):
                return None
            self._since[name] = lock.counted_ns if lock is not None else 0
        return self._since[name]

    def _lock(self, name: str) -> Lock | None:
        key = self._keys.get(name)
        return None if key is None else self._locks[key]

    def _acquire(self, lock: Lock) -> bool:
        try:
            return lock.acquire()
        except OSError:  # no usable folder: every process counts, and merging counts each device once
            return True

    def counts(self, name: str) -> bool:
        """Return true if this process counts a domain now."""
        return name in self._since

    def try_lead(self) -> None:
        """Try to become the leader of the node, which counts what its processes share."""
        for name, key in self._keys.items():
            if key == _NODE:
                self.counted_since(name)

    def counted_ns(self, name: str) -> int:
        """Return the time up to which another process has counted a domain, in ns; 0 if it has not."""
        lock = self._lock(name)
        return lock.counted_ns if lock is not None else 0

    def awaits_leader(self, name: str, end_ns: int) -> bool:
        """Return true if the leader of a domain ended before ``end_ns`` and is still writing its rows.

        This process counts the domain from there to ``end_ns``, once it has the lock.
        """
        if self.counted_since(name) is not None:
            return False
        lock = self._lock(name)
        return lock is not None and 0 < lock.ending_ns < end_ns

    def follow(self, name: str) -> None:
        """Count a domain from the announced end of its leader although that still holds the lock.

        If other processes do the same, merging counts the domain once.
        """
        lock = self._lock(name)
        if lock is not None and lock.ending_ns:
            self._since.setdefault(name, lock.ending_ns)

    def announce_end(self, end_ns: int) -> None:
        """Announce that this process counts nothing after ``end_ns``; its last rows are not written yet."""
        for lock in self._locks.values():
            lock.announce_end(end_ns)

    def resign(self, end_ns: int) -> None:
        """Release all locks: everything up to ``end_ns`` is written, and the next leader counts from there on."""
        self.mark_counted(end_ns)
        self.close()

    def mark_counted(self, until_ns: int) -> None:
        """Write the time up to which this process has counted and written everything."""
        for lock in self._locks.values():
            lock.mark_counted(until_ns)

    def close(self) -> None:
        """Release all locks. Safe to call twice."""
        for lock in self._locks.values():
            lock.release()

    def after_fork_in_child(self) -> None:
        """Close the lock files, which belong to the parent."""
        for lock in self._locks.values():
            lock.close()


class SoleProcess:
    """The election of a single process, which counts everything."""

    def counted_since(self, name: str) -> int | None:
        """Return 0: always."""
        del name
        return 0

    def counts(self, name: str) -> bool:
        """Return true."""
        del name
        return True

    def counted_ns(self, name: str) -> int:
        """Return 0: no other process has counted anything."""
        del name
        return 0

    def try_lead(self) -> None:
        """Do nothing."""

    def awaits_leader(self, name: str, end_ns: int) -> bool:
        """Return false."""
        del name, end_ns
        return False

    def follow(self, name: str) -> None:
        """Do nothing."""

    def announce_end(self, end_ns: int) -> None:
        """Do nothing."""

    def resign(self, end_ns: int) -> None:
        """Do nothing."""

    def mark_counted(self, until_ns: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def after_fork_in_child(self) -> None:
        """Do nothing."""


def _read_time(descriptor: int, offset: int) -> int:
    """Return a time in ns; 0 where none is written, or one of another boot."""
    written = os.pread(descriptor, _WIDTH, offset)
    time_ns = int(written) if written.isdigit() else 0
    return time_ns if time_ns <= time.monotonic_ns() else 0


def _device(domain: Domain) -> str | None:
    """Return the key under which a domain is counted once: its UUID, or the node. None for a GPU without UUID."""
    return domain.device or (None if domain.kind.is_accelerator else _NODE)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
