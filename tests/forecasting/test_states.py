"""State of a curve: real cases that are not falling curves, faulty input, and error rates on synthetic curves."""

import math
import re

import numpy as np
import pytest

from profiler import load_run
from profiler.errors import UsageError
from profiler.forecasting import CurveBins, fit_bins, fit_curve
from profiler.forecasting.cleaning import clean
from profiler.forecasting.curve import bin_arrays, coarsen
from profiler.forecasting.metric import declared
from profiler.forecasting.states import assess, falls_throughout, student_cdf, student_quantile
from profiler.records import CurveState, Verdict
from tests.support.runs import write_run
from tests.support.synthetic_curves import mlp_losses, power_law

STEPS = np.arange(1.0, 3001.0)


def noisy(values, noise=0.01, seed=0):
    return values * np.exp(noise * np.random.default_rng(seed).standard_normal(np.size(values)))


def converged():
    """Return least squares that is at its exact optimum after 60 of 3,000 steps."""
    return STEPS, np.maximum(0.0860883, 5.0 * np.exp(-STEPS / 8.0))


def test_exact_optimum_is_flat():
    fit = fit_curve(*converged())
    assert fit.state is CurveState.FLAT
    assert fit.level == pytest.approx(0.0860883, rel=1e-9)
    assert "has not moved for 9" in fit.state_reason
    assert "below 0.08609 is out of reach at this learning rate" in fit.state_reason
    forecast = fit.joules_at(0.08602)
    assert (forecast.verdict, forecast.median) == (Verdict.UNREACHABLE, math.inf)
    assert forecast.p_unreachable > 0.95
    assert forecast.reason == fit.state_reason
    assert fit.backtest == ()
    assert fit.loss_at(10.0 * fit.joules).median == pytest.approx(fit.level)
    assert fit.price_of_percent().low == math.inf


def test_fine_tuning_that_learned_nothing_is_flat():
    rate = 1e-4 * (1.0 - STEPS / STEPS[-1])
    fit = fit_curve(STEPS, noisy(np.full(STEPS.size, 0.69), 0.01), learning_rate=rate)
    assert fit.state is CurveState.FLAT
    assert fit.joules_at(0.6).verdict is Verdict.UNREACHABLE


def test_noise_at_a_learning_rate_of_zero_is_flat(tmp_path):
    losses = noisy(np.full(300, 2.3), 0.01)
    path = write_run(
        tmp_path / "run", steps=300, loss=lambda k: float(losses[k - 1]), learning_rate=lambda _: 0.0
    )
    fit = load_run(path).fit()
    assert fit.state is CurveState.FLAT
    assert fit.joules_at(2.2).verdict is Verdict.UNREACHABLE


def test_interval_of_a_small_mlp_holds_where_it_goes_on_below_the_floor():
    """From 33 of 79 parts of its energy; at the end its loss is a half to a quarter of the loss there."""
    steps, held = np.arange(1.0, 1001.0), []
    seen = round(len(steps) * 33 / 79)
    for seed in range(8):
        losses = mlp_losses(seed, len(steps))
        end = float(np.exp(np.log(losses[-60:]).mean()))
        fit = fit_curve(steps[:seen], losses[:seen])
        level = fit.loss_at(steps[-1])
        held.append(fit.state is CurveState.TOO_EARLY or level.low <= end <= level.high)
        assert fit.floor.low < end
    assert sum(held) >= 7


@pytest.mark.parametrize("noise", [0.0, 1e-16, 0.001, 0.01])
def test_noise_around_a_constant_is_flat(noise):
    fit = fit_curve(STEPS, noisy(np.full(STEPS.size, 2.3), noise))
    assert fit.state is CurveState.FLAT
    assert fit.level == pytest.approx(2.3, rel=0.002)
    interval = fit.loss_at(5.0 * fit.joules)
    assert interval.low <= interval.median <= interval.high


def test_few_noisy_points_do_not_establish_a_standstill():
    fit = fit_curve(STEPS[:30], noisy(np.full(30, 2.3), 0.2))
    assert fit.state is CurveState.TOO_EARLY
    assert "noise" in fit.state_reason
    forecast = fit.joules_at(1.0)
    assert (forecast.verdict, forecast.low, forecast.high) == (Verdict.UNDETERMINED, fit.joules, math.inf)
    assert math.isnan(forecast.median)
    assert math.isnan(forecast.p_unreachable)


