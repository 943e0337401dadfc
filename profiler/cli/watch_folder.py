"""The runs of a folder for the live page, renewed on request."""

import json
import threading
import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.cli.runs import run_directories
from profiler.cli.watch_snapshot import Latest
from profiler.emissions import read_prices
from profiler.errors import ProfilerError
from profiler.export.prometheus import exposed_quickly, exposition
from profiler.merging.load import load
from profiler.records import Status
from profiler.reporting import text
from profiler.reporting.live_report import Watch
from profiler.reporting.run_row import RunRow, cells_of, damaged_row, row_of
from profiler.reporting.watch_page import encoded
from profiler.units import format_joules

if TYPE_CHECKING:
    from typing import Any

    from profiler.export.prometheus import Exposed

HEAD = ("name", "status", "age", "steps", "energy", "electricity", "level", "measured", "directory")
_MOST_ROWS = 500
"""Rows that a page shows; the runs that are running come first, then the newest ones."""
_MOST_FORECASTS = 20
"""Running runs whose power and forecasts are among the metrics."""
_SHARE = 0.1
"""Largest share of one processor that reading the folder may take."""


class Folder:
    """The runs below a directory, with the snapshot of each on request.

    Args:
        root: The directory.
        every: Shortest time between readings, in seconds.
    """

    def __init__(self, root: Path, every: float) -> None:
        self._root = root
        self._every = every
        self._lock = threading.Lock()
        self._content = b""
        self._until = -float("inf")
        self._paths: dict[str, Path] = {}
        self._open: dict[str, Latest] = {}
        self._running: dict[str, Latest] = {}
        self._metrics, self._metrics_until = b"", -float("inf")

    def get(self, key: str = "") -> tuple[HTTPStatus, bytes]:
        """Return the list of runs, or the snapshot of the run with this key."""
        if key:
            try:
                latest = self._latest(key)
            except ProfilerError as error:
                return HTTPStatus.INTERNAL_SERVER_ERROR, json.dumps({"error": str(error)}).encode()
            if latest is None:
                return HTTPStatus.NOT_FOUND, json.dumps({"error": "There is no such run."}).encode()
            return latest.get()
        with self._lock:
            if time.monotonic() >= self._until:
                began = time.monotonic()
                self._content = self._read()
                ended = time.monotonic()
                self._until = max(began + self._every, ended + (ended - began) / _SHARE)
            return HTTPStatus.OK, self._content

    def metrics(self) -> tuple[HTTPStatus, bytes]:
        """Return the metrics of all runs for Prometheus, with power and forecasts of those that are running."""
        with self._lock:
            if time.monotonic() >= self._metrics_until:
                began = time.monotonic()
                self._metrics = exposition(filter(None, map(self._exposed, run_directories(self._root))))
                ended = time.monotonic()
                self._metrics_until = max(began + self._every, ended + (ended - began) / _SHARE)
            return HTTPStatus.OK, self._metrics

    def _exposed(self, path: Path) -> "Exposed | None":
        """Return the values of one run; None if it is damaged."""
        key = path.relative_to(self._root).as_posix()
        try:
            run = load(path, partial=False)
            if run.status is not Status.RUNNING:
                self._running.pop(key, None)
                return exposed_quickly(run, label=key)
            if key not in self._running and len(self._running) < _MOST_FORECASTS:
                self._running[key] = Latest(Watch(path), self._every)
            latest = self._running.get(key)
            return exposed_quickly(run, label=key) if latest is None else latest.exposed(key)
        except (ProfilerError, OSError):
            return None

    def _latest(self, key: str) -> Latest | None:
        with self._lock:
            if not self._paths:
                self._read()
            # Only a key of the list is looked up, so that a request cannot name another directory.
            path = self._paths.get(key)
            if path is not None and key not in self._open:
                self._open[key] = Latest(Watch(path, charted=True), self._every)
            return self._open.get(key)

    def _read(self) -> bytes:
        self._paths = {path.relative_to(self._root).as_posix(): path for path in run_directories(self._root)}
        rows = {key: _row(path) for key, path in self._paths.items()}
        order = sorted(rows, key=lambda key: _order(rows[key]))
        shown: list[dict[str, Any]] = [
            {"key": key, "status": rows[key].columns["status"], "cells": [*cells_of(rows[key])[:-1], key]}
            for key in order[:_MOST_ROWS]
        ]
        return encoded({"title": _title(list(rows.values())), "head": HEAD, "rows": shown})


def _row(path: Path) -> RunRow:
    try:
        run = load(path, partial=False)
        return row_of(run, read_prices(run.meta))
    except (ProfilerError, OSError) as error:
        return damaged_row(path, error)


def _order(row: RunRow) -> tuple[bool, float]:
    age = row.columns["age_seconds"]
    return row.columns["status"] != Status.RUNNING.value, float("inf") if age is None else age


def _title(rows: list[RunRow]) -> str:
    """Count the runs and add up their energy, with those whose energy is unknown."""
    running = sum(row.columns["status"] == Status.RUNNING.value for row in rows)
    known = [row.columns["joules"] for row in rows if row.columns["joules"] is not None]
    unknown = len(rows) - len(known)
    parts = [text.counted(len(rows), "run"), f"{running:,} running", format_joules(sum(known))]
    if unknown:
        parts.append(f"energy of {text.counted(unknown, 'run')} unknown")
    if len(rows) > _MOST_ROWS:
        parts.append(f"the first {_MOST_ROWS} shown")
    return ", ".join(parts)
