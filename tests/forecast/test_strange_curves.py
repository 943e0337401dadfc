"""Whatever is measured, a fit answers with numbers or refuses with a reason."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.errors import ForecastRefusedError
from profiler.forecast import fit_curve

POINTS = st.lists(
    st.tuples(st.floats(-6, 6).map(lambda exponent: 10.0**exponent), st.floats(0.05, 5.0)),
    min_size=6,
    max_size=16,
)


@settings(max_examples=60, deadline=None)
@given(POINTS)
def test_a_few_wild_points_never_break_a_fit_or_make_it_say_nan(points):
    try:
        fit = fit_curve([x for x, _ in points], [y for _, y in points])
    except ForecastRefusedError:
        return
    forecast = fit.joules_at(fit.level * 0.9)
    level = fit.loss_at(fit.joules * 3)
    numbers = (forecast.low, forecast.median, forecast.high, forecast.p_unreachable, level.low, level.high)
    assert not any(map(math.isnan, numbers))
    assert forecast.low <= forecast.median <= forecast.high
    assert level.low <= level.high
