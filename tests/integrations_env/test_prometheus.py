"""A real Prometheus scrapes ``watch --web``; promtool accepts the exported file."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from profiler import load_run
from profiler.export import export
from tests.support.runs import write_run

DEADLINE_SECONDS = 30.0

if not shutil.which("prometheus") and not os.environ.get("ENERGY_PROFILER_NEEDS_PROMETHEUS"):
    pytest.skip("needs prometheus: apt-get install prometheus", allow_module_level=True)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def prometheus(tmp_path):
    """Function that starts ``watch --web`` and a Prometheus that scrapes it, and returns the port of the latter."""
    started = []

    def start(root):
        watched, port = free_port(), free_port()
        command = [sys.executable, "-m", "profiler", "watch", str(root), "--web", "--port", str(watched)]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        (tmp_path / "prometheus.yml").write_text(
            f"""
            global: {{scrape_interval: 1s}}
            scrape_configs:
              - job_name: energy-profiler
                static_configs: [{{targets: ["127.0.0.1:{watched}"]}}]
            """
        )
        options = [
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        started.append(subprocess.Popen(["prometheus", *options], stderr=subprocess.DEVNULL))
        return port

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


def query(port, expression):
    """Return the samples of an expression as pairs of labels and value, once there are any."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={quote(expression)}") as answer:
                found = json.load(answer)["data"]["result"]
        except OSError:
            found = []
        if found:
            return [(one["metric"], float(one["value"][1])) for one in found]
        time.sleep(0.2)
    raise AssertionError(f"no sample of {expression} within {DEADLINE_SECONDS:g} s")


def test_prometheus_scrapes_a_folder(prometheus, tmp_path):
    root = tmp_path / "energy_runs"
    write_run(root / "ended", steps=100)
    write_run(root / "live", steps=400, meta={"status": "running", "totals": None})
    port = prometheus(root)
    assert query(port, "sum(energy_profiler_watts)") == [({}, 400.0)]
    energy = {labels["run"]: joules for labels, joules in query(port, "energy_profiler_joules_total")}
    assert energy == {name: load_run(root / name).total_joules for name in ("ended", "live")}
    target = 'energy_profiler_forecast_more_joules{run="live", target="5 % lower", percentile="50"}'
    assert query(port, target)[0][1] > 0.0


def test_promtool_accepts_the_textfile(tmp_path):
    content = export(load_run(write_run(tmp_path / "run", steps=400)), "prometheus")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=content, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stderr, checked.stdout) == (0, b"", b"")
