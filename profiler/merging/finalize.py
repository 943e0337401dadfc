"""What the first process of a job does at its end: it waits a moment for the others, and puts the run together.

Nothing here is a collective and nothing waits for a process that has died longer than a few seconds.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.distributed.kv_store import open_board
from profiler.merging.discovery import children, meta_of
from profiler.records import Status

if TYPE_CHECKING:
    from profiler.distributed.layout import Place
    from profiler.recording.session import Session
    from profiler.storage.reader import StoredRun

_PATIENCE_SECONDS = 3.0
_PAUSE_SECONDS = 0.05
_MOST_BYTES = 100_000_000
"""More than this is merged when somebody asks: the end of a training does not wait for it."""


def whole_run(session: "Session") -> "StoredRun | None":
    """The run that a process's record is part of: its job's, or what it resumed; None where it stands for itself.

    Raises:
        RunError: Its records cannot be read.
    """
    from profiler.merging.load import load
    from profiler.merging.merge import merge
    from profiler.merging.write import write

    place = session.place
    if place.run_path == place.path:
        return load(place.path, partial=False) if session.resumed else None
    if session.status is Status.COMPLETED:
        _wait_for_others(place)
    _receive(place)
    if _bytes(place.run_path) > _MOST_BYTES:
        session.notice(
            f"the records of all ranks are large; merge them with: energy-profiler merge {place.run_path}"
        )
        return None
    write(merge([place.run_path], partial=True), place.run_path)
    return load(place.run_path, partial=False)


def _wait_for_others(place: "Place") -> None:
    """Wait until the records that are on this file system have their end marks."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    waiting = set(_others(place))
    while waiting and time.monotonic() < deadline:
        waiting = {path for path in waiting if not _has_ended(path)}
        time.sleep(_PAUSE_SECONDS if waiting else 0.0)


def _others(place: "Place") -> list[Path]:
    ending = f"-attempt-{place.identity.attempt}"
    return [path for path in children(place.run_path) if path.name.endswith(ending) and path != place.path]


def _has_ended(path: Path) -> bool:
    return bool(meta_of(path).get("totals"))


def _receive(place: "Place") -> None:
    """Write down what the store knows of processes whose records are on other file systems."""
    here = {path.name for path in children(place.run_path)}
    absent = [rank for rank in range(place.identity.world_size) if place.of(rank).name not in here]
    board = open_board(os.environ, place.key) if absent and place.identity.may_span_hosts else None
    if board is not None:
        for record in board.collect(absent, place.identity.attempt, _PATIENCE_SECONDS).values():
            _write_down(place.of(int(record["rank"])), record)


def _write_down(path: Path, record: Mapping[str, Any]) -> None:
    from profiler.storage.writer import write_run_file

    path.mkdir(exist_ok=True)
    write_run_file(path, record)


def _bytes(run_path: Path) -> int:
    return sum(file.stat().st_size for path in children(run_path) for file in path.glob("*.csv"))
