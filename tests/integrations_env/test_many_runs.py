"""The queries of docs/many-runs.md, run by DuckDB and Polars over a tree of runs."""

import json
import re
from pathlib import Path

import duckdb
import polars as pl
import pytest

from profiler.cli import main
from tests.support.runs import write_run

PAGE = Path(__file__).parents[2] / "docs" / "many-runs.md"
SETUP, STEP = 800.0, 100.0
"""Joules of the setup and of a step in ``write_run``."""


def blocks():
    """Return the code of the page by engine and heading."""
    found, part, heading = {}, "", ""
    for piece in re.split(r"(?m)^(?=#+ |```)", PAGE.read_text()):
        if piece.startswith("### "):
            heading = piece.splitlines()[0].removeprefix("### ")
        elif piece.startswith("## "):
            part = piece.splitlines()[0].removeprefix("## ")
        elif match := re.match(r"```(sql|python)\n(.*)", piece, re.DOTALL):
            found[part, heading] = match[2]
    return found


BLOCKS = blocks()


@pytest.fixture
def tree(built, monkeypatch):
    monkeypatch.chdir(built)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Nine runs of 300 steps in three months, one without energy, one killed, and their Parquet files."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(9):
        meta = {
            "name": "sweep",
            "started_at": f"2026-0{1 + number // 3}-0{1 + number % 3}T00:00:00+00:00",
            "config": {"lr": 0.1 * (1 + number % 2)},
            "work": {"tokens": {"per_step": 50}} if number else {},
            "hardware": {"boards": {"gpu:0": "H100" if number % 2 else "A100"}},
            "prices": {"pue": 1.5, "grid_gco2e_per_kwh": 400.0, "grid_source": "as given"},
        }
        totals = {"window_seconds": 77.0, "steps": 300, "step_joules": 30_000.0, "span_joules": 800.0}
        totals |= {"modelled_joules": 0.0, "edge_joules": 0.7, "metrics": {"loss": level(number)}}
        meta["totals"] = totals
        if number == 4:
            meta |= {"domains": [], "totals": None}
        if number == 7:
            meta |= {"status": "running", "totals": None}
        path = folder / "energy_runs" / f"run-{number}"
        write_run(path, steps=300, loss=losses_of(number), meta=meta)
        if number == 4:
            for table in ("steps.csv", "spans.csv"):
                empty_energy(path / table)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        runs = sorted(map(str, (folder / "energy_runs").iterdir()))
        assert main(["export", *runs, "--format", "parquet", "-o", "all.parquet"]) == 0
    return folder


def losses_of(number):
    return lambda step: level(number) + 3.0 / step


def level(number):
    """Return the level that a run approaches: the best run is run-5."""
    return 1.0 if number == 5 else 1.5 + 0.1 * number


def empty_energy(table):
    head, *lines = table.read_text().splitlines()
    columns = [index for index, name in enumerate(head.split(",")) if name.endswith("_joules")]
    rows = [line.split(",") for line in lines]
    for row in rows:
        for index in columns:
            row[index] = ""
    table.write_text("\n".join([head, *map(",".join, rows)]) + "\n")


def rows(tree, part, heading):
    """Run a block and return its rows as dictionaries."""
    code = BLOCKS[part, heading]
    if part == "Polars":
        names = {}
        exec(code, names)
        return names["table"].to_dicts()
    with duckdb.connect(
        config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    ) as engine:
        result = engine.execute(code)
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


ENGINES = pytest.mark.parametrize("engine", ["DuckDB", "Polars"])
RUN = SETUP + 300 * STEP


@ENGINES
def test_joules_by_setting(tree, engine):
    first, second = sorted(rows(tree, engine, "Joules by setting"), key=lambda row: row["lr"])
    assert (first["runs"], first["without_energy"], first["joules"]) == (5, 1, pytest.approx(4 * RUN))
    assert (second["runs"], second["without_energy"], second["joules"]) == (4, 0, pytest.approx(4 * RUN))
    by_setting = {round(row["lr"], 3): row["best_level"] for row in (first, second)}
    assert by_setting == pytest.approx({0.1: level(0), 0.2: level(5)})


@ENGINES
def test_joules_to_a_level(tree, engine):
    def first_step(loss):
        losses = [loss(step) for step in range(1, 301)]
        means = {step: sum(losses[step - 50 : step]) / 50 for step in range(50, 301)}
        return next((step for step, mean in means.items() if mean <= 2.0), None)

    expected = {
        f"run-{number}": SETUP + STEP * step
        for number in range(9)
        if number != 4 and (step := first_step(losses_of(number))) is not None
    }
    found = {row["run_key"]: row["joules"] for row in rows(tree, engine, "Joules to a level, by run")}
    found = {key: joules for key, joules in found.items() if joules is not None}
    assert found == pytest.approx(expected)
    assert len(expected) not in (0, 8)


def test_joules_per_token(tree):
    found = rows(tree, "DuckDB", "Joules per token, by board")
    each = RUN / (300 * 50)
    assert {row["boards"]: row["runs"] for row in found} == {"1 x A100": 3, "1 x H100": 4}
    assert [row["joules_per_token"] for row in found] == pytest.approx([each, each])


def test_electricity_and_carbon_by_month(tree):
    months = rows(tree, "DuckDB", "Electricity and carbon by month")
    assert [row["month"] for row in months] == ["2026-01", "2026-02", "2026-03"]
    assert [row["without_energy"] for row in months] == [0, 1, 0]
    assert months[1]["kwh"] == pytest.approx(2 * RUN * 1.5 / 3.6e6)
    assert months[1]["kgco2e"] == pytest.approx(months[1]["kwh"] * 0.4)


def test_measured_share(tree):
    assert rows(tree, "DuckDB", "Measured share") == [{"measured_share": 1.0, "without_energy": 1}]


def test_runs_after_the_best_one(tree):
    (row,) = rows(tree, "DuckDB", "Runs after the best one")
    assert row["best"] == "run-5"
    assert row["joules_until_best"] == pytest.approx(5 * RUN)
    assert row["joules_after_it"] == pytest.approx(3 * RUN)


@ENGINES
def test_energy_outside_steps(tree, engine):
    (row,) = rows(tree, engine, "Energy outside steps")
    assert row == {"kind": "setup", "runs": 9, "joules": pytest.approx(8 * SETUP)}


def test_metadata(tree):
    found = rows(tree, "DuckDB", "Metadata")
    assert [row["run_key"] for row in found] == [f"run-{number}" for number in range(9)]
    assert [row["steps"] for row in found] == ["300" if number not in (4, 7) else None for number in range(9)]
    assert found[7]["status"] == "running"


def test_every_block_of_the_page_is_tested():
    text = Path(__file__).read_text()
    assert len(BLOCKS) == 11
    assert all(json.dumps(heading) in text for _, heading in BLOCKS)


def test_types_survive_the_export(tree):
    table = pl.read_parquet("runs.parquet")
    assert table["joules"].null_count() == 1
    assert table["steps"].dtype.is_integer()
