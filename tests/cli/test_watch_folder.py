"""The live page of a folder of runs."""

import http.client
import json
import math
import threading

import pytest

from profiler.cli import main
from profiler.cli.watch_folder import Folder
from profiler.cli.watch_web import Server
from tests.support.runs import write_run


@pytest.fixture
def root(tmp_path):
    """A running, a completed and a damaged run, and one in a folder below."""
    root = tmp_path / "energy_runs"
    write_run(root / "old", steps=40, meta={"name": "<b>old</b>"})
    write_run(root / "live", steps=40, meta={"name": "live", "status": "running", "totals": None})
    write_run(root / "team" / "old", steps=20, meta={"name": "below"})
    (root / "broken").mkdir()
    (root / "broken" / "run.json").write_text("{")
    return root


@pytest.fixture
def ask(root):
    """Function that requests a path and returns the status, the type and the body."""
    with Server(Folder(root, 0.0), 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def request(path):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
            connection.request("GET", path)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            return answer.status, answer.headers["Content-Type"], content

        yield request
        server.shutdown()
        thread.join()


def test_running_runs_come_first_and_damaged_ones_have_a_row(ask):
    found = json.loads(ask("/snapshot.json")[2])
    assert found["rows"][0]["key"] == "live"
    assert {row["key"]: row["status"] for row in found["rows"]} == {
        "live": "running", "broken": "damaged", "old": "completed", "team/old": "completed"
    }  # fmt: skip
    assert {len(row["cells"]) for row in found["rows"]} == {len(found["head"])}
    assert "kWh" not in found["head"], "the cells name their units"
    assert found["title"] == "4 runs, 1 running, 12.4 kJ, energy of 1 run unknown"


def test_a_run_has_a_page_and_a_snapshot_of_its_own(ask):
    assert b"/watch.js" in ask("/run?run=live")[2]
    status, _, content = ask("/snapshot.json?run=team%2Fold")
    assert (status, json.loads(content)["name"]) == (200, "below")


@pytest.mark.parametrize("key", ["nothing", "..%2F..", "team", "%00"])
def test_only_runs_of_the_list_can_be_requested(ask, key):
    assert ask(f"/snapshot.json?run={key}")[0] == 404


def test_a_damaged_run_reports_its_error(ask):
    status, _, content = ask("/snapshot.json?run=broken")
    assert status == 500
    assert "run.json" in json.loads(content)["error"]


def test_the_list_is_a_page_with_a_script_of_its_own(ask):
    status, kind, page = ask("/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert b"/runs.js" in page
    assert ask("/runs.js")[0] == 200


def test_the_list_follows_the_folder(root, ask, monkeypatch):
    monkeypatch.setattr("profiler.cli.watch_folder._SHARE", math.inf)  # read the folder for every request
    assert len(json.loads(ask("/snapshot.json")[2])["rows"]) == 4
    write_run(root / "new", steps=3)
    assert "new" in {row["key"] for row in json.loads(ask("/snapshot.json")[2])["rows"]}


def test_a_folder_without_web_names_its_runs(root, capsys):
    assert main(["watch", str(root), "--once"]) == 2
    assert "It holds 3 runs; name one" in capsys.readouterr().err


def test_prometheus_gets_all_runs_with_power_of_those_that_run(ask):
    status, kind, content = ask("/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    text = content.decode()
    assert 'energy_profiler_joules_total{run="team/old"}' in text
    assert 'energy_profiler_watts{domain="gpu:0",run="live"} 300.0' in text
    assert 'run="broken"' not in text
    assert 'watts{domain="gpu:0",run="old"}' not in text
