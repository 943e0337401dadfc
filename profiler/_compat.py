"""System calls with fall-backs: POSIX features, fork handlers, atomic writes, calls with a timeout."""

import errno
import hashlib
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar

_STDERR_SECONDS = 0.5
"""Longest wait for a reader of stderr."""
_PART_LENGTH = 1000
"""Characters that fit into the 4,096 bytes which a ready pipe takes, in any encoding."""
_RENAMES, _RENAME_SECONDS = 5, 0.02
"""Attempts to replace a file that another process has open, and the time between them."""
_SPELLED = str.maketrans(
    {"\N{PLUS-MINUS SIGN}": "+/-", "\N{HORIZONTAL ELLIPSIS}": "~", "\N{RIGHTWARDS ARROW}": "->"}
)
"""Characters of reports and their spelling in ASCII."""
_FIRST_DESCRIPTOR = 3
"""Lower ones are the standard streams, even while they are closed."""
_HIGH_DESCRIPTOR = 512
"""Above the range that programs close in loops, and below the 1,024 that every system allows by default."""


def at_fork_in_child(action: Callable[[], None]) -> None:
    """Run ``action`` in every child of ``os.fork``, where the system has it."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=action)


class OwnedDescriptor:
    """Descriptor of an open file that notices when other code of the process has closed it.

    A program may close every descriptor and open files of its own, which then have our numbers: a check before each use
    excludes them. The descriptor gets a high number, because programs close or use the low ones.

    Args:
        descriptor: Newly opened descriptor, which belongs to this object from now on.

    Attributes:
        file_identity: Device and inode of the file.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = _raise_descriptor(descriptor)
        self.file_identity = _file_identity(self._descriptor)

    def get(self) -> int | None:
        """Return the descriptor; None if it is closed or now belongs to another file."""
        descriptor = self._descriptor
        return (
            descriptor
            if descriptor is not None and _file_identity(descriptor) == self.file_identity
            else None
        )

    def close(self) -> None:
        """Close the descriptor if it is still ours."""
        descriptor, self._descriptor = self.get(), None
        if descriptor is not None:
            with suppress(OSError):  # a full disk may raise here again what a write has raised
                os.close(descriptor)

    def release(self) -> None:
        """Forget the descriptor without closing it."""
        self._descriptor = None


def _file_identity(descriptor: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _raise_descriptor(descriptor: int) -> int:
    """Move a descriptor to a high number; at least never to that of a closed stdin, stdout or stderr.

    Raises:
        OSError: It has the number of a standard stream, and no other one is free.
    """
    try:
        import fcntl
        import resource
    except ImportError:
        return descriptor
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    lowest = _HIGH_DESCRIPTOR if limit == resource.RLIM_INFINITY else min(_HIGH_DESCRIPTOR, limit // 2)
    for minimum in (max(lowest, _FIRST_DESCRIPTOR), _FIRST_DESCRIPTOR):
        try:
            moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, minimum)
        except OSError:  # no number above the minimum is free
            continue
        os.close(descriptor)
        return moved
    if descriptor < _FIRST_DESCRIPTOR:
        os.close(descriptor)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return descriptor


def open_for_append(path: str) -> OwnedDescriptor:
    """Open a file for appending; its mode follows the umask.

    Raises:
        OSError: It cannot be opened.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    return OwnedDescriptor(os.open(path, flags, 0o666))


def create_exclusively(path: Path) -> bool:
    """Create an empty file and its parent directories; return False if the file exists already.

    Return True if no file can be created: the writer reports that error, and no other process can create it either.
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


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``path`` by replacing it with a complete temporary file, so that no partial file is left.

    Raises:
        OSError: The file cannot be written; its former content is unchanged.
    """
    if path.exists() and not path.is_file():  # a device or a pipe cannot be replaced
        path.write_bytes(content)
        return
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        replace_file(temporary, target)
    except OSError as error:
        with suppress(OSError):  # often the file cannot be removed either
            temporary.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error


def replace_file(source: Path, target: Path) -> None:
    """Rename a file to ``target``.

    Windows refuses that while another process has the target open, such as a reader; it is then tried for 0.1 s.

    Raises:
        OSError: It cannot be renamed.
    """
    for _ in range(_RENAMES):
        try:
            source.replace(target)
        except PermissionError:
            time.sleep(_RENAME_SECONDS)
        else:
            return
    source.replace(target)


def display_path(path: str | Path) -> str:
    """Return a path for messages, relative if it is below the current directory."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (OSError, ValueError):
        return str(path)


def node_directory() -> Path:
    """Return a directory that all processes of this host share, and no other host: in memory where possible."""
    shared = Path("/dev/shm")  # noqa: S108 - files in it are opened with open_private
    if shared.is_dir() and os.access(shared, os.W_OK):
        return shared
    import tempfile

    return Path(tempfile.gettempdir())


def open_private(path: Path) -> int:
    """Open or create a file that belongs to this user only, and return its descriptor.

    Raises:
        OSError: It is a link, not a plain file, or belongs to another user.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o600)
    found = os.fstat(descriptor)
    # A file that another process has just removed has 0 links, which is harmless; 2 links may be an attack.
    is_plain = stat.S_ISREG(found.st_mode) and found.st_nlink <= 1
    if not is_plain or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
        os.close(descriptor)
        raise PermissionError(13, "belongs to another user or has several names", str(path))
    return descriptor


def try_lock(descriptor: int) -> bool:
    """Lock an open file exclusively without waiting; the kernel releases the lock when the process ends.

    Return False if another process holds the lock, or if the system has no such locks.
    """
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def supports_locks() -> bool:
    """Return whether :func:`try_lock` can succeed on this system."""
    return find_spec("fcntl") is not None


def unlock(descriptor: int) -> None:
    """Release the lock, even while a forked child has the file open."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except ImportError:
        return


def process_start(pid: int) -> str | None:
    """Return an identifier of a live process that differs from earlier ones with the same PID; None without one.

    It is the start time in ticks since boot. psutil adds the boot time, which changes when the clock is set, so that
    two processes could disagree about a third one.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        import psutil

        # os.kill(pid, 0), as on POSIX systems, would send Ctrl-C on Windows.
        return "alive" if psutil.pid_exists(pid) else None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]


def process_namespace() -> str | None:
    """Return an identifier of the PID namespace of this process and of the boot of its host; None without /proc.

    PIDs of different namespaces, as in containers, or of different boots cannot be compared.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return None
    return hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:12]


