"""Probability of reaching a target within a multiple of the present energy."""

import itertools
import math

import numpy as np
import pytest

from profiler.errors import UsageError
from profiler.forecasting import fit_curve
from profiler.records import Verdict


@pytest.fixture
def fit(noisy_curve):
    return fit_curve(*noisy_curve)


def test_probability_rises_with_the_energy_to_that_of_ever_reaching_it(fit):
    forecast = fit.joules_at(fit.level * 0.95)
    chances = [forecast.p_within(ratio) for ratio in np.linspace(1.0, 10.0, 30)]
    assert all(b >= a for a, b in itertools.pairwise(chances))
    assert 0.0 <= chances[0] < 0.5
    assert chances[-1] <= 1.0 - forecast.p_unreachable + 1e-9


def test_probability_is_half_at_the_median(fit):
    target = fit.loss_at(3.0 * fit.joules).median
    assert fit.joules_at(target).p_within(3.0) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("ratio", [1.5, 3.0, 10.0])
def test_probability_agrees_with_the_interval_of_the_level(fit, ratio):
    there = fit.loss_at(ratio * fit.joules)
    assert fit.joules_at(there.low).p_within(ratio) == pytest.approx(0.05, abs=0.005)
    assert fit.joules_at(there.high).p_within(ratio) == pytest.approx(0.95, abs=0.005)


def test_reached_target_is_certain(fit):
    assert fit.joules_at(fit.level * 1.5).p_within(1.0) == 1.0


def test_excluded_target_is_impossible(fit):
    assert fit.joules_at(-1.0).p_within(10.0) == 0.0


def test_flat_curve_reaches_nothing(fit):
    x = np.arange(1.0, 1001.0)
    forecast = fit_curve(x, np.full(1000, 2.0)).joules_at(1.9)
    assert forecast.verdict is Verdict.UNREACHABLE
    assert forecast.p_within(10.0) == pytest.approx(0.0, abs=1e-12)


def test_unknown_without_a_forecast():
    assert math.isnan(fit_curve([1.0, 2.0], [3.0, 2.0]).joules_at(1.0).p_within(2.0))


@pytest.mark.parametrize("ratio", [0.5, 11.0, math.nan])
def test_ratio_is_limited_to_the_horizon(fit, ratio):
    with pytest.raises(UsageError, match="between 1 and 10"):
        fit.joules_at(1.0).p_within(ratio)
