"""``energy-profiler compare``."""

import json

import pytest

from profiler import load_run
from profiler.cli import main
from profiler.reporting import render_comparison
from profiler.reporting.comparison import compare
from tests.support.runs import law, write_run


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "one", meta={"name": "one"})
    write_run(tmp_path / "two", steps=900, loss=lambda step: 1.1 * law(step) - 0.3, meta={"name": "two"})
    write_run(tmp_path / "short", steps=3)
    (tmp_path / "taken.txt").write_text("mine")
    write_run(tmp_path / "apart", loss=lambda step: law(step) / 100)


def test_prints_the_comparison(folders, capsys):
    assert main(["compare", "one", "two"]) == 0
    out, err = capsys.readouterr()
    assert out == render_comparison(compare([load_run("one"), load_run("two")]), ".txt")
    assert err == ""


def test_prints_json(folders, capsys):
    assert main(["compare", "one", "two", "short", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["name"] for run in found["runs"]] == ["one", "two", "scripted"]
    assert found["runs"][2]["refused"]


@pytest.mark.parametrize("extension", [".html", ".txt", ".json"])
def test_writes_a_file(folders, tmp_path, capsys, extension):
    arguments = ["one", "two", "--seed-spread", "5", "--target", "2.0", "--price-per-kwh", "0.3"]
    assert main(["compare", *arguments, "-o", f"out{extension}"]) == 0
    written = (tmp_path / f"out{extension}").read_text()
    assert "two" in written
    assert "spread" in written
    assert capsys.readouterr().out == ""


MISTAKES = {
    "one run": (["one"], "needs two runs"),
    "one usable run": (["one", "short"], "has 3"),
    "no such run": (["one", "nowhere"], "there is no such directory"),
    "a run twice": (["one", "./one"], "given twice"),
    "not a run": (["one", "."], "it has no run.json"),
    "an unknown format": (["one", "two", "-o", "x.pdf"], ".html, .json"),
    "a target that is no number": (["one", "two", "--target", "low"], "--target must be a number"),
    "an existing file": (["one", "two", "-o", "taken.txt"], "--force"),
    "no loss in common": (["one", "apart"], "reached the same level"),
}


@pytest.mark.parametrize(("names", "message"), MISTAKES.values(), ids=MISTAKES)
def test_user_error_is_one_line_and_exit_code_2(folders, capsys, names, message):
    assert main(["compare", *names]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert out == ""
