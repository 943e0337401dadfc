"""Values at the best possible one, which have no logarithm."""

import math

import numpy as np
import pytest

from profiler.forecasting import fit_curve
from profiler.forecasting.allocation import allocate
from profiler.records import CurveState, Verdict


def test_zeros_before_values_that_are_not_finite_have_a_state():
    x = np.arange(1.0, 101.0)
    for options, start in (({}, 0.0), ({"goal": "max", "best": 1.0}, 1.0)):
        fit = fit_curve(x, np.where(x < 20.0, start, math.nan), **options)
        assert fit.state is CurveState.DIVERGED
        assert "best level" not in fit.state_reason


def test_a_loss_that_is_always_zero_has_reached_every_target():
    x = np.arange(1.0, 101.0)
    fit = fit_curve(x, np.zeros(x.size))
    assert (fit.joules_at(0.5).verdict, fit.joules_at(0.5).median) == (Verdict.REACHED, pytest.approx(1.0))
    assert fit.joules_at(0.0).verdict is Verdict.REACHED
    assert fit.p_unreachable(0.5) == 0.0
    for joules in (50.0, 100.0, 200.0, math.inf):
        assert fit.loss_at(joules).median == 0.0
    assert [one.level.median for one in allocate([fit, fit], 300.0)] == [0.0, 0.0]


def test_the_horizon_of_a_loss_that_became_zero_counts_to_its_end():
    x = np.arange(1.0, 101.0)
    fit = fit_curve(x, np.maximum(1.0 - x / 50.0, 0.0))
    assert fit.horizon_joules == pytest.approx(1000.0)
    assert 45.0 < fit.joules_at(1e-6).median <= 51.0


def test_a_curve_that_is_no_progress_measure_has_no_price_of_a_percent():
    price = fit_curve(np.arange(1.0, 101.0), np.sin(np.arange(100.0))).price_of_percent()
    assert (price.low, price.high) == (0.0, math.inf)
    assert math.isnan(price.median)


def test_points_beyond_the_best_accuracy_are_not_called_zero():
    x = np.arange(1.0, 201.0)
    accuracy = np.where(x % 10 == 0, 1.01, 1.0 - 0.3 * x**-0.3)
    (note, *_) = fit_curve(x, accuracy, goal="max", best=1.0).notes
    assert note == "20 points were excluded: 20 beyond the best value, 1."


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_zeros_between_other_values_count_in_the_level(share, seed):
    rng = np.random.default_rng(seed)
    x = np.arange(1.0, 3001.0)
    losses = np.where(rng.random(x.size) < share, 0.0, np.exp(0.1 * rng.standard_normal(x.size)))
    fit = fit_curve(x, losses)
    assert fit.dropped.total < 10
    assert fit.level == pytest.approx(1.0 - share, rel=0.12)
    assert fit.joules_at(1.3 * (1.0 - share)).verdict is Verdict.REACHED
