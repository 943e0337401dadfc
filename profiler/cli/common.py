"""Arguments and output that commands share."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from profiler._compat import printable
from profiler.errors import UsageError


def add_partial(parser: argparse.ArgumentParser) -> None:
    """Add ``--partial``."""
    parser.add_argument(
        "--partial", action="store_true", help="if a file is damaged, use the rows before the damage"
    )


def add_metric(parser: argparse.ArgumentParser) -> None:
    """Add ``--metric`` and ``--goal``."""
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="the metric at the top; by default the only logged validation metric, or the loss",
    )
    parser.add_argument(
        "--goal",
        choices=("min", "max"),
        help="the direction in which that metric improves; by default known from its name",
    )


def write_stdout(text: str) -> None:
    """Write text to stdout; characters that its encoding lacks, or that a terminal would act on, are replaced."""
    stream = sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    safe = printable(text) if stream.isatty() else text
    stream.write(safe.encode(encoding, "replace").decode(encoding))
    stream.flush()


def check_output(path: Path, *, force: bool) -> None:
    """Check that a file may be written.

    Raises:
        UsageError: It is a directory, or it exists and ``force`` is false.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a directory; name a file in it.")
    if path.exists() and not force:
        raise UsageError(f"{path} exists; use --force to overwrite it.")


@contextmanager
def explain_write_error(path: Path) -> Iterator[None]:
    """Turn the system's errors while writing ``path`` into a :class:`UsageError` with a remedy."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(
            f"cannot write {path}: {reason}. Nothing was written; choose another path with -o."
        ) from None
