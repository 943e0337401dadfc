import dataclasses
import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from profiler.forecasting import CurveBins, Priors, fit_bins, fit_curve
from profiler.forecasting.curve import bin_arrays, coarsen
from profiler.forecasting.posterior import fit_nodes, gather
from profiler.forecasting.predictive import Predictive
from profiler.forecasting.schedule import Onward
from profiler.records import CurveState, Verdict
from tests.support.synthetic_curves import power_law

CURVES = st.builds(
    lambda floor, excess, slope, noise, points, seed: (
        np.linspace(1.0, 100.0, points) * 1e3,
        power_law(np.linspace(1.0, 100.0, points), floor, excess, slope)
        * np.exp(noise * np.random.default_rng(seed).standard_normal(points)),
    ),
    floor=st.floats(0.0, 3.0),
    excess=st.floats(0.1, 3.0),
    slope=st.floats(0.1, 1.5),
    noise=st.sampled_from([0.0, 0.01, 0.05]),
    points=st.integers(30, 300),
    seed=st.integers(0, 99),
)
few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.slow
@few
@given(CURVES, st.floats(1.0, 50.0))
def test_the_inverse_undoes_the_forecast(curve, ratio):
    fit = fit_curve(*curve)
    assume(fit.has_forecast)  # noise can hide the trend of a short curve
    there = fit.loss_at(ratio * fit.joules)
    back = fit.joules_at(there.median)
    if back.verdict is Verdict.REACHED:
        assert back.median <= fit.joules
    else:
        assert back.median == pytest.approx(ratio * fit.joules, rel=1e-6)


@pytest.mark.slow
@few
@given(CURVES)
def test_the_inverse_holds_for_interval_ends(curve):
    fit = fit_curve(*curve)
    assume(fit.has_forecast)
    there = fit.loss_at(3.0 * fit.joules)
    assert fit.joules_at(there.low).low == pytest.approx(3.0 * fit.joules, rel=1e-6)
    # At the end of the interval itself the probability of failure is exactly the limit, and the answer may be infinite.
    assert fit.joules_at(there.high * (1.0 + 1e-3)).high <= 3.0 * fit.joules * (1.0 + 1e-6)


def test_a_probability_that_is_largest_between_two_steps_of_the_search_is_found():
    """The probability of this level exceeds 95 % between 2.8 and 3.2 times the energy only."""
    x = np.linspace(1.0, 100.0, 30) * 1e3
    fit = fit_curve(x, power_law(x / 1e3, 0.484375, 2.875, 1.421875))
    high = fit.loss_at(3.0 * fit.joules).high
    found = fit.joules_at(high * (1.0 + 1e-3))
    assert found.high <= 3.0 * fit.joules
    assert found.p_unreachable < 0.05


@pytest.mark.slow
@few
@given(CURVES, st.lists(st.floats(0.05, 1.5), min_size=2, max_size=4))
def test_a_lower_target_never_costs_less(curve, factors):
    fit = fit_curve(*curve)
    assume(fit.has_forecast)
    forecasts = [fit.joules_at(fit.level * factor) for factor in sorted(factors, reverse=True)]
    for field in ("low", "median", "high", "p_unreachable"):
        values = [getattr(forecast, field) for forecast in forecasts]
        # A probability near 0 is 1 less one near 1, and rounded like it.
        assert all(b >= a * (1.0 - 1e-9) - 1e-14 for a, b in itertools.pairwise(values)), (field, values)


@pytest.mark.slow
@few
@given(CURVES, st.floats(0.2, 0.85))
def test_more_confidence_is_a_wider_interval(curve, level):
    narrow, wide = fit_curve(*curve, level=level), fit_curve(*curve, level=level + 0.1)
    assume(narrow.has_forecast)
    for ask in (lambda fit: fit.loss_at(2.0 * fit.joules), lambda fit: fit.joules_at(0.97 * fit.level)):
        assert ask(wide).low <= ask(narrow).low <= ask(narrow).high <= ask(wide).high
        assert ask(wide).median == ask(narrow).median


@pytest.mark.slow
@few
@given(CURVES, st.sampled_from([1e-3, 1.0 / 3.6e6, 17.3]))
def test_units_scale_out(curve, unit):
    joules, values = curve
    fit, scaled = fit_curve(joules, values), fit_curve(joules * unit, values)
    assume(fit.has_forecast)
    target = 0.9 * fit.level
    assert scaled.loss_at(9.0 * scaled.joules).high == pytest.approx(
        fit.loss_at(9.0 * fit.joules).high, rel=1e-9
    )
    assert scaled.joules_at(target).low == pytest.approx(fit.joules_at(target).low * unit, rel=1e-6)


@pytest.mark.slow
@few
@given(CURVES)
def test_no_answer_is_nan(curve):
    fit = fit_curve(*curve)
    assume(fit.has_forecast)
    intervals = [fit.loss_at(x) for x in (1e-9, fit.joules, 1.01 * fit.joules, 1e20, 1e308, math.inf)]
    intervals += [fit.joules_at(y) for y in (-1.0, 0.0, 1e-300, fit.floor.median, fit.level, 1e300, math.inf)]
    for interval in [*intervals, fit.floor, fit.exponent]:
        assert interval.low <= interval.median <= interval.high, interval


