"""The learning rate over joules, thinned while recording, with its plan."""

import math

import numpy as np
import pytest

from profiler import lr_plan
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


def test_few_points_are_kept_unchanged():
    trace = traced([1.0, 2.0, 3.0], [0.1, 0.2, 0.15])
    assert trace.as_fit_kwargs() == {"learning_rate": ([1.0, 2.0, 3.0], [0.1, 0.2, 0.15])}


@pytest.mark.parametrize("rates", [[], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0], [math.nan, -1.0, math.inf, None]])
def test_uninformative_rate_gives_no_arguments(rates):
    trace = traced(range(1, len(rates) + 1), rates)
    assert trace.as_fit_kwargs() == {}
    assert trace.notes() == ()


def test_memory_is_bounded_and_the_schedule_stays():
    joules = np.cumsum(np.random.default_rng(0).exponential(size=100_000))
    rates = 1e-3 * (0.55 + 0.45 * np.cos(np.pi * joules / joules[-1]))
    trace = traced(joules, rates.tolist())
    assert LIMIT / 4 < len(trace.points) <= LIMIT
    (rates_kwarg,) = trace.as_fit_kwargs().values()
    thinned, whole = build(*rates_kwarg), build(joules, rates)
    at = np.linspace(0.0, joules[-1], 500)
    assert thinned.learned_at(at) == pytest.approx(whole.learned_at(at), rel=2e-3, abs=joules[-1] * 1e-3)
    assert thinned.progress_at(at) == pytest.approx(whole.progress_at(at), abs=5e-3)
    assert rates_kwarg[0][-1] == joules[-1]


def test_jump_is_preserved():
    joules = np.arange(1.0, 50_001.0)
    trace = traced(joules, np.where(joules < 20_000, 1.0, 0.1).tolist())
    x, r = map(np.array, trace.as_fit_kwargs()["learning_rate"])
    assert x[r < 1.0][0] == pytest.approx(20_000, rel=5e-3)


def test_plan_continues_at_the_recent_energy_per_step():
    joules, rates = halfway(DOWN).as_fit_kwargs()["planned_learning_rate"]
    assert joules[:500] == halfway(None).as_fit_kwargs()["learning_rate"][0]
    assert joules[-1] == pytest.approx(750.0 + 500 * 2.0)
    assert (rates[0], rates[-1]) == (1.0, 0.0)
    assert halfway(DOWN).notes() == ()


def test_plan_replaces_unrecorded_rates():
    rates = halfway(DOWN, [None] * 500).as_fit_kwargs()["planned_learning_rate"]
    assert np.array(rates) == pytest.approx(np.array(halfway(DOWN).as_fit_kwargs()["planned_learning_rate"]))


def test_constant_plan():
    never = RatePlan(steps=(1,), rates=(0.1,), source="planned_learning_rate")
    joules, rates = halfway(never, [0.1] * 500).as_fit_kwargs()["planned_learning_rate"]
    assert joules[-1] > 750.0
    assert set(rates) == {0.1}


def test_contradicted_plan_is_ignored_with_a_note():
    trace = halfway(DOWN, [0.5] * 500)
    assert trace.as_fit_kwargs() == {}
    (note,) = trace.notes()
    assert note == (
        "The plan of the learning rate (planned_learning_rate) is ignored: "
        "at step 450 the rate was 0.5, not 0.5506."
    )


def test_offset_of_one_step_is_no_contradiction():
    jump = RatePlan(steps=(1, 250, 251, 1000), rates=(1.0, 1.0, 0.1, 0.1), source="planned_learning_rate")
    rates = [jump.rate_at(step - 1) for step in range(1, 501)]
    assert list(halfway(jump, rates).as_fit_kwargs()) == ["planned_learning_rate"]


def test_resumed_run_continues_the_step_count():
    trace = RateTrace(DOWN)
    trace.before = 400
    for step in range(1, 101):
        trace.add(2.0 * step, DOWN.rate_at(400 + step), step)
    joules, rates = trace.as_fit_kwargs()["planned_learning_rate"]
    assert joules[-1] == pytest.approx(200.0 + 500 * 2.0)
    assert (rates[0], rates[-1]) == (DOWN.rate_at(401), 0.0)


def test_completed_plan_does_not_reach_ahead():
    plan = RatePlan(steps=(1, 500), rates=(1.0, DOWN.rate_at(500)), source="planned_learning_rate")
    assert list(halfway(plan).as_fit_kwargs()) == ["learning_rate", "schedule_ended"]
    declared = halfway(None)
    declared.total_steps = 500
    assert declared.as_fit_kwargs()["schedule_ended"]
    assert halfway(plan).notes() == ()


def test_plan_shorter_than_the_run_is_reported():
    plan = RatePlan(steps=(1, 400), rates=(1.0, 0.6), source="planned_learning_rate")
    assert list(halfway(plan).as_fit_kwargs()) == ["learning_rate"]
    assert halfway(plan).notes() == (
        "The plan of the learning rate ends at step 400, but the run has 500 steps; the rate after it is not known.",
    )


def test_plan_has_no_notes_before_the_first_step():
    assert traced([], [], DOWN).notes() == ()


