"""Joules before the first step shift every answer by their amount and change nothing else."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.errors import UsageError
from profiler.forecasting import CurveBins, fit_bins, fit_curve, fit_frontier
from profiler.forecasting.inverse import Inverse
from profiler.forecasting.lr_trace import RateTrace
from profiler.lr_plan import RatePlan
from tests.support.synthetic_curves import power_law

pytestmark = pytest.mark.slow

SETUPS = st.integers(1, 10**6).map(float)
"""Whole numbers, so that rounding moves no point to another bin."""
X = np.arange(1.0, 401.0) * 2.0 + 0.75
Y = power_law(X) * np.exp(0.02 * np.random.default_rng(3).standard_normal(X.size))
RATE = 1e-3 * (1.0 - X / 2000.0)
PLAN = (np.array([0.0, 1600.0]), np.array([1e-3, 0.0]))
TARGETS = (2.6, 2.15, 1.7, 1.0, -1.0)
KNOWN = ("nothing", "rate", "plan")


def rate_kwargs(known, setup=0.0):
    """Return the learning-rate arguments of a fit with a setup before it."""
    rate = {"learning_rate": RATE} if known == "rate" else {}
    return {"planned_learning_rate": (setup + PLAN[0], PLAN[1])} if known == "plan" else rate


FITS = {known: fit_curve(X, Y, **rate_kwargs(known)) for known in KNOWN}


def same(value, expected, scale):
    """Whether values are equal up to the rounding of totals."""
    return value == expected or value == pytest.approx(expected, rel=1e-6, abs=1e-9 * scale)


@pytest.mark.parametrize("known", KNOWN)
@settings(max_examples=3, deadline=None)
@given(setup=SETUPS)
def test_setup_shifts_every_answer_and_changes_nothing_else(known, setup):
    plain, fit = FITS[known], fit_curve(setup + X, Y, origin_joules=setup, **rate_kwargs(known, setup))
    scale = setup + plain.joules
    assert (fit.origin_joules, fit.level) == (setup, pytest.approx(plain.level))
    assert same(fit.joules, setup + plain.joules, scale)
    assert same(fit.horizon_joules, setup + plain.horizon_joules, scale)
    assert (fit.planned_joules is None) == (plain.planned_joules is None)
    assert plain.planned_joules is None or same(fit.planned_joules, setup + plain.planned_joules, scale)
    assert fit.curve.joules == pytest.approx(setup + plain.curve.joules)
    assert fit.scenarios == plain.scenarios
    assert [test.share for test in fit.backtest] == pytest.approx([test.share for test in plain.backtest])
    assert fit.floor.median == pytest.approx(plain.floor.median, rel=1e-6)
    assert fit.notes == plain.notes
    for scenario in fit.scenarios:
        for target in TARGETS:
            answer, expected = (one.joules_at(target, scenario=scenario) for one in (fit, plain))
            assert answer.verdict is expected.verdict
            assert answer.certain == expected.certain
            assert answer.p_unreachable == pytest.approx(expected.p_unreachable, abs=1e-6)
            assert fit.p_unreachable(target) == pytest.approx(plain.p_unreachable(target), abs=1e-6)
            for end in ("low", "median", "high"):
                assert same(getattr(answer, end), setup + getattr(expected, end), scale)
            assert same(answer.energy_ratio, (setup + expected.median) / (setup + plain.joules), 1.0)
        for joules in (2.0, 100.0, 3000.0, math.inf):
            level, expected = (
                one.loss_at(at, scenario=scenario) for one, at in ((fit, setup + joules), (plain, joules))
            )
            for end in ("low", "median", "high"):
                assert getattr(level, end) == pytest.approx(getattr(expected, end), rel=1e-6)


@pytest.mark.parametrize("known", KNOWN)
@settings(max_examples=3, deadline=None)
@given(setup=SETUPS)
def test_price_of_a_percent_does_not_depend_on_the_setup(known, setup):
    plain, fit = FITS[known], fit_curve(setup + X, Y, origin_joules=setup, **rate_kwargs(known, setup))
    scale = setup + plain.joules
    for end in ("median", "high"):
        assert same(getattr(fit.price_of_percent(), end), getattr(plain.price_of_percent(), end), scale)


@pytest.mark.parametrize("setup", [3.0, 2e3, 1e6])
def test_inverse_shifts_with_the_setup(setup):
    plain, moved = (Inverse(fit=fit_curve(s + X, Y, origin_joules=s)) for s in (0.0, setup))
    for target in TARGETS:
        answer, expected = moved.joules_at(target), plain.joules_at(target)
        assert answer.verdict is expected.verdict
        assert answer.p_unreachable == pytest.approx(expected.p_unreachable, abs=1e-6)
        assert same(answer.median, setup + expected.median, setup + 800.0)
        alone = moved.fit.joules_at(target)
        assert (answer.verdict, answer.median - setup) == (
            alone.verdict,
            pytest.approx(alone.median - setup, rel=3e-3),
        )


@settings(deadline=None)
@given(setup=st.floats(0.0, 1e6), data=st.data())
def test_streamed_points_have_the_same_origin(setup, data):
    gaps = data.draw(st.lists(st.floats(0.5, 50.0), min_size=12, max_size=40))
    x = setup + np.cumsum(gaps)
    y = power_law(x - setup + 1.0)
    bins = CurveBins(setup)
    for joules, value in zip(x.tolist(), y.tolist(), strict=True):
        bins.add(joules, value)
    one, other = fit_bins(bins), fit_curve(x, y, origin_joules=setup)
    assert (one.joules, one.level, one.origin_joules) == (other.joules, other.level, setup)
    assert bins.last_joules == x[-1]


def test_level_before_the_first_step_is_that_at_its_start():
    fit = fit_curve(1000.0 + X, Y, origin_joules=1000.0)
    assert fit.loss_at(10.0) == fit.loss_at(1000.0)


def test_points_before_the_first_step_are_excluded():
    fit = fit_curve([500.0, 1000.0, *(1000.0 + X)], [9.0, 9.0, *Y], origin_joules=1000.0)
    assert fit.dropped.nonpositive_joules == 2
    assert fit.level == FITS["nothing"].level


@pytest.mark.parametrize("wrong", ["3", None, math.nan, True])
def test_origin_must_be_a_number(wrong):
    with pytest.raises(UsageError, match="origin_joules must be a number"):
        fit_curve(X, Y, origin_joules=wrong)


def test_notes_give_joules_since_the_start():
    jumped = np.where(X > 400.0, Y * 2.0, Y * (X / 400.0) ** -0.3)
    notes = {setup: fit_curve(setup + X, jumped, origin_joules=setup).notes for setup in (0.0, 5000.0)}
    assert any("jumps" in note and "401 J" in note for note in notes[0.0])
    assert any("jumps" in note and "5.40 kJ" in note for note in notes[5000.0])


@pytest.mark.parametrize("setup", [0.0, 250.0, 1e5])
def test_frontier_counts_from_the_cheapest_setup(setup):
    other = power_law(X, floor=1.1, excess=1.3)
    plain = fit_frontier([(X, Y), (X, other)])
    runs = [fit_curve(setup + X, values, origin_joules=setup) for values in (Y, other)]
    frontier = fit_frontier(runs)
    for target in (2.4, 2.1, 1.9):
        answer, expected = frontier.joules_at(target), plain.joules_at(target)
        assert answer.verdict is expected.verdict
        assert answer.median - setup == pytest.approx(expected.median, rel=1e-3)


@given(setup=SETUPS, steps=st.integers(1, 9))
def test_setup_does_not_change_the_energy_of_future_steps(setup, steps):
    trace = RateTrace(RatePlan(steps=(0.0, 100.0), rates=(1.0, 0.0), source="test"))
    trace.origin_joules = setup
    for step in range(1, steps + 1):
        trace.add(setup + 2.0 * step, 1.0 - step / 100.0, step)
    assert trace.joules_at(100) == pytest.approx(setup + 200.0)
