"""The wording of prices, long names, long warnings and small numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest

from profiler import load_run
from profiler.analysis.downsample import Series
from profiler.forecasting import fit_curve
from profiler.records import CurveState, Interval, Status, Verdict
from profiler.reporting import figures, report_of, tables, text
from profiler.reporting.answer import answer_of
from profiler.reporting.forecast_section import outlook_of
from profiler.reporting.records import Chart
from profiler.reporting.terminal import text_of
from profiler.units import SECONDS_PER_YEAR
from tests.support.runs import write_run
from tests.support.scripted_reports import DETAILS, make, outlook, summary, target

ASKED = (
    target(1.6, None, Verdict.BEYOND_HORIZON, (7e6, 6e7, math.inf), 0.2),
    target(1.7, None, Verdict.REACHABLE, (1.2e6, 2.4e6, 9e6), 0.05),
)


def test_asked_targets_are_marked_in_their_place(report):
    rows = tables.targets(outlook(asked=ASKED), 485e3, None).rows
    assert [row[:2] for row in rows] == [
        ("1.832", "1 % lower"),
        ("1.758", "5 % lower"),
        ("1.700", "asked"),
        ("1.665", "10 % lower"),
        ("1.600", "asked"),
        ("1.388", "25 % lower"),
    ]


def test_an_asked_target_that_is_listed_appears_once(report):
    rows = outlook(asked=(target(1.758, None, Verdict.REACHABLE, (0.7e6, 0.9e6, 1.4e6), 0.0),)).rows
    assert [row.loss for row in rows].count(1.758) == 1
    assert rows[1].change is None


def test_a_metric_that_rises_is_listed_from_its_easiest_target():
    up = outlook(goal="max", last_loss=0.8, floor=Interval(low=0.85, median=0.9, high=0.95))
    assert [row.loss for row in up.rows] == sorted(row.loss for row in up.rows)


@pytest.mark.parametrize(("held", "is_guess"), [((False, False), True), ((False, True), False), ((), False)])
def test_a_forecast_that_its_own_past_contradicts_is_a_guess(report, held, is_guess):
    fits, misses = outlook().backtest
    known = outlook(asked=(), backtest=tuple(fits if one else misses for one in held))
    assert ("forecasts made earlier in this run held" in answer_of(report(outlook=known)).advice) == is_guess


PRICES_OF_TARGETS = [
    (Verdict.REACHED, None, ("none", "")),
    (Verdict.UNREACHABLE, None, ("out of reach", "")),
    (Verdict.REACHABLE, (1e3, 2e3, 3e3), ("2.0 kJ", "1.0 kJ to 3.0 kJ")),
    (Verdict.REACHABLE, (1.98e3, 2e3, 2.02e3), ("2.00 kJ", "1.98 kJ to 2.02 kJ")),
    (Verdict.REACHABLE, (1e3, 2e3, math.inf), ("2.0 kJ", "at least 1.0 kJ")),
    (Verdict.BEYOND_HORIZON, (1e5, 2e6, math.inf), ("over 100 kJ", "")),
    (Verdict.REACHABLE, (0.0, 2e3, math.inf), ("2.0 kJ", "")),
    (Verdict.BEYOND_HORIZON, (0.0, 2e5, math.inf), ("0 J or more", "")),
    (Verdict.BEYOND_HORIZON, (0.0, 2e5, 3e5), ("0 J or more", "0 J to 300 kJ")),
    (Verdict.UNDETERMINED, (50.0, math.nan, math.inf), ("unknown", "")),
    (Verdict.UNDETERMINED, (math.inf, math.inf, math.inf), ("out of reach", "")),
]


@pytest.mark.parametrize(("verdict", "ends", "expected"), PRICES_OF_TARGETS)
def test_a_price_is_as_precise_as_it_is_known(verdict, ends, expected):
    more = None if ends is None else Interval(low=ends[0], median=ends[1], high=ends[2])
    assert text.price(verdict, more, text.joules, 1e4) == expected


def test_an_amount_without_a_lower_end_is_a_phrase_of_its_own():
    forecast = target(1.7, 0.05, Verdict.UNDETERMINED, (1e3, math.inf, math.inf), 0.5).forecast
    assert text.live_price(1.7, forecast, 1e3) == "loss 1.700 needs 0 J or more, out of reach 50 %"


def test_a_run_without_a_loss_says_how_to_hand_one_over(tmp_path):
    report = report_of(load_run(write_run(tmp_path / "run", steps=60, loss=lambda _: None)))
    assert report.refused.endswith(
        "No value was recorded. If the training has a loss, pass it with prof.step(loss=...)."
    )


UNSEEN = (
    (Status.COMPLETED, {"steps": 0}, "call prof.step(loss=...)"),
    (Status.RUNNING, {"steps": 0}, "No optimizer update was detected yet."),
    (Status.COMPLETED, {"steps": 0, "unrecorded_processes": 2}, "The training ran in child processes."),
    (Status.COMPLETED, {"step_joules": None}, "energy-profiler doctor"),
)


@pytest.mark.parametrize(("status", "lacking", "said"), UNSEEN)
def test_a_refusal_names_what_is_missing_and_not_a_longer_training(report, status, lacking, said):
    bare = report(outlook=None, summary=summary(status=status, **lacking))
    assert said in bare.refused
    assert "Train" not in bare.refused
    assert said in answer_of(bare).advice


def test_a_long_name_leaves_room_for_how_the_run_stands(report):
    first = text_of(report(summary=summary(name="begin" + "x" * 300 + "end"))).splitlines()[0]
    assert len(first) == 80
    assert first.startswith("== beginxx")
    assert first.endswith("xxend: completed after 20.6 min, 82 % measured ==")


@pytest.mark.parametrize(("repeats", "is_whole"), [(15, True), (200, False)])
def test_a_long_warning_is_whole_up_to_eight_lines(report, repeats, is_whole):
    long = f"cannot write: {'no space on this device ' * repeats}. Training continues; free space and start again."
    measured = summary(metered=summary().metered[:1], modelled_joules=0.0, refusals=(), warnings=(long,))
    lines = text_of(report(summary=measured, outlook=outlook(notes=()))).splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("! cannot write:"))
    shown = " ".join(line.strip() for line in lines[start : start + 8])
    assert (long in shown[2:]) is is_whole
    assert ("in full in the HTML report" in shown) is not is_whole


def test_the_next_command_can_be_pasted_and_the_path_is_whole(report):
    path = f"/data/{'deep/' * 30}runs of a project/run"
    lines = text_of(report(summary=summary(path=path))).splitlines()
    assert lines[-1] == f"record  {path}"
    assert lines[-2] == f"next    energy-profiler report '{path}' -o report.html"


def test_small_and_enormous_amounts_need_no_exponent():
    assert (text.kwh(6.68e-5), text.kwh(0.136)) == ("66.8 mWh", "0.136 kWh")
    assert (text.kwh(999.0), text.kwh(2.8e5), text.carbon(4.2e6)) == ("999 kWh", "280 MWh", "4.20 tCO2e")
    assert (text.money(7.34e-7), text.money(0.051)) == ("< 0.0001", "0.0510")
    assert text.money(82_940.0) == "82,900"
    assert (text.carbon(1e-6), text.carbon(0.15), text.carbon(1234.0)) == (
        "< 0.001 gCO2e",
        "0.150 gCO2e",
        "1.23 kgCO2e",
    )
    assert text.seconds(8.07e8 * SECONDS_PER_YEAR) == "807 million years"


def test_a_loss_has_plain_numbers_on_its_axis():
    y = figures.curve(outlook(), DETAILS.headline.chart)["layout"]["yaxis"]
    assert y["tickformat"] == "~g"
    wide = Chart(seen=Series(x=(1.0, 9.0), y=(3.0, 0.02)), joules=(), losses=(), law_joules=(), law=())
    assert figures.recorded(wide)["layout"]["yaxis"]["dtick"] == "D2"


def test_one_step_is_no_course_over_time(tmp_path):
    details = report_of(load_run(write_run(tmp_path / "run", steps=1))).details
    assert (details.step_joules_over_time, details.learning_rate, details.phases) == (None, None, ())


def test_a_run_that_has_just_started_does_not_blame_the_sensors():
    report = make(summary=summary(status=Status.RUNNING, window_seconds=0.0))
    shown = text.cost_sentence(replace(report, energy=None))
    assert shown == "The energy is unknown: nothing is recorded yet."


@pytest.mark.parametrize(
    ("goal", "aim", "ahead"),
    [
        ("min", "a 5 % better loss", "the next 1 % and 5 % are 40 % likely"),
        ("max", "loss 1.758 (5 % less error)", "1 % and 5 % less error are 40 % likely"),
    ],
)
def test_a_share_of_the_error_of_a_rising_metric_is_not_a_share_of_the_metric(goal, aim, ahead):
    rows = [
        target(loss, change, Verdict.BEYOND_HORIZON, (485e3, 9e6, math.inf), 0.3)
        for loss, change in ((1.832, 0.01), (1.758, 0.05))
    ]
    rows = [replace(row, forecast=replace(row.forecast, reach=((1.0, 0.4), (10.0, 0.4)))) for row in rows]
    advice = text.weighed_advice(rows[1], "loss", 485e3, stop=False, within=4.0, goal=goal)
    assert advice == f"Go on: {aim} is 40 % likely within 4 times the training's energy so far."
    worth = text.worth_sentences(outlook(goal=goal, targets=tuple(rows), backtest=()), 485e3)
    assert worth[-1].lower().startswith(ahead)


def test_a_run_without_a_finite_loss_is_not_to_be_trained_longer(tmp_path):
    report = report_of(load_run(write_run(tmp_path / "run", steps=60, loss=lambda _: math.nan)))
    answer = answer_of(report)
    assert answer.status.startswith("Completed after 17.0 s, loss DIVERGED")
    assert answer.advice.startswith("Stop. None of 60 recorded values is finite")
    assert "rain longer" not in answer.advice


@pytest.mark.parametrize(
    ("ended", "begin"),
    [
        (False, "Go on: a 5 % better loss needs about"),
        (
            True,
            "The learning rate has fallen below 1 % of its peak, so plan a longer run. A 5 % better loss needs about",
        ),
    ],
)
def test_a_schedule_that_has_ended_is_not_to_be_continued(report, ended, begin):
    rows = (target(1.758, 0.05, Verdict.REACHABLE, (0.7e6, 0.9e6, 1.4e6), 0.0),)
    rows = tuple(
        replace(row, forecast=replace(row.forecast, reach=((1.0, 0.0), (4.0, 0.99)))) for row in rows
    )
    assert answer_of(report(outlook=outlook(asked=(), targets=rows, rate_ended=ended))).advice.startswith(
        begin
    )


@pytest.mark.parametrize(("last", "tick"), [(90.0, "nticks"), (900.0, "dtick")])
def test_energy_within_a_decade_has_ticks_between_its_round_values(last, tick):
    known = Chart(seen=Series(x=(65.0, last), y=(3.0, 2.0)), joules=(), losses=(), law_joules=(), law=())
    assert tick in figures.recorded(known)["layout"]["xaxis"]


def test_a_noisy_dip_of_a_flat_curve_has_reached_no_lower_level():
    x = np.arange(1.0, 6001.0)
    noise = np.exp(0.01 * np.random.default_rng(1).standard_normal(x.size))
    fit = fit_curve(x, np.where((x > 600.0) & (x < 900.0), 1.9, 2.0) * noise)
    verdicts = [row.forecast.verdict for row in outlook_of(fit, (), ()).targets]
    assert fit.state is CurveState.FLAT
    assert verdicts
    assert Verdict.REACHED not in verdicts


@pytest.mark.parametrize(
    ("budget", "begin"), [(480e3, "Stop: the energy budget of 480 kJ is used."), (500e3, "Go on")]
)
def test_a_used_budget_ends_the_advice_to_go_on(report, budget, begin):
    rows = (target(1.758, 0.05, Verdict.REACHABLE, (0.7e6, 0.9e6, 1.4e6), 0.0),)
    rows = tuple(
        replace(row, forecast=replace(row.forecast, reach=((1.0, 0.0), (4.0, 0.99)))) for row in rows
    )
    known = report(outlook=outlook(asked=(), targets=rows))
    answer = answer_of(replace(known, budget_joules=budget))
    assert answer.advice.startswith(begin)
    assert (answer.confidence is None) == begin.startswith("Stop")


def test_a_card_has_no_more_digits_than_the_cost(report):
    known = {card.label: card.value for card in tables.cards_of(report())}
    assert known["Electricity"] == "0.14 kWh"
    assert "(0.14 kWh" in answer_of(report()).cost
