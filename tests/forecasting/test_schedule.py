import math

import numpy as np
import pytest

from profiler.errors import UsageError
from profiler.forecasting import CurveBins, fit_bins, fit_curve
from profiler.forecasting.schedule import Annealed, build
from profiler.records import Verdict

JOULES = np.arange(1.0, 2001.0) * 10.0


def cosine(joules):
    return 1e-3 * 0.5 * (1.0 + np.cos(np.pi * np.minimum(joules / JOULES[-1], 1.0)))


def trained(rate, joules=JOULES, noise=0.003):
    """Return a loss that follows S1 and drops by 6 % with a full anneal."""
    schedule = build(joules, rate)
    learned = schedule.learned_at(joules)
    rng = np.random.default_rng(0)
    log_loss = np.log(2.0 + 1.5 * (learned / learned[-1]) ** -0.4) - 0.06 * schedule.progress_at(joules)
    return np.exp(log_loss + noise * rng.standard_normal(joules.size))


def test_constant_rate_learns_in_proportion_without_annealing():
    schedule = build([1.0, 100.0], [3e-4, 3e-4])
    assert schedule.learned_at(np.array([50.0])) == pytest.approx(50.0)
    assert schedule.learned_at(np.array([300.0])) == pytest.approx(300.0)
    assert schedule.progress_at(np.array([100.0])) == pytest.approx(0.0)


def test_anneal_progress_rises_to_one_and_does_not_fall():
    x = np.linspace(0.0, 1000.0, 5000)
    down_and_up = np.interp(x, [0.0, 300.0, 500.0, 510.0, 700.0, 1000.0], [1.0, 1.0, 0.0, 0.0, 1.0, 1.0])
    progress = build(x, down_and_up).progress_at(x)
    assert np.all(np.diff(progress) >= -1e-12)
    assert progress[-1] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_a_path_to_zero_takes_the_progress_of_the_same_plan(rate):
    """The closed form of an anneal from now on agrees with the sum over a plan that anneals from now on."""
    last, memory = 1000.0, 20.0
    plan = build([0.0, last, 2.0 * last], [1.0, rate, 0.0])
    path = Annealed(rate=rate, learned=float(plan.learned_at(np.array([last]))[0]), memory=memory, last=last)
    ahead = path.at(np.array([math.log(2.0)]))[1][0]
    assert plan.memory == pytest.approx(memory)
    settled = plan.progress_at(np.array([2.0 * last]))[0] - (1.0 - math.sqrt(rate))
    assert ahead == pytest.approx(settled, abs=0.01)


def test_most_of_a_gain_comes_at_the_end_of_an_anneal():
    plan = build([0.0, 1000.0, 2000.0], [1.0, 1.0, 0.0])
    half = plan.progress_at(np.array([1500.0, 2000.0]))
    assert half[0] == pytest.approx(1.0 - math.sqrt(0.5), abs=0.02)
    assert half[1] > 0.85


def test_warm_up_is_no_annealing():
    schedule = build([0.0, 50.0, 100.0], [0.0, 1.0, 1.0])
    assert schedule.progress_at(np.array([100.0])) == pytest.approx(0.0)


@pytest.mark.parametrize("still", [0, 5, 100])
def test_warm_up_may_start_at_a_rate_of_zero(still):
    steps = np.arange(JOULES.size)
    rate = 1e-3 * np.clip((steps - still) / 200.0, 0.0, 1.0)
    fit = fit_curve(300.0 + JOULES, trained(np.full(JOULES.size, 1e-3)), learning_rate=rate)
    assert fit.scenarios == ("held", "annealed")
    assert fit.loss_at(2.0 * fit.joules).median < fit.level


def test_known_plan_improves_the_forecast():
    rate = cosine(JOULES)
    loss = trained(rate)
    seen = 0.5 * JOULES[-1] >= JOULES
    informed = fit_curve(
        JOULES[seen], loss[seen], learning_rate=rate[seen], planned_learning_rate=(JOULES, rate)
    )
    uninformed = fit_curve(JOULES[seen], loss[seen])
    truth = float(np.exp(np.log(loss[-40:]).mean()))
    assert informed.scenarios == ("planned", "held", "annealed")
    assert uninformed.scenarios == ("onward",)
    end = float(JOULES[-20])
    assert informed.loss_at(end).median == pytest.approx(truth, rel=0.02)
    assert abs(informed.loss_at(end).median - truth) < abs(uninformed.loss_at(end).median - truth)


