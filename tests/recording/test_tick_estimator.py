"""When a staircase moved: brackets of late, dithered readings, folded onto the sensor's own beat."""

import random
from bisect import bisect_right

import pytest

from profiler.recording.sampling_interval import DEFAULT_SECONDS, Pace
from profiler.recording.tick_estimator import TickClock
from profiler.units import NANOSECONDS_PER_SECOND as SECOND


def follow(*, period=0.1, said=None, share=0.62, jitter=0.0, seed=0, changes=200):
    """Errors, in seconds, of the moments found for the ticks of a sensor read at a share of its period."""
    draw = random.Random(seed)
    phase = draw.random() * period
    ticks = [phase + n * period + draw.gauss(0, jitter) for n in range(10 * changes)]
    clock, now, last, errors, beats = TickClock(), 0.0, -1, [], 0
    clock.learn((said or period) * SECOND)
    while len(errors) < changes:
        beats += 1
        dither = 1 + 0.1 * (2 * (beats * 0.618034 % 1) - 1)
        now += (0.008 if beats < 150 else share * period * dither) + draw.random() * 0.002
        newest = bisect_right(ticks, now) - 1
        if newest == last:
            clock.held(round(now * SECOND))
        else:
            errors.append(clock.changed(round(now * SECOND)) / SECOND - ticks[newest])
            last = newest
    return errors[1:], clock


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("period", "within"), [(0.1, 0.006), (0.02, 0.003)])
def test_ticks_are_found_far_more_sharply_than_they_are_read(period, within, seed):
    errors, clock = follow(period=period, seed=seed)
    assert max(map(abs, errors[20:])) < within
    assert clock.period_seconds == pytest.approx(period, rel=0.002)


@pytest.mark.parametrize("said", [0.097, 0.103])
def test_a_period_that_was_said_wrong_is_put_right(said):
    _, clock = follow(said=said)
    assert clock.period_seconds == pytest.approx(0.1, rel=0.002)


@pytest.mark.parametrize("jitter", [0.002, 0.01, 0.03])
def test_a_beat_that_is_not_steady_still_gives_moments_inside_the_brackets(jitter):
    errors, _ = follow(jitter=jitter)
    assert sum(map(abs, errors)) / len(errors) < 0.031


def test_moments_lie_between_the_readings_around_them_and_in_order():
    clock, draw, before = TickClock(), random.Random(1), 0
    clock.learn(0.1 * SECOND)
    held = 0
    for n in range(1, 400):
        now = n * 61_000_000 + draw.randrange(20_000_000)
        if draw.random() < 0.4:
            clock.held(now)
        else:
            moment = clock.changed(now)
            assert held < moment <= now or n == 1
            assert moment > before
            before = moment
        held = now


def test_before_its_period_is_known_a_change_is_half_way_between_two_readings():
    clock = TickClock()
    clock.held(100)
    assert clock.changed(200) == 150
    assert clock.period_seconds is None
    assert clock.seconds_between(0, 150) is None


def test_half_a_period_that_explains_the_changes_too_is_not_believed():
    _, clock = follow(period=0.02, said=0.0195, share=0.75)
    assert clock.period_seconds == pytest.approx(0.02, rel=0.01)


# -- pace --------------------------------------------------------------------------------------------------------------


def waits(pace, periods, count=400, read=50e-6, processor=0.0):
    found = []
    for _ in range(count):
        pace.adapt(periods, read, processor)
        found.append(pace.next_seconds())
    return found


@pytest.mark.parametrize("period", [0.02, 0.05, 0.1])
def test_polls_lie_between_half_and_all_of_the_sensors_period(period):
    found = waits(Pace(), [period, 0.001])
    assert min(found) >= 0.5 * period
    assert max(found) <= period
    assert max(found) - min(found) > 0.1 * period


def test_polls_are_close_until_the_period_is_known_and_not_for_ever():
    pace = Pace()
    assert waits(pace, [None], 100)[-1] < 0.01
    assert waits(pace, [None], 200)[-1] == pytest.approx(DEFAULT_SECONDS, rel=0.11)


def test_slow_reads_take_no_more_than_two_percent_of_the_time():
    found = waits(Pace(), [0.1], read=0.0024)
    assert 0.0024 / (sum(found) / len(found)) == pytest.approx(0.02, rel=0.01)


def test_beats_take_no_more_than_their_share_of_the_processor():
    found = waits(Pace(), [0.02], processor=400e-6)
    assert 400e-6 / (sum(found) / len(found)) == pytest.approx(0.006, rel=0.01)


@pytest.mark.parametrize(("cost", "mean"), [(0.0, 0.074), (240e-6, 0.080), (300e-6, 0.085), (500e-6, 0.085)])
def test_costly_beats_are_spread_as_far_as_the_sensor_allows(cost, mean):
    """To 0.3 % of the processor where 85 % of the sensor's period suffices for that."""
    found = waits(Pace(), [0.1], processor=cost)
    assert sum(found) / len(found) == pytest.approx(mean, rel=0.01)


def test_without_sensors_that_say_so_and_with_a_fixed_period():
    assert waits(Pace(), [0.001])[-1] == pytest.approx(DEFAULT_SECONDS, rel=0.11)
    assert set(waits(Pace(0.25), [None, 0.02])) == {0.25}
