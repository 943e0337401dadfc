"""Interpolated forecasts of many targets agree with those of each alone."""

import math

import pytest

from profiler.forecasting import fit_curve
from profiler.forecasting.inverse import Inverse

NEAR = 0.005
"""Part by which joules may differ up to a hundred times the energy spent."""


def close(one, other, limit):
    if math.isinf(one) or math.isinf(other) or max(one, other) > limit:
        return max(one, other) > limit
    return one == pytest.approx(other, rel=NEAR)


@pytest.fixture
def fit(noisy_curve):
    return fit_curve(*noisy_curve)


def test_answers_agree_with_those_of_the_fit(fit):
    inverse, limit = Inverse(fit=fit), 100.0 * fit.joules
    bottom = fit.floor.low - 0.1
    for part in range(61):
        loss = fit.first_level + (bottom - fit.first_level) * part / 60
        quick, slow = inverse.joules_at(loss), fit.joules_at(loss)
        for end in ("low", "median", "high"):
            assert close(getattr(quick, end), getattr(slow, end), limit), (loss, end)
        assert quick.p_unreachable == pytest.approx(slow.p_unreachable, abs=0.02)
        assert inverse.p_within_horizon(loss) == pytest.approx(slow.p_within(10.0), abs=0.02)
        assert (quick.verdict is slow.verdict) or abs(slow.p_unreachable - 0.5) < 0.02


@pytest.mark.parametrize("loss", [5.0, 0.0, -1.0])
def test_certain_answers_are_those_of_the_fit(fit, loss):
    assert Inverse(fit=fit).joules_at(loss) == fit.joules_at(loss)


def test_learning_rate_and_lower_bound(noisy_curve):
    joules, values = noisy_curve
    rate = 1e-3 * (1.0 - 0.5 * joules / joules[-1])
    fit = fit_curve(joules, values, learning_rate=rate, lower_bound=1.0)
    inverse = Inverse(fit=fit)
    for loss in (2.15, 2.0, 1.7):
        quick, slow = inverse.joules_at(loss), fit.joules_at(loss)
        assert close(quick.median, slow.median, 100.0 * fit.joules)
        assert quick.p_unreachable == pytest.approx(slow.p_unreachable, abs=0.03)
    assert inverse.joules_at(0.9).certain


def test_rising_metric(noisy_curve):
    joules, values = noisy_curve
    fit = fit_curve(joules, 1.0 - values / 10.0, goal="max", best=1.0)
    quick, slow = Inverse(fit=fit).joules_at(fit.level + 0.01), fit.joules_at(fit.level + 0.01)
    assert close(quick.median, slow.median, 100.0 * fit.joules)


def test_levels_and_energies_have_equal_length(fit):
    inverse = Inverse(fit=fit)
    assert len(inverse.joules) == len(inverse.levels)
    assert inverse.joules[-1] == math.inf
    medians = [level.median for level in inverse.levels]
    assert medians == sorted(medians, reverse=True)
    assert max(inverse.joules[:-1]) >= 1e59
