"""Merging by rank 0 at the end of a job, after a short wait for the other processes.

It takes part in no collective operation, and waits at most a few seconds for a process that has died.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.merging.discovery import children
from profiler.merging.load import load
from profiler.merging.merge import merge
from profiler.merging.write import write
from profiler.records import Status
from profiler.storage.run_file import read_run_file
from profiler.storage.schema import TOTALS

if TYPE_CHECKING:
    from profiler.distributed.layout import RunLayout
    from profiler.recording.session import Session
    from profiler.storage.reader import StoredRun

_TIMEOUT_SECONDS = 3.0
_PAUSE_SECONDS = 0.05
_MOST_BYTES = 100_000_000
"""Larger records are merged on request only: the end of a training does not wait for that."""


def whole_run(session: "Session") -> "StoredRun | None":
    """Return the job's run, or the run with its history; None where the process's own record is all there is.

    Raises:
        RunError: Its records cannot be read.
        OSError: The record cannot be moved beside those of further ranks.
    """
    if session.has_further_ranks:
        session.move_beside_ranks()
    elif session.launched_ranks:
        session.move_beside_launched()
    place = session.place
    if place.run_path == place.path:
        return load(place.path, partial=False) if session.resumed else None
    if session.status is Status.COMPLETED:
        _wait_for_others(place)
    if _bytes(place.run_path) > _MOST_BYTES:
        session.warn(
            f"the records of all ranks are large; merge them with: energy-profiler merge {place.run_path}"
        )
        return None
    write(merge([place.run_path], partial=True, force=True), place.run_path)
    return load(place.run_path, partial=False)


def _wait_for_others(place: "RunLayout") -> None:
    """Wait until the other records on this file system have their totals."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    waiting = set(_others(place))
    while waiting and time.monotonic() < deadline:
        waiting = {path for path in waiting if not read_run_file(path).get(TOTALS)}
        time.sleep(_PAUSE_SECONDS if waiting else 0.0)


def _others(place: "RunLayout") -> list[Path]:
    ending = f"-attempt-{place.identity.attempt}"
    return [path for path in children(place.run_path) if path.name.endswith(ending) and path != place.path]


def _bytes(run_path: Path) -> int:
    return sum(file.stat().st_size for path in children(run_path) for file in path.glob("*.csv"))
