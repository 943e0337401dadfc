"""Allocation of synthetic sweeps whose levels at the budget are known."""

import math

import numpy as np
import pytest

from profiler.errors import ForecastRefusedError, UsageError
from profiler.forecasting import fit_curve, should_stop
from profiler.forecasting.allocation import allocate, backtest

LAST = 400.0


def curve(floor=1.5, slope=0.4, *, last=LAST, noise=0.005, seed=0):
    x = np.arange(1.0, last + 1.0)
    return x, (floor + 3.0 * x**-slope) * np.exp(noise * np.random.default_rng(seed).standard_normal(x.size))


def fits(*curves):
    return [fit_curve(*one) for one in curves]


def test_the_chances_are_those_of_the_levels_at_the_budget():
    # At ten times the energy the second curve is the lowest, though the third one is lower now.
    known = fits(curve(1.8), curve(1.2, 0.25), curve(1.6, 0.5))
    advice = allocate(known, 10 * LAST)
    assert sum(one.p_best for one in advice) == pytest.approx(1.0)
    assert advice[1].p_best > 0.6
    assert advice[0].stop
    assert not advice[1].stop
    assert advice[2].p_best < 0.1
    assert known[2].level < known[1].level
    assert advice[0].joules_saved == pytest.approx(9 * LAST, rel=1e-6)
    assert advice[1].joules_saved == 0.0
    for one, (floor, slope) in zip(advice, ((1.8, 0.4), (1.2, 0.25), (1.6, 0.5)), strict=True):
        truth = floor + 3.0 * (10 * LAST) ** -slope
        assert one.level.low <= truth <= one.level.high


def test_equal_runs_share_the_chance_and_are_all_kept():
    advice = allocate(fits(*(curve(seed=seed) for seed in range(4))), 2 * LAST)
    assert all(one.p_best == pytest.approx(0.25, abs=0.15) for one in advice)
    assert sum(one.stop for one in advice) <= 1
    same = allocate(fits(curve(), curve()), 2 * LAST)
    assert [one.p_best for one in same] == pytest.approx([0.5, 0.5])


def test_a_lost_run_has_no_chance_and_a_short_one_is_kept():
    x, y = curve()
    nan = np.where(x > 300, np.nan, y)
    rising = np.where(x > 300, y * (1 + (x - 300) / 50), y)
    advice = allocate(fits((x, y), (x, nan), (x, rising), (x[:3], y[:3])), 2 * LAST)
    assert [one.p_best for one in advice] == [pytest.approx(1.0), 0.0, 0.0, None]
    assert [one.stop for one in advice] == [False, True, True, False]
    assert all(one.reason for one in advice[1:])
    assert advice[3].level is None


def test_a_flat_run_stays_at_its_level():
    x, y = curve(1.2)
    flat = 2.5 * np.exp(0.01 * np.random.default_rng(5).standard_normal(x.size))
    advice = allocate(fits((x, y), (x, flat)), 3 * LAST)
    assert advice[1].stop
    assert advice[1].p_best < 0.01
    assert advice[1].level.median == pytest.approx(2.5, rel=0.01)


def test_a_run_without_a_curve_keeps_its_reason():
    advice = allocate([*fits(curve()), None], LAST * 2, reasons=["", "no energy"])
    assert advice[1].reason == "no energy"
    assert advice[1].p_best is None
    assert not advice[1].stop


def test_a_budget_that_was_spent_is_read_from_the_record():
    advice = allocate(fits(curve(1.5), curve(1.7)), LAST / 2)
    assert advice[0].p_best == pytest.approx(1.0)
    assert [one.joules_saved for one in advice] == [0.0, 0.0]
    assert not any(one.stop for one in advice)


def test_a_metric_that_rises():
    x, y = curve(0.2, 0.4, noise=0.001)
    known = [fit_curve(x, 1.0 - share * y / 4, goal="max", best=1.0) for share in (1.0, 0.5)]
    advice = allocate(known, 3 * LAST)
    assert advice[1].p_best > 0.95
    assert advice[1].level.median > advice[0].level.median


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_runs_are_refused(count):
    with pytest.raises(ForecastRefusedError, match="needs two runs"):
        allocate(fits(curve())[:count], LAST)


def test_a_sweep_that_diverged_is_refused():
    x, y = curve()
    nan = np.where(x > 200, np.nan, y)
    with pytest.raises(ForecastRefusedError, match="None of the 2 runs has a forecast"):
        allocate(fits((x, nan), (x, nan)), 2 * LAST)


@pytest.mark.parametrize("budget", [0.0, -1.0, math.nan, math.inf])
def test_invalid_budgets(budget):
    with pytest.raises(UsageError, match="budget"):
        allocate(fits(curve(), curve()), budget)


def test_mixed_metrics():
    x, y = curve(0.2)
    with pytest.raises(UsageError, match="different"):
        allocate([*fits((x, y)), fit_curve(x, 1.0 - y / 4, goal="max", best=1.0)], LAST)


def test_the_backtest_uses_only_the_past():
    # The first curve is the best in the end; the last one becomes not finite after half of the budget.
    x, y = curve(1.3)
    broken = np.where(x > 300, np.nan, curve(1.2)[1])
    known = fits((x, y), curve(1.7), curve(2.0), (x, broken))
    early, late = backtest(known)
    assert (early.share, late.share) == (0.25, 0.5)
    assert early.runs == 4
    assert early.budget_joules == LAST
    # Nothing showed before half of the energy that the broken run would break, so that it looked best.
    assert late.stopped >= 2
    assert late.saved_share == pytest.approx(late.stopped * 0.5 / 4, rel=0.02)
    assert late.kept_best == (late.log_regret == 0.0)
    assert backtest(known[:1]) == ()


def test_advice_for_other_libraries():
    good, bad = (dict(zip(*(part.tolist() for part in curve(floor)), strict=True)) for floor in (1.2, 2.0))
    assert should_stop([good, bad], 1, 4 * LAST)
    assert not should_stop([good, bad], 0, 4 * LAST)
    assert not should_stop([good, {}], 1, 4 * LAST)
    assert not should_stop([good], 0, 4 * LAST)
    lost = {x: y if x < 200 else math.nan for x, y in bad.items()}
    assert should_stop([lost, lost], 0, 4 * LAST)
