"""A domain's energy over time: never decreasing, nothing counted twice, nothing lost."""

import math
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.recording.timeline import SensorTraits, Timeline
from profiler.records import Domain, Provenance, Reading
from profiler.testing.replay import ScriptedMeter, Waveform
from profiler.uncertainty import Z_90
from profiler.units import NANOSECONDS_PER_SECOND as SECOND

COUNTER = Domain(name="gpu:0", source="test", provenance=Provenance.COUNTER)

STEPS = st.lists(
    st.tuples(st.integers(0, 3 * SECOND), st.floats(0, 1e4)), min_size=2, max_size=40
)  # (time, joules) from one reading to the next


def energy(seconds, joules):
    return Reading(domain="gpu:0", time_ns=round(seconds * SECOND), energy_joules=joules)


def power(seconds, watts):
    return Reading(domain="gpu:0", time_ns=round(seconds * SECOND), power_watts=watts)


def filled(*readings):
    timeline = Timeline()
    for reading in readings:
        timeline.add(reading)
    return timeline


@given(
    STEPS,
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=6),
    st.lists(st.floats(-0.1, 1.1), max_size=30),
    st.booleans(),
)
def test_columns_of_moments_agree_with_single_moments(steps, pins, moments, is_sampled):
    timeline, time, joules = Timeline(SensorTraits(hidden_watts=3.0, is_sampled=is_sampled)), 0, 0.0
    for passed, gained in steps:
        time, joules = time + passed, joules + gained
        timeline.add(Reading(domain="gpu:0", time_ns=time, energy_joules=joules))
    for place, share in sorted(pins):
        timeline.pin(round(place * time), share * joules, 0.5)
    times = sorted(round(place * time) for place in moments)
    assert timeline.along(times) == tuple(
        map(list, zip(*map(timeline.at, times), strict=True)) if times else ([], [], [])
    )


def at(timeline, seconds):
    return timeline.joules_at(round(seconds * SECOND))


# -- counters ------------------------------------------------------------------------------------------------------


def test_only_changes_of_a_counter_are_points():
    timeline = Timeline()
    moved = [timeline.add(energy(t / 10, joules)) for t, joules in enumerate([7, 7, 7, 9, 9, 12])]
    assert moved == [True, False, False, True, False, True]
    assert timeline.points == 3
    assert [at(timeline, t) for t in (0, 0.3, 0.5)] == [0, 2, 5]


def test_energy_is_linear_between_changes():
    timeline = filled(energy(0, 0), energy(1, 10), energy(2, 40))
    assert [at(timeline, t) for t in (0.5, 1.0, 1.1, 1.5)] == pytest.approx([5, 10, 13, 25])


def test_energy_is_constant_outside_the_points():
    timeline = filled(energy(1, 5), energy(2, 10))
    assert [at(timeline, t) for t in (0, 1, 2, 9)] == [0, 0, 5, 5]


def test_empty_timeline_has_no_energy():
    timeline = Timeline()
    assert at(timeline, 1) == 0
    assert timeline.sigma_at(SECOND) == 0
    assert timeline.latest_ns is None
    timeline.bridge_to(SECOND)
    assert timeline.points == 0


