"""Conformance of every family of curves, and what a fit makes of them."""

import math

import numpy as np
import pytest

from profiler.forecasting import Priors, fit_curve
from profiler.forecasting.models import MODELS, log_level
from profiler.records import Verdict
from tests.support.synthetic_curves import power_law

X = np.linspace(1.0, 100.0, 600)


models = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)


@models
def test_decay_is_normalised_at_the_last_point_and_falls_to_nothing(model):
    slope = np.array([[0.1], [0.5], [2.0]])
    log_v = np.linspace(-3.0, 3.0, 61)
    decay = model.log_decay(log_v, slope)
    assert decay.shape == (3, 61)
    assert decay[:, 30] == pytest.approx(0.0)
    assert np.all(np.diff(decay, axis=1) < 0.0)
    tiny = 1e-6
    assert model.log_decay(np.array([tiny]), slope) / tiny == pytest.approx(-slope, rel=1e-4)
    assert np.all(model.log_decay(np.array([700.0]), slope) < -50.0)


@models
def test_levels_stay_finite_far_away(model):
    shape = log_level(model.log_decay(np.array([-700.0, 0.0, 700.0]), np.array([2.0])), np.array([0.5]))
    assert np.all(np.isfinite(shape))
    assert shape[2] == pytest.approx(math.log(0.5))


@models
def test_fit_recovers_its_own_curve(model):
    decay = model.log_decay(np.log(X / X[-1]), np.array(0.8))
    values = 1.0 + np.exp(decay) + 0.001 * np.random.default_rng(0).standard_normal(X.size)
    ahead = 1.0 + math.exp(float(model.log_decay(np.array([math.log(2.0)]), np.array(0.8))[0]))
    expected = fit_curve(X, values).loss_at(2.0 * X[-1])
    assert expected.low < ahead < expected.high
    assert expected.median == pytest.approx(ahead, rel=0.05)


def test_prior_probabilities_of_the_families_add_up_to_one():
    assert sum(model.probability(Priors()) for model in MODELS) == pytest.approx(1.0)
    assert len({model.name for model in MODELS}) == len(MODELS)


def test_geometric_convergence_is_recognised():
    rng = np.random.default_rng(0)
    fit = fit_curve(X, np.exp(-0.12 * X) * np.exp(0.02 * rng.standard_normal(X.size)))
    assert fit.families["exponential"] > 0.9
    forecast = fit.joules_at(fit.level * 0.01)
    assert forecast.verdict is Verdict.REACHABLE
    assert forecast.median == pytest.approx(100.0 + np.log(100.0) / 0.12, rel=0.1)


def test_power_law_is_recognised(noisy_curve):
    families = fit_curve(*noisy_curve).families
    assert families["power law"] > 0.9
    assert sum(families.values()) == pytest.approx(1.0)


def test_fit_starts_after_a_phase_change():
    x = np.linspace(1.0, 100.0, 400)
    rng = np.random.default_rng(0)
    y = np.where(x < 25.0, 9.0 - 0.05 * x, power_law(x, 1.0, 0.5, 0.6)) * np.exp(
        0.005 * rng.standard_normal(400)
    )
    fit = fit_curve(x, y)
    assert any("different trend" in note for note in fit.notes)
    assert fit.loss_at(300.0).median == pytest.approx(1.0 + 0.5 * 3.0**-0.6, rel=0.03)


def test_short_span_is_reported():
    x = np.linspace(50.0, 100.0, 40)
    assert any("spans only" in note for note in fit_curve(x, power_law(x)).notes)
