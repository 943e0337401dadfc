"""Answers of one fit agree with each other, for any curve: prices, intervals, probabilities and the state."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.forecasting import fit_curve
from profiler.records import CurveState, Verdict
from profiler.reporting import text
from profiler.reporting.forecast_section import outlook_of
from profiler.reporting.json import plain

SHAPES = {
    "power law": lambda u: 0.8 + u**-0.4,
    "slow power law": lambda u: u**-0.05,
    "exponential": lambda u: 1.0 + np.exp(-8.0 * u),
    "geometric": lambda u: np.exp(-9.0 * u),
    "constant": lambda u: np.full(u.size, 1.3),
    "sharp drop": lambda u: 1.0 + np.exp(-u / 0.01),
    "step": lambda u: np.where(u < 0.6, 2.0, 1.0) + 0.1 * u**-0.3,
    "fall and rise": lambda u: 1.0 + 0.5 * (u - 0.4) ** 2 + 0.1 * u**-0.3,
    "jump": lambda u: u**-0.4 * np.where(u < 0.7, 1.0, 5.0),
    "zero": lambda u: np.maximum(1.0 - 1.2 * u, 0.0),
    "not finite": lambda u: np.where(u < 0.8, u**-0.4, math.nan),
    "both signs": lambda u: u - 0.5,
}
RATES = {
    "unknown": lambda u, scale: {},
    "constant": lambda u, scale: {"learning_rate": np.ones(u.size)},
    "cosine": lambda u, scale: {"learning_rate": 1.0 + np.cos(np.pi * u)},
    "planned cosine": lambda u, scale: {
        "planned_learning_rate": (
            scale * np.linspace(0.0, 3.0, 90),
            1.0 + np.cos(np.linspace(0.0, np.pi, 90)),
        )
    },
    "planned restart": lambda u, scale: {
        "planned_learning_rate": (scale * np.array([0.0, 1.0, 1.1, 3.0]), [1.0, 0.1, 1.0, 0.0])
    },
}
SHARES = (1.5, 1.2, 1.05, 1.0, 0.999, 0.99, 0.97, 0.95, 0.92, 0.9, 0.85, 0.75, 0.6, 0.4, 0.1)
MULTIPLES = (1.0, 1.5, 2.0, 4.0, 7.0, 10.0)
CLOSE = 1e-6
TINY = 1e-12  # rounding of sums of probabilities


@st.composite
def fits(draw):
    points = draw(st.integers(6, 150))
    u = np.arange(1.0, points + 1.0) / points
    noise = draw(st.sampled_from([0.0, 1e-16, 0.001, 0.01, 0.1, 0.3]))
    shocks = np.random.default_rng(draw(st.integers(0, 10**6))).standard_normal(points)
    values = SHAPES[draw(st.sampled_from(list(SHAPES)))](u) * np.exp(noise * shocks)
    scale = draw(st.sampled_from([1e-2, 1.0, 1e6]))
    rates = RATES[draw(st.sampled_from(list(RATES)))](u, scale)
    return fit_curve(scale * u, values, **rates)


def later_is_not_less(answers):
    return all(after >= before * (1.0 - CLOSE) - TINY for before, after in pairwise(answers))


def check_prices(fit, scenario, targets):
    forecasts = [fit.joules_at(target, scenario=scenario) for target in targets]
    for name in ("low", "median", "high", "p_unreachable"):
        numbers = [getattr(one, name) for one in forecasts if not one.certain]
        known = [number for number in numbers if not math.isnan(number)]
        assert later_is_not_less(known), name
        assert not any(math.isnan(a) and not math.isnan(b) for a, b in pairwise(numbers)), name
    for forecast in forecasts:
        chances = [forecast.p_within(multiple) for multiple in MULTIPLES]
        assert not any(after < before - CLOSE for before, after in pairwise(chances))
        if forecast.verdict is not Verdict.REACHED:
            assert forecast.low >= fit.joules * (1.0 - CLOSE)
        if math.isnan(forecast.median):
            assert (forecast.low, forecast.high) == (fit.joules, math.inf)
            assert all(map(math.isnan, (forecast.p_unreachable, *chances)))
        else:
            assert forecast.low <= forecast.median <= forecast.high
            assert chances[-1] <= 1.0 - forecast.p_unreachable + CLOSE
        written = json.loads(json.dumps(plain(forecast), allow_nan=False))
        assert (written["median"] is None) == (not math.isfinite(forecast.median))
    for multiple in MULTIPLES:
        chances = [one.p_within(multiple) for one in forecasts if not math.isnan(one.p_within(multiple))]
        assert not any(after > before + CLOSE for before, after in pairwise(chances))
    return forecasts


def check_states(fit, scenario, forecasts):
    for forecast in forecasts:
        if forecast.verdict is Verdict.REACHED or forecast.certain:
            continue
        if fit.state not in (CurveState.IMPROVING, CurveState.FLAT):
            assert (forecast.verdict, forecast.reason) == (Verdict.UNDETERMINED, fit.state_reason)
        elif fit.state is CurveState.FLAT and scenario in ("onward", "held"):
            assert forecast.verdict is Verdict.UNREACHABLE


def check_levels(fit, scenario):
    for multiple in (0.3, 1.0, 1.1, 3.0, 10.0, 1e3, math.inf):
        level = fit.loss_at(multiple * fit.joules, scenario=scenario)
        if not math.isnan(level.median):
            assert level.low <= level.median <= level.high
            # The present level is that of the default scenario. `held` merges nodes over their anneal gains, which
            # after a fall of the rate moves the quantiles of a few noisy points by up to a tenth.
            scenarios = ("onward", "held", "annealed") if multiple > 1.0 else ("onward", "annealed")
            if fit.state is CurveState.IMPROVING and multiple >= 1.0 and scenario in scenarios:
                assert level.high <= fit.loss_at(1.0001 * fit.joules, scenario=scenario).high * 1.01


def check_floor(fit):
    if not fit.is_priced:
        assert math.isnan(fit.floor.median)
        return
    assert fit.floor.low <= fit.floor.median <= fit.level * (1.0 + CLOSE)
    assert fit.floor.median <= fit.floor.high < math.inf


def check_report(fit):
    """A farther target is not known better than a nearer one, and no target has a price without a forecast."""
    rows = outlook_of(fit, (), ()).targets
    cells = [text.price(row.forecast.verdict, row.more, text.joules, fit.joules)[0] for row in rows]
    known = [cell for cell in cells if cell != text.OUT_OF_REACH]
    assert known == cells[: len(known)]
    assert all((cell == text.UNKNOWN) == (not fit.has_forecast) for cell in known)
    has_point = [not (cell.startswith("over ") or cell.endswith(" or more")) for cell in known]
    assert has_point == sorted(has_point, reverse=True)


def check(fit):
    level = fit.level if math.isfinite(fit.level) and fit.level > 0.0 else 1.0
    targets = [share * level for share in SHARES]
    for scenario in fit.scenarios or (None,):
        check_states(fit, scenario, check_prices(fit, scenario, targets))
        if scenario is not None:
            check_levels(fit, scenario)
    check_floor(fit)
    check_report(fit)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(fits())
def test_answers_about_any_curve_agree(fit):
    check(fit)


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("shape", SHAPES)
def test_answers_about_each_shape_agree(shape, noise):
    u = np.arange(1.0, 121.0) / 120.0
    check(
        fit_curve(1e3 * u, SHAPES[shape](u) * np.exp(noise * np.random.default_rng(0).standard_normal(120)))
    )


@pytest.mark.parametrize("shape", ["power law", "exponential", "geometric", "sharp drop", "constant"])
def test_intervals_of_a_curve_without_noise_end_at_its_level(shape):
    u = np.arange(1.0, 301.0) / 300.0
    fit = fit_curve(1e3 * u, SHAPES[shape](u))
    for level in (fit.floor, fit.loss_at(2e3), fit.loss_at(1e4)):
        assert level.high <= 1.01 * fit.level
