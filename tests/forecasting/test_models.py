import numpy as np
import pytest

from profiler.forecasting import fit_curve
from profiler.forecasting.models import stretch
from profiler.records import Verdict
from tests.support.synthetic_curves import power_law

X = np.linspace(1.0, 100.0, 600)


def test_the_families_meet_at_the_last_point():
    log_v = np.linspace(-3.0, 3.0, 7)
    for bend in (0.0, 0.5, 1.0):
        t = stretch(log_v, bend)
        assert t[3] == 0.0
        assert np.all(np.diff(t) > 0.0)
    assert stretch(log_v, 1e-9) == pytest.approx(stretch(log_v, 0.0))


def test_geometric_convergence_is_told_from_a_power_law():
    rng = np.random.default_rng(0)
    fit = fit_curve(X, np.exp(-0.12 * X) * np.exp(0.02 * rng.standard_normal(X.size)))
    assert fit.families["exponential"] > 0.9
    forecast = fit.joules_at(fit.level * 0.01)
    assert forecast.verdict is Verdict.REACHABLE
    assert forecast.median == pytest.approx(100.0 + np.log(100.0) / 0.12, rel=0.1)


def test_a_power_law_is_told_from_geometric_convergence(noisy_curve):
    families = fit_curve(*noisy_curve).families
    assert families["power law"] > 0.9
    assert sum(families.values()) == pytest.approx(1.0)


def test_what_came_before_a_phase_change_is_left_aside():
    x = np.linspace(1.0, 100.0, 400)
    rng = np.random.default_rng(0)
    y = np.where(x < 25.0, 9.0 - 0.05 * x, power_law(x, 1.0, 0.5, 0.6)) * np.exp(
        0.005 * rng.standard_normal(400)
    )
    fit = fit_curve(x, y)
    assert any("another law" in note for note in fit.notes)
    assert fit.loss_at(300.0).median == pytest.approx(1.0 + 0.5 * 3.0**-0.6, rel=0.03)


def test_a_short_span_is_answered_with_a_warning():
    x = np.linspace(50.0, 100.0, 40)
    assert any("spans only" in note for note in fit_curve(x, power_law(x)).notes)
