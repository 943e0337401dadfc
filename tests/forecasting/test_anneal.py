"""Anneals of synthetic curves that follow the law of the forecast, so that their ends are known."""

import math

import numpy as np
import pytest

from profiler.forecasting import fit_curve
from profiler.forecasting.anneal import LENGTH, anneal_options

FLOOR, EXCESS, SLOPE, GAIN = 1.5, 2.0, 0.5, 0.08
LAST = 1000.0


def level(x, learned, taken):
    """The level of a power law in the learned energy, of which annealing to zero removes 8 %."""
    return (FLOOR + EXCESS * (learned / 100.0) ** -SLOPE) * math.exp(-GAIN * taken)


def end(start, stop, last=LAST):
    """The true level after holding the rate until ``start`` and annealing linearly to zero at ``stop``."""
    memories = (stop - start) / (0.01 * last)
    return level(stop, start + 0.5 * (stop - start), 1.0 + math.expm1(-memories) / memories)


@pytest.fixture
def constant():
    x = np.arange(1.0, LAST + 1.0)
    noise = np.exp(0.004 * np.random.default_rng(1).standard_normal(x.size))
    return x, np.array([level(at, at, 0.0) for at in x]) * noise


def test_a_constant_rate_has_the_three_choices(constant):
    options = anneal_options(fit_curve(*constant), is_constant=True, budget_joules=2 * LAST)
    assert [one.name for one in options] == ["now", "half", "held"]
    now, half, held = options
    assert (now.start_joules, now.end_joules) == pytest.approx((LAST, (1 + LENGTH) * LAST), rel=1e-3)
    assert (half.start_joules, half.end_joules) == pytest.approx((1.5 * LAST, 1.8 * LAST), rel=1e-3)
    assert now.more_joules < half.more_joules < held.more_joules
    # The gain of an anneal was never seen, so that the interval is wide; it must contain the truth.
    assert now.loss.low <= end(LAST, 1.2 * LAST) <= now.loss.high
    assert half.loss.low <= end(1.5 * LAST, 1.8 * LAST) <= half.loss.high
    assert held.loss.median == pytest.approx(level(0, 2 * LAST, 0.0), rel=0.01)
    assert now.loss.median < fit_curve(*constant).level
    assert half.loss.median < held.loss.median


def test_a_plan_gives_its_own_end(constant):
    plan = [0.0, LAST, 1.8 * LAST, 2 * LAST], [1.0, 1.0, 1.0, 0.0]
    options = anneal_options(fit_curve(*constant, planned_learning_rate=plan))
    assert [one.name for one in options] == ["now", "half", "planned"]
    planned = options[-1]
    assert planned.end_joules == pytest.approx(2 * LAST)
    assert planned.loss.low <= end(1.8 * LAST, 2 * LAST) <= planned.loss.high


@pytest.mark.parametrize(("floor", "gain", "width"), [(10.0, 0.05, 0.12), (0.2, 0.4, 3.0)])
def test_interval_allows_for_the_gain_that_curves_of_a_steepness_have(floor, gain, width):
    """A doubling gains 2 % of the first curve, as of a language model, and 27 % of the second, as of an image model."""
    x = np.arange(1.0, LAST + 1.0)
    noise = np.exp(0.004 * np.random.default_rng(1).standard_normal(x.size))
    y = (floor + EXCESS * (x / 100.0) ** -SLOPE) * noise
    fit = fit_curve(x, y, planned_learning_rate=([0.0, LAST, 2 * LAST], [1.0, 1.0, 0.0]))
    truth = (floor + EXCESS * (1.5 * LAST / 100.0) ** -SLOPE) * math.exp(-gain)
    found = fit.loss_at(2 * LAST)
    assert found.low <= truth <= found.high
    assert math.log(found.high / found.low) < width


def test_interval_of_images_allows_for_a_large_gain_of_a_gentle_curve():
    """A ResNet on ImageNet loses half of its loss to an anneal, and nothing in the curve shows it before."""
    x = np.arange(1.0, LAST + 1.0)
    y = (3.0 + (x / LAST) ** -SLOPE) * np.exp(0.004 * np.random.default_rng(1).standard_normal(x.size))
    plan = ([0.0, LAST, 2 * LAST], [1.0, 1.0, 0.0])
    text, images = (
        fit_curve(x, y, planned_learning_rate=plan, convolutional=is_one) for is_one in (False, True)
    )
    truth = (3.0 + 1.5**-SLOPE) * math.exp(-0.5)
    assert not text.loss_at(2 * LAST).low <= truth
    found = images.loss_at(2 * LAST)
    assert found.low <= truth <= found.high
    # Without an anneal the facts about the model change nothing.
    assert images.loss_at(2 * LAST, scenario="held").median == pytest.approx(
        text.loss_at(2 * LAST, scenario="held").median, rel=1e-3
    )


def test_an_anneal_fits_into_a_small_budget(constant):
    now, half, _ = anneal_options(fit_curve(*constant), is_constant=True, budget_joules=1.1 * LAST)
    assert now.end_joules == pytest.approx(1.1 * LAST)
    assert half.end_joules == pytest.approx(1.1 * LAST)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "unknown rate"),
        ({"is_constant": True, "budget_joules": LAST}, "spent budget"),
    ],
)
def test_no_choice_without_a_rate_or_a_budget(constant, options, message):
    assert anneal_options(fit_curve(*constant), **options) == (), message


def test_no_choice_for_a_curve_that_diverged_or_is_short(constant):
    x, y = constant
    for values in (np.where(x > 800, np.nan, y), y[::-1].copy()):
        assert anneal_options(fit_curve(x, values), is_constant=True) == ()
    assert anneal_options(fit_curve(x[:2], y[:2]), is_constant=True) == ()


def test_a_flat_curve_still_has_the_gain_of_an_anneal():
    x = np.arange(1.0, LAST + 1.0)
    y = 2.0 * np.exp(0.01 * np.random.default_rng(2).standard_normal(x.size))
    now, _, held = anneal_options(fit_curve(x, y), is_constant=True)
    assert held.loss.median == pytest.approx(2.0, rel=0.01)
    assert now.loss.low < held.loss.median
