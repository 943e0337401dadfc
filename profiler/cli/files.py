"""Writing what a command makes."""

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