def test_loss_that_becomes_nan_has_diverged():
    values = noisy(power_law(STEPS, 0.1, 0.03, 0.9))
    values[1802:] = math.nan
    fit = fit_curve(STEPS, values, steps=(STEPS, STEPS))
    assert fit.state is CurveState.DIVERGED
    assert "step 1,803 (1.80 kJ)" in fit.state_reason
    assert "40 % of the training's energy" in fit.state_reason
    assert fit.joules == 3000.0
    lower = fit.joules_at(0.05)
    assert (lower.verdict, lower.low) == (Verdict.UNDETERMINED, 3000.0)
    assert fit.joules_at(0.3).verdict is Verdict.REACHED
    assert math.isnan(fit.loss_at(1e4).median)
    assert math.isnan(fit.floor.median)


def test_streamed_nan_tail_has_the_same_state():
    values = noisy(power_law(STEPS, 0.1, 0.03, 0.9))
    values[1802:] = math.inf
    bins = CurveBins()
    for x, y in zip(STEPS.tolist(), values.tolist(), strict=True):
        bins.add(x, y)
    assert fit_bins(bins).state_reason == fit_curve(STEPS, values).state_reason


def test_raised_learning_rate_has_diverged():
    values = noisy(np.where(STEPS < 2000, power_law(STEPS, 2.0, 0.3, 0.4), 32.4))
    fit = fit_curve(STEPS, values)
    assert fit.state is CurveState.DIVERGED
    assert "the best one, 2.3" in fit.state_reason
    assert "35 % of the training's energy was spent after that" in fit.state_reason
    assert fit.joules_at(32.33).verdict is Verdict.REACHED
    assert fit.joules_at(2.0).verdict is Verdict.UNDETERMINED


def test_policy_gradients_are_no_progress_measure():
    values = 20.0 + 5.0 * STEPS / 3000 + 40.0 * np.random.default_rng(0).standard_normal(STEPS.size)
    fit = fit_curve(STEPS, values)
    assert fit.state is CurveState.NOT_A_PROGRESS_MEASURE
    assert "reward" in fit.state_reason
    for target in (19.0, 100.0, -1.0):
        assert fit.joules_at(target).verdict is Verdict.UNDETERMINED
    assert math.isnan(fit.level)


def test_alternating_optimizers_are_no_progress_measure():
    fit = fit_curve(STEPS, noisy(1.4 + 0.2 * STEPS / 3000), alternating=True)
    assert fit.state is CurveState.NOT_A_PROGRESS_MEASURE
    assert "take turns" in fit.state_reason
    assert fit.joules_at(1.0).verdict is Verdict.UNDETERMINED


def test_negative_losses_are_no_progress_measure():
    fit = fit_curve(STEPS, power_law(STEPS) - 20.0)
    assert fit.state is CurveState.NOT_A_PROGRESS_MEASURE
    assert "All values are negative" in fit.state_reason


def test_overfit_is_rising():
    u = STEPS / STEPS[-1]
    fit = fit_curve(STEPS, noisy(1.0 + 0.6 * (u - 0.4) ** 2 + 0.2 * u**-0.3))
    assert fit.state is CurveState.RISING
    assert fit.joules_at(1.0).verdict is Verdict.UNDETERMINED


@pytest.mark.parametrize("rise", [0.1, 1.0])
def test_curve_that_rises_throughout(rise):
    x = np.geomspace(1.0, 1000.0, 100)
    assert fit_curve(x, noisy(x**rise)).state in (CurveState.RISING, CurveState.DIVERGED)


def test_warm_up_is_too_early():
    plan = (np.array([0.0, 500.0, 3000.0]), np.array([0.0, 1e-3, 0.0]))
    x = np.arange(1.0, 201.0)
    fit = fit_curve(x, noisy(power_law(x)), planned_learning_rate=plan)
    assert fit.state is CurveState.TOO_EARLY
    assert "warming up" in fit.state_reason
    later = np.arange(1.0, 1501.0)
    assert fit_curve(later, noisy(power_law(later)), planned_learning_rate=plan).state is CurveState.IMPROVING


def with_restart(steps):
    """Return joules, values and rates of evaluations, with a cosine that restarts at step 1,000."""
    x = np.arange(40.0, steps + 1.0, 40.0)
    again = np.minimum((x - 1000) / 150, 0.5 * (1.0 + np.cos(np.pi * np.maximum(x - 1150, 0.0) / 650)))
    rate = np.where(x < 1000, 0.5 * (1.0 + np.cos(np.pi * x / 1000)), np.maximum(again, 1e-3))
    return x, noisy((1.0 + 0.3 * (x / 100.0) ** -0.5) * (1.0 + 0.7 * rate)), rate