def test_scenarios_start_at_the_present_level():
    rate = np.full(JOULES.size, 1e-3)
    fit = fit_curve(JOULES, trained(rate), learning_rate=rate)
    assert fit.scenarios == ("held", "annealed")
    for scenario in fit.scenarios:
        near = fit.loss_at(fit.joules * (1.0 + 1e-9), scenario=scenario)
        assert near.median == pytest.approx(fit.level, rel=1e-6)
    later = 2.0 * fit.joules
    assert fit.loss_at(later, scenario="annealed").median < fit.loss_at(later, scenario="held").median


def test_inverse_holds_in_every_scenario():
    rate = cosine(2.0 * JOULES / 3.0)
    fit = fit_curve(JOULES, trained(rate), learning_rate=rate)
    for scenario in fit.scenarios:
        there = fit.loss_at(3.0 * fit.joules, scenario=scenario)
        back = fit.joules_at(there.median, scenario=scenario)
        assert back.median == pytest.approx(3.0 * fit.joules, rel=1e-6)


def test_plan_is_stretched_beyond_its_end():
    rate = cosine(JOULES)
    seen = 0.5 * JOULES[-1] >= JOULES
    fit = fit_curve(JOULES[seen], trained(rate)[seen], planned_learning_rate=(JOULES, rate))
    assert fit.planned_joules == JOULES[-1]
    at_the_end, later = fit.loss_at(fit.planned_joules), fit.loss_at(3.0 * fit.planned_joules)
    assert fit.loss_at(fit.planned_joules * 1.000001).median == pytest.approx(at_the_end.median, rel=1e-4)
    assert later.median < 0.99 * at_the_end.median
    lower = fit.joules_at(0.97 * at_the_end.median)
    assert lower.verdict is Verdict.REACHABLE
    assert fit.planned_joules < lower.median < 3.0 * fit.planned_joules


def test_long_plan_resolves_its_start():
    early = np.arange(1.0, 1001.0)
    rate = np.where(early <= 500.0, 0.1, 1.0)
    plan = build([*early, 1e6], [*rate, 1.0])
    exact = np.where(early <= 500.0, 0.1 * early, 50.0 + early - 500.0)
    assert plan.learned_at(early) == pytest.approx(exact, rel=0.05)


def test_streamed_curve_accepts_a_plan():
    rate = cosine(JOULES)
    loss = trained(rate)
    bins = CurveBins()
    for x, y in zip(JOULES[:1000].tolist(), loss[:1000].tolist(), strict=True):
        bins.add(x, y)
    streamed = fit_bins(bins, planned_learning_rate=(JOULES, rate))
    fitted = fit_curve(JOULES[:1000], loss[:1000], planned_learning_rate=(JOULES, rate))
    assert streamed.loss_at(15_000.0) == fitted.loss_at(15_000.0)


def test_plan_shorter_than_the_run_holds_its_last_rate():
    rate = np.full(500, 1e-3)
    fit = fit_curve(JOULES, trained(np.full(JOULES.size, 1e-3)), planned_learning_rate=(JOULES[:500], rate))
    assert fit.planned_joules is None
    assert fit.scenarios == ("held", "annealed")
    assert "schedule of the learning rate has ended" in fit.notes[0]
    assert all(math.isfinite(test.forecast.median) for test in fit.backtest)
    assert math.isfinite(fit.loss_at(1e6).median)


@pytest.mark.parametrize("rate", [[0.0, 0.0], [math.nan, math.nan], [-1.0, 1.0], [1.0]])
def test_invalid_rates_are_rejected(rate):
    with pytest.raises(UsageError, match="learning rate"):
        build([1.0, 2.0], rate)


def test_unknown_scenario_is_rejected(noisy_curve):
    with pytest.raises(UsageError, match="onward"):
        fit_curve(*noisy_curve).loss_at(1.0, scenario="held")
