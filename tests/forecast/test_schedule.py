import math

import numpy as np
import pytest

from profiler.errors import UsageError
from profiler.forecast import CurveBins, fit_bins, fit_curve
from profiler.forecast.schedule import build

JOULES = np.arange(1.0, 2001.0) * 10.0


def cosine(joules):
    return 1e-3 * 0.5 * (1.0 + np.cos(np.pi * np.minimum(joules / JOULES[-1], 1.0)))


def trained(rate, joules=JOULES, noise=0.003):
    """A loss that follows the learned axis and drops by 6 % with a full anneal."""
    schedule = build(joules, rate)
    learned = schedule.learned_at(joules)
    rng = np.random.default_rng(0)
    log_loss = np.log(2.0 + 1.5 * (learned / learned[-1]) ** -0.4) - 0.06 * schedule.progress_at(joules)
    return np.exp(log_loss + noise * rng.standard_normal(joules.size))


def test_a_constant_rate_learns_in_proportion_and_never_anneals():
    schedule = build([1.0, 100.0], [3e-4, 3e-4])
    assert schedule.learned_at(np.array([50.0])) == pytest.approx(50.0)
    assert schedule.learned_at(np.array([300.0])) == pytest.approx(300.0)
    assert schedule.progress_at(np.array([100.0])) == pytest.approx(0.0)


def test_annealing_rises_to_one_and_does_not_fall_back():
    x = np.linspace(0.0, 1000.0, 5000)
    down_and_up = np.interp(x, [0.0, 300.0, 500.0, 700.0, 1000.0], [1.0, 1.0, 0.0, 1.0, 1.0])
    progress = build(x, down_and_up).progress_at(x)
    assert np.all(np.diff(progress) >= -1e-12)
    assert progress[-1] == pytest.approx(1.0, abs=0.01)


def test_warming_up_is_no_annealing():
    schedule = build([0.0, 50.0, 100.0], [0.0, 1.0, 1.0])
    assert schedule.progress_at(np.array([100.0])) == pytest.approx(0.0)


def test_knowing_the_plan_beats_not_knowing_it():
    rate = cosine(JOULES)
    loss = trained(rate)
    seen = 0.5 * JOULES[-1] >= JOULES
    told = fit_curve(JOULES[seen], loss[seen], learning_rate=rate[seen], planned_learning_rate=(JOULES, rate))
    untold = fit_curve(JOULES[seen], loss[seen])
    truth = float(np.exp(np.log(loss[-40:]).mean()))
    assert told.scenarios == ("planned", "held", "annealed")
    assert untold.scenarios == ("onward",)
    end = float(JOULES[-20])
    assert told.loss_at(end).median == pytest.approx(truth, rel=0.02)
    assert abs(told.loss_at(end).median - truth) < abs(untold.loss_at(end).median - truth)


def test_scenarios_start_where_the_curve_stands():
    rate = np.full(JOULES.size, 1e-3)
    fit = fit_curve(JOULES, trained(rate), learning_rate=rate)
    assert fit.scenarios == ("held", "annealed")
    for scenario in fit.scenarios:
        near = fit.loss_at(fit.joules * (1.0 + 1e-9), scenario=scenario)
        assert near.median == pytest.approx(fit.level, rel=1e-6)
    later = 2.0 * fit.joules
    assert fit.loss_at(later, scenario="annealed").median < fit.loss_at(later, scenario="held").median


def test_every_scenario_undoes_itself():
    rate = cosine(2.0 * JOULES / 3.0)
    fit = fit_curve(JOULES, trained(rate), learning_rate=rate)
    for scenario in fit.scenarios:
        there = fit.loss_at(3.0 * fit.joules, scenario=scenario)
        back = fit.joules_at(there.median, scenario=scenario)
        assert back.median == pytest.approx(3.0 * fit.joules, rel=1e-6)


def test_a_plan_that_ends_at_zero_leads_nowhere_beyond():
    rate = cosine(JOULES)
    seen = 0.5 * JOULES[-1] >= JOULES
    fit = fit_curve(JOULES[seen], trained(rate)[seen], planned_learning_rate=(JOULES, rate))
    assert fit.loss_at(1e20).median == pytest.approx(fit.loss_at(10.0 * JOULES[-1]).median, rel=1e-6)
    assert not math.isnan(fit.joules_at(0.5 * fit.level).median)


def test_a_streamed_curve_takes_a_plan_too():
    rate = cosine(JOULES)
    loss = trained(rate)
    bins = CurveBins()
    for x, y in zip(JOULES[:1000].tolist(), loss[:1000].tolist(), strict=True):
        bins.add(x, y)
    streamed = fit_bins(bins, planned_learning_rate=(JOULES, rate))
    fitted = fit_curve(JOULES[:1000], loss[:1000], planned_learning_rate=(JOULES, rate))
    assert streamed.loss_at(15_000.0) == fitted.loss_at(15_000.0)


def test_a_plan_shorter_than_the_run_holds_its_last_rate():
    rate = np.full(500, 1e-3)
    fit = fit_curve(JOULES, trained(np.full(JOULES.size, 1e-3)), planned_learning_rate=(JOULES[:500], rate))
    assert math.isfinite(fit.loss_at(1e6).median)


@pytest.mark.parametrize("rate", [[0.0, 0.0], [math.nan, math.nan], [-1.0, 1.0], [1.0]])
def test_rates_that_cannot_be(rate):
    with pytest.raises(UsageError, match="learning rate"):
        build([1.0, 2.0], rate)


def test_no_such_scenario(noisy_curve):
    with pytest.raises(UsageError, match="onward"):
        fit_curve(*noisy_curve).loss_at(1.0, scenario="held")