@pytest.mark.parametrize("option", ["learning_rate", "planned_learning_rate"])
def test_rise_after_a_warm_restart_does_not_stop_the_run(option):
    x, values, rate = with_restart(1250)
    assert fit_curve(x, values).state is CurveState.RISING
    plan = rate if option == "learning_rate" else with_restart(1800)[::2]
    fit = fit_curve(x, values, **{option: plan})
    assert fit.state is CurveState.TOO_EARLY
    assert "rose with the learning rate, which was raised at 9" in fit.state_reason


def test_rise_at_a_raised_rate_that_stays_is_rising():
    x = np.arange(1.0, 1201.0)
    rate = np.where(x < 1000, 0.1, 1.0)
    values = noisy((1.0 + 0.3 * (x / 100.0) ** -0.5) * np.where(x < 1000, 1.0, 1.3))
    assert fit_curve(x, values, learning_rate=rate).state is CurveState.RISING


@pytest.mark.parametrize("decay", ["step", "wsd", "restart"])
def test_plateau_before_a_planned_decay_is_not_out_of_reach(decay):
    """The level stands still for half the run before the cut; the plan lowers the rate, or restarts, after it."""
    seen = np.arange(1.0, 2001.0)
    values = noisy(np.where(seen < 1000, 2.0 + 2.0 * np.exp(-seen / 150.0), 2.0), 0.003)
    knots = {
        "step": ([0.0, 2500.0, 2510.0, 4000.0], [1.0, 1.0, 0.1, 0.1]),
        "wsd": ([0.0, 3000.0, 4000.0], [1.0, 1.0, 0.0]),
        "restart": ([0.0, 2000.0, 2100.0, 4000.0], [0.3, 0.3, 1.0, 0.0]),
    }[decay]
    fit = fit_curve(seen, values, planned_learning_rate=knots)
    assert fit.state is CurveState.FLAT
    assert fit.has_forecast
    assert fit.joules_at(1.98).verdict is not Verdict.UNREACHABLE
    assert fit.joules_at(1.98, scenario="held").verdict is Verdict.UNREACHABLE
    assert fit.joules_at(1.98, scenario="annealed").verdict is not Verdict.UNREACHABLE


def test_assumed_anneal_does_not_move_the_median_of_a_flat_curve():
    """Nothing was annealed so far, so that the gain is unknown: the interval has it, the median does not."""
    x = np.arange(1.0, 1001.0)
    values = noisy(1.0 + np.exp(-x / 10.0), 0.01)
    plan = ([0.0, 1500.0, 2000.0], [1.0, 1.0, 0.0])
    withheld, planned = fit_curve(x, values), fit_curve(x, values, planned_learning_rate=plan)
    assert withheld.state is planned.state is CurveState.FLAT
    end = planned.loss_at(2000.0)
    assert end.median == pytest.approx(withheld.loss_at(2000.0).median, rel=0.005)
    assert end.low < 0.96
    assert end.median >= 0.998
    assert end.high >= withheld.loss_at(2000.0).high


@pytest.mark.parametrize("seed", range(4))
def test_assumed_anneal_does_not_move_the_median_where_noise_hides_progress(seed):
    x = np.arange(1.0, 41.0)
    values = noisy(1.0 + np.exp(-x), 0.1, seed)
    withheld = fit_curve(x, values)
    planned = fit_curve(x, values, planned_learning_rate=([0.0, 60.0, 80.0], [1.0, 1.0, 0.0]))
    assert withheld.state is planned.state is CurveState.TOO_EARLY
    assert planned.loss_at(80.0).median == pytest.approx(withheld.loss_at(80.0).median, rel=0.02)


def test_steep_curve_is_expected_to_gain_from_an_anneal():
    x = np.arange(1.0, 1001.0)
    values = noisy(power_law(x), 0.01)
    plan = ([0.0, 1500.0, 2000.0], [1.0, 1.0, 0.0])
    gained = fit_curve(x, values, planned_learning_rate=plan).loss_at(2000.0).median
    assert gained < 0.98 * fit_curve(x, values).loss_at(2000.0).median


