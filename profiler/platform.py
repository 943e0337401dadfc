"""The few calls that exist on POSIX only, with what happens elsewhere."""

import os
import sys
from collections.abc import Callable


def at_fork_in_child(action: Callable[[], None]) -> None:
    """Run ``action`` in every child made by ``os.fork``. Systems without fork have nothing to do."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=action)


def open_for_append(path: str) -> int:
    """Open a file for appending and return its descriptor; its mode follows the user's umask."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666)


def write_stderr(text: str) -> None:
    """Write lines for people. What stderr cannot encode is replaced; a stderr that is closed has no reader to tell."""
    stream = sys.stderr
    try:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return
