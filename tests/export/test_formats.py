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
    "running": {"meta": {"status": "running", "totals": None}},
    "no start": {"meta": {"started_at": ""}},
}
REQUIRE_ENERGY = {"boamps"}
"""Formats that refuse a run without energy: their standard requires a number, and 0 would be false."""


@pytest.fixture(params=FORMATS)
def name(request):
    if request.param == "parquet" and find_spec("pyarrow") is None:
        pytest.skip("needs pyarrow")
    return request.param


@pytest.fixture(params=RUNS)
def run(request, tmp_path, name):
    if request.param == "no domains" and name in REQUIRE_ENERGY:
        pytest.skip("refused: test_a_format_that_requires_an_energy_refuses_a_run_without_one")
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


@pytest.mark.parametrize("name", REQUIRE_ENERGY)
def test_a_format_that_requires_an_energy_refuses_a_run_without_one(name, tmp_path):
    run = load_run(write_run(tmp_path / "run", steps=3, **RUNS["no domains"]))
    with pytest.raises(UsageError, match="requires an energy"):
        export(run, name)


def test_several_runs_fit_into_one_file_or_are_refused(name, tmp_path):
    runs = [load_run(write_run(tmp_path / f"run-{number}", steps=5)) for number in range(2)]
    if FORMATS[name].takes_several:
        assert export(runs, name) != export(runs[0], name)
    else:
        with pytest.raises(UsageError, match=f"{name} takes one run"):
            export(runs, name)


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
