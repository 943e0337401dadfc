"""The learning rate over joules, thinned as it comes, with what is planned of it."""

import math

import numpy as np
import pytest

from profiler.forecasting.lr_trace import LIMIT, RateTrace
from profiler.forecasting.schedule import build
from profiler.lr_plan import RatePlan

DOWN = RatePlan(steps=(1, 1000), rates=(1.0, 0.0), source="planned_learning_rate")


def traced(joules, rates, plan=None):
    trace = RateTrace(plan)
    for step, (x, r) in enumerate(zip(joules, rates, strict=True), start=1):
        trace.add(float(x), r, step)
    return trace


def halfway(plan, rates=None):
    """500 of 1,000 steps, of which the last 250 cost 2 J and the others 1 J each."""
    joules = np.append(np.arange(1.0, 251.0), 250.0 + 2.0 * np.arange(1.0, 251.0))
    return traced(joules, [DOWN.rate_at(step) for step in range(1, 501)] if rates is None else rates, plan)


def test_a_few_points_come_back_as_they_are():
    trace = traced([1.0, 2.0, 3.0], [0.1, 0.2, 0.15])
    assert trace.told() == {"learning_rate": ([1.0, 2.0, 3.0], [0.1, 0.2, 0.15])}


@pytest.mark.parametrize("rates", [[], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0], [math.nan, -1.0, math.inf, None]])
def test_a_rate_that_says_nothing_is_not_told(rates):
    trace = traced(range(1, len(rates) + 1), rates)
    assert trace.told() == {}
    assert trace.notes() == ()


def test_memory_is_bounded_and_the_schedule_stays():
    joules = np.cumsum(np.random.default_rng(0).exponential(size=100_000))
    rates = 1e-3 * (0.55 + 0.45 * np.cos(np.pi * joules / joules[-1]))
    trace = traced(joules, rates.tolist())
    assert LIMIT / 4 < len(trace.points) <= LIMIT
    (told,) = trace.told().values()
    thinned, whole = build(*told), build(joules, rates)
    at = np.linspace(0.0, joules[-1], 500)
    assert thinned.learned_at(at) == pytest.approx(whole.learned_at(at), rel=2e-3, abs=joules[-1] * 1e-3)
    assert thinned.progress_at(at) == pytest.approx(whole.progress_at(at), abs=5e-3)
    assert told[0][-1] == joules[-1]


def test_a_jump_stays_a_jump():
    joules = np.arange(1.0, 50_001.0)
    trace = traced(joules, np.where(joules < 20_000, 1.0, 0.1).tolist())
    x, r = map(np.array, trace.told()["learning_rate"])
    assert x[r < 1.0][0] == pytest.approx(20_000, rel=5e-3)


def test_a_plan_goes_on_from_the_record_at_the_recent_pace():
    joules, rates = halfway(DOWN).told()["planned_learning_rate"]
    assert joules[:500] == halfway(None).told()["learning_rate"][0]
    assert joules[-1] == pytest.approx(750.0 + 500 * 2.0)
    assert (rates[0], rates[-1]) == (1.0, 0.0)
    assert halfway(DOWN).notes() == ()


def test_where_no_rate_is_recorded_the_plan_stands_for_the_past_too():
    told = halfway(DOWN, [None] * 500).told()["planned_learning_rate"]
    assert np.array(told) == pytest.approx(np.array(halfway(DOWN).told()["planned_learning_rate"]))


def test_a_rate_that_never_changes_is_a_plan():
    never = RatePlan(steps=(1,), rates=(0.1,), source="planned_learning_rate")
    joules, rates = halfway(never, [0.1] * 500).told()["planned_learning_rate"]
    assert joules[-1] > 750.0
    assert set(rates) == {0.1}


def test_a_plan_that_the_record_contradicts_is_left_aside_and_said():
    trace = halfway(DOWN, [0.5] * 500)
    assert trace.told() == {}
    (said,) = trace.notes()
    assert said == (
        "The plan of the learning rate (planned_learning_rate) is left aside: "
        "at step 450 the rate was 0.5 and not 0.5506."
    )


def test_a_step_more_or_less_is_no_contradiction():
    jump = RatePlan(steps=(1, 250, 251, 1000), rates=(1.0, 1.0, 0.1, 0.1), source="planned_learning_rate")
    rates = [jump.rate_at(step - 1) for step in range(1, 501)]
    assert list(halfway(jump, rates).told()) == ["planned_learning_rate"]


def test_a_run_that_goes_on_from_another_counts_on():
    trace = RateTrace(DOWN)
    trace.before = 400
    for step in range(1, 101):
        trace.add(2.0 * step, DOWN.rate_at(400 + step), step)
    joules, rates = trace.told()["planned_learning_rate"]
    assert joules[-1] == pytest.approx(200.0 + 500 * 2.0)
    assert (rates[0], rates[-1]) == (DOWN.rate_at(401), 0.0)


def test_a_plan_that_has_been_carried_out_says_nothing_of_the_future():
    plan = RatePlan(steps=(1, 500), rates=(1.0, DOWN.rate_at(500)), source="planned_learning_rate")
    assert list(halfway(plan).told()) == ["learning_rate"]
    assert halfway(plan).notes() == ()


def test_a_plan_shorter_than_the_run_is_said():
    plan = RatePlan(steps=(1, 400), rates=(1.0, 0.6), source="planned_learning_rate")
    assert list(halfway(plan).told()) == ["learning_rate"]
    assert halfway(plan).notes() == (
        "The plan of the learning rate ends at step 400 and the run went on to step 500.",
    )


def test_before_the_first_step_a_plan_says_nothing_yet():
    assert traced([], [], DOWN).notes() == ()
