"""The planned learning rate: accepted forms, storage and errors."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.config import ProfilerConfig
from profiler.errors import UsageError
from profiler.lr_plan import KNOTS, SECTION, RatePlan, declared

TOTAL = 100_000


def warmed_cosine(done):
    return 3e-4 * min((done + 1) / 2000, 1.0) * 0.5 * (1.0 + math.cos(math.pi * done / TOTAL))


def test_a_function_is_stored_in_a_few_knots():
    plan = declared(warmed_cosine, TOTAL)
    assert len(plan.steps) < 40
    off = max(abs(plan.rate_at(step) - warmed_cosine(step - 1)) for step in range(1, TOTAL + 1, 7))
    assert off < 3e-4 * 0.01
    assert (plan.steps[0], plan.last_step) == (1, TOTAL)


def test_a_sequence_holds_the_rate_of_each_step():
    plan = declared([0.1] * 300 + [0.01] * 300, None)
    assert plan.steps == (1, 300, 301, 600)
    assert [plan.rate_at(step) for step in (0, 1, 300, 301, 600, 900)] == [0.1, 0.1, 0.1, 0.01, 0.01, 0.01]


@pytest.mark.parametrize("rate", [1e-3, np.float32(1e-3), torch.tensor(1e-3), np.array(1e-3)])
def test_a_number_is_a_constant_rate(rate):
    plan = declared(rate, None)
    assert plan.last_step == math.inf
    assert plan.rate_at(10**9) == pytest.approx(1e-3)


def test_a_rough_rate_is_stored_as_closely_as_the_knots_allow():
    rng = np.random.default_rng(0)
    rates = rng.uniform(0.5, 1.0, 5000)
    plan = declared(rates, 5000)
    assert len(plan.steps) <= KNOTS
    assert all(0.5 <= rate <= 1.0 for rate in plan.rates)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=KNOTS))
def test_a_short_plan_is_stored_exactly(rates):
    plan = declared(rates, len(rates))
    for step, rate in enumerate(rates, start=1):
        assert plan.rate_at(step) == pytest.approx(rate, abs=1.001e-3 * max(rates))


def test_a_plan_survives_a_round_trip_through_json():
    plan = declared(warmed_cosine, TOTAL)
    config = ProfilerConfig(total_steps=TOTAL, planned_learning_rate=warmed_cosine)
    meta = json.loads(json.dumps(config.run_json_sections()))
    assert meta["total_steps"] == TOTAL
    assert RatePlan.read(meta) == plan
    assert RatePlan.read({}) is None


def test_no_plan_writes_no_key():
    assert ProfilerConfig().run_json_sections() == {}
    assert ProfilerConfig(total_steps=np.int64(5)).run_json_sections() == {"total_steps": 5}


@pytest.mark.parametrize(
    ("planned", "total", "printed"),
    [
        (None, 0, "positive whole number"),
        (None, 2.5, "positive whole number"),
        (None, "many", "positive whole number"),
        (warmed_cosine, None, "total_steps must be given as well"),
        (lambda done: 1 / 0, 10, "raised ZeroDivisionError"),
        (lambda done: -1.0, 10, "gives -1.0 for step 1; a learning rate is finite and not negative"),
        (lambda done: None, 10, "gives None for step 1, which is not a number"),
        (math.nan, None, "finite and not negative"),
        ([0.1, 0.2], 3, "holds 2 rates, one per step; there must be 3, as total_steps states"),
        ([0.1], None, "there must be two or more"),
        ([0.1, "much"], None, "gives 'much' for step 2"),
        (object(), None, "must be a rate, one rate per step or a function"),
    ],
)
def test_a_meaningless_plan_is_refused(planned, total, printed):
    with pytest.raises(UsageError, match=printed):
        ProfilerConfig(planned_learning_rate=planned, total_steps=total)


@pytest.mark.parametrize(
    ("words", "total", "expected"),
    [
        ("cosine to 0.1 at 100_000 steps", None, {1: 1.0, 50_000: 0.55, 100_000: 0.1}),
        ("linear", 1000, {1: 1.0, 500: 0.5, 1000: 0.0}),
        ("linear to 0.2 at 1,000 steps after 100 steps", None, {50: 0.5, 100: 1.0, 550: 0.6, 1000: 0.2}),
        ("WSD 80 %", 1000, {1: 1.0, 800: 1.0, 900: 0.5, 1000: 0.0}),
        ("constant", None, {1: 1.0, 10**6: 1.0}),
    ],
)
def test_plan_in_words(words, total, expected):
    plan = declared(words, total)
    assert plan.relative
    for step, rate in expected.items():
        assert plan.rate_at(step) == pytest.approx(rate, abs=0.01)
        assert plan.scaled(3e-4).rate_at(step) == pytest.approx(3e-4 * rate, abs=3e-6)
    again = RatePlan.read({SECTION: plan.section()})
    assert again == plan


@pytest.mark.parametrize(
    ("words", "total", "problem"),
    [
        ("fast", 100, "not understood"),
        ("cosine", None, "needs its length"),
        ("cosine at 100 steps", 200, "contradicts total_steps=200"),
        ("wsd", 100, "out of range"),
        ("cosine to 7", 100, "out of range"),
        ("linear after 200 steps", 100, "out of range"),
    ],
)
def test_wrong_words_are_rejected_with_an_example(words, total, problem):
    with pytest.raises(UsageError, match=problem) as caught:
        declared(words, total)
    assert "cosine to 0.1 at 100_000 steps" in str(caught.value)
