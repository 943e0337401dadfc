"""Repairs before a fit, and notes about the curve."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.forecasting import CurveBins, fit_bins, fit_curve
from profiler.forecasting.cleaning import jump, spikes
from profiler.forecasting.curve import bin_arrays
from tests.support.synthetic_curves import power_law

X = np.geomspace(1.0, 1000.0, 400)
STEPS = np.arange(1.0, 5001.0)


def noisy(x, noise=0.02, seed=0):
    return power_law(x) * np.exp(noise * np.random.default_rng(seed).standard_normal(x.size))


def notes(fit):
    return " ".join(fit.notes)


@pytest.mark.parametrize("where", [[60], [200], [200, 201, 202], [60, 200, 300]])
@pytest.mark.parametrize("height", [1.5, 10.0, 1e6])
def test_spikes_are_excluded_and_counted(where, height):
    y = noisy(X)
    spiked = y.copy()
    spiked[where] *= height
    clean, fit = fit_curve(X, y), fit_curve(X, spiked)
    assert fit.repairs.spikes == int(np.sum(np.diff(where) > 1)) + 1
    assert "of the loss" in notes(fit)
    assert fit.loss_at(2000.0).median == pytest.approx(clean.loss_at(2000.0).median, rel=0.02)


def test_spike_of_few_steps_in_a_bin():
    y = noisy(STEPS)
    y[3000:3010] *= 30.0
    fit = fit_curve(STEPS, y)
    assert fit.repairs.spikes == 1
    assert fit.level == pytest.approx(fit_curve(STEPS, noisy(STEPS)).level, rel=0.01)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([0.0, 0.001, 0.03, 0.2]), st.integers(0, 99), st.floats(0.1, 1.5))
def test_white_noise_has_no_spike_or_jump(noise, seed, slope):
    rng = np.random.default_rng(seed)
    fine = bin_arrays(X, power_law(X, slope=slope) * np.exp(noise * rng.standard_normal(X.size)))
    assert spikes(fine).sum() <= 1
    assert jump(fine) is None


def test_rise_at_the_end_is_no_spike():
    y = power_law(X)
    y[-15:] *= np.exp(np.linspace(0.0, 3.0, 15))
    assert fit_curve(X, y).repairs.spikes == 0


def test_lasting_jump_is_reported():
    y = noisy(X, 0.005)
    y[250:] *= 1.4
    fit = fit_curve(X, y)
    assert "The loss jumps by 3" in notes(fit)
    assert f"{X[250]:.3g} J" in notes(fit)


def test_systematic_misfit_is_reported():
    y = power_law(X) * np.exp(0.05 * np.sin(4.0 * np.log(X)))
    assert "systematic way" in notes(fit_curve(X, y))
    assert fit_curve(X, noisy(X)).notes == ()


@pytest.mark.parametrize(("end", "reported"), [(1.0, False), (0.2, True)])
def test_falling_rate_without_a_plan_is_reported(end, reported):
    rate = np.interp(X, [0.0, 100.0, 600.0, 1000.0], [0.0, 1.0, 1.0, end])
    assert ("may bend" in notes(fit_curve(X, noisy(X), learning_rate=rate))) == reported
    assert "has ended" in notes(fit_curve(X, noisy(X), planned_learning_rate=(X, rate)))
    longer = np.append(X, 2000.0), np.append(rate, 0.1)
    assert "learning rate" not in notes(fit_curve(X, noisy(X), planned_learning_rate=longer))


def test_disordered_and_repeated_points_are_counted():
    y = noisy(X)
    order = np.arange(X.size)
    order[[100, 101]] = order[[101, 100]]
    again = np.insert(order, 300, [300, 300])
    fit = fit_curve(X[again], y[again])
    assert (fit.repairs.disordered, fit.repairs.repeated) == (1, 2)
    assert "1 point was out of order" in notes(fit)
    assert "2 points repeat" in notes(fit)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 9999))
def test_streams_and_arrays_are_repaired_equally(seed):
    rng = np.random.default_rng(seed)
    y = noisy(X, seed=seed)
    y[rng.integers(0, X.size, 5)] *= 20.0
    order = np.clip(np.arange(X.size) + rng.integers(-2, 3, X.size), 0, X.size - 1)
    bins = CurveBins()
    for x, value in zip(X[order].tolist(), y[order].tolist(), strict=True):
        bins.add(x, value)
    streamed, fitted = fit_bins(bins), fit_curve(X[order], y[order])
    assert streamed.repairs == fitted.repairs
    assert streamed.notes == fitted.notes
    assert streamed.backtest == fitted.backtest
    assert streamed.loss_at(2000.0) == fitted.loss_at(2000.0)
