"""Tabular formats: CSV, Parquet, and codecarbon's row."""

import ast
import csv
import io
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from profiler import load_run
from profiler.errors import MissingDependencyError
from profiler.export import export
from profiler.export.codecarbon import COLUMNS
from profiler.export.steps_csv import escape_formula
from tests.support.runs import write_run


@pytest.fixture
def make(tmp_path):
    """Function that writes a run and opens it."""

    def build(steps=3, **options):
        return load_run(write_run(tmp_path / "20260102-030405-abcdef", steps=steps, **options))

    return build


GOLDEN = b"""\
run,step,step_count,start_seconds,end_seconds,loss,nonfinite_count,backwards,learning_rate,gpu_joules,cpu_joules,\
dram_joules,other_joules,total_joules,modelled_joules,cumulative_joules,uncertainty_joules,data_seconds,\
forward_seconds,backward_seconds,optimizer_seconds,phase,training
'=cmd|' /C calc'!A0,1,1,2.0,2.25,4.5,0,1,0.001,75.0,20.0,5.0,,100.0,0.0,900.0,0.5,,,0.125,0.025,,0
'=cmd|' /C calc'!A0,2,1,2.25,2.5,,0,1,0.001,75.0,20.0,5.0,,100.0,0.0,1000.0,0.5,,,0.125,0.025,,0
"""


def test_csv_byte_for_byte(make):
    run = make(2, loss={1: 4.5, 2: None}.get, meta={"name": "=cmd|' /C calc'!A0"})
    assert export(run, "csv") == GOLDEN


def test_csv_holds_every_number_exactly(make):
    run = make(200)
    read = pd.read_csv(io.BytesIO(export(run, "csv")), float_precision=None)
    numbers = run.steps.select_dtypes("number")
    pd.testing.assert_frame_equal(read[numbers.columns].astype(numbers.dtypes), numbers)


FORMULAS = {
    "=1+1": "'=1+1",
    "+1": "'+1",
    "-1": "'-1",
    "@SUM(A1)": "'@SUM(A1)",
    "\t=1": "' =1",
    "\r=1": "' =1",
    "two\nlines": "two lines",
    "'=kept": "'=kept",
    "warm-up": "warm-up",
    "": "",
}


@pytest.mark.parametrize(("text", "cell"), FORMULAS.items())
def test_text_is_never_a_formula_and_stays_in_its_cell(make, text, cell):
    assert escape_formula(text) == cell
    run = make(1, meta={"name": text})
    rows = list(csv.reader(io.StringIO(export(run, "csv").decode())))
    assert [row[0] for row in rows] == ["run", cell]
    assert len({len(row) for row in rows}) == 1


def test_negative_numbers_are_not_escaped(make):
    run = make(1, loss=lambda _: -0.5)
    (row,) = csv.DictReader(io.StringIO(export(run, "csv").decode()))
    assert row["loss"] == "-0.5"


def test_run_without_steps_is_a_header(make):
    assert export(make(0), "csv").count(b"\n") == 1


def test_parquet_is_the_same_table(make):
    pytest.importorskip("pyarrow")
    run = make(50, meta={"name": "=kept as it is"})
    read = pd.read_parquet(io.BytesIO(export(run, "parquet")))
    assert set(read.pop("run")) == {"=kept as it is"}
    assert set(read.pop("run_key")) == {run.path.name}
    pd.testing.assert_frame_equal(read, run.steps, check_dtype=False)


def test_parquet_without_pyarrow_names_the_package_to_install(make, monkeypatch):
    monkeypatch.setattr("profiler.export.parquet.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="pip install pyarrow"):
        export(make(), "parquet")


# -- codecarbon ----------------------------------------------------------------------------------------------------


def emissions(run):
    (row,) = csv.DictReader(io.StringIO(export(run, "codecarbon").decode()))
    return row


def test_columns_are_those_of_the_installed_codecarbon():
    source = Path(find_spec("codecarbon").origin).parent / "output_methods" / "emissions_data.py"
    classes = {
        node.name: node for node in ast.parse(source.read_text()).body if isinstance(node, ast.ClassDef)
    }
    fields = [node.target.id for node in classes["EmissionsData"].body if isinstance(node, ast.AnnAssign)]
    assert list(COLUMNS) == fields


def test_exporting_does_not_load_codecarbon(make):
    before = set(sys.modules)
    export(make(), "codecarbon")
    assert not {name for name in set(sys.modules) - before if name.startswith("codecarbon.")}


def test_columns_of_a_run_without_prices(make):
    row = emissions(make(3_592, meta={"versions": {"python": "3.11.7", "system": "Linux"}}))
    assert row.pop("timestamp") == "2026-01-02T03:19:05"
    known = {name: cell for name, cell in row.items() if cell}
    numbers = {
        name: float(known.pop(name))
        for name in list(known)
        if name.endswith(("_energy", "_power", "_consumed"))
    }
    assert known == {
        "project_name": "scripted",
        "run_id": "20260102-030405-abcdef",
        "duration": "900.0",
        "os": "Linux",
        "python_version": "3.11.7",
        "gpu_count": "1",
        "tracking_mode": "machine",
        "pue": "1.0",
    }
    assert numbers == pytest.approx({
        "cpu_power": 80.0, "gpu_power": 300.0, "ram_power": 20.0,
        "cpu_energy": 0.02, "gpu_energy": 0.075, "ram_energy": 0.005, "energy_consumed": 0.1,
    })  # fmt: skip


def test_emissions_include_the_grid_and_energies_the_pue(make):
    prices = {"pue": 1.5, "grid_gco2e_per_kwh": 400.0, "grid_source": "as given"}
    row = emissions(make(3_592, meta={"prices": prices}))
    assert float(row["energy_consumed"]) == pytest.approx(0.15)
    assert float(row["gpu_power"]) == pytest.approx(450.0)
    assert float(row["emissions"]) == pytest.approx(0.06), "kilograms"
    assert float(row["emissions_rate"]) == pytest.approx(0.06 / 900)
    assert row["pue"] == "1.5"


def test_unmeasured_energy_is_empty_and_not_zero(make, tmp_path):
    run = make(3, meta={"domains": [], "totals": None})
    (run.path / "samples.csv").unlink()
    row = emissions(load_run(run.path))
    assert {row[name] for name in row if name.endswith(("_energy", "_power", "_consumed", "emissions"))} == {
        ""
    }


@pytest.mark.parametrize(("missing", "cell"), [([], "0.0"), (["gpu:0"], "")])
def test_gpu_energy_is_zero_only_if_no_gpu_lacks_a_sensor(make, missing, cell):
    run = make(3)
    domains = [entry for entry in run.meta["domains"] if entry["name"] != "gpu:0"]
    row = emissions(type(run)(run.path, {**run.meta, "domains": domains, "missing": missing}))
    assert row["gpu_energy"] == cell
    assert row["gpu_count"] == "0"
