"""Last levels of running and killed runs, whose ``run.json`` has no totals."""

import math

import pytest

from profiler.errors import RunDamagedError
from profiler.merging.load import load
from profiler.monitoring.live_curve import LiveCurve
from profiler.storage.last_levels import last_levels
from profiler.units import MICROJOULES_PER_JOULE
from tests.support.runs import law, write_run

KILLED = {"status": "running", "totals": None}


def levels_of(path):
    return last_levels(load(path, partial=False))


def live_level(run):
    """Return the level that the totals of the run would have."""
    columns = {name: run.steps[name].tolist() for name in run.steps}
    for name in ("cumulative_joules", "total_joules"):
        columns[name] = [value * MICROJOULES_PER_JOULE for value in columns[name]]
    curve = LiveCurve()
    curve.add_rows(columns)
    return curve.level()


@pytest.mark.parametrize("steps", [1, 30, 5_000])
@pytest.mark.parametrize("loss", [law, lambda step: -law(step)], ids=["positive", "negative"])
def test_level_of_a_killed_run_agrees_with_that_of_a_finished_one(tmp_path, steps, loss):
    path = write_run(tmp_path / "run", steps=steps, loss=loss, meta=KILLED)
    known = levels_of(path).known
    assert known == {"loss": pytest.approx(live_level(load(path, partial=False)), rel=2e-3)}


def test_values_that_are_not_finite_follow_the_level(tmp_path):
    path = write_run(
        tmp_path / "run",
        steps=2_000,
        loss=lambda step: 2.0 if step <= 100 else math.nan,
        meta=KILLED,
        metrics=[(1, "val, acc", 0.5), (2, "loss", 9.0), (3, "val, acc", 0.6), (4, "val, acc", math.inf)],
    )
    found = levels_of(path)
    assert found.known == {"loss": pytest.approx(2.0), "val, acc": 0.6}
    assert found.nonfinite_ends == {"loss": 1_900, "val, acc": 1}


@pytest.mark.parametrize("steps", [0, 5])
def test_run_without_losses_has_no_level(tmp_path, steps):
    found = levels_of(write_run(tmp_path / "run", steps=steps, loss=lambda _: None, meta=KILLED))
    assert (found.known, found.nonfinite_ends) == ({}, {})


def test_level_is_that_of_the_last_training(tmp_path):
    path = write_run(tmp_path / "run", steps=100, loss=lambda step: 9.0 if step <= 96 else 1.0, meta=KILLED)
    head, *lines = (path / "steps.csv").read_text().splitlines()
    lines = [*lines[:96], *(f"{line[:-1]}1" for line in lines[96:])]
    (path / "steps.csv").write_text("\n".join([head, *lines, ""]))
    assert levels_of(path).known == {"loss": 1.0}


@pytest.mark.parametrize(
    ("column", "cell"), [("loss", "x"), ("step_count", "nan"), ("cumulative_joules", "inf")]
)
def test_damaged_row_is_an_error(tmp_path, column, cell):
    path = write_run(tmp_path / "run", steps=5, meta=KILLED)
    head, *lines = (path / "steps.csv").read_text().splitlines()
    cells = lines[-1].split(",")
    cells[head.split(",").index(column)] = cell
    (path / "steps.csv").write_text("\n".join([head, *lines[:-1], ",".join(cells), ""]))
    with pytest.raises(RunDamagedError, match=column):
        levels_of(path)
