"""Latest snapshot of one run, for the pages and the scrapes that request it."""

import json
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from profiler.errors import ProfilerError
from profiler.export.prometheus import exposed, exposition
from profiler.reporting import watch_page

if TYPE_CHECKING:
    from profiler.export.prometheus import Exposed
    from profiler.merging.follow import LatestPower
    from profiler.reporting.live_report import View, Watch

_LONGEST_SCRAPE_SECONDS = 5.0
_POLL_SHARE = 0.1
"""Largest share of one processor that polling may take."""


class Latest:
    """Latest snapshot of a run, shared by all open pages and renewed on request.

    A thread computes it, so that the present power, which is read for each request, never waits for a forecast.

    Args:
        watch: Source of snapshots.
        every: Shortest time between snapshots, in seconds.
    """

    def __init__(self, watch: "Watch", every: float) -> None:
        self._watch = watch
        self._every = every
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._until = -float("inf")
        self._shown: dict[str, Any] | None = None
        self._view: View | None = None
        self._error = ""
        self._computed = 0.0

    def get(self) -> tuple[HTTPStatus, bytes]:
        """Return the status and the body for a page that requests the snapshot."""
        with self._lock:
            worker = self._renew()
        if worker is not None and self._shown is None:
            worker.join()
        shown, error = self._shown, self._error
        if error or shown is None:
            return HTTPStatus.INTERNAL_SERVER_ERROR, json.dumps({"error": error}).encode()
        now, age = time.time(), time.monotonic() - self._computed
        return HTTPStatus.OK, watch_page.encoded(
            watch_page.refreshed(shown, self._power(), now=now, age_seconds=age)
        )

    def metrics(self) -> tuple[HTTPStatus, bytes]:
        """Return the status and the body for Prometheus."""
        found = self.exposed()
        if found is None:
            return HTTPStatus.INTERNAL_SERVER_ERROR, f"{self._error}\n".encode()
        return HTTPStatus.OK, exposition([found])

    def exposed(self, label: str = "") -> "Exposed | None":
        """Return the values of the run for Prometheus; None if it cannot be read.

        Args:
            label: Label of the run; by default the name of its directory.
        """
        with self._lock:
            worker = self._renew()
        if worker is not None:
            worker.join(_LONGEST_SCRAPE_SECONDS)  # a value that was computed for the last scrape would be old
        view = self._view
        if view is None or self._error:
            return None
        return exposed(view.run, view.report, label=label or view.run.path.resolve().name)

    def _renew(self) -> threading.Thread | None:
        """Start to compute a snapshot where one is due; return the thread that does."""
        worker = self._worker
        if worker is not None and worker.is_alive():
            return worker
        if time.monotonic() < self._until:
            return None
        self._worker = threading.Thread(target=self._poll, name="energy-profiler-watch", daemon=True)
        self._worker.start()
        return self._worker

    def _poll(self) -> None:
        began = time.monotonic()
        shown, error = self._shown, ""
        try:
            self._view = self._watch.poll()
            shown = watch_page.snapshot(self._view)
        except ProfilerError as problem:
            error = str(problem)
        except Exception as problem:  # noqa: BLE001 - the page shows it and asks again
            error = f"{type(problem).__name__}: {problem}"
        ended = time.monotonic()
        self._computed = ended
        self._until = max(began + self._every, ended + (ended - began) / _POLL_SHARE)
        self._shown, self._error = shown, error

    def _power(self) -> "LatestPower | None":
        try:
            return self._watch.power()
        except ProfilerError:
            # The next snapshot reports the error; until then the page keeps the power of the last one.
            return None
