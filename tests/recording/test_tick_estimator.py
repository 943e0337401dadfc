"""Update times estimated from brackets of late, dithered readings; and the sampling interval."""

import random
from bisect import bisect_right

import pytest

from profiler.recording.sampling_interval import DEFAULT_SECONDS, SamplingInterval
from profiler.recording.tick_estimator import TickEstimator
from profiler.units import NANOSECONDS_PER_SECOND as SECOND


def follow(*, period=0.1, said=None, share=0.62, jitter=0.0, seed=0, changes=200):
    """Return the errors, in seconds, of the estimated ticks of a sensor polled at a share of its period."""
    draw = random.Random(seed)
    phase = draw.random() * period
    ticks = [phase + n * period + draw.gauss(0, jitter) for n in range(10 * changes)]
    estimator, now, last, errors, beats = TickEstimator(), 0.0, -1, [], 0
    estimator.set_nominal_period((said or period) * SECOND)
    while len(errors) < changes:
        beats += 1
        dither = 1 + 0.1 * (2 * (beats * 0.618034 % 1) - 1)
        now += (0.008 if beats < 150 else share * period * dither) + draw.random() * 0.002
        newest = bisect_right(ticks, now) - 1
        if newest == last:
            estimator.unchanged_at(round(now * SECOND))
        else:
            errors.append(estimator.changed_at(round(now * SECOND)) / SECOND - ticks[newest])
            last = newest
    return errors[1:], estimator


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("period", "within"), [(0.1, 0.006), (0.02, 0.003)])
def test_ticks_are_estimated_more_precisely_than_they_are_polled(period, within, seed):
    errors, estimator = follow(period=period, seed=seed)
    assert max(map(abs, errors[20:])) < within
    assert estimator.period_seconds == pytest.approx(period, rel=0.002)


@pytest.mark.parametrize("said", [0.097, 0.103])
def test_wrong_nominal_period_is_corrected(said):
    _, estimator = follow(said=said)
    assert estimator.period_seconds == pytest.approx(0.1, rel=0.002)


@pytest.mark.parametrize("jitter", [0.002, 0.01, 0.03])
def test_irregular_ticks_are_estimated_within_their_brackets(jitter):
    errors, _ = follow(jitter=jitter)
    assert sum(map(abs, errors)) / len(errors) < 0.031


def test_estimates_are_ordered_and_within_their_brackets():
    estimator, draw, before = TickEstimator(), random.Random(1), 0
    estimator.set_nominal_period(0.1 * SECOND)
    held = 0
    for n in range(1, 400):
        now = n * 61_000_000 + draw.randrange(20_000_000)
        if draw.random() < 0.4:
            estimator.unchanged_at(now)
        else:
            moment = estimator.changed_at(now)
            assert held < moment <= now or n == 1
            assert moment > before
            before = moment
        held = now


def test_change_is_in_the_middle_of_its_bracket_while_the_period_is_unknown():
    estimator = TickEstimator()
    estimator.unchanged_at(100)
    assert estimator.changed_at(200) == 150
    assert estimator.period_seconds is None
    assert estimator.interval_seconds(0, 150) is None


def test_half_the_period_is_rejected():
    _, estimator = follow(period=0.02, said=0.0195, share=0.75)
    assert estimator.period_seconds == pytest.approx(0.02, rel=0.01)


# -- sampling interval ---------------------------------------------------------------------------------------------


def waits(pace, periods, count=400, read=50e-6, processor=0.0):
    found = []
    for _ in range(count):
        pace.adapt(periods, read, processor)
        found.append(pace.next_seconds())
    return found


@pytest.mark.parametrize("period", [0.02, 0.05, 0.1])
def test_interval_is_between_half_and_the_whole_update_interval(period):
    found = waits(SamplingInterval(), [period, 0.001])
    assert min(found) >= 0.5 * period
    assert max(found) <= period
    assert max(found) - min(found) > 0.1 * period


def test_polls_are_dense_for_a_limited_time_while_the_period_is_unknown():
    pace = SamplingInterval()
    assert waits(pace, [None], 100)[-1] < 0.01
    assert waits(pace, [None], 200)[-1] == pytest.approx(DEFAULT_SECONDS, rel=0.11)


def test_slow_reads_take_at_most_two_percent_of_the_time():
    found = waits(SamplingInterval(), [0.1], read=0.0024)
    assert 0.0024 / (sum(found) / len(found)) == pytest.approx(0.02, rel=0.01)


def test_polls_take_at_most_their_share_of_the_processor():
    found = waits(SamplingInterval(), [0.02], processor=400e-6)
    assert 400e-6 / (sum(found) / len(found)) == pytest.approx(0.006, rel=0.01)


@pytest.mark.parametrize(("cost", "mean"), [(0.0, 0.074), (240e-6, 0.080), (300e-6, 0.085), (500e-6, 0.085)])
def test_expensive_polls_are_spread_as_far_as_the_sensor_allows(cost, mean):
    """To 0.3 % of the processor, at most at 85 % of the update interval."""
    found = waits(SamplingInterval(), [0.1], processor=cost)
    assert sum(found) / len(found) == pytest.approx(mean, rel=0.01)


def test_default_and_fixed_intervals():
    assert waits(SamplingInterval(), [0.001])[-1] == pytest.approx(DEFAULT_SECONDS, rel=0.11)
    assert set(waits(SamplingInterval(0.25), [None, 0.02])) == {0.25}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gap", [0.13, 0.6, 2.0])
def test_change_after_a_gap_is_placed_at_the_tick_that_earlier_ones_predict(gap, seed):
    draw, estimator = random.Random(seed), TickEstimator()
    estimator.set_nominal_period(0.1 * SECOND)
    phase, now, newest, late, outside = 0.1 * draw.random(), 0.0, -1, [], 0
    for poll in range(600):
        is_late = poll > 100 and draw.random() < 0.05
        now += gap + 0.1 * draw.random() if is_late else 0.07 + 0.014 * draw.random()
        tick = int((now - phase) // 0.1)
        if tick == newest:
            estimator.unchanged_at(round(now * SECOND))
            continue
        newest = tick
        error = abs(estimator.changed_at(round(now * SECOND)) / SECOND - (phase + 0.1 * tick))
        if is_late:
            late.append(error)
            outside += error > max(2 * estimator.width_ns / SECOND, 0.012)
    assert outside <= 0.05 * len(late)
    assert sorted(late)[len(late) * 2 // 3] < 0.012, "up to half a period, 0.05 s, without earlier ticks"


@pytest.mark.parametrize("seed", range(6))
def test_period_is_not_mistaken_for_the_interval_of_regular_polls(seed):
    draw, estimator, newest, now = (
        random.Random(seed),
        TickEstimator(),
        -1,
        0.1 * random.Random(seed).random(),
    )
    estimator.set_nominal_period(0.1 * SECOND)
    for _ in range(200):
        now += 0.077 + 0.004 * draw.random()
        if int(now // 0.1) == newest:
            estimator.unchanged_at(round(now * SECOND))
        else:
            newest = int(now // 0.1)
            estimator.changed_at(round(now * SECOND))
    assert estimator.period_seconds == pytest.approx(0.1, rel=0.003)
