"""Server of the live page: read-only, for this machine, and readable only by its own page."""

import errno
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from profiler.cli.common import write_stdout
from profiler.cli.watch_snapshot import Latest
from profiler.errors import UsageError
from profiler.export.prometheus import CONTENT_TYPE
from profiler.reporting import watch_page

if TYPE_CHECKING:
    from profiler.cli.watch_folder import Folder

ADDRESS = "127.0.0.1"
_HOSTS = {ADDRESS, "localhost"}
"""Accepted ``Host`` headers; a page that rebinds its own name to this address sends another (DNS rebinding)."""
SNAPSHOT = "/snapshot.json"
METRICS = "/metrics"
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


class Server(ThreadingHTTPServer):
    """HTTP server of the page of one run, or of a folder of runs.

    Args:
        latest: Latest snapshot of the run, or the runs.
        port: Port; 0 for any free one.

    Raises:
        UsageError: The port cannot be opened.
    """

    daemon_threads = True

    def __init__(self, latest: "Latest | Folder", port: int) -> None:
        self.latest = latest
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            reasons = {errno.EADDRINUSE: "is in use", errno.EACCES: "needs more rights than you have"}
            reason = reasons.get(error.errno or 0, f"cannot be opened ({error.strerror})")
            raise UsageError(f"port {port} of {ADDRESS} {reason}; --port 0 takes any free one.") from None

    @property
    def shows_one(self) -> bool:
        """True if it shows one run, False for a folder of runs."""
        return isinstance(self.latest, Latest)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{ADDRESS}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "energy-profiler"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """Serve the page and its snapshot."""
        try:
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
            path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        except ValueError:  # such as unbalanced brackets
            self._send(HTTPStatus.BAD_REQUEST, b"Bad request.\n", "text/plain")
            return
        if host not in _HOSTS:
            self._send(HTTPStatus.FORBIDDEN, b"This page is for this machine only.\n", "text/plain")
        elif path == SNAPSHOT:
            self._send(*self._snapshot(query.get("run", [""])[0]), "application/json")
        elif path == METRICS:
            self._send(*self.server.latest.metrics(), CONTENT_TYPE)
        elif (found := watch_page.resource(path, of_folder=not self.server.shows_one)) is not None:
            self._send(HTTPStatus.OK, *found)
        else:
            self._send(HTTPStatus.NOT_FOUND, b"Not found.\n", "text/plain")

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def _snapshot(self, key: str) -> tuple[HTTPStatus, bytes]:
        latest = self.server.latest
        return latest.get() if isinstance(latest, Latest) else latest.get(key)

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
        """Log nothing."""

    def handle(self) -> None:
        """Handle one connection; a client that disconnects is not an error."""
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True


def serve(latest: "Latest | Folder", *, port: int) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        UsageError: The port cannot be opened.
    """
    with Server(latest, port) as server:
        write_stdout(f"{server.url} shows the {'run' if server.shows_one else 'runs'} until Ctrl-C\n")
        server.serve_forever(poll_interval=0.2)
