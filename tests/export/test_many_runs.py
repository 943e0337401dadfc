"""Parquet of many runs: one key per run, one row per run, damaged ones left out."""

import json

import pandas as pd
import pytest

from profiler.cli import main
from profiler.export.parquet import run_keys
from tests.support.runs import write_run

pytest.importorskip("pyarrow")


@pytest.fixture
def root(tmp_path):
    """Twenty runs of one name; the last one is running."""
    for number in range(20):
        config = {"lr": 0.1 if number % 2 else "auto", "seed": number, "flag": True}
        state = {"status": "running", "totals": None} if number == 19 else {}
        meta = {
            "name": "sweep",
            "config": config,
            "started_at": f"2026-0{1 + number % 3}-02T00:00:00+00:00",
            **state,
        }
        write_run(tmp_path / "energy_runs" / f"run-{number:02}", steps=number, meta=meta)
    return tmp_path / "energy_runs"


def export(root, tmp_path, *arguments):
    code = main(
        ["export", *map(str, sorted(root.iterdir())), "--format", "parquet", "-o", "all.parquet", *arguments]
    )
    return code, tmp_path / "all.parquet", tmp_path / "runs.parquet"


def test_runs_of_one_name_have_different_keys(root, tmp_path):
    code, steps, runs = export(root, tmp_path)
    assert code == 0
    counts = pd.read_parquet(steps)["run_key"].value_counts()
    assert counts.to_dict() == {f"run-{number:02}": number for number in range(1, 20)}
    table = pd.read_parquet(runs)
    assert table["run_key"].is_unique
    assert set(table["name"]) == {"sweep"}
    assert list(table["steps"]) == list(range(20))
    assert table["joules"].tolist() == pytest.approx([800.0 + 100 * number for number in range(20)])


def test_settings_are_columns_and_mixed_types_are_text(root, tmp_path):
    table = pd.read_parquet(export(root, tmp_path)[2])
    assert set(table["config.lr"]) == {"auto", "0.1"}
    assert table["config.seed"].dtype.kind == "i"
    assert table["config.flag"].dtype.kind == "b"


def test_damaged_runs_are_left_out_of_both_tables_with_one_warning(root, tmp_path, capsys):
    (root / "run-03" / "run.json").write_text("{")
    table = root / "run-07" / "steps.csv"
    table.write_text(table.read_text().replace("\n3,", "\nthree,"))
    code, steps, runs = export(root, tmp_path)
    assert code == 0
    assert not {"run-03", "run-07"} & (
        set(pd.read_parquet(steps)["run_key"]) | set(pd.read_parquet(runs)["run_key"])
    )
    assert len(pd.read_parquet(runs)) == 18
    (line,) = capsys.readouterr().err.splitlines()
    assert "2 of 20 runs cannot be read and were left out" in line
    assert "run-03" in line
    assert "run-07" in line


@pytest.mark.parametrize("damaged", ["run.json", "steps.csv"])
def test_forms_refuse_a_damaged_run(root, damaged, capsys):
    (root / "run-03" / damaged).write_text("{")
    assert main(["export", str(root / "run-02"), str(root / "run-03"), "--format", "model-card"]) == 2
    assert damaged in capsys.readouterr().err


def test_a_missing_run_is_an_error(root, tmp_path, capsys):
    assert main(["export", str(root / "run-01"), "nothing", "--format", "parquet", "-o", "all.parquet"]) == 2
    assert not (tmp_path / "all.parquet").exists()


def test_the_table_of_runs_is_not_overwritten(root, tmp_path, capsys):
    (tmp_path / "runs.parquet").write_text("mine")
    assert export(root, tmp_path)[0] == 2
    assert "runs.parquet exists; use --force" in capsys.readouterr().err
    assert not (tmp_path / "all.parquet").exists()
    assert main(["export", str(root / "run-01"), "--format", "parquet", "-o", "one.parquet"]) == 0, (
        "one run has no table"
    )
    assert (tmp_path / "runs.parquet").read_text() == "mine"
    assert export(root, tmp_path, "--force")[0] == 0


def test_the_table_of_runs_keeps_its_name(root, capsys):
    assert (
        main(["export", *map(str, sorted(root.iterdir())), "--format", "parquet", "-o", "runs.parquet"]) == 2
    )
    assert "name another file" in capsys.readouterr().err


def test_keys_of_equal_directory_names_are_paths(tmp_path):
    paths = [tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "b" / "other"]
    assert run_keys(paths) == ["a/run", "b/run", "b/other"]
    assert run_keys(paths[1:]) == ["run", "other"]


def test_a_run_without_energy_has_no_joules(tmp_path):
    write_run(tmp_path / "a", steps=2)
    write_run(tmp_path / "b", steps=2, meta={"domains": [], "totals": None})
    assert main(["export", "a", "b", "--format", "parquet", "-o", "all.parquet"]) == 0
    table = pd.read_parquet(tmp_path / "runs.parquet").set_index("run_key")
    assert table["joules"].isna().to_dict() == {"a": False, "b": True}
    assert table["measured_share"].isna().to_dict() == {"a": False, "b": True}
    assert json.loads((tmp_path / "a" / "run.json").read_text())["name"] == "scripted"
