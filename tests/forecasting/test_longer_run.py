"""Runs whose schedule of the learning rate has ended: their slope is that of an anneal and does not continue."""

import math

import numpy as np
import pytest

from profiler.errors import ForecastRefusedError
from profiler.forecasting import fit_bins, fit_curve, fit_frontier
from profiler.forecasting.allocation import FINISHED, allocate
from profiler.forecasting.curve import bin_arrays
from profiler.forecasting.fit import prefix_fit
from profiler.forecasting.inverse import Inverse
from profiler.records import Verdict

END, GAIN, CONSTANT = 2000.0, 0.06, 0.8


def cosine(u):
    return 0.5 * (1.0 + np.cos(np.pi * u))


def stable_then_linear(u):
    return np.minimum((1.0 - u) / (1.0 - CONSTANT), 1.0)


def run(rate, *, end=END, until=1.0, seed=0):
    """Return the joules, losses and rates of a run, with an exponent of 0.4 in learned energy, up to a share of it."""
    x = np.arange(1.0, end + 1.0)
    rates = rate(x / end)
    noise = 0.004 * np.random.default_rng(seed).standard_normal(x.size)
    losses = (1.5 + 3.0 * np.cumsum(rates) ** -0.4) * np.exp(-GAIN * (1.0 - rates) + noise)
    part = x <= until * end
    return x[part], losses[part], rates[part]


def fit_of(rate, **options):
    x, y, rates = run(rate, **options)
    return fit_curve(x, y, learning_rate=rates)


def test_a_run_without_a_constant_part_has_no_price_for_a_longer_one():
    fit = fit_of(cosine)
    target = 0.97 * fit.level
    forecast = fit.joules_at(target)
    assert (forecast.verdict, forecast.low, forecast.high) == (Verdict.UNDETERMINED, fit.joules, math.inf)
    assert "needs a new plan" in forecast.reason
    assert math.isnan(forecast.median)
    assert math.isnan(fit.p_unreachable(target))
    assert math.isnan(fit.loss_at(2.0 * fit.joules).median)
    assert math.isnan(fit.price_of_percent().median)
    assert "fallen below 1 %" in fit.notes[0]
    assert Inverse(fit=fit).joules_at(target).verdict is Verdict.UNDETERMINED
    assert "floor" not in repr(fit)
    # What was recorded is still known.
    assert fit.joules_at(1.2 * fit.level).verdict is Verdict.REACHED


@pytest.mark.parametrize("longer", [1.5, 2.0, 4.0])
def test_a_longer_run_is_priced_from_the_curve_before_the_anneal(longer):
    fit = fit_of(stable_then_linear)
    assert fit.scenarios == ("longer",)
    _, y, _ = run(stable_then_linear, end=longer * END, seed=1)
    end = float(np.mean(y[-20:]))
    level = fit.loss_at(longer * END)
    assert level.low <= end <= level.high
    assert level.median == pytest.approx(end, rel=0.02)
    forecast = fit.joules_at(level.median)
    assert forecast.median == pytest.approx(longer * END, rel=0.01)
    assert any("longer run with a plan of the same shape" in note for note in fit.notes)


def test_a_run_priced_from_before_its_anneal_has_no_note_on_the_trend_of_the_anneal():
    x, y, rates = run(lambda u: np.clip((1.0 - u) / 0.3, 0.0, 1.0))
    fit = fit_curve(x, y * (0.4 + 0.6 * rates), learning_rate=rates)
    assert fit.scenarios == ("longer",)
    assert not any("The fit uses the run after" in note for note in fit.notes)


def test_a_short_or_flat_constant_part_gives_no_price():
    assert fit_of(lambda u: np.minimum((1.0 - u) / 0.8, 1.0)).scenarios == ()
    x, _, rates = run(stable_then_linear)
    rng = np.random.default_rng(0)
    still = np.where(x < 1600.0, 2.0, 2.0 - (x - 1600.0) / 2000.0) * np.exp(
        0.002 * rng.standard_normal(x.size)
    )
    assert fit_curve(x, still, learning_rate=rates).scenarios in ((), ("onward",))


def test_an_earlier_part_uses_the_recorded_rates():
    assert prefix_fit(fit_of(cosine), 0.5 * END).scenarios == ("planned", "held", "annealed")
    assert len(fit_of(cosine).history.backtest()) == 3
    # Forecasts of the end of an anneal do not test those of a longer run.
    assert fit_of(stable_then_linear).backtest == ()


def test_an_ended_schedule_above_zero_is_not_taken_for_a_falling_rate():
    x, y, rates = run(lambda u: 0.1 + 0.9 * cosine(u))
    bins = bin_arrays(x, y)
    (note,) = fit_bins(bins, learning_rate=(x, rates), schedule_ended=True).notes
    assert "schedule of the learning rate has ended" in note
    assert "Declare total_steps" in fit_curve(x, y, learning_rate=rates).notes[0]


def test_a_finished_run_keeps_its_level_in_an_allocation():
    finished, steady = fit_of(cosine), fit_of(lambda u: np.ones(u.size), seed=1)
    x, y, _ = run(cosine, end=2.0 * END, until=0.5, seed=2)
    whole = np.arange(1.0, 2.0 * END + 1.0)
    halfway = fit_curve(x, y, planned_learning_rate=(whole, cosine(whole / whole[-1])))
    budget = 4.0 * END
    known = allocate([finished, steady, halfway], budget)
    assert known[0].is_finished
    assert known[0].reason == FINISHED
    assert known[0].level.median == pytest.approx(finished.level)
    assert (known[0].stop, known[0].joules_saved) == (False, 0.0)
    assert known[0].p_best < 0.05
    # A plan ends where it ends, and the run that is halfway saves no more than its rest.
    assert not known[2].is_finished
    assert known[2].level.median == pytest.approx(halfway.loss_at(2.0 * END).median)
    assert known[2].joules_saved in (0.0, pytest.approx(END, rel=1e-3))
    assert known[1].level.median == pytest.approx(steady.loss_at(budget).median)


def test_the_anneal_of_one_run_is_not_projected():
    steady, annealed = fit_of(lambda u: np.ones(u.size)), fit_of(stable_then_linear, seed=1)
    with pytest.raises(ForecastRefusedError) as refusal:
        fit_frontier([steady, annealed])
    assert refusal.value.code == "schedule_ended"
    longer = fit_of(stable_then_linear, end=2.0 * END, seed=2)
    assert fit_frontier([annealed, longer]).loss_at(4.0 * END).median < longer.level
