"""What is said first, and what long names, long warnings and small numbers come to."""

import math

import pytest

from profiler import load_run
from profiler.analysis.downsample import Series
from profiler.records import Interval, Status, Verdict
from profiler.reporting import figures, report_of, tables, text
from profiler.reporting.details import Chart
from profiler.reporting.terminal import text_of
from profiler.units import SECONDS_PER_YEAR, format_seconds
from tests.support.runs import write_run
from tests.support.scripted_reports import DETAILS, outlook, summary, target

ASKED = (
    target(1.6, None, Verdict.BEYOND_HORIZON, (7e6, 6e7, math.inf), 0.2),
    target(1.7, None, Verdict.REACHABLE, (1.2e6, 2.4e6, 9e6), 0.05),
)


def test_what_was_asked_is_answered_and_nothing_else(report):
    said = text.answer(report(outlook=outlook(asked=ASKED)))
    assert said == (
        "Loss 1.600 needs more than 10 times the energy spent (at least 6.51 MJ more); "
        "reaching loss 1.700 needs 1.92 MJ more [715 kJ, 8.52 MJ], about 1.33 h."
    )


def test_what_was_asked_is_marked_in_its_place_in_the_table(report):
    rows = tables.targets(outlook(asked=ASKED), None).rows
    assert [row[0] for row in rows] == [
        "1.785",
        "asked 1.700",
        "1.688",
        "asked 1.600",
        "1.525",
        "1.362",
        "1.135",
    ]


def test_an_asked_target_that_is_listed_stands_once(report):
    rows = outlook(asked=(target(1.785, None, Verdict.REACHABLE, (0.7e6, 0.9e6, 1.4e6), 0.0),)).rows
    assert [row.loss for row in rows].count(1.785) == 1
    assert rows[0].way is None


def test_a_metric_that_rises_is_listed_from_its_easiest_target():
    up = outlook(last_loss=0.8, floor=Interval(low=0.85, median=0.9, high=0.95))
    assert [row.loss for row in up.rows] == sorted(row.loss for row in up.rows)


@pytest.mark.parametrize(("held", "is_guess"), [((False, False), True), ((False, True), False), ((), False)])
def test_a_forecast_that_its_own_past_contradicts_is_called_a_guess(report, held, is_guess):
    fits, misses = outlook().backtest
    tests = tuple(fits if one else misses for one in held)
    said = text.answer(report(outlook=outlook(backtest=tests)))
    assert said.endswith("This is a guess: forecasts made earlier in this run did not hold.") == is_guess


def test_the_notes_begin_with_what_contradicts_the_forecast(tmp_path):
    def loss(step):
        return 3.0 * step**-0.5 if step < 200 else 3.0 * 200**-0.5 * (step / 200) ** -3

    known = report_of(load_run(write_run(tmp_path / "run", steps=400, loss=loss))).outlook
    held = sum(test.held for test in known.backtest)
    assert 2 * held < len(known.backtest)
    begin = f"Only {held} of {len(known.backtest)} forecasts made earlier in this run held."
    assert known.notes[0].startswith(begin)


def test_a_run_without_a_loss_says_how_to_hand_one_over(tmp_path):
    report = report_of(load_run(write_run(tmp_path / "run", steps=60, loss=lambda _: None)))
    assert report.refused.endswith(
        "no finite point. If the profiler does not detect the loss, pass it with prof.step(loss=...)."
    )


UNSEEN = (
    (Status.COMPLETED, {"steps": 0}, "call prof.step(loss=...)"),
    (Status.RUNNING, {"steps": 0}, "No optimizer update was seen yet."),
    (Status.COMPLETED, {"step_joules": None}, "energy-profiler doctor"),
)


@pytest.mark.parametrize(("status", "lacking", "said"), UNSEEN)
def test_a_refusal_says_what_lacks_and_not_to_train_longer(report, status, lacking, said):
    bare = report(outlook=None, summary=summary(status=status, **lacking))
    assert said in bare.refused
    assert "Train" not in bare.refused
    assert said in text.answer(bare)


def test_a_long_name_leaves_room_for_how_the_run_stands(report):
    first = text_of(report(summary=summary(name="begin" + "x" * 300 + "end"))).splitlines()[0]
    assert len(first) == 80
    assert first.startswith("== beginxx")
    assert first.endswith("xxend: completed after 20.6 min ==")


def test_a_long_warning_keeps_what_to_do(report):
    long = f"cannot write: {'no space on this device ' * 20}. Training goes on; free space and start again."
    lines = text_of(report(summary=summary(warnings=(long,)))).splitlines()
    at = next(k for k, text in enumerate(lines) if text.startswith("! cannot write:"))
    said = " ".join(lines[at : at + 3])
    assert " ... " in said
    assert said.endswith("start again.")


def test_small_and_enormous_amounts_need_no_exponent():
    assert (text.kwh(6.68e-5), text.kwh(0.136)) == ("66.8 mWh", "0.136 kWh")
    assert (text.money(7.34e-7), text.money(0.051)) == ("0.000000734", "0.0510")
    assert format_seconds(8.07e8 * SECONDS_PER_YEAR) == "807 million years"
    assert format_seconds(3e9 * SECONDS_PER_YEAR) == "3.00 billion years"


def test_a_loss_has_plain_numbers_on_its_axis():
    y = figures.curve(outlook(), DETAILS.chart)["layout"]["yaxis"]
    assert y["tickformat"] == "~g"
    wide = Chart(seen=Series(x=(1.0, 9.0), y=(3.0, 0.02)), joules=(), losses=(), law_joules=(), law=())
    assert figures.recorded(wide)["layout"]["yaxis"]["dtick"] == "D2"


def test_one_step_is_no_course_over_time(tmp_path):
    details = report_of(load_run(write_run(tmp_path / "run", steps=1))).details
    assert (details.step_joules_over_time, details.learning_rate, details.phases) == (None, None, ())
