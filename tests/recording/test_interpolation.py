"""Step energies by the learnt power profile: better than straight lines, never negative, exact in sum."""

from bisect import bisect_right
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.recording.interpolation import StepInterpolator
from profiler.recording.power_profile import PARTS, PowerProfile, add_exposure
from profiler.recording.segmentation import Tile
from profiler.recording.steps import Step
from profiler.recording.timeline import Timeline
from profiler.records import Reading
from profiler.testing.replay import Waveform
from profiler.units import NANOSECONDS_PER_SECOND as SECOND

STEP = object.__new__(Step)


def wave_of(length):
    """Return a burst for the first 40 % of a step."""
    return Waveform.square(low=100.0, high=600.0, period_seconds=length, duty=0.4)


def shared(wave, edges, *, period=0.1, seconds=30.0):
    """Interpolate a counter. Return the errors of the steps in joules, the timeline and the interpolator."""
    timeline = Timeline()
    for n in range(round(seconds / period)):
        joules = wave.joules(n * period)
        timeline.add(Reading(domain="gpu:0", time_ns=round(n * period * SECOND), energy_joules=joules))
    interpolator = StepInterpolator(timeline)
    moments = [round(e * SECOND) for e in edges if e < seconds - period]
    tiles = [Tile(a, b, "", STEP) for a, b in pairwise([0, *moments])]
    found = []
    for index, tile in enumerate(tiles):
        interpolator.interpolate(tile, tiles[index + 1 : index + 2])
        found.append(timeline.joules_at(tile.end_ns))
    truth = [wave.joules(tile.end_ns / SECOND) for tile in tiles]
    return (
        [b - a - (d - c) for (a, b), (c, d) in zip(pairwise(found), pairwise(truth), strict=True)],
        timeline,
        interpolator,
    )


def straight(wave, edges, *, period=0.1, seconds=30.0):
    """Return the same errors with straight lines between the ticks."""

    def at(t):
        k = int(t / period + 1e-9)
        first, last = wave.joules(k * period), wave.joules((k + 1) * period)
        return first + (last - first) * (t / period - k)

    kept = [e for e in edges if e < seconds - period]
    return [at(b) - at(a) - (wave.joules(b) - wave.joules(a)) for a, b in pairwise(kept)]


def mean(errors):
    return sum(map(abs, errors)) / len(errors)


@pytest.mark.parametrize("length", [0.0307, 0.0805, 0.153, 0.2309])
def test_learnt_profile_is_several_times_better_than_a_straight_line(length):
    edges = [length * n for n in range(1, 1000)]
    ours, _, interpolator = shared(wave_of(length), edges)
    line = straight(wave_of(length), edges)
    assert interpolator.is_trusted
    assert mean(ours[len(ours) // 2 :]) < 0.25 * mean(line[len(line) // 2 :])


def test_profile_is_not_used_at_steady_power():
    ours, _, interpolator = shared(Waveform.constant(300), [0.0805 * n for n in range(1, 400)])
    assert not interpolator.is_trusted
    assert mean(ours) < 1e-9


def test_profile_is_not_used_for_steps_locked_to_the_ticks():
    _, _, interpolator = shared(wave_of(0.1), [0.1 * n + 0.03 for n in range(1, 400)])
    assert not interpolator.is_trusted


@pytest.mark.slow
@settings(max_examples=30)
@given(
    lengths=st.lists(st.floats(0.006, 0.6), min_size=50, max_size=200),
    period=st.sampled_from([0.02, 0.1]),
    burst=st.floats(0.05, 0.5),
)
def test_energy_never_decreases_and_keeps_the_ticks(lengths, period, burst):
    edges = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    wave = wave_of(burst)
    _, timeline, _ = shared(wave, edges, period=period, seconds=min(edges[-1], 12.0) + 2 * period)
    probes = sorted(
        {*timeline._times, *(pin[0] for pin in timeline._pins), *(round(e * SECOND) for e in edges)}
    )
    found = [timeline.joules_at(t) for t in probes]
    assert all(later >= earlier for earlier, later in pairwise(found))
    for time, joules in zip(timeline._times, timeline._joules, strict=True):
        assert timeline.joules_at(time) == joules


def test_profile_is_not_used_where_the_following_power_is_unknown():
    """Power after the last step is unknown, so the last boundaries are on straight lines."""
    length, ends = 0.0805, 400
    wave = wave_of(length)
    _, timeline, interpolator = shared(wave, [length * n for n in range(1, ends)])
    last = round(length * (ends - 1) * SECOND)
    rest = Tile(last, last + SECOND // 50, "teardown")
    before = timeline.joules_at(rest.end_ns)
    assert interpolator.is_trusted
    interpolator.interpolate(rest, [])
    assert timeline.joules_at(rest.end_ns) == before
    step = Tile(last + SECOND // 5, last + SECOND // 4, "", STEP)
    before = timeline.joules_at(step.end_ns)
    interpolator.interpolate(step, [Tile(step.end_ns, step.end_ns + 1000, "teardown")])
    assert timeline.joules_at(step.end_ns) == before


def test_pin_is_clamped_between_its_ticks_and_after_the_last_pin():
    timeline = Timeline()
    for n in range(4):
        timeline.add(Reading(domain="gpu:0", time_ns=n * SECOND, energy_joules=100.0 * n))
    timeline.pin(SECOND + 5, 90.0, 0.0)
    timeline.pin(2 * SECOND + 5, 1e9, 0.0)
    timeline.pin(2 * SECOND + 4, 0.0, 0.0)
    assert [timeline.joules_at(t) for t in (SECOND + 5, 2 * SECOND + 5)] == [100.0, 300.0]
    assert timeline.joules_at(2 * SECOND + 4) == pytest.approx(200 + 100 * 4 / 5)
    timeline.pin(9 * SECOND, 1.0, 0.0)
    assert timeline.joules_at(9 * SECOND) == 300.0


def test_profile_is_a_share_that_grows_from_zero_to_one():
    profile = PowerProfile()
    for n in range(200):
        exposures = [0.0] * PARTS
        add_exposure(exposures, n % 7 / 7, n % 7 / 7 + 1 / 7, 1.0)
        assert sum(exposures) == pytest.approx(1)
        profile.learn(exposures, 3.0 if n % 7 < 2 else 0.2)
    shares = [profile.before(n / 50) for n in range(51)]
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert all(later >= earlier for earlier, later in pairwise(shares))
    assert profile.before(2 / 7) == pytest.approx(6 / 7, abs=0.06)
    assert bisect_right(shares, 0.5) < 15
