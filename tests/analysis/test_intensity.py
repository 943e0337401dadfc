"""Carbon intensities over time, applied to the energy of a run."""

from datetime import UTC, datetime, timedelta

import pytest

from profiler import load_run
from profiler.analysis.intensity import mean_intensity, read_hourly
from profiler.errors import UsageError
from tests.support.runs import write_run

BEGUN = datetime(2026, 11, 21, 10, 0, 30, tzinfo=UTC)
SECONDS = 100.0


@pytest.fixture
def run(tmp_path):
    """A run of constant power, which lasts 100 s and begins in the middle of a minute."""
    meta = {"started_unix_seconds": BEGUN.timestamp(), "clock": {"unix_seconds": BEGUN.timestamp()}}
    return load_run(write_run(tmp_path / "run", steps=392, meta=meta))


def grid(tmp_path, *rows, head="time,gco2e_per_kwh"):
    path = tmp_path / "grid.csv"
    path.write_text("\n".join((head, *rows)) + "\n")
    return read_hourly(path)


def minutes(*values, begin=datetime(2026, 11, 21, 10, tzinfo=UTC)):
    return [f"{(begin + timedelta(minutes=k)).isoformat()},{value}" for k, value in enumerate(values)]


def test_constant_power_weights_by_time(run, tmp_path):
    found = mean_intensity(run, grid(tmp_path, *minutes(100, 200, 400)))
    assert found == pytest.approx((30 * 100 + 60 * 200 + 10 * 400) / SECONDS)


def test_energy_and_not_time_is_the_weight(run, tmp_path):
    late = 30.0
    for table, time in ((run.steps, "end_seconds"), (run.samples, "time_seconds")):
        column = "cumulative_joules" if table is run.steps else "energy_joules"
        per_second = table[column] / table[time].where(table[time] > 0, 1.0)
        table[column] += 9 * per_second * (table[time] - late).clip(lower=0.0)  # ten times the power
    run.steps["total_joules"] = run.steps["cumulative_joules"].diff().fillna(run.steps["total_joules"])
    found = mean_intensity(run, grid(tmp_path, *minutes(100, 200, 200)))
    assert found == pytest.approx((30 * 100 + 10 * 70 * 200) / (30 + 10 * 70), rel=1e-3)


def test_times_may_have_any_offset(run, tmp_path):
    rows = ["2026-11-21T12:00+02:00,100", "2026-11-21T11:01+01:00,200", "2026-11-21T10:02Z,400"]
    assert mean_intensity(run, grid(tmp_path, *rows)) == pytest.approx(190.0)


def test_a_file_in_the_wrong_zone_is_refused(run, tmp_path):
    rows = minutes(100, 200, 400, begin=datetime(2026, 11, 21, 12, tzinfo=UTC))
    with pytest.raises(
        UsageError, match=r"lacks 100 % of the run, which lasted from 2026-11-21 10:00 UTC .*time zone"
    ):
        mean_intensity(run, grid(tmp_path, *rows))


def test_a_gap_within_the_run_is_refused(run, tmp_path):
    rows = minutes(100, 200, 400, 500)
    with pytest.raises(UsageError, match="lacks 60 % of the run"):
        mean_intensity(run, grid(tmp_path, rows[0], *rows[2:]))


def test_a_gap_outside_the_run_is_harmless(run, tmp_path):
    rows = minutes(100, 200, 400, 400, 400, 500)
    assert mean_intensity(run, grid(tmp_path, *rows[:3], rows[5])) == pytest.approx(190.0)


def test_a_resumed_run_has_no_common_time(run, tmp_path):
    run.meta = {**run.meta, "resumed": {"run": "a", "step": 3, "joules": 1.0}}
    with pytest.raises(UsageError, match="resumed"):
        mean_intensity(run, grid(tmp_path, *minutes(1, 2, 3)))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["2026-11-21T10:00,100"], "line 2: .*no time zone"),
        (["yesterday,100"], "line 2: .*not a time"),
        (["2026-11-21T10:00Z,-5"], "line 2: .*not an intensity"),
        (["2026-11-21T10:00Z,nan"], "line 2: .*not an intensity"),
        (["2026-11-21T10:00Z"], "line 2: .*not an intensity"),
        (["2026-11-21T10:00Z,5", "2026-11-21T11:00+01:00,6"], "line 3: .*twice"),
        (["2026-11-21T10:00Z,5", "", "yesterday,6"], "line 4: .*not a time"),
        (["2026-11-21T10:00Z,5", "9" * 200_000], "line 3: .*field larger"),
        (["2026-11-21T10:00Z,5"], "fewer than two"),
        ([], "fewer than two"),
    ],
)
def test_a_bad_row_is_named(tmp_path, rows, message):
    with pytest.raises(UsageError, match=message):
        grid(tmp_path, *rows)


def test_a_file_without_its_columns_is_refused(tmp_path):
    with pytest.raises(UsageError, match="time,gco2e_per_kwh"):
        grid(tmp_path, "2026-11-21T10:00Z,100", head="hour,grams")


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        read_hourly(tmp_path / "none.csv")
