"""``energy-profiler list``, and finding runs by path, name, prefix or age."""

import csv
import io
import json
import os

import pytest

from profiler.cli import main
from tests.support.runs import write_run


@pytest.fixture
def root(tmp_path):
    """Three runs below the default directory, the newest one last, and a damaged one."""
    root = tmp_path / "energy_runs"
    for number, name in enumerate(("base", "wide", "wide-long")):
        meta = {
            "name": name,
            "started_at": f"2026-01-0{number + 1}T00:00:00+00:00",
            "config": {"lr": 0.1 * (number + 1), "model": "mlp"},
            "work": {"parameters": 1_000, "tokens": {"per_step": 10 * (number + 1)}},
            "hardware": {"boards": {"gpu:0": "H100", "gpu:1": "H100"}},
        }
        write_run(root / f"2026010{number + 1}-{name}", steps=100 * (number + 1), meta=meta)
    (root / "broken").mkdir()
    (root / "broken" / "run.json").write_text("{")
    return root


def rows(capsys, *arguments):
    assert main(["list", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_damaged_run_is_one_row_with_its_directory(root, capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    (damaged,) = [line for line in lines if "damaged" in line]
    assert "energy_runs/broken" in damaged


@pytest.mark.parametrize("cell", ["x", "nan", "inf"])
def test_a_run_whose_last_row_is_damaged_is_one_row(root, capsys, cell):
    """It has no totals, so the last row is read."""
    path = write_run(root / "killed", steps=5)
    meta = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**meta, "status": "running", "totals": None}))
    lines = (path / "steps.csv").read_text().splitlines()
    lines[-1] = ",".join([*lines[-1].split(",")[:3], cell, *lines[-1].split(",")[4:]])
    (path / "steps.csv").write_text("\n".join([*lines, ""]))
    assert lines[0].split(",")[3] == "end_seconds"
    assert sum(row["status"] == "damaged" for row in rows(capsys)) == 2


def test_a_run_whose_run_file_is_a_pipe_is_one_row(root, capsys):
    (root / "broken" / "run.json").unlink()
    os.mkfifo(root / "broken" / "run.json")
    assert sum(row["status"] == "damaged" for row in rows(capsys)) == 1


def test_rows_have_totals_with_their_interval(root, capsys):
    (row,) = rows(capsys, "--where", "name=base")
    assert row["steps"] == 100
    assert row["joules_low"] < row["joules"] < row["joules_high"]
    assert row["kwh"] == pytest.approx(row["joules"] / 3.6e6)
    assert row["gco2e"] is None
    assert row["config"] == {"lr": 0.1, "model": "mlp"}


def test_level_before_values_that_are_not_finite_is_marked(root, capsys):
    totals = json.loads((root / "20260101-base" / "run.json").read_text())["totals"]
    totals["metrics"] = {"loss": 0.5}
    ends = {"loss": 7}
    write_run(
        root / "broken-end", steps=20, meta={"name": "end", "totals": {**totals, "nonfinite_ends": ends}}
    )
    no_level = {**totals, "metrics": {}, "nonfinite_ends": ends}
    write_run(root / "broken-all", steps=20, meta={"name": "all", "totals": no_level})
    write_run(root / "whole", steps=20, meta={"name": "whole", "totals": totals})
    assert main(["list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "loss not finite" in lines["all"]
    assert [", then not finite" in lines[name] for name in ("end", "whole")] == [True, False]
    assert {row["name"]: row["nonfinite_end"] for row in rows(capsys, "--where", "nonfinite_end>0")} == {
        "end": 7,
        "all": 7,
    }


def test_incomplete_totals_are_marked_with_the_number_of_missing_ranks(root, capsys):
    write_run(root / "job", steps=10, meta={"name": "job", "missing_ranks": 3})
    write_run(root / "other", steps=10, meta={"name": "other", "missing": ["gpu:0"]})
    assert main(["list", "--where", "incomplete=true"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert {line.split()[0]: "incomplete" in line for line in lines} == {"job": True, "other": True}
    assert ["incomplete (3 ranks missing)" in line for line in lines if line.startswith("job")] == [True]
    found = {row["name"]: (row["incomplete"], row["missing_ranks"]) for row in rows(capsys)}
    assert (found["job"], found["base"]) == ((True, 3), (False, 0))


def test_conditions_and_order(root, capsys):
    found = rows(capsys, "--where", "config.lr>=0.2", "--where", "steps<1000", "--sort=-joules")
    assert [row["name"] for row in found] == ["wide-long", "wide"]


def test_work_and_hardware_are_columns(root, capsys):
    (row,) = rows(
        capsys, "--where", "work.tokens>=6000", "--where", "parameters=1000", "--where", "boards=2 x H100"
    )
    assert row["name"] == "wide-long"
    assert row["work"] == {"tokens": 300 * 30}


def test_unknown_values_match_no_condition(root, capsys):
    assert rows(capsys, "--where", "config.absent!=3") == []


def test_csv_has_a_column_per_setting(root, capsys):
    assert main(["list", "--format", "csv", "--where", "steps>0"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["config.model"] for row in table] == ["mlp", "mlp", "mlp"]


def test_prices_apply_after_the_run(root, capsys):
    (row,) = rows(capsys, "--where", "name=base", "--price-per-kwh", "0.5", "--grid-gco2e-per-kwh", "100")
    assert row["cost"] == pytest.approx(row["kwh"] * 0.5)
    assert row["gco2e"] == pytest.approx(row["kwh"] * 100)


@pytest.mark.parametrize("wrong", [["--sort", "colour"], ["--where", "steps"], ["--where", "colour=red"]])
def test_unknown_columns_are_usage_errors(root, wrong, capsys):
    assert main(["list", *wrong]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_an_empty_directory_has_no_rows(tmp_path, capsys):
    (tmp_path / "nothing").mkdir()
    assert main(["list", str(tmp_path / "nothing")]) == 0
    assert capsys.readouterr().out == f"no run below {tmp_path / 'nothing'}\n"


# -- finding a run


def reported(capsys, *arguments):
    assert main(["report", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)["summary"]["name"]


def test_the_newest_run_is_the_default(root, capsys):
    assert reported(capsys) == "wide-long"


def test_a_name_is_preferred_to_a_prefix(root, capsys):
    assert reported(capsys, "wide") == "wide"


def test_a_unique_prefix_selects_a_run(root, capsys):
    assert reported(capsys, "ba") == "base"


def test_the_environment_names_the_root(root, tmp_path, capsys, monkeypatch):
    root.rename(tmp_path / "elsewhere")
    monkeypatch.setenv("ENERGY_PROFILER_RUNS", str(tmp_path / "elsewhere"))
    assert reported(capsys, "base") == "base"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("w", "2 runs match 'w'"),
        ("bsae", "Did you mean base?"),
        ("zzz", "No run below energy_runs has this name."),
    ],
)
def test_ambiguous_and_unknown_names_are_refused(root, text, message, capsys):
    assert main(["report", text]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["list", "report"])
def test_a_folder_without_a_first_run_is_not_called_an_empty_one(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ENERGY_PROFILER_RUNS", raising=False)
    assert main([command]) == 2
    message = capsys.readouterr().err
    assert "does not exist" in message or "there is no such directory" in message
    assert "ecord a run" in message