def test_anneal_that_moved_nothing_is_not_expected_to():
    x = np.arange(1.0, 1501.0)
    values = noisy(1.0 + np.exp(-x / 10.0), 0.01)
    end = fit_curve(x, values, planned_learning_rate=([0.0, 2000.0], [1.0, 0.0])).loss_at(2000.0)
    assert end.low > 0.98
    assert end.low <= 1.0 <= end.high


def test_constant_plan_does_not_revive_a_flat_curve():
    plan = (np.array([0.0, 1e5]), np.array([1e-3, 1e-3]))
    fit = fit_curve(*converged(), planned_learning_rate=plan)
    assert not fit.has_forecast
    assert fit.joules_at(0.08).verdict is Verdict.UNREACHABLE


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_points_are_too_early(count):
    x = np.geomspace(1.0, 1000.0, 100)
    fit = fit_curve(x[:count], power_law(x)[:count])
    assert fit.state is CurveState.TOO_EARLY
    assert f"the curve has {count}" in fit.state_reason
    assert fit.joules_at(1e-3).verdict is Verdict.UNDETERMINED
    assert fit.joules_at(1e6).verdict is Verdict.REACHED


def test_all_points_at_the_same_joules_are_too_early():
    fit = fit_curve(np.full(50, 7.0), np.linspace(2.0, 1.0, 50))
    assert fit.state is CurveState.TOO_EARLY
    assert "too close together" in fit.state_reason


def test_constant_zero_is_flat_at_the_best_value():
    fit = fit_curve(STEPS, np.zeros(STEPS.size))
    assert (fit.state, fit.level) == (CurveState.FLAT, 0.0)
    assert "exactly 0" in fit.state_reason
    assert fit.joules_at(0.0).verdict is Verdict.REACHED
    assert fit.joules_at(-1.0).certain


def test_loss_of_zero_at_the_end_is_flat():
    values = power_law(STEPS, 0.0, 0.01, 1.0)
    values[2900:] = 0.0
    fit = fit_curve(STEPS, values)
    assert (fit.state, fit.level) == (CurveState.FLAT, 0.0)
    assert fit.joules_at(1e-9).verdict is Verdict.REACHED
    assert fit.joules_at(1e-9).median == pytest.approx(2901.0, rel=0.02)
    assert fit.joules_at(0.02).median == pytest.approx(1500.0, rel=0.1)


def test_single_zero_at_the_end_is_no_best_level():
    values = noisy(power_law(STEPS))
    values[-1] = 0.0
    fit = fit_curve(STEPS, values)
    assert fit.state is CurveState.IMPROVING
    assert fit.level == pytest.approx(fit_curve(STEPS[:-1], values[:-1]).level, rel=0.01)


def test_zeros_at_the_end_of_many_zeros_are_chance():
    values = noisy(power_law(STEPS))
    values[::2] = 0.0
    values[-6:] = 0.0
    fit = fit_curve(STEPS, values)
    assert fit.state is CurveState.IMPROVING
    assert fit.level == pytest.approx(0.5 * power_law(STEPS)[-1], rel=0.1)


def test_infinite_first_value_is_excluded():
    values = noisy(power_law(STEPS))
    values[0] = math.inf
    fit = fit_curve(STEPS, values)
    assert (fit.state, fit.dropped.nonfinite) == (CurveState.IMPROVING, 1)


def test_single_nan_at_the_end_is_no_divergence():
    values = noisy(power_law(STEPS))
    values[-1] = math.nan
    assert fit_curve(STEPS, values).state is CurveState.IMPROVING


def test_every_second_value_nan():
    values = noisy(power_law(STEPS))
    values[1::2] = math.nan
    fit = fit_curve(STEPS, values)
    assert (fit.state, fit.dropped.nonfinite) == (CurveState.IMPROVING, 1500)


def test_percentages_need_their_own_best_value():
    percent = 100.0 - power_law(STEPS, 5.0, 5.0, 0.4)
    with pytest.raises(UsageError, match="best=100 for a percentage"):
        fit_curve(STEPS, percent, goal="max", best=1.0)
    fit = fit_curve(STEPS, percent, goal="max", best=100.0)
    assert fit.state is CurveState.IMPROVING
    assert fit.joules_at(91.0).verdict is Verdict.REACHABLE


def test_values_above_the_best_are_excluded_if_few():
    values = 0.9 - power_law(STEPS, 0.05, 0.05, 0.4)
    values[[100, 2000]] = 1.5
    fit = fit_curve(STEPS, values, goal="max", best=1.0)
    assert fit.dropped.nonpositive_values == 2


