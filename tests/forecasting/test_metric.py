import numpy as np
import pytest

from profiler.errors import UsageError
from profiler.forecasting import CurveBins, fit_bins, fit_curve
from profiler.records import CurveState
from tests.support.synthetic_curves import power_law

X = np.linspace(1.0, 100.0, 300) * 1e3
ERROR = power_law(X, 0.1, 0.05, 0.5)


def test_an_accuracy_is_one_less_an_error():
    rising, falling = fit_curve(X, 1.0 - ERROR, goal="max", best=1.0), fit_curve(X, ERROR)
    assert rising.level == pytest.approx(1.0 - falling.level)
    ahead, error = rising.loss_at(3e5), falling.loss_at(3e5)
    assert ahead.low == pytest.approx(1.0 - error.high)
    assert ahead.high == pytest.approx(1.0 - error.low)
    assert rising.joules_at(0.86).median == pytest.approx(falling.joules_at(0.14).median)
    assert rising.floor.low <= rising.floor.median <= rising.floor.high <= 1.0


def test_a_streamed_accuracy_is_the_same():
    bins = CurveBins()
    for x, y in zip(X.tolist(), (1.0 - ERROR).tolist(), strict=True):
        bins.add(x, y)
    streamed = fit_bins(bins, goal="max", best=1.0)
    assert streamed.level == pytest.approx(fit_curve(X, 1.0 - ERROR, goal="max", best=1.0).level)


def test_a_streamed_accuracy_reaches_the_best_value_or_exceeds_it():
    values = np.where(X > 60e3, 1.0, 1.0 - ERROR)
    bins, beyond = CurveBins(), CurveBins()
    bins.extend(X.tolist(), values.tolist(), [1.0] * X.size)
    assert fit_bins(bins, goal="max", best=1.0).state is CurveState.FLAT
    beyond.extend(X.tolist(), (100.0 * values).tolist(), [1.0] * X.size)
    with pytest.raises(UsageError, match="is exceeded by 300 of 300 values"):
        fit_bins(beyond, goal="max", best=1.0)


def test_an_unknown_level_of_an_accuracy_is_not_above_the_best_value():
    ahead = fit_curve(X[:3], 1.0 - ERROR[:3], goal="max", best=1.0).loss_at(3e5)
    assert (ahead.low, ahead.high) == (-np.inf, 1.0)
    assert np.isnan(ahead.median)


def test_target_beyond_the_best_value_is_certainly_unreachable():
    forecast = fit_curve(X, 1.0 - ERROR, goal="max", best=1.0).joules_at(1.01)
    assert forecast.certain
    assert "best possible value is 1" in forecast.reason


@pytest.mark.parametrize(
    "options",
    [{"goal": "up"}, {"goal": "max"}, {"best": 1.0}, {"goal": "max", "best": 1.0, "lower_bound": 0.1}],
)
def test_contradicting_arguments_are_rejected(options):
    with pytest.raises(UsageError):
        fit_curve(X, ERROR, **options)


def test_prices_agree_with_the_forecast():
    fit = fit_curve(X, ERROR)
    percent = fit.price_of_percent()
    assert percent.median == pytest.approx(fit.joules_at(0.99 * fit.level).median - fit.joules)
    assert 0.0 <= percent.low <= percent.median <= percent.high
