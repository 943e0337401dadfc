"""Link from a recording process to the processes that the profiled program starts, through an environment variable.

A child that trains without being recorded leaves a mark, an empty file that the recording process counts at its end.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing import parent_process
from pathlib import Path

from profiler._compat import node_directory, open_private
from profiler.distributed.layout import RunLayout, directory_name
from profiler.distributed.rank import Identity, process_group

VARIABLE = "ENERGY_PROFILER_PARENT"
"""Set from the start of a recording to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inheritance:
    """The recording that a child process may belong to.

    Attributes:
        run_path: Directory of its run.
        pid: Process id of the recording process.
        key: Random part of the names of the marks.
        package: File of this package, because a child may find another one of the same name.
        is_rank: True if the recording process is one of several ranks.
    """

    run_path: str
    pid: int = field(default_factory=os.getpid)
    key: str = field(default_factory=lambda: os.urandom(6).hex())
    package: str = field(default_factory=lambda: str(Path(__file__).parents[1] / "__init__.py"))
    is_rank: bool = False

    def mark(self) -> None:
        """Note that this process has trained.

        Raises:
            OSError: The mark cannot be created.
        """
        os.close(open_private(node_directory() / f"{self._prefix}{os.getpid()}"))

    def collect_marks(self) -> int:
        """Remove the marks and return their number: that of the processes that have trained unrecorded."""
        try:
            marks = list(node_directory().glob(f"{self._prefix}*"))
        except OSError:  # no folder for them, so that no process could leave one
            return 0
        for mark in marks:
            with suppress(OSError):
                mark.unlink()
        return len(marks)

    @property
    def _prefix(self) -> str:
        return f"energy-profiler-{self.key}-trained-"

    def layout(self, rank: int, world_size: int) -> RunLayout | None:
        """Return the place of a rank's record in the run; None if it has one already."""
        run_path = Path(self.run_path)
        path = run_path / directory_name(rank, 0)
        if path.exists():
            return None
        identity = Identity(rank=rank, world_size=world_size)
        return RunLayout(identity=identity, run_path=run_path, path=path, is_joined=True)


class Publication:
    """The environment variable during one recording.

    Attributes:
        inheritance: Its content.
        before: Its text to restore; None to remove it.
    """

    def __init__(self, run_path: Path, *, is_rank: bool = False) -> None:
        self.inheritance = Inheritance(run_path=str(run_path), is_rank=is_rank)
        self._text = json.dumps(asdict(self.inheritance))
        self.before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = self._text
        _PUBLISHED.append(self)

    def withdraw(self) -> None:
        """Restore the variable, or let a recording that has set it since restore it. Safe to call twice."""
        if self not in _PUBLISHED:
            return
        _PUBLISHED.remove(self)
        for other in _PUBLISHED:
            if other.before == self._text:
                other.before = self.before
        if os.environ.get(VARIABLE) != self._text:
            return
        if self.before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = self.before


_PUBLISHED: list[Publication] = []


def inherited(environ: Mapping[str, str]) -> Inheritance | None:
    """Return the recording that started this process; None without one, or if this process published it."""
    try:
        found = Inheritance(**json.loads(environ[VARIABLE]))
    except (KeyError, TypeError, ValueError):
        return None
    return found if found.pid != os.getpid() else None


def child_layout(inheritance: Inheritance, environ: Mapping[str, str]) -> RunLayout | None:
    """Return the place in the run of this process, which has a process group; None if it is not a rank of the run.

    Args:
        inheritance: The recording of the process that started this one.
        environ: Environment variables of this process.
    """
    group, parent = process_group(), parent_process()
    if group is None:
        return None
    if launched_rank(environ, inheritance.pid) is not None:
        return inheritance.layout(*group) if group[0] else None
    # A child of a rank may train something of its own, and the child of a child is not of this run.
    if inheritance.is_rank or inheritance.pid not in (os.getppid(), parent.pid if parent else None):
        return None
    return inheritance.layout(*group)


def launched_rank(environ: Mapping[str, str], parent_pid: int) -> tuple[int, int] | None:
    """Return rank and world size that a framework on one node gave to a process it started as a further rank.

    Args:
        environ: Environment variables of this process, at its start.
        parent_pid: Process id of the recording process, which must have started this one.
    """
    rank, world = environ.get("LOCAL_RANK", ""), environ.get("WORLD_SIZE", "")
    is_first_node = environ.get("NODE_RANK", "0") == "0"
    # Processes with RANK belong to a launcher whose ranks find each other.
    if os.getppid() != parent_pid or "RANK" in environ or not is_first_node:
        return None
    if not (rank.isdecimal() and world.isdecimal()):
        return None
    return (int(rank), int(world)) if 0 < int(rank) < int(world) else None
