import math

import numpy as np
import pytest

from profiler.forecasting import fit_curve
from profiler.forecasting.verdict import decide
from profiler.records import Verdict
from tests.support.synthetic_curves import power_law


@pytest.mark.parametrize(
    ("p_unreachable", "ratio", "verdict"),
    [
        (0.0, 2.0, Verdict.REACHABLE),
        (0.49, 10.0, Verdict.REACHABLE),
        (0.1, 10.1, Verdict.BEYOND_HORIZON),
        (0.49, 1e9, Verdict.BEYOND_HORIZON),
        (0.5, math.inf, Verdict.UNDETERMINED),
        (0.95, math.inf, Verdict.UNDETERMINED),
        (0.951, math.inf, Verdict.UNREACHABLE),
    ],
)
def test_verdict_follows_from_probability_and_ratio(p_unreachable, ratio, verdict):
    assert decide(p_unreachable, ratio) is verdict


@pytest.mark.parametrize("target", [0.0, -1.0, -math.inf, 0.5])
def test_exact_bound_makes_a_target_certainly_unreachable(target, noisy_curve):
    forecast = fit_curve(*noisy_curve, lower_bound=0.6).joules_at(target)
    assert forecast.verdict is Verdict.UNREACHABLE
    assert forecast.certain
    assert (forecast.low, forecast.median, forecast.high, forecast.p_unreachable) == (math.inf,) * 3 + (1.0,)
    assert forecast.energy_ratio == math.inf


def test_a_lower_bound_truncates_the_floor(noisy_curve):
    fit = fit_curve(*noisy_curve, lower_bound=1.25)
    assert fit.floor.low >= 1.25
    assert fit.loss_at(1e30).low >= 1.25


def test_probably_unreachable():
    x = np.arange(1.0, 3001.0)
    rng = np.random.default_rng(0)
    fit = fit_curve(
        x, power_law(x, floor=2.0, excess=0.02, slope=1.0) * np.exp(0.01 * rng.standard_normal(x.size))
    )
    forecast = fit.joules_at(1.5)
    assert forecast.verdict is Verdict.UNREACHABLE
    assert not forecast.certain
    assert 0.95 < forecast.p_unreachable < 1.0
    assert forecast.median == math.inf


def test_reachable_targets_are_not_called_unreachable():
    """Reachable targets lie at up to ten thousand times the energy; the others lie under the floor."""
    x = np.geomspace(1.0, 100.0, 150)
    false_alarms, found, cases = 0, 0, 0
    for slope in (0.2, 0.5, 0.8):
        for share in (0.1, 0.4, 0.8):
            rng = np.random.default_rng(cases)
            y = power_law(x, 1.0 - share, share, slope) * np.exp(0.02 * rng.standard_normal(x.size))
            fit = fit_curve(x, y)
            targets = [1.0 - share + share * r**-slope for r in (2.0, 10.0, 100.0, 1e4)]
            false_alarms += sum(fit.joules_at(t).verdict is Verdict.UNREACHABLE for t in targets)
            found += fit.p_unreachable(max(1.0 - 2.0 * share, 1e-6)) > 0.5
            cases += 1
    assert false_alarms == 0
    assert found >= cases // 3


def dipping(noise, seed, dip=1.0, ends=(500.0, 750.0)):
    """Return joules and values of a noisy curve that is lower in between."""
    x = np.arange(1.0, 1001.0)
    values = power_law(x) * np.exp(noise * np.random.default_rng(seed).standard_normal(x.size))
    return x, np.where((x > ends[0]) & (x < ends[1]), dip * values, values)


@pytest.mark.parametrize("seed", range(4))
def test_few_low_values_do_not_count_as_reached(seed):
    fit = fit_curve(*dipping(0.01, seed, dip=0.8, ends=(540.0, 560.0)))
    below = fit.joules_at(fit.level * 0.99)
    assert below.verdict is Verdict.REACHABLE
    assert below.median > fit.joules
    assert fit.p_unreachable(fit.level * 0.99) == below.p_unreachable


@pytest.mark.parametrize("seed", range(4))
def test_clear_dip_counts_as_reached(seed):
    fit = fit_curve(*dipping(0.01, seed, dip=0.85))
    forecast = fit.joules_at(fit.level * 0.95)
    assert forecast.verdict is Verdict.REACHED
    assert 450.0 < forecast.median < 750.0


@pytest.mark.parametrize("seed", range(4))
def test_next_percent_always_costs_energy(seed):
    fit = fit_curve(*dipping(0.1, seed))
    assert 0.0 <= fit.price_of_percent().low <= fit.price_of_percent().median <= fit.price_of_percent().high
    assert fit.price_of_percent().median > 0.0


def test_target_beyond_a_bound_costs_infinite_energy(noisy_curve):
    fit = fit_curve(*noisy_curve, lower_bound=2.19)
    assert fit.joules_down_to(2.18).low == math.inf


def test_a_fit_is_shown_in_one_line(noisy_curve):
    fit = fit_curve(*noisy_curve)
    floor = f"floor {fit.floor.median:.4g} [{fit.floor.low:.4g}, {fit.floor.high:.4g}]"
    assert repr(fit) == f"CurveFit(level {fit.first_level:.4g} -> {fit.level:.4g} at 100 kJ, {floor})"


def test_the_horizon_counts_from_the_first_step(noisy_curve):
    x, y = noisy_curve
    fit = fit_curve(1e6 + x, y, origin_joules=1e6)
    far = fit.joules_at(fit.loss_at(fit.horizon_joules + 1e6).median)
    assert far.verdict is Verdict.BEYOND_HORIZON
    assert far.energy_ratio < 3.0
    assert "10 times the energy of the steps so far" in far.reason
