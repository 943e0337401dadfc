"""Server of the live page: content, access and shutdown."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib.resources import files

import pytest

from profiler.cli import main
from profiler.cli.watch_snapshot import Latest
from profiler.cli.watch_web import Server
from profiler.reporting import figures
from profiler.reporting.live_report import Watch
from profiler.reporting.templating import render_template
from tests.support.growing_run import GrowingRun

NAME = "</script><script>alert(1)</script>\n\x1b[31m=cmd"


@pytest.fixture
def growing(tmp_path):
    return GrowingRun(tmp_path / "run", steps=400, meta={"name": NAME})


@pytest.fixture
def server(growing):
    with Server(Latest(Watch(growing.path, charted=True), 0.0), 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def snapshot(server):
    answer, content = ask(server, "/snapshot.json")
    assert answer.status == 200
    return json.loads(content)


@pytest.mark.slow
def test_snapshot_follows_the_run(server, growing):
    growing.grow(100)
    first = snapshot(server)
    growing.grow(400)
    growing.say("completed")
    while (last := snapshot(server))["status"] == "running":
        time.sleep(0.01)
    assert (first["status"], first["over"]) == ("running", False)
    assert (last["status"], last["over"]) == ("completed", True)
    steps = [[card[1] for card in seen["cards"] if card[0] == "Steps"] for seen in (first, last)]
    assert steps == [["100"], ["400"]]
    label, watts, note = first["cards"][0]
    assert (label, watts) == ("Power now", "400 W")
    assert "cpu:package-0 80.0 W" in note
    assert last["cards"][0][0] == "Energy"
    assert set(last["figures"]) == {"power", "curve"}
    assert len(last["targets"]["rows"]) == 4


def test_prometheus_gets_the_present_values(server, growing):
    for steps in (10, 20):
        growing.grow(steps)
        while f'steps_total{{run="run"}} {steps}.0' not in (text := ask(server, "/metrics")[1].decode()):
            time.sleep(0.01)  # reading takes at most a tenth of a processor
        assert 'energy_profiler_watts{domain="gpu:0",run="run"} 300.0' in text
    refused, _ = ask(server, "/metrics", Host="example.com")
    assert refused.status == 403


def test_name_is_escaped(server):
    answer, content = ask(server, "/snapshot.json")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert json.loads(content)["name"] == NAME.replace("\n", " ").replace("\x1b", " ")


FILES = {
    "/": ("text/html", "templates/watch.html"),
    "/page.css": ("text/css", "static/page.css"),
    "/watch.css": ("text/css", "static/watch.css"),
    "/figures.js": ("text/javascript", "static/figures.js"),
    "/watch.js": ("text/javascript", "static/watch.js"),
}


@pytest.mark.parametrize(("path", "kind", "name"), [(path, *rest) for path, rest in FILES.items()])
def test_resources_carry_the_security_headers(server, path, kind, name):
    answer, content = ask(server, path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
    source = files("profiler.reporting").joinpath(name).read_bytes()
    assert content.strip() == (render_template("watch.html").encode() if path == "/" else source).strip()
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "http" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert b"http://" not in content
    assert b"https://" not in content


def test_plotly_is_served_locally(server):
    assert ask(server, "/plotly.js")[1].decode() == figures.script()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", ""]
)
@pytest.mark.parametrize("path", ["/", "/snapshot.json"])
def test_foreign_host_header_is_refused(server, path, host):
    answer, content = ask(server, path, Host=host)
    assert answer.status == 403
    assert content == b"This page is for this machine only.\n"


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "LOCALHOST"])
def test_forwarded_port_may_differ(server, host):
    assert ask(server, "/", Host=host)[0].status == 200


@pytest.mark.parametrize(
    "path", ["/../run.json", "/run.json", "/steps.csv", "//etc/passwd", "/watch.py", "/%2e%2e/x"]
)
def test_other_paths_are_not_found(server, path):
    assert ask(server, path)[0].status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_reading_methods_are_allowed(server, method):
    assert ask(server, "/", method)[0].status == 501


HOST = b"Host: 127.0.0.1\r\n"
MALFORMED = {
    "brackets in the host": (b"GET / HTTP/1.1\r\nHost: [\r\n\r\n", b" 400 "),
    "brackets in the path": (b"GET http://[/ HTTP/1.1\r\n" + HOST + b"\r\n", b" 400 "),
    "no host": (b"GET / HTTP/1.0\r\n\r\n", b" 403 "),
    "not ASCII": (b"GET /\xff\x00 HTTP/1.1\r\n" + HOST + b"\r\n", b" 404 "),
    "no version": (b"GET /\r\n\r\n", b"This page is for this machine only."),
    "a foreign version": (b"GET / HTTP/9.9\r\n\r\n", b" 505 "),
    "no method": (b"nothing\r\n\r\n", b"Bad request syntax"),
    "a method without a name": (b"\x1b[31m / HTTP/1.1\r\n" + HOST + b"\r\n", b" 501 "),
    "a long line": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b" 414 "),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b" 431 "),
    "a header without a name": (b"GET / HTTP/1.1\r\n" + HOST + b": x\r\n\r\n", b" 200 "),
}


@pytest.mark.parametrize(("request_", "expected"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_request_is_answered(server, capfd, request_, expected):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            assert expected in answer.read()
    assert ask(server, "/")[0].status == 200
    assert capfd.readouterr().err == ""


def test_head_has_no_content(server):
    answer, content = ask(server, "/", "HEAD")
    assert (answer.status, content) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 100


def test_server_listens_on_the_loopback_address(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_page_receives_the_error_of_a_damaged_run(server, growing):
    with (growing.path / "steps.csv").open("a") as file:
        file.write("nonsense\n")
    answer, content = ask(server, "/snapshot.json")
    assert answer.status == 500
    assert "steps.csv, line 2" in json.loads(content)["error"]


class Slow(Watch):
    """A watch whose snapshots take as long as the test wants, after the first."""

    polls = 0

    def __init__(self, path):
        super().__init__(path)
        self.may_end = threading.Event()

    def poll(self):
        self.polls += 1
        if self.polls > 1:
            assert self.may_end.wait(60)
        return super().poll()


def cards(latest):
    status, content = latest.get()
    assert status == 200
    return {label: (value, note) for label, value, note in json.loads(content)["cards"]}


def test_pages_share_a_snapshot(growing):
    watch = Slow(growing.path)
    latest = Latest(watch, every=60.0)
    assert cards(latest) == cards(latest)
    assert watch.polls == 1


def test_power_and_ages_do_not_wait_for_a_forecast(growing):
    growing.say("running", started_unix_seconds=time.time() - 10.0)
    growing.grow(20)
    watch = Slow(growing.path)
    latest = Latest(watch, every=0.0)
    assert cards(latest)["Steps"][0] == "20"
    with (growing.path / "samples.csv").open("a") as samples:
        samples.write("9.000000,gpu:0,550,9999.000000,counter\n9.2")
    power, steps = cards(latest)["Power now"], cards(latest)["Steps"][0]
    assert power[0] == "650 W"
    assert "read 3 s ago" in power[1] or "read 4 s ago" in power[1]
    assert steps == "20"
    watch.may_end.set()


def test_port_in_use_is_one_line_and_exit_code_2(growing, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["watch", "run", "--web", "--port", str(port)]) == 2
    out, err = capsys.readouterr()
    assert err == f"energy-profiler: port {port} of 127.0.0.1 is in use; --port 0 takes any free one.\n"
    assert out == ""


@pytest.mark.slow
def test_prints_its_address_and_ends_at_ctrl_c(growing):
    process = subprocess.Popen(
        [sys.executable, "-m", "profiler", "watch", "run", "--web"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ},
    )  # fmt: skip
    url = process.stdout.readline().split()[0]
    connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=10)
    connection.request("GET", "/snapshot.json")
    assert connection.getresponse().status == 200
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10)[1] == ""
    assert process.returncode == 0