@pytest.mark.slow
@few
@given(st.sampled_from([2, 5, 10]), st.integers(0, 99), st.sampled_from([0.2, 0.5, 1.0]))
def test_thinning_or_averaging_a_smooth_curve_changes_little(every, seed, slope):
    joules = np.arange(1.0, 4001.0)
    values = power_law(joules, slope=slope) * np.exp(
        0.002 * np.random.default_rng(seed).standard_normal(joules.size)
    )
    blocks = values.reshape(-1, every).mean(axis=1)
    middles = joules.reshape(-1, every).mean(axis=1)
    fits = (
        fit_curve(joules, values),
        fit_curve(joules[every - 1 :: every], values[every - 1 :: every]),
        fit_curve(middles, blocks, weights=np.full(blocks.size, float(every))),
    )
    for ask in (lambda fit: fit.loss_at(2.0 * 4000.0), lambda fit: fit.loss_at(10.0 * 4000.0)):
        whole, thinned, averaged = (ask(fit).median for fit in fits)
        assert thinned == pytest.approx(whole, rel=0.02)
        assert averaged == pytest.approx(whole, rel=0.01)


def test_streaming_and_arrays_give_the_same_fit(noisy_curve):
    bins = CurveBins()
    for x, y in zip(*noisy_curve, strict=True):
        bins.add(float(x), float(y))
    streamed, fitted = fit_bins(bins), fit_curve(*noisy_curve)
    assert streamed.loss_at(1e6) == fitted.loss_at(1e6)
    assert streamed.joules_at(2.0) == fitted.joules_at(2.0)


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.03])
@pytest.mark.parametrize("slope", [0.15, 0.4, 1.0])
def test_refining_the_grid_changes_nothing(noise, slope):
    rng = np.random.default_rng(2)
    x = np.arange(1.0, 3001.0)
    curve = coarsen(bin_arrays(x, power_law(x, slope=slope) * np.exp(noise * rng.standard_normal(x.size))))
    priors = Priors()
    log_v = np.log(curve.joules / curve.last_joules)
    evidence = gather(curve, priors, log_v=log_v, progress=None, lower_bound=0.0)
    coarse, fine = (
        Predictive(nodes=fit_nodes(evidence, refine=refine), error=priors.rate_unknown, path=Onward())
        for refine in (1, 3)
    )
    for log_ratio in (0.0, 1.0, 3.0, math.inf):
        for p in (0.05, 0.5, 0.95):
            one, other = coarse.log_quantile(log_ratio, p), fine.log_quantile(log_ratio, p)
            assert one == pytest.approx(other, abs=0.006 if math.isfinite(log_ratio) else 0.03), (
                log_ratio,
                p,
            )


def test_priors_can_be_overridden(noisy_curve):
    expecting = fit_curve(*noisy_curve, priors=dataclasses.replace(Priors(), bare_floor=0.5))
    assert expecting.floor.low < fit_curve(*noisy_curve).floor.low
    assert expecting.priors.bare_floor == 0.5


def test_known_curve_is_forecast(noisy_curve):
    fit = fit_curve(*noisy_curve)
    truth = 1.2 + 4.0**-0.35
    interval = fit.loss_at(4.0 * fit.joules)
    assert interval.low < truth < interval.high
    assert interval.median == pytest.approx(truth, rel=0.02)
    assert fit.floor.low < 1.2 < fit.floor.high
    assert fit.level == pytest.approx(2.2, rel=0.01)
    assert fit.points == 2000


def test_enormous_energy_gets_an_ordered_interval(noisy_curve):
    interval = fit_curve(*noisy_curve).loss_at(1e20)
    assert 0.0 <= interval.low < interval.median < interval.high < 2.2


def test_the_past_is_the_smoothed_curve(noisy_curve):
    fit = fit_curve(*noisy_curve)
    truth = 1.2 + 0.3**-0.35
    assert fit.loss_at(0.3 * fit.joules).median == pytest.approx(truth, rel=0.02)
    reached = fit.joules_at(truth)
    assert reached.verdict is Verdict.REACHED
    assert reached.median == pytest.approx(0.3 * fit.joules, rel=0.25)
    assert reached.low <= reached.median <= reached.high <= fit.joules
    assert reached.p_unreachable == 0.0
    assert fit.joules_at(math.inf).verdict is Verdict.REACHED


def test_one_low_value_does_not_count_as_reached():
    x = np.linspace(1.0, 100.0, 40)
    y = power_law(x)
    y[30] *= 0.8
    fit = fit_curve(x, y)
    assert fit.joules_at(float(y[30])).verdict is not Verdict.REACHED


def test_importing_and_fitting_stays_light(environment):
    code = (
        "import sys; from profiler.forecasting import fit_curve; "
        "fit_curve([1, 2, 3, 4, 6, 8, 9], [5, 4, 3.5, 3.2, 3, 2.9, 2.8]); "
        "print([m for m in ('scipy', 'pandas', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("goal", "best"), [("min", None), ("max", 5.0)])
def test_a_falling_curve_is_improving(goal, best):
    joules = np.geomspace(1.0, 1000.0, 100)
    error = power_law(joules)
    fit = fit_curve(joules, error if best is None else best - error, goal=goal, best=best)
    assert fit.state is CurveState.IMPROVING
    assert f"{fit.level:.4g}" in fit.state_reason