def test_flat_accuracy_names_the_upper_side():
    fit = fit_curve(STEPS, noisy(np.full(STEPS.size, 0.8), 0.001), goal="max", best=1.0)
    assert fit.state is CurveState.FLAT
    assert "above 0.8" in fit.state_reason


def test_gaps_of_hours_in_the_joules():
    joules = STEPS + np.where(STEPS > 1500, 5000.0, 0.0)
    assert fit_curve(joules, noisy(power_law(STEPS))).state is CurveState.IMPROVING


@pytest.mark.parametrize("seed", range(6))
def test_level_is_not_below_the_recorded_values(seed):
    rng = np.random.default_rng(seed)
    truth = power_law(STEPS, rng.uniform(0.1, 2.0), rng.uniform(0.01, 1.0), rng.uniform(0.2, 2.0))
    fit = fit_curve(STEPS, noisy(truth, 0.01, seed))
    assert fit.level > truth[-1] * (1.0 - 0.01)


def test_student_distribution():
    """Tabulated quantiles of Student's t (Abramowitz and Stegun, table 26.10)."""
    for dof, expected in ((2, 2.920), (5, 2.015), (30, 1.697), (1e4, 1.645)):
        assert student_quantile(0.95, dof) == pytest.approx(expected, rel=0.02)
    assert student_cdf(-1.697, 30) == pytest.approx(0.05, rel=0.02)


def test_hidden_fall_has_a_size_and_an_energy_that_shows_it():
    """White noise of 25 % per step, as of a small regression, hides a fall of 1 % in 2,000 steps."""
    x = np.arange(1.0, 2001.0)
    reason = fit_curve(x, noisy(np.full(x.size, 0.09), 0.25)).state_reason
    assert "no clear trend" in reason
    hidden = float(re.search(r"fall of up to ([\d.]+) %", reason)[1])
    assert 1.0 < hidden < 10.0
    until = float(re.search(r"to at most ([\d.]+) kJ", reason)[1])
    assert until == pytest.approx(2.0 * hidden**2, rel=0.15)


def test_no_energy_is_named_where_noise_hides_too_much():
    x = np.arange(1.0, 31.0)
    reason = fit_curve(x, noisy(np.full(x.size, 1.0), 0.5)).state_reason
    assert "Training to" not in reason
    assert "Record the metric more often" in reason


def test_thousands_of_noisy_values_are_not_to_be_recorded_more_often():
    x = np.arange(1.0, 3001.0)
    fit = fit_curve(x, noisy(np.exp(-1e-5 * x), 1.5))
    assert fit.state is CurveState.TOO_EARLY
    assert "metric with less noise" in fit.state_reason
    assert "more often" not in fit.state_reason


def test_noisy_standstill_of_thousands_of_steps_is_flat():
    x = np.arange(1.0, 8001.0)
    fit = fit_curve(x, noisy(0.09 * (1.0 + 30.0 * np.exp(-x / 20.0)), 0.25))
    assert fit.state is CurveState.FLAT
    assert fit.level == pytest.approx(0.09, rel=0.1)


def test_slight_but_significant_fall_is_not_flat():
    """Evaluations of a long pre-training with little noise, as in MLPerf's GPT-3: 0.2 % per tenth of the energy."""
    x = np.linspace(0.5, 1.0, 6)
    assert fit_curve(x, 2.73 - 0.03 * np.log2(x / 0.5)).state is CurveState.IMPROVING


def evaluations_of_a_drop(count):
    """Return a level that stays high, drops, and falls slowly from there, as of a BERT with few evaluations."""
    x = np.arange(1.0, count + 1.0)
    return x, 0.27 + 0.05 / x + 0.3 / (1.0 + np.exp(4.0 * (x - 3.0)))


@pytest.mark.parametrize("count", [6, 7, 8, 9])
def test_few_evaluations_that_all_fall_improve(count):
    x, values = evaluations_of_a_drop(24)
    fit = fit_curve(x[:count], values[:count])
    assert fit.state is CurveState.IMPROVING
    end = fit.loss_at(x[-1])
    assert end.low <= values[-1] <= end.high
    verdict = fit.joules_at(values[-1]).verdict
    assert verdict is Verdict.REACHABLE or (count == 6 and verdict is not Verdict.UNREACHABLE)


def test_few_evaluations_of_which_one_rises_are_too_early():
    x, values = evaluations_of_a_drop(8)
    values[6] = 1.01 * values[5]
    fit = fit_curve(x, values)
    assert fit.state is CurveState.TOO_EARLY
    assert "no clear trend at its end" in fit.state_reason


