"""Runs recorded in schema 1.0 read and report as they did then.

``tests/data/schema_1_0`` holds a whole run, the run that resumed it, a killed run, one on a full disk, and a job of
three ranks of which one was killed, with the numbers that the version that recorded them reported (of the killed run,
the energy by domain ends with its rows; then it went on to the last sample; and the uncertainty of a killed run has
that of its start, which was missing).
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from profiler import load_run

RECORDED = Path(__file__).parents[1] / "data" / "schema_1_0"
EXPECTED = json.loads((RECORDED / "expected.json").read_text())
NUMBERS = (
    "steps", "total_joules", "step_joules", "span_joules", "training_joules", "window_seconds", "training_seconds",
    "edge_joules",
)  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A copy that nothing has been written to for long, so that killed runs are seen to have been killed."""
    copy = tmp_path_factory.mktemp("old") / "runs"
    shutil.copytree(RECORDED, copy)
    for file in copy.rglob("*"):
        os.utime(file, (1.7e9, 1.7e9))
    return copy


@pytest.mark.parametrize("name", EXPECTED)
def test_numbers_are_as_they_were(recorded, name):
    run, expected = load_run(recorded / name), EXPECTED[name]
    summary = run.summary()
    assert run.status == expected["status"]
    assert {key: getattr(summary, key) for key in NUMBERS} == pytest.approx(
        {key: expected[key] for key in NUMBERS}
    )
    assert run.energy_by_domain() == pytest.approx(expected["by_domain"], abs=1e-4)
    assert [len(run.steps), len(run.spans), len(run.metrics)] == expected["rows"]
    assert sorted(run.spans["kind"].unique()) == expected["kinds"]
    joules, losses, _ = run.curve()
    assert (losses.sum(), joules.iloc[-1]) == pytest.approx((expected["losses"], expected["curve_end"]))
    assert run.ranks.get(["rank", "joules"], run.ranks).to_numpy().tolist() == [
        pytest.approx(rank) for rank in expected["ranks"]
    ]


@pytest.mark.parametrize("name", EXPECTED)
def test_domains_add_up_to_the_total(recorded, name):
    run = load_run(recorded / name)
    assert sum(run.energy_by_domain().values()) == pytest.approx(run.total_joules, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("extension", [".txt", ".html", ".json"])
def test_every_report_can_be_made(recorded, tmp_path, name, extension):
    text = load_run(recorded / name).report(tmp_path / f"report{extension}").read_text()
    assert len(text) > 500


def test_warnings_name_what_is_missing(recorded):
    assert any("16 of 200 steps" in line for line in load_run(recorded / "full_disk").summary().warnings)
    assert any(
        "rank 2 of attempt 0 ended without totals" in line
        for line in load_run(recorded / "job").summary().warnings
    )


def test_old_steps_belong_to_one_training(recorded):
    """Schema 1.1 added the column."""
    path = recorded / next(iter(EXPECTED))
    assert "training" not in (path / "steps.csv").read_text().partition("\n")[0]
    run = load_run(path)
    assert set(run.steps["training"]) == {0}
    assert len(run.fits()) <= 1
