"""Writing what a command makes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from profiler.errors import UsageError


def refuse_to_overwrite(path: Path, *, force: bool) -> None:
    """Check that a file may be written.

    Raises:
        UsageError: It exists, and it was not said that it may be overwritten.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a directory; name a file in it.")
    if path.exists() and not force:
        raise UsageError(f"{path} exists; it is not overwritten without --force.")


@contextmanager
def saying_where(path: Path) -> Iterator[None]:
    """Name the file that could not be written inside, and what to do.

    Raises:
        UsageError: Instead of the system's error.
    """
    try:
        yield
    except OSError as error:
        what = error.strerror or error
        raise UsageError(
            f"cannot write {path}: {what}. No part of it was left; name another place with -o."
        ) from None