@pytest.mark.parametrize("period", [0.05, 0.1, 0.5])
def test_staircase_gives_the_true_energy_at_its_changes(ramp, period):
    meter = ScriptedMeter(
        domain=Domain(
            name="gpu:0", source="test", provenance=Provenance.COUNTER, update_period_seconds=period
        ),
        waveform=ramp,
    )
    timeline = filled(*(meter.reading(t * SECOND // 100, 0) for t in range(301)))
    for seconds in (period * n for n in range(1, int(3 / period))):
        assert at(timeline, seconds) == pytest.approx(ramp.joules(seconds))


@given(steps=STEPS)
def test_total_is_the_gain_of_the_counter(steps):
    times = list(accumulate(dt for dt, _ in steps))
    raw = list(accumulate(joules for _, joules in steps))
    timeline = filled(*(energy(t / SECOND, joules) for t, joules in zip(times, raw, strict=True)))
    timeline.add(energy(times[-1] / SECOND + 1, raw[-1] + 1))
    assert timeline.joules_at(times[-1] + 2 * SECOND) == pytest.approx(raw[-1] + 1 - raw[0])


@given(steps=STEPS, kept=st.lists(st.booleans(), min_size=40, max_size=40))
def test_total_does_not_depend_on_the_sampling_rate(steps, kept):
    times = list(accumulate(1 + dt for dt, _ in steps))
    raw = list(accumulate(joules for _, joules in steps))
    readings = [Reading(domain="gpu:0", time_ns=t, energy_joules=j) for t, j in zip(times, raw, strict=True)]
    fewer = [r for r, keep in zip(readings[1:-1], kept, strict=False) if keep]
    all_of_them, some = filled(*readings), filled(readings[0], *fewer, readings[-1])
    assert some.joules_at(times[-1]) == pytest.approx(all_of_them.joules_at(times[-1]))


@given(steps=STEPS, probes=st.lists(st.integers(0, 130 * SECOND), min_size=2, max_size=60))
def test_energy_never_decreases(steps, probes):
    times, raw = accumulate(dt for dt, _ in steps), accumulate(joules for _, joules in steps)
    timeline = filled(
        *(Reading(domain="d", time_ns=t, energy_joules=j) for t, j in zip(times, raw, strict=True))
    )
    probes = sorted(
        [*probes, *timeline._times, *(t + 1 for t in timeline._times), *(t - 1 for t in timeline._times)]
    )
    found = [timeline.joules_at(t) for t in probes]
    assert all(later >= earlier for earlier, later in pairwise(found))


def test_counter_is_bridged_at_a_reset():
    timeline = filled(energy(0, 1000), energy(1, 1100), energy(2, 30), energy(3, 130))
    assert timeline.resets == 1
    assert [at(timeline, t) for t in (1, 2, 3)] == pytest.approx([100, 200, 300])
    assert timeline.bridged_joules == pytest.approx(100)
    assert timeline.bridged_seconds == pytest.approx(1)


# -- bridges -------------------------------------------------------------------------------------------------------


def test_counter_is_stale_after_a_second():
    timeline = filled(energy(0, 0), energy(1, 100))
    assert not timeline.is_stale(2 * SECOND)
    assert timeline.is_stale(2 * SECOND + 1)
    assert not Timeline().is_stale(10 * SECOND)


def test_bridge_continues_at_the_power_before_it():
    timeline = filled(energy(0, 0), energy(1, 100))
    timeline.bridge_to(3 * SECOND)
    assert at(timeline, 3) == pytest.approx(300)
    assert (timeline.bridged_joules, timeline.bridged_seconds) == pytest.approx((200, 2))
    timeline.bridge_to(2 * SECOND)
    assert at(timeline, 3) == pytest.approx(300)


@pytest.mark.parametrize(("shown", "total"), [(300, 300), (350, 350), (400, 400), (301, 301)])
def test_gain_after_a_bridge_is_not_counted_twice(shown, total):
    timeline = filled(energy(0, 0), energy(1, 100))
    timeline.bridge_to(3 * SECOND)
    timeline.add(energy(4, shown))
    assert at(timeline, 4) == pytest.approx(total)


def test_overestimated_bridge_is_compensated():
    """The bridge assumed 100 W for four seconds at 10 W: energy does not grow until the counter has caught up."""
    timeline = filled(energy(0, 0), energy(1, 100))
    timeline.bridge_to(5 * SECOND)
    for seconds, joules in ((6, 150), (7, 400), (8, 600)):
        timeline.add(energy(seconds, joules))
    assert [at(timeline, t) for t in (5, 6, 7, 8)] == pytest.approx([500, 500, 500, 600])


@given(steps=STEPS, bridged=st.lists(st.booleans(), min_size=40, max_size=40))
def test_total_after_bridges_is_that_of_the_counter(steps, bridged):
    """As soon as the counter has shown more than the bridges assumed, the total is the counter's."""
    timeline, time, raw = Timeline(), 0, 0.0
    for (dt, joules), bridge in zip(steps, bridged, strict=False):
        time, raw = time + dt + 2, raw + joules
        if bridge:
            timeline.bridge_to(time - 1)
        before = timeline.joules_at(time)
        timeline.add(Reading(domain="d", time_ns=time, energy_joules=raw))
        assert timeline.joules_at(time) >= before
    much = timeline.bridged_joules + raw + 1
    timeline.add(Reading(domain="d", time_ns=time + SECOND, energy_joules=raw + much))
    assert timeline.joules_at(time + SECOND) == pytest.approx(raw + much - steps[0][1])


# -- powers --------------------------------------------------------------------------------------------------------


def test_power_readings_are_integrated(ramp):
    timeline = filled(*(power(t / 10, ramp.watts(t / 10)) for t in range(31)))
    for seconds in (0.5, 1.0, 2.0, 3.0):
        assert at(timeline, seconds) == pytest.approx(ramp.joules(seconds))


@given(
    watts=st.lists(st.floats(0, 1e4), min_size=2, max_size=30),
    extra=st.lists(st.floats(0.01, 0.99), max_size=20),
)
def test_additional_readings_on_a_line_do_not_change_the_total(watts, extra):
    wave = Waveform(points=tuple((float(t), w) for t, w in enumerate(watts)))
    knots = [float(t) for t in range(len(watts))]
    finer = sorted({*knots, *(share * knots[-1] for share in extra)})
    coarse, fine = (filled(*(power(t, wave.watts(t)) for t in times)) for times in (knots, finer))
    assert at(fine, knots[-1]) == pytest.approx(at(coarse, knots[-1]), abs=1e-3)
    assert at(coarse, knots[-1]) == pytest.approx(wave.joules(knots[-1]), abs=1e-3)


def test_long_gap_between_power_readings_is_a_bridge():
    timeline = filled(power(0, 100), power(1, 100), power(5, 200))
    assert at(timeline, 5) == pytest.approx(100 + 4 * 150)
    assert (timeline.bridged_joules, timeline.bridged_seconds) == pytest.approx((600, 4))


def test_bridged_power_is_not_counted_again():
    timeline = filled(power(0, 100), power(1, 100))
    timeline.bridge_to(3 * SECOND)
    timeline.add(power(3.5, 100))
    assert at(timeline, 3.5) == pytest.approx(350)


# -- invalid readings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("make", [energy, power])
def test_non_finite_reading_is_ignored(make, bad):
    timeline = filled(make(0, 10.0), make(1, 20.0))
    before = at(timeline, 1)
    assert not timeline.add(make(1.5, bad))
    timeline.add(make(2, 30.0))
    assert at(timeline, 1) == before
    assert math.isfinite(at(timeline, 2))
    assert at(timeline, 2) > before


def test_empty_reading_is_ignored():
    assert not Timeline().add(Reading(domain="gpu:0", time_ns=0))


@pytest.mark.parametrize("late", [0.5, 1.0])
def test_late_reading_loses_nothing(late):
    timeline = filled(energy(0, 0), energy(1, 100))
    assert not timeline.add(energy(late, 150))
    timeline.add(energy(2, 200))
    assert at(timeline, 2) == 200


# -- uncertainty and memory ----------------------------------------------------------------------------------------


def test_edge_is_certain_at_steady_power():
    timeline = filled(*(energy(t, 100.0 * t) for t in range(6)))
    assert timeline.sigma_at(round(2.5 * SECOND)) == pytest.approx(0, abs=1e-9)


def test_edge_is_uncertain_where_power_jumps():
    timeline = filled(energy(0, 0), energy(1, 100), energy(2, 400), energy(3, 500))
    assert 0 < timeline.sigma_at(round(1.5 * SECOND)) < 100


def test_edge_is_more_certain_near_a_change_point():
    timeline = filled(energy(0, 0), energy(1, 10), energy(2, 30), energy(3, 35), energy(4, 60))
    sigmas = [timeline.sigma_at(round(t * SECOND)) for t in (2.0, 2.05, 2.2, 2.5, 2.8, 2.95)]
    assert sigmas[0] == 0
    assert sigmas[1] < sigmas[2] < sigmas[3]
    assert sigmas[3] > sigmas[4] > sigmas[5]


def test_first_gain_of_a_counter_is_no_power():
    """The first reading falls anywhere into the update interval, so the first gain covers more than the time since."""
    met_late = filled(energy(0.6, 0), *(energy(t, 10 * t) for t in (1, 2, 3, 4)))
    assert met_late.sigma_at(round(1.5 * SECOND)) == 0


def test_uncertainty_of_a_bridge_is_half_its_energy():
    timeline = filled(energy(0, 0), energy(1, 100))
    timeline.bridge_to(3 * SECOND)
    assert timeline.sigma_at(2 * SECOND) == pytest.approx(100)


@given(steps=STEPS, share=st.floats(0, 1))
def test_pruning_changes_nothing_after_it(steps, share):
    times, raw = (
        list(accumulate(1 + dt for dt, _ in steps)),
        list(accumulate(1 + joules for _, joules in steps)),
    )
    readings = [Reading(domain="d", time_ns=t, energy_joules=j) for t, j in zip(times, raw, strict=True)]
    whole, pruned = filled(*readings), filled(*readings)
    before = times[0] + round(share * (times[-1] - times[0]))
    pruned.prune(before)
    assert pruned.points <= whole.points
    for t in (before, *(t for t in times if t >= before)):
        assert pruned.joules_at(t) == whole.joules_at(t)
        assert pruned.sigma_at(t) == whole.sigma_at(t)


@pytest.mark.parametrize("end", [10.4, 11.4, 13.0])
def test_interval_covers_a_rise_of_power_after_the_last_reading(end):
    """The sensor fails when power rises from 100 W to 400 W, as it did before, and the run ends."""
    wave = Waveform.square(low=100.0, high=400.0, period_seconds=10.0)
    times = [0.1 * n for n in range(1, 101)]
    timeline = filled(*(energy(seconds, wave.joules(seconds)) for seconds in times))
    timeline.bridge_to(round(end * SECOND))
    bridged = timeline.bridged_joules
    missing = wave.joules(end) - wave.joules(0.1) - at(timeline, end)
    assert missing > Z_90 * bridged, "more than the bridged energy itself is missing"
    assert missing <= Z_90 * timeline.unconfirmed_sigma * (1 + 1e-6)