def in_words(words, rates):
    return traced(range(1, len(rates) + 1), rates, lr_plan.in_words(words))


def cosine(step, total=1000, end=0.1, peak=3e-4, warm_up=0):
    if step <= warm_up:
        return peak * step / warm_up
    progress = (step - warm_up) / (total - warm_up)
    return peak * (end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * progress)))


def test_plan_in_words_is_scaled_to_the_recorded_peak():
    joules, rates = in_words(
        "cosine to 0.1 at 1000 steps", [cosine(step) for step in range(1, 501)]
    ).as_fit_kwargs()["planned_learning_rate"]
    assert joules[-1] == pytest.approx(1000.0)
    assert rates[-1] == pytest.approx(0.1 * 3e-4, rel=0.01)


def test_plan_in_words_need_not_mention_the_warm_up():
    trace = in_words("cosine to 0.1 at 1000 steps", [cosine(step, warm_up=30) for step in range(1, 501)])
    assert trace.notes() == ()
    assert "planned_learning_rate" in trace.as_fit_kwargs()


def test_contradicted_plan_in_words_is_ignored():
    trace = in_words("linear at 1000 steps", [3e-4] * 500)
    assert "planned_learning_rate" not in trace.as_fit_kwargs()
    assert "linear at 1000 steps" in trace.notes()[0]


@pytest.mark.parametrize(
    ("end", "shape"), [(0.0, "cosine"), (0.1, "cosine"), (0.0, "linear"), (0.25, "linear")]
)
@pytest.mark.parametrize("warm_up", [0, 50])
def test_decay_assigned_by_hand_is_recognised_given_the_total(end, shape, warm_up):
    def rate(step):
        if shape == "cosine" or step <= warm_up:
            return cosine(step, end=end, warm_up=warm_up)
        return 3e-4 * (1.0 - (1.0 - end) * (step - warm_up) / (1000 - warm_up))

    trace = traced(range(1, 501), [rate(step) for step in range(1, 501)])
    assert trace.guess() is None
    trace.total_steps = 1000
    joules, rates = trace.as_fit_kwargs()["planned_learning_rate"]
    assert joules[-1] == pytest.approx(1000.0)
    assert rates[-1] == pytest.approx(3e-4 * end, abs=3e-4 * 0.02)
    assert f"a {shape} decay to {100 * end:.0f} % of the peak at step 1,000" in trace.notes()[0]
    assert "is a guess" in trace.notes()[0]


@pytest.mark.parametrize(
    "rates",
    [
        [1.0] * 500,
        [1.0 if step < 250 else 0.1 for step in range(500)],
        [1.0 + 0.5 * math.sin(step / 20.0) for step in range(500)],
    ],
    ids=["constant", "step", "cyclic"],
)
def test_other_schedules_are_not_guessed(rates):
    trace = traced(range(1, 501), rates)
    trace.total_steps = 1000
    assert trace.guess() is None


@pytest.mark.parametrize("rates", [[0.1], [0.2, 0.1], [None], [math.nan], [-1.0], [0.2, None, 0.1]])
def test_columns_of_steps_agree_with_single_steps(rates):
    joules = np.cumsum(np.random.default_rng(0).exponential(size=3 * LIMIT)).tolist()
    cycle = [rates[k % len(rates)] for k in range(len(joules))]
    columns, steps = RateTrace(), list(range(1, len(joules) + 1))
    for first in range(0, len(joules), 700):
        part = slice(first, first + 700)
        columns.extend(joules[part], cycle[part], steps[part])
    points, arrays = traced(joules, cycle), RateTrace()
    arrays.extend_arrays(np.array(joules), np.array(cycle, dtype=float), np.array(steps))
    for name in ("points", "last", "lowest", "highest", "spacing"):
        assert repr(getattr(columns, name)) == repr(getattr(points, name))
        assert repr(getattr(arrays, name)) == repr(getattr(points, name))


@pytest.mark.parametrize("joules", [[], [1.0, 3.0, 2.0, 4.0], [1.0, math.nan, 2.0], [1.0, math.inf]])
def test_arrays_of_any_joules_agree_with_single_steps(joules):
    arrays, steps = RateTrace(), list(range(1, len(joules) + 1))
    arrays.extend_arrays(np.array(joules), np.full(len(joules), 0.1), np.array(steps, dtype=np.int64))
    points = traced(joules, [0.1] * len(joules))
    for name in ("points", "last", "lowest", "highest", "spacing"):
        assert repr(getattr(arrays, name)) == repr(getattr(points, name))


@pytest.mark.parametrize(
    ("steps", "refusal", "note"),
    [
        (12, "", "The run has 12 steps, more than the 10 of total_steps."),
        (10, "", ""),
        (8, "StepLR: why", "The rest of the learning rate is not known (StepLR: why)."),
    ],
)
def test_reasons_for_a_missing_plan_are_notes(steps, refusal, note):
    trace = RateTrace(None, 10)
    trace.refusal = refusal
    for step in range(1, steps + 1):
        trace.add(float(step), 0.1 if step < 5 else 0.01, step)
    assert "".join(trace.notes()) == note
