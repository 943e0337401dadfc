"""Search of quantiles and crossings."""

import math

import pytest

from profiler.forecasting.predictive import _root  # no curve leads to each of these functions

FUNCTIONS = {
    "straight": (lambda x: x - 0.3, 0.3),
    "cubic": (lambda x: (x - 0.7) ** 3, 0.7),
    "steep": (lambda x: math.tanh(1e4 * (x - 0.1)), 0.1),
    "flat, then steep": (lambda x: math.exp(40.0 * (x - 0.9)) - 0.5, 0.9 + math.log(0.5) / 40.0),
    "jump": (lambda x: -1.0 if x < 0.6 else 1.0, 0.6),
    "two jumps": (lambda x: -1.0 if x < 0.2 else -0.5 if x < 0.4 else 2.0, 0.4),
    "flat before a jump": (lambda x: -1e-6 if x < 0.8 else 1.0, 0.8),
    "positive throughout": (lambda x: x + 1.0, 0.0),
    "negative throughout": (lambda x: x - 2.0, 1.0),
}


@pytest.mark.parametrize(("function", "zero"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_the_zero_is_found_in_few_evaluations(function, zero):
    calls = []

    def counted(x):
        calls.append(x)
        return function(x)

    found = _root(counted, 0.0, 1.0)
    # Where a function is flat, values within the tolerance are zeros as well.
    assert found == pytest.approx(zero, abs=1e-11 if function is not FUNCTIONS["cubic"][0] else 2e-4)
    assert all(0.0 <= x <= 1.0 for x in calls)
    assert len(calls) < 60
