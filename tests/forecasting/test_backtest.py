import math
import pickle

import numpy as np
import pytest

from profiler.forecasting import fit_curve
from profiler.forecasting.backtest import Backtest, widened
from profiler.forecasting.metric import Metric
from profiler.forecasting.priors import ModelError
from profiler.records import Interval
from tests.support.synthetic_curves import power_law

X = np.geomspace(1.0, 1000.0, 300)
MODEL_ERROR = ModelError(below=0.5, above=0.1, least_below=0.002, least_above=0.001)


def bent(x, at=300.0, drop=0.5):
    """Return a curve that drops below its trend at ``at`` joules."""
    return power_law(x) * np.where(x < at, 1.0, 1.0 - drop)


def one_test(measured):
    return Backtest(
        share=0.5,
        forecast=Interval(low=1.9, median=2.0, high=2.1),
        measured=measured,
        error=math.log(measured / 2.0),
    )


def test_backtest_holds_for_a_curve_that_keeps_its_trend():
    fit = fit_curve(X, power_law(X))
    assert [round(test.share, 2) for test in fit.backtest] == pytest.approx([0.25, 0.5, 0.7], abs=0.02)
    for test in fit.backtest:
        assert test.held
        assert test.measured == fit.level
        assert abs(test.error) < 0.02
    assert fit.predictives["onward"].error == fit.untested["onward"].error


def test_missed_backtest_widens_the_interval():
    rng = np.random.default_rng(0)
    fit = fit_curve(X, bent(X) * np.exp(0.003 * rng.standard_normal(X.size)))
    first = fit.backtest[0]
    assert first.error < -0.4
    assert not first.held
    wide, narrow = fit.predictives["onward"].error, fit.untested["onward"].error
    assert wide.least_below > narrow.least_below
    assert wide.least_above == narrow.least_above
    assert fit.loss_at(2.0 * fit.joules).low < math.exp(
        fit.untested["onward"].log_quantile(math.log(2.0), 0.05)
    )


def test_inverse_holds_for_the_ends_of_a_widened_interval():
    fit = fit_curve(X, bent(X))
    there = fit.loss_at(3.0 * fit.joules)
    assert fit.joules_at(there.low).low == pytest.approx(3.0 * fit.joules, rel=1e-6)
    assert fit.joules_at(there.median).median == pytest.approx(3.0 * fit.joules, rel=1e-6)


@pytest.mark.parametrize("measured", [1.91, 2.0, 2.09])
def test_held_backtest_widens_nothing(measured):
    assert widened(MODEL_ERROR, [one_test(measured)], Metric()) == MODEL_ERROR


@pytest.mark.parametrize("measured", [1.2, 3.0])
def test_widened_interval_would_have_contained_the_measured_level(measured):
    test = one_test(measured)
    wide = widened(MODEL_ERROR, [test], Metric())
    if measured < 2.0:
        before, after, end = MODEL_ERROR.least_below, wide.least_below, 1.9
    else:
        before, after, end = MODEL_ERROR.least_above, wide.least_above, 2.1
    added = 1.6449**2 * (after**2 - before**2) * math.log2(1.0 / test.share)
    assert math.sqrt(math.log(end / 2.0) ** 2 + added) == pytest.approx(abs(test.error), rel=1e-4)


def test_misses_of_a_rising_metric_count_as_errors():
    test = Backtest(
        share=0.5, forecast=Interval(low=0.78, median=0.8, high=0.82), measured=0.9, error=math.log(0.1 / 0.2)
    )
    wide = widened(MODEL_ERROR, [test], Metric(best=1.0))
    assert wide.least_below > MODEL_ERROR.least_below
    assert wide.least_above == MODEL_ERROR.least_above


def test_short_curve_has_no_backtest():
    fit = fit_curve([1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 9.0], [5.0, 4.0, 3.5, 3.2, 3.0, 2.9, 2.8])
    assert fit.backtest == ()
    assert fit.predictives["onward"].error == fit.untested["onward"].error


def test_backtest_uses_the_recorded_learning_rate():
    rate = np.where(X < 500.0, 1.0, np.maximum(1.1 - (X - 500.0) / 500.0, 0.0))
    fit = fit_curve(X, power_law(X), learning_rate=rate)
    assert len(fit.backtest) == 3
    assert set(fit.predictives) == {"held", "annealed"}


def test_fit_can_be_pickled():
    fit = fit_curve(X, power_law(X))
    assert pickle.loads(pickle.dumps(fit)).backtest == fit.backtest
