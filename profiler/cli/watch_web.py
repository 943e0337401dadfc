"""The live page: a server for this machine alone, that can only be read from, and that only its own page may read."""

import errno
import json
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from profiler.errors import ProfilerError, UsageError
from profiler.reporting import watch_page

if TYPE_CHECKING:
    from profiler.reporting.live_report import Watch

ADDRESS = "127.0.0.1"
_HOSTS = {ADDRESS, "localhost"}
"""Names under which a browser on this machine knows it. A page that rebinds its own name to it has another."""
SNAPSHOT = "/snapshot.json"
_LOOK_SHARE = 0.1
"""The most of one processor that looking may take."""
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Latest:
    """The last look at a run, shared by every open page; renewed when it is asked for and old enough.

    Args:
        watch: What looks.
        every: Seconds that a look is good for, at least.
    """

    def __init__(self, watch: "Watch", every: float) -> None:
        self._watch = watch
        self._every = every
        self._lock = threading.Lock()
        self._until = -float("inf")
        self._answer = HTTPStatus.OK, b""

    def get(self) -> tuple[HTTPStatus, bytes]:
        """The answer to a page that asks how the run stands."""
        with self._lock:
            began = time.monotonic()
            if began >= self._until:
                self._answer = self._look()
                ended = time.monotonic()
                self._until = max(began + self._every, ended + (ended - began) / _LOOK_SHARE)
            return self._answer

    def _look(self) -> tuple[HTTPStatus, bytes]:
        try:
            return HTTPStatus.OK, watch_page.snapshot(self._watch.poll())
        except ProfilerError as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, json.dumps({"error": str(error)}).encode()


class Server(ThreadingHTTPServer):
    """Serves the page of one run.

    Args:
        latest: The last look at it.
        port: On which port; 0 for any free one.

    Raises:
        UsageError: The port cannot be had.
    """

    daemon_threads = True

    def __init__(self, latest: Latest, port: int) -> None:
        self.latest = latest
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            reasons = {errno.EADDRINUSE: "is in use", errno.EACCES: "needs more rights than you have"}
            reason = reasons.get(error.errno or 0, f"cannot be opened ({error.strerror})")
            raise UsageError(f"port {port} of {ADDRESS} {reason}; --port 0 takes any free one.") from None

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "energy-profiler"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer what the page asks for."""
        if urlsplit(f"//{self.headers.get('Host', '')}").hostname not in _HOSTS:
            self._send(HTTPStatus.FORBIDDEN, b"This page is for this machine alone.\n", "text/plain")
            return
        path = urlsplit(self.path).path
        if path == SNAPSHOT:
            self._send(*self.server.latest.get(), "application/json")
        elif (found := watch_page.resource(path)) is not None:
            self._send(HTTPStatus.OK, *found)
        else:
            self._send(HTTPStatus.NOT_FOUND, b"There is nothing here.\n", "text/plain")

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server gives it
        """Say nothing of each request."""

    def handle(self) -> None:
        """Answer one connection; a browser that leaves in the middle is no error."""
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True


def serve(watch: "Watch", *, port: int, every: float) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        UsageError: The port cannot be had.
    """
    with Server(Latest(watch, every), port) as server:
        print(f"{server.url} shows the run until Ctrl-C", flush=True)
        server.serve_forever(poll_interval=0.2)
