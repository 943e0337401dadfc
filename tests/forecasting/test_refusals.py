import math

import numpy as np
import pytest

from profiler.errors import ForecastRefusedError, UsageError
from profiler.forecasting import CurveBins, Dropped, fit_bins, fit_curve
from tests.support.synthetic_curves import power_law

X = np.geomspace(1.0, 1000.0, 100)


def refused(x, y):
    with pytest.raises(ForecastRefusedError) as caught:
        fit_curve(x, y)
    assert caught.value.reason.endswith(".")
    assert caught.value.remedy.endswith(".")
    return caught.value


def test_no_points():
    assert refused([], []).code == "too_few_points"


def test_an_empty_stream_is_refused():
    with pytest.raises(ForecastRefusedError, match="No value was recorded"):
        fit_bins(CurveBins())


def test_only_nan():
    error = refused(X, np.full(100, math.nan))
    assert error.code == "nothing_finite"
    assert "None of 100 recorded values is finite" in error.reason
    assert "Train longer" not in error.remedy


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.0, -3.0])
def test_burst_of_unusable_values_is_excluded_and_counted(bad):
    y = power_law(X)
    burst = y.copy()
    burst[40:50] = bad
    fit = fit_curve(X, burst)
    assert fit.dropped.total == 10
    assert "10 points were excluded" in fit.notes[0]
    assert fit.level == pytest.approx(fit_curve(X, y).level, rel=0.01)


def test_points_at_zero_joules_are_excluded():
    fit = fit_curve(np.append(0.0, X), np.append(99.0, power_law(X)))
    assert fit.dropped == Dropped(nonpositive_joules=1)
    assert fit.first_level < 99.0


def test_order_and_repeats_do_not_matter():
    y = power_law(X)
    order = np.random.default_rng(0).permutation(100)
    one = fit_curve(X, y)
    other = fit_curve(np.tile(X[order], 2), np.tile(y[order], 2))
    assert other.loss_at(3000.0).median == pytest.approx(one.loss_at(3000.0).median, rel=0.01)


@pytest.mark.parametrize("target", [math.nan, "1.0", None, True, [1.0]])
def test_target_must_be_a_number(target, noisy_curve):
    fit = fit_curve(*noisy_curve)
    for method in (fit.joules_at, fit.loss_at, fit.p_unreachable):
        with pytest.raises(UsageError, match="must be a number"):
            method(target)


@pytest.mark.parametrize("joules", [0.0, -1.0, -math.inf])
def test_joules_must_be_positive(joules, noisy_curve):
    with pytest.raises(UsageError, match="positive"):
        fit_curve(*noisy_curve).loss_at(joules)


def test_invalid_arguments_are_rejected():
    with pytest.raises(UsageError, match="same length"):
        fit_curve([1.0, 2.0], [1.0])
    with pytest.raises(UsageError, match="between 0 and 1"):
        fit_curve(X, power_law(X), level=90)
    with pytest.raises(UsageError, match="not under the curve"):
        fit_curve(X, power_law(X), lower_bound=5.0)
