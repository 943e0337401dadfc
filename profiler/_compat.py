"""The few calls that exist on POSIX only, with what happens elsewhere."""

import os
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, TypeVar


def at_fork_in_child(action: Callable[[], None]) -> None:
    """Run ``action`` in every child made by ``os.fork``. Systems without fork have nothing to do."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=action)


def open_for_append(path: str) -> int:
    """Open a file for appending and return its descriptor; its mode follows the user's umask."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666)


def make_anew(path: Path) -> bool:
    """Make an empty file, and its folder; False when there is one already, of whoever was first.

    Where no file can be made nobody else can make one either: that is left to whoever writes.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return True
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except FileExistsError:
        return False
    except OSError:
        return True
    return True


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside ``path`` and put it in its place: all of it is there in the end, or nothing new is.

    Raises:
        OSError: It cannot be written; what was there before is still there.
    """
    if path.exists() and not path.is_file():  # a device or a pipe has no place to put something in
        path.write_bytes(content)
        return
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    except OSError as error:
        with suppress(OSError):  # what could not be written can often not be removed either
            temporary.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error


def shown_path(path: str | Path) -> str:
    """A path as a user would type it now: relative where it lies below the current folder."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (OSError, ValueError):
        return str(path)


def node_folder() -> Path:
    """Where processes of one host find each other's files, and no other host's: memory where there is such a folder."""
    shared = Path("/dev/shm")  # noqa: S108 - what is opened in it must belong to this user, and is no link
    if shared.is_dir():
        return shared
    import tempfile

    return Path(tempfile.gettempdir())


def open_private(path: Path) -> int:
    """Open or make a file that is this user's alone, and return its descriptor.

    Raises:
        OSError: It is a link, no plain file, or somebody else's.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o600)
    found = os.fstat(descriptor)
    # A file that was just removed has no name at all, which is nobody's attack.
    is_plain = stat.S_ISREG(found.st_mode) and found.st_nlink <= 1
    if not is_plain or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
        os.close(descriptor)
        raise PermissionError(13, "belongs to somebody else, or has another name too", str(path))
    return descriptor


def try_lock(descriptor: int) -> bool:
    """Lock an open file for this process alone, without waiting. The kernel releases it when the process ends.

    Returns False when another process has it, and where there is no such lock.
    """
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def has_locks() -> bool:
    """Whether processes can lock files against each other here."""
    return find_spec("fcntl") is not None


def unlock(descriptor: int) -> None:
    """Release such a lock, also where a forked child still has the file open."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except ImportError:
        return


def process_start(pid: int) -> str | None:
    """A word that tells a living process from another of the same number; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None if Path("/proc/self/stat").exists() else _exists(pid)
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]


def _exists(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return "alive"


def write_stderr(text: str) -> None:
    """Write lines for people. What stderr cannot encode is replaced; where it takes nothing, nobody can be told."""
    stream = sys.stderr
    try:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        stream.flush()
    except Exception:  # noqa: BLE001 - it may be any object that a framework or a notebook put there
        return


_T = TypeVar("_T")


class Aside(Generic[_T]):
    """Work under way on a daemon thread of its own.

    Where no thread can start any more it is done at once instead, without a bound: some Pythons start none while
    they end, and a record must be complete there too.
    """

    def __init__(self, work: Callable[[], _T]) -> None:
        self._work = work
        self._results: list[_T] = []
        self._errors: list[Exception] = []
        self._thread = threading.Thread(target=self._do, name="energy-profiler-aside", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._do()

    def _do(self) -> None:
        try:
            self._results.append(self._work())
        except Exception as error:  # noqa: BLE001 - raised again where the result is asked for
            self._errors.append(error)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for its end. Returns whether it has come to it."""
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> _T:
        """What the work came to, once it has ended. An error of it is raised here."""
        if self._errors:
            raise self._errors[0]
        return self._results[0]
