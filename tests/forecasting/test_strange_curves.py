"""Any curve gives a fit with valid numbers or a state with a reason."""

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from profiler.forecasting import fit_curve

pytestmark = pytest.mark.slow

POINTS = st.lists(
    st.tuples(st.floats(-6, 6).map(lambda exponent: 10.0**exponent), st.floats(0.05, 5.0)),
    min_size=6,
    max_size=16,
)


@settings(max_examples=60, deadline=None)
@given(POINTS)
def test_few_random_points_give_valid_numbers(points):
    fit = fit_curve([x for x, _ in points], [y for _, y in points])
    if not fit.has_forecast:
        assert fit.state_reason.endswith(".")
        return
    forecast = fit.joules_at(fit.level * 0.9)
    level = fit.loss_at(fit.joules * 3)
    numbers = (forecast.low, forecast.median, forecast.high, forecast.p_unreachable, level.low, level.high)
    assert not any(map(math.isnan, numbers))
    assert forecast.low <= forecast.median <= forecast.high
    assert level.low <= level.high


RATES = st.lists(st.sampled_from([0.0, 1e-9, 1e-3, 0.1, 0.5, 1.0]), min_size=16, max_size=16)


@settings(max_examples=60, deadline=None)
@given(POINTS, RATES, st.sampled_from([None, 0.01, 1.0, 1.5, 1e4]), st.sampled_from([0.0, 1e-3, 1.0]))
def test_any_learning_rate_and_plan_give_valid_numbers(points, rates, longer, end):
    """Rates of zero anywhere, plans shorter than the run or far longer."""
    joules, values = ([point[k] for point in sorted(points)] for k in (0, 1))
    rate = rates[: len(joules)]
    assume(max(rate) > 0.0)
    plan = None if longer is None else ([*joules, longer * joules[-1]], [*rate, end])
    fit = fit_curve(joules, values, learning_rate=rate, planned_learning_rate=plan)
    if not fit.has_forecast:
        return
    for scenario in fit.scenarios:
        forecast = fit.joules_at(fit.level * 0.9, scenario=scenario)
        level = fit.loss_at(fit.joules * 3, scenario=scenario)
        assert forecast.low <= forecast.median <= forecast.high
        assert 0.0 <= forecast.p_unreachable <= 1.0
        assert level.low <= level.median <= level.high
