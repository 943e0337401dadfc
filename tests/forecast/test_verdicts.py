import math

import numpy as np
import pytest
from synthetic_curves import power_law

from profiler.forecast import fit_curve
from profiler.forecast.verdict import decide
from profiler.records import Verdict


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
def test_the_words(p_unreachable, ratio, verdict):
    assert decide(p_unreachable, ratio) is verdict


@pytest.mark.parametrize("target", [0.0, -1.0, -math.inf, 0.5])
def test_a_certain_never_is_not_a_probable_one(target, noisy_curve):
    forecast = fit_curve(*noisy_curve, lower_bound=0.6).joules_at(target)
    assert forecast.verdict is Verdict.UNREACHABLE
    assert forecast.certain
    assert (forecast.low, forecast.median, forecast.high, forecast.p_unreachable) == (math.inf,) * 3 + (1.0,)
    assert forecast.energy_ratio == math.inf


def test_a_lower_bound_truncates_the_floor(noisy_curve):
    fit = fit_curve(*noisy_curve, lower_bound=1.25)
    assert fit.floor.low >= 1.25
    assert fit.loss_at(1e30).low >= 1.25


def test_a_probable_never():
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


def test_never_is_rarely_said_of_what_is_reachable_and_often_of_what_is_not():
    """Targets between here and ten thousand times the energy, and targets under the floor."""
    x = np.geomspace(1.0, 100.0, 150)
    false_alarms, found, cases = 0, 0, 0
    for slope in (0.2, 0.5, 0.8):
        for share in (0.1, 0.4, 0.8):
            rng = np.random.default_rng(cases)
            y = power_law(x, 1.0 - share, share, slope) * np.exp(0.02 * rng.standard_normal(x.size))
            fit = fit_curve(x, y)
            targets = [1.0 - share + share * r**-slope for r in (2.0, 10.0, 100.0, 1e4)]
            false_alarms += sum(fit.joules_at(t).verdict is Verdict.UNREACHABLE for t in targets)
            found += fit.p_never(max(1.0 - 2.0 * share, 1e-6)) > 0.5
            cases += 1
    assert false_alarms == 0
    assert found >= cases // 3
