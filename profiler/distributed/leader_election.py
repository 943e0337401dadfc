"""Who counts what several processes of a node share: whoever holds a lock that the kernel releases with its holder.

Every process reads the shared counters; one logs and bills them. Beside the lock its holder keeps up to when it has
billed, so that whoever takes over, because the holder has ended or was killed, bills from that moment: nothing is lost
and nothing counted twice. All times are of the host's monotonic clock, which its processes share.
"""

import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from profiler._compat import open_private, try_lock, unlock
from profiler.distributed.rendezvous import is_at
from profiler.records import Domain

_NODE = "node"
_WIDTH = 20


class Lock:
    """One file: the right to count a device, and up to when it was counted (0: never)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self.is_held = False
        self.counted_ns = 0

    def take(self) -> bool:
        """Try to get it; without waiting, and at no cost where it is held already."""
        if self.is_held:
            return True
        if self._descriptor is None:
            self._descriptor = open_private(self._path)
        if try_lock(self._descriptor):
            if not is_at(self._path, self._descriptor):  # its last holder removed it
                self.forget()
                return self.take()
            self.is_held = True
        written = os.pread(self._descriptor, _WIDTH, 0)
        until_ns = int(written) if written.isdigit() else 0
        self.counted_ns = until_ns if until_ns <= time.monotonic_ns() else 0  # a later one is of another boot
        return self.is_held

    def count(self, until_ns: int) -> None:
        """Note up to when the device is counted."""
        if self.is_held and self._descriptor is not None and until_ns > self.counted_ns:
            with suppress(OSError):  # memory is full: whoever takes over counts from where this was told last
                os.pwrite(self._descriptor, b"%020d" % until_ns, 0)
                self.counted_ns = until_ns

    def release(self) -> None:
        """Let go."""
        if self._descriptor is not None:
            unlock(self._descriptor)
        self.forget()

    def forget(self) -> None:
        """Close the file; in a forked child that leaves the parent's right alone."""
        descriptor, self._descriptor, self.is_held = self._descriptor, None, False
        if descriptor is not None:
            os.close(descriptor)


class Election:
    """Which of the sampled domains this process counts.

    Args:
        prefix: What the names of this run's locks begin with.
        domains: What this process samples.
    """

    def __init__(self, prefix: Path, domains: Iterable[Domain]) -> None:
        self._keys = {domain.name: _device(domain) for domain in domains}
        self._locks = {
            key: Lock(prefix.with_name(f"{prefix.name}-{_short(key)}.lock"))
            for key in set(self._keys.values())
            if key is not None
        }
        self._since: dict[str, int] = {}

    def since(self, name: str) -> int | None:
        """From when this process counts a domain: 0 for ever, None while another process does. Tries to take over."""
        if name not in self._since:
            lock = self._lock(name)
            if lock is not None and not self._take(lock):
                return None
            self._since[name] = lock.counted_ns if lock is not None else 0
        return self._since[name]

    def _lock(self, name: str) -> Lock | None:
        key = self._keys.get(name)
        return None if key is None else self._locks[key]

    def _take(self, lock: Lock) -> bool:
        try:
            return lock.take()
        except OSError:  # no such folder for us: everybody counts, and merging drops what was counted twice
            return True

    def counts(self, name: str) -> bool:
        """Whether this process counts a domain now."""
        return name in self._since

    def stand(self) -> None:
        """Try to become the one who counts what the node shares."""
        for name, key in self._keys.items():
            if key == _NODE:
                self.since(name)

    def counted_ns(self, name: str) -> int:
        """Up to when another process has counted a domain, as far as it has said; 0 when it has not."""
        lock = self._lock(name)
        return lock.counted_ns if lock is not None else 0

    def count(self, until_ns: int) -> None:
        """Note that everything this process counts is written up to a moment."""
        for lock in self._locks.values():
            lock.count(until_ns)

    def close(self) -> None:
        """Let everything go. Safe to call twice."""
        for lock in self._locks.values():
            lock.release()

    def forget(self) -> None:
        """In a forked child: keep nothing of the parent's, so that it can let go."""
        for lock in self._locks.values():
            lock.forget()


class Unopposed:
    """The election of a process that is alone: it counts everything."""

    def since(self, name: str) -> int | None:
        """For ever."""
        del name
        return 0

    def counts(self, name: str) -> bool:
        """Yes."""
        del name
        return True

    def counted_ns(self, name: str) -> int:
        """Nobody else has."""
        del name
        return 0

    def stand(self) -> None:
        """There is nobody to stand against."""

    def count(self, until_ns: int) -> None:
        """There is nobody to tell."""

    def close(self) -> None:
        """There is nothing to let go."""

    def forget(self) -> None:
        """There is nothing to keep."""


def _device(domain: Domain) -> str | None:
    """What is counted once: a GPU by its UUID, and as one what belongs to the node. None for a GPU without one."""
    return domain.device if domain.kind.is_accelerator else _NODE


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