class _Stderr:
    """Writer of messages that never blocks the training, whatever reads the other end of stderr.

    Before each part of a message, the descriptor must be ready: a pipe then takes at least 4,096 bytes, and a stopped
    terminal is not ready. The flags of the descriptor are not changed, because it is shared with the program and its
    parents.

    Attributes:
        dropped: Number of messages that were not written.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._patience = _STDERR_SECONDS
        self._lock = threading.Lock()

    def write(self, text: str) -> bool:
        stream = sys.stderr
        try:
            encoded = encodable(text + "\n", stream)
            parts = [encoded[i : i + _PART_LENGTH] for i in range(0, len(encoded), _PART_LENGTH)]
            with self._lock:
                is_written = all(self._write_part(stream, part) for part in parts)
        except Exception:  # noqa: BLE001 - any object that a framework or a notebook put there
            is_written = False
        self.dropped += not is_written
        return is_written

    def _write_part(self, stream: Any, part: str) -> bool:
        if not _is_ready(stream, self._patience):
            self._patience = (
                0.0  # wait once only: the next message is written if the reader has returned by then
            )
            return False
        self._patience = _STDERR_SECONDS
        stream.write(part)
        stream.flush()
        return True

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()  # another thread of the parent may have held it


def _is_ready(stream: Any, seconds: float) -> bool:
    """Return whether a stream takes a write without blocking; true for streams without a descriptor."""
    try:
        descriptor = stream.fileno()
    except Exception:  # noqa: BLE001 - in-memory streams raise various errors
        return True
    try:
        import select

        poll = select.poll()
    except (ImportError, AttributeError):  # Windows polls sockets only
        return True
    poll.register(descriptor, select.POLLOUT)
    # An error or a hang-up counts as ready: the write then raises at once.
    return bool(poll.poll(seconds * 1000.0))


_STDERR = _Stderr()
at_fork_in_child(_STDERR.after_fork_in_child)


def write_stderr(text: str, *, lead: str = "") -> bool:
    """Write a message for people to stderr; return False if it was dropped because nothing reads stderr.

    Control and formatting characters, which could act on a terminal, are replaced except for line breaks; so are
    characters that the encoding of stderr lacks. Other errors are ignored.

    Args:
        text: The message.
        lead: Trusted characters in front of it, such as a carriage return.
    """
    return _STDERR.write(lead + printable(text))


def write_message(text: str, *, lead: str = "") -> bool:
    """Write a message with the name of the program in front; see :func:`write_stderr`."""
    return write_stderr(f"energy-profiler: {text}", lead=lead)


def dropped_messages() -> int:
    """Return how many messages of this process could not be written to stderr."""
    return _STDERR.dropped


def encodable(text: str, stream: object) -> str:
    """Replace characters that the encoding of a stream lacks, those of reports by their spelling in ASCII."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_SPELLED).encode(encoding, "replace").decode(encoding)
    return text


def printable(text: str) -> str:
    """Replace characters that a terminal would act on, such as escape and bidi controls, except line breaks."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"


def exit_by_interrupt() -> None:
    """Raise ``KeyboardInterrupt`` at exit, so that the process ends with the status of SIGINT.

    The interpreter remembers an uncaught interrupt, and forgets it as soon as an exit handler runs ``exec`` on text, as
    much of the standard library does.
    """
    with suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")  # noqa: S102 - the interpreter only notices an interrupt of executed text


_T = TypeVar("_T")


class BackgroundCall(Generic[_T]):
    """Call under way on a daemon thread of its own, so that its caller can stop waiting for it.

    If no thread can start, which is so in some Pythons while the interpreter ends, the call runs at once and without a
    timeout: the record must be complete there too.

    Args:
        function: The call.
    """

    def __init__(self, function: Callable[[], _T]) -> None:
        self._function = function
        self._results: list[_T] = []
        self._errors: list[Exception] = []
        self._thread = threading.Thread(target=self._run, name="energy-profiler-call", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._run()

    def _run(self) -> None:
        try:
            self._results.append(self._function())
        except Exception as error:  # noqa: BLE001 - raised in result()
            self._errors.append(error)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end of the call; return whether it has ended."""
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> _T:
        """Return the result of the call after its end, or raise its exception."""
        if self._errors:
            raise self._errors[0]
        return self._results[0]
