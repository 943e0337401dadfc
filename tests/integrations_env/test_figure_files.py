"""Figures in files, drawn by matplotlib."""

import math

import pytest

from profiler import load_run
from profiler.reporting import report_of, write
from tests.support.runs import write_run

MAGIC = {".png": b"\x89PNG", ".pdf": b"%PDF"}
KINDS = {
    "healthy": {},
    "constant": {"loss": lambda _: 1.0},
    "diverged": {"loss": lambda step: 4.0 * step**-0.3 if step < 200 else math.nan},
    "without steps": {"steps": 0},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extension", MAGIC)
def test_the_curve_of_each_kind_of_run_is_drawn(tmp_path, kind, extension):
    report = report_of(load_run(write_run(tmp_path / "run", **KINDS[kind])))
    path = write(report, tmp_path / f"curve{extension}")
    assert path.read_bytes().startswith(MAGIC[extension])
    assert path.read_bytes() == write(report, tmp_path / f"again{extension}").read_bytes()


def test_a_name_is_no_mathematics(tmp_path):
    run = write_run(tmp_path / "run", metrics=[(step, "val_$x^2", 1.0 / step) for step in range(1, 50)])
    report = report_of(load_run(run), metric="val_$x^2", goal="min")
    assert write(report, tmp_path / "curve.pdf").stat().st_size > 1000
