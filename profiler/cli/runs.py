"""Finding recorded runs below a directory, by path, name or prefix, or the newest one."""

import argparse
import difflib
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from profiler._compat import display_path, write_message
from profiler.errors import RunError, RunNotFoundError, UsageError
from profiler.merging.discovery import children
from profiler.storage.run_file import read_run_file
from profiler.storage.schema import RUN_FILE

if TYPE_CHECKING:
    from profiler.run import Run

ROOT_VARIABLE = "ENERGY_PROFILER_RUNS"
_DEFAULT_ROOT = "energy_runs"
_DEPTH = 3
_SHOWN = 3


def add_root(parser: argparse.ArgumentParser) -> None:
    """Add ``--root``."""
    parser.add_argument(
        "--root",
        metavar="DIR",
        help=f"directory of the runs; by default ${ROOT_VARIABLE}, or else {_DEFAULT_ROOT}",
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add ``RUN`` and ``--root``."""
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        help="path, name or unique prefix of a run; by default the newest one",
    )
    add_root(parser)


def root_of(root: str | None) -> Path:
    """Return the directory of the runs."""
    return Path(root or os.environ.get(ROOT_VARIABLE) or _DEFAULT_ROOT)


def run_directories(root: Path) -> Iterator[Path]:
    """Yield the run directories below ``root``, up to three levels deep, without the records of a job's processes."""
    level = [root]
    for _ in range(_DEPTH):
        below = []
        for parent in level:
            for directory in _subdirectories(parent):
                if _is_run(directory):
                    yield directory
                else:
                    below.append(directory)
        level = below


def add_roots(parser: argparse.ArgumentParser) -> None:
    """Add ``ROOT ...``."""
    parser.add_argument(
        "roots",
        metavar="ROOT",
        nargs="*",
        help=f"directories of the runs, or the runs; by default ${ROOT_VARIABLE}, or else {_DEFAULT_ROOT}",
    )


def load_all(roots: Sequence[str]) -> "list[Run]":
    """Open runs and the runs below directories; those that cannot be read are named on stderr.

    Raises:
        UsageError: One of the directories does not exist.
    """
    from profiler.run import load_run

    found = []
    directories = map(root_of, roots or (None,))
    for path in dict.fromkeys(path for directory in directories for path in _below(directory)):
        try:
            run = load_run(path, partial=True)
            _ = run.steps, run.metrics, run.total_joules  # their files are read on first access
        except RunError as error:
            write_message(f"excluded {display_path(path)}: {' '.join(str(error).split())}")
        else:
            found.append(run)
    return found


def _below(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        raise UsageError(f"{root} is not a directory; name runs or a directory that contains them.")
    return iter([root]) if _is_run(root) else run_directories(root)


def _is_run(directory: Path) -> bool:
    return (directory / RUN_FILE).exists() or bool(children(directory))


def _subdirectories(parent: Path) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:  # it is gone, or may not be read
        return []


def find_run(text: str | None, root: str | None = None) -> Path:
    """Find a run.

    Args:
        text: Its path, its name, the name of its directory, or a unique prefix of either; None selects the newest run.
        root: Directory of the runs; by default that of the environment.

    Raises:
        RunNotFoundError: There is no such run.
        UsageError: Several runs match.
    """
    if text is not None and Path(text).exists():
        return Path(text)
    directory = root_of(root)
    found = list(run_directories(directory))
    if text is None:
        return _newest(directory, found)
    names = {path: {path.name, _name(path)} - {""} for path in found}
    for matches in (
        [path for path in found if text in names[path]],
        [path for path in found if any(name.startswith(text) for name in names[path])],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            shown = ", ".join(display_path(path) for path in matches[:_SHOWN])
            more = f" and {len(matches) - _SHOWN} more" if len(matches) > _SHOWN else ""
            raise UsageError(f"{len(matches)} runs match {text!r}: {shown}{more}; give the path of one.")
    raise RunNotFoundError(
        Path(text),
        "there is no such directory.",
        remedy=_suggestion(text, directory, [name for known in names.values() for name in known]),
    )


def _suggestion(text: str, root: Path, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(text, names, n=1)
    if close:
        return f"Did you mean {close[0]}?"
    return f"No run below {root} has this name." if names else f"There is no run below {root}."


def _newest(root: Path, found: Sequence[Path]) -> Path:
    if not found:
        raise RunNotFoundError(
            root,
            "there is no run in this directory." if root.is_dir() else "there is no such directory.",
            remedy="Record a run, name one, or give the directory of the runs as --root.",
        )
    # A damaged run has no start, only the time of its last change: it is the newest only where no run is readable.
    readable = [path for path in found if _start_of(path) is not None]
    newest = max(readable or found, key=started_unix_seconds)
    write_message(f"newest run: {display_path(newest)}")
    return newest


def _name(directory: Path) -> str:
    try:
        return str(read_run_file(directory).get("name", ""))
    except (RunError, OSError):
        return ""


def _start_of(directory: Path) -> float | None:
    try:
        return datetime.fromisoformat(str(read_run_file(directory)["started_at"])).timestamp()
    except (RunError, OSError, KeyError, ValueError, OverflowError):
        return None


def started_unix_seconds(directory: Path) -> float:
    """Return the start of a run; for a damaged one, the time of its last change."""
    start = _start_of(directory)
    if start is not None:
        return start
    try:
        return directory.stat().st_mtime
    except OSError:
        return 0.0
