"""Conformance of every export format: any readable run gives a complete, reproducible file."""

import json
import math
from importlib.util import find_spec
from pathlib import Path

import pytest

from profiler import load_run
from profiler.errors import UsageError
from profiler.export import FORMATS, export
from tests.support.runs import write_run

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "commands.md"
RUNS = {
    "plain": {},
    "zero steps": {"steps": 0},
    "one step": {"steps": 1},
    "diverged": {"loss": lambda step: math.nan if step > 5 else 1.0},
    "no loss": {"loss": lambda _: None},
    "hostile name": {"meta": {"name": '=1+1</script>\x1b[31m\u202e\u2028\n,"\ud800'}},
    "no domains": {"meta": {"domains": [], "totals": None}},
    "unknown keys": {"meta": {"added_later": {"a": [1]}}},
}


@pytest.fixture(params=FORMATS)
def name(request):
    if request.param == "parquet" and find_spec("pyarrow") is None:
        pytest.skip("needs pyarrow")
    return request.param


@pytest.fixture(params=RUNS)
def run(request, tmp_path):
    options = {"steps": 20, **RUNS[request.param]}
    return load_run(write_run(tmp_path / "run", **options))


def test_every_run_has_an_export(name, run):
    content = export(run, name)
    assert content
    if FORMATS[name].is_text:
        text = content.decode()
        assert text.endswith("\n")
        assert not {"\x1b", "\u202e"} & set(text)


def test_export_is_reproducible_and_changes_nothing(name, run):
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    assert export(run, name) == export(load_run(run.path), name)
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


def test_format_is_documented(name):
    assert f"| `{name}` |" in DOCUMENTATION.read_text(encoding="utf-8")
    assert FORMATS[name].help


def test_unknown_format_lists_the_known_ones(tmp_path):
    run = load_run(write_run(tmp_path / "run", steps=1))
    with pytest.raises(UsageError) as raised:
        export(run, "xlsx")
    assert all(name in str(raised.value) for name in FORMATS)


def test_hostile_name_survives_json(tmp_path):
    run = load_run(write_run(tmp_path / "run", steps=1, meta={"name": "a\u2028</script>"}))
    trace = json.loads(export(run, "chrome-trace"))
    assert trace["traceEvents"][0]["args"]["name"] == "a\u2028</script>"