def test_few_points_of_a_random_walk_rarely_all_fall():
    """A walk falls five times in a row in 1 of 32 cases."""
    rng, falls = np.random.default_rng(7), 0
    for _ in range(1000):
        values = np.exp(0.01 * np.cumsum(rng.standard_normal(6)))
        falls += falls_throughout(clean(bin_arrays(np.arange(1.0, 7.0), values))[0])
    assert 0.02 <= falls / 1000 <= 0.045


def test_evaluations_of_a_constant_are_rarely_progress():
    rng, states = np.random.default_rng(5), []
    for seed in range(400):
        x = np.arange(1.0, 8.0 + seed % 4)
        states.append(state_at_once(x, np.exp((0.003, 0.03)[seed % 2] * rng.standard_normal(x.size))))
    assert states.count(CurveState.IMPROVING) <= 0.05 * len(states)


def test_few_points_of_drifting_noise_are_rarely_progress():
    """At most 5 % of constants under autocorrelated noise, at fewer than 50 effective points."""
    rng, states = np.random.default_rng(3), []
    for scale in (0.001, 0.01, 0.1) * 40:
        drift = np.zeros(int(rng.uniform(20, 450)))
        for k, shock in enumerate(0.6 * rng.standard_normal(drift.size)):
            drift[k] = 0.8 * drift[k - 1] + shock
        states.append(state_at_once(np.arange(1.0, drift.size + 1.0), np.exp(scale * drift)))
    assert states.count(CurveState.IMPROVING) <= 0.05 * len(states)


def test_constants_under_correlated_noise_are_rarely_progress():
    """Means of batches that share samples, for instance: a correlation of 0.8 and 15 to 60 points."""
    rng, states = np.random.default_rng(9), []
    for count in (15, 20, 30, 45, 60) * 50:
        drift = np.zeros(count + 30)
        for k, shock in enumerate(0.6 * rng.standard_normal(drift.size)):
            drift[k] = 0.8 * drift[k - 1] + shock
        states.append(state_at_once(np.arange(1.0, count + 1.0), np.exp(0.01 * drift[30:])))
    assert states.count(CurveState.IMPROVING) <= 0.05 * len(states)


def state_at_once(x, values):
    """Return the state without a fit, which takes ten times as long."""
    fine = clean(bin_arrays(x, values))[0]
    return assess(fine, coarsen(fine), metric=declared("min", None, None), recency=2.0).state


def test_drop_that_has_ended_is_rarely_progress():
    """Fine-tunings of 20 to 50 points that drop in the first twentieth: at most 5 % are called improving."""
    rng, states = np.random.default_rng(7), []
    for seed in range(160):
        x = np.arange(1.0, int(rng.uniform(20, 50)) + 1.0)
        level = 1.0 + np.exp(-x / (0.01 * x.size + 1.0))
        states.append(state_at_once(x, noisy(level, (0.003, 0.03)[seed % 2], seed)))
    assert states.count(CurveState.IMPROVING) <= 0.05 * len(states)


def test_few_points_of_a_decelerating_curve_improve():
    """Power laws above a floor bend as well, but still fall at their end."""
    for seed in range(40):
        x = np.arange(1.0, 21.0 + seed)
        assert state_at_once(x, noisy(power_law(x), 0.01, seed)) is CurveState.IMPROVING


@pytest.mark.slow
def test_error_rates_on_synthetic_curves():
    """Bars: flat curves called improving at most 5 %; 1 % per doubling called flat at most 1 %, improving 95 %."""
    rng, states = np.random.default_rng(1), {"flat": [], "slow": []}
    for k in range(120):
        n = int(np.exp(rng.uniform(math.log(200), math.log(3000))))
        x = np.arange(1.0, n + 1.0)
        noise = (0.0, 1.1e-16, 0.001, 0.01, 0.1)[k % 5]
        states["flat"].append(fit_curve(x, noisy(np.full(n, 1.5), noise, k)).state)
        states["slow"].append(fit_curve(x, noisy(x ** math.log2(0.99), 0.01, k)).state)
    assert states["flat"].count(CurveState.IMPROVING) <= 0.05 * 120
    assert states["slow"].count(CurveState.FLAT) <= 0.01 * 120
    assert states["slow"].count(CurveState.IMPROVING) >= 0.95 * 120
