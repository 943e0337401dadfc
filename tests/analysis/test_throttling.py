"""Share of the time at a reduced clock, as counted by the board or estimated from its readings."""

import random

import pandas as pd
import pytest

from profiler import load_run
from profiler.analysis.throttling import throttling_of
from profiler.reporting import report_of, tables
from profiler.storage.reader import StoredRun, Tables
from tests.support.runs import write_run

SECONDS = 102.0


@pytest.fixture
def stored(tmp_path):
    """A run of 102 s; keyword arguments of the function replace what is recorded of its GPU."""

    run = load_run(write_run(tmp_path / "run"))

    def build(reasons=None, **entry):
        meta = dict(run.meta)
        meta["domains"] = [{**meta["domains"][0], **entry}, *meta["domains"][1:]]
        samples = run.samples
        if reasons is not None:
            rows = {
                "time_seconds": range(len(reasons)),
                "domain": "gpu:0",
                "energy_joules": 0.0,
                "throttle": reasons,
            }
            samples = pd.DataFrame(rows)
        tables = Tables(steps=run.steps, spans=run.spans, samples=samples, metrics=run.metrics)
        return StoredRun(run.path, meta, tables=tables)

    return build


def shares(run):
    return {one.cause: one for one in throttling_of(run, SECONDS)}


def test_a_board_that_counts_the_time_gives_it_exactly(stored):
    found = shares(stored(throttled_seconds={"power": 51.0, "thermal": 0.0}))
    assert found["power"].share.median == found["power"].share.low == found["power"].share.high == 0.5
    assert found["thermal"].share.median == 0.0
    assert all(one.is_counted for one in found.values())


def test_the_count_of_a_killed_run_is_not_used(stored):
    run = stored(reasons=["none", "sw_power_cap"] * 20, throttled_seconds={"power": 0.0})
    run.meta["totals"] = None
    assert shares(run)["power"].share.median == 0.5
    assert not shares(run)["power"].is_counted


def test_the_share_is_estimated_from_readings(stored):
    reasons = ["sw_power_cap|hw_thermal_slowdown", "sw_power_cap", "", "none", None] * 20
    found = shares(stored(reasons=reasons))
    assert found["power"].share.median == pytest.approx(2 / 3)
    assert found["thermal"].share.median == pytest.approx(1 / 3)
    for one in found.values():
        assert one.share.low < one.share.median < one.share.high


@pytest.mark.parametrize("stay", [0.5, 0.95])
def test_the_interval_contains_the_truth(stored, stay):
    """Readings of consecutive seconds that resemble each other widen the interval."""
    held = 0
    for seed in range(40):
        draw, is_slow, reasons = random.Random(seed), False, []
        for _ in range(300):
            is_slow = is_slow if draw.random() < stay else not is_slow
            reasons.append("sw_thermal_slowdown" if is_slow else "none")
        share = shares(stored(reasons=reasons))["thermal"].share
        held += share.low <= 0.5 <= share.high
    assert held >= 32


@pytest.mark.parametrize("reasons", [None, [""] * 40, ["none"] * 4])
def test_nothing_is_stated_without_readings(stored, reasons):
    assert throttling_of(stored(reasons=reasons), SECONDS) == ()


def test_the_report_has_a_table_only_if_a_device_was_throttled(stored):
    slow = report_of(stored(throttled_seconds={"power": 51.0, "thermal": 1.0})).details
    assert [row[:3] for row in tables.throttling(slow).rows] == [
        ("gpu:0", "power limit", "50 %"),
        ("gpu:0", "heat", "1 %"),
    ]
    assert tables.throttling(report_of(stored(throttled_seconds={"power": 0.0})).details) is None
