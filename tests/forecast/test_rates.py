"""The learning rate over joules, thinned as it comes."""

import math

import numpy as np
import pytest

from profiler.forecast.rates import ENDED, LIMIT, RateTrace
from profiler.forecast.schedule import build


def traced(joules, rates):
    trace = RateTrace()
    for x, r in zip(joules, rates, strict=True):
        trace.add(float(x), float(r))
    return trace


def test_a_few_points_come_back_as_they_are():
    trace = traced([1.0, 2.0, 3.0], [0.1, 0.2, 0.15])
    assert trace.known() == ([1.0, 2.0, 3.0], [0.1, 0.2, 0.15])


@pytest.mark.parametrize("rates", [[], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0], [math.nan, -1.0, math.inf]])
def test_a_rate_that_says_nothing_is_not_known(rates):
    trace = traced(range(1, len(rates) + 1), rates)
    assert trace.known() is None
    assert trace.notes() == ()


def test_memory_is_bounded_and_the_schedule_stays():
    joules = np.cumsum(np.random.default_rng(0).exponential(size=100_000))
    rates = 1e-3 * (0.55 + 0.45 * np.cos(np.pi * joules / joules[-1]))
    trace = traced(joules, rates)
    assert LIMIT / 4 < len(trace.points) <= LIMIT
    thinned, whole = build(*trace.known()), build(joules, rates)
    assert thinned.learned == pytest.approx(whole.learned, rel=2e-3, abs=joules[-1] * 1e-3)
    assert thinned.progress == pytest.approx(whole.progress, abs=5e-3)
    assert trace.known()[0][-1] == joules[-1]


def test_a_jump_stays_a_jump():
    joules = np.arange(1.0, 50_001.0)
    trace = traced(joules, np.where(joules < 20_000, 1.0, 0.1))
    x, r = map(np.array, trace.known())
    assert np.ptp(x[(r < 1.0)][:1]) == 0.0
    assert x[r < 1.0][0] == pytest.approx(20_000, rel=5e-3)


def test_a_rate_at_its_end_is_not_held_for_ever():
    ended = traced([1, 2, 3], [0.1, 1.0, 0.0])
    assert ended.notes() == (ENDED,)
    assert ended.known() is None
    assert traced([1, 2, 3], [0.1, 1.0, 0.5]).notes() == ()
