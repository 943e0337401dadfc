"""Reading of files of a run directory, which may have come from anywhere: regular files inside it, of bounded size."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from profiler.errors import RunDamagedError

MOST_LINE_BYTES = 1_000_000
"""Bytes of the longest line that is read."""
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # opening a pipe that has no writer must not block
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
)


def open_inside(path: Path) -> BinaryIO:
    """Open a file of a run directory for reading.

    Raises:
        FileNotFoundError: There is no such file.
        RunDamagedError: It is not a regular file, is a link that leads out of its directory, or cannot be read.
    """
    try:
        descriptor = os.open(checked_link(path), _FLAGS)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunDamagedError(path, f"cannot be read: {error.strerror}.") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RunDamagedError(path, "is not a regular file.")
    return os.fdopen(descriptor, "rb")


def checked_link(path: Path) -> Path:
    """Return a path with links in its last part resolved.

    Raises:
        RunDamagedError: It leads out of its directory, or to itself.
    """
    if not path.is_symlink():
        return path
    try:
        target = path.resolve(strict=True)
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError):  # Python 3.11 raises RuntimeError for a loop
        raise RunDamagedError(path, "is a link that leads nowhere.") from None
    if not target.is_relative_to(path.parent.resolve()):
        raise RunDamagedError(path, "is a link that leads out of the run directory, so it is not read.")
    return target


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Read a whole file of a run directory.

    Raises:
        FileNotFoundError: There is no such file.
        RunDamagedError: It is larger than ``most_bytes``, or as :func:`open_inside`.
    """
    with open_inside(path) as file:
        try:
            content = file.read(most_bytes + 1)
        except OSError as error:
            raise RunDamagedError(path, f"cannot be read: {error.strerror}.") from None
    if len(content) > most_bytes:
        raise RunDamagedError(path, f"is larger than {most_bytes / 1e6:.0f} MB, so it is not read.")
    return content


def printable(text: str) -> str:
    """Return a text from a file with its control characters replaced, so that a message can show it."""
    return "".join(c if c.isprintable() else "?" for c in text)
