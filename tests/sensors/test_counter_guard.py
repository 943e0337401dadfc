"""Frozen, jumping and reset energy counters of boards that also report their power."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.sensors.counter_check import CounterGuard
from profiler.sensors.nvml import open_nvml
from profiler.testing.clock import FakeClock
from profiler.testing.replay import Waveform
from profiler.units import NANOSECONDS_PER_SECOND as SECOND
from tests.support.simulated_nvml import hopper, volta

POLL_SECONDS = 0.05
SQUARE = Waveform.square(low=100, high=400, period_seconds=0.33)
BURSTS = Waveform.square(low=100, high=500, period_seconds=5.0)


@pytest.fixture
def record(simulated_gpus, machine, fake_clock):
    """Reads a simulated GPU from 3 to 13 s after its start; returns the gain, the true energy and the warnings."""

    def run(gpu, seconds=10.0):
        simulated_gpus([gpu])
        fake_clock.advance(3)
        (sensor,) = open_nvml(machine()).sensors
        first = last = sensor.read()[0]
        for _ in range(round(seconds / POLL_SECONDS)):
            fake_clock.advance(POLL_SECONDS)
            (last,) = sensor.read()
            assert last.energy_joules >= 0
        warnings = sensor.warnings
        sensor.close()
        origin = 3 - first.time_ns / SECOND
        truth = gpu.waveform.joules(last.time_ns / SECOND + origin) - gpu.waveform.joules(3)
        return last.energy_joules - first.energy_joules, truth, warnings

    return run


@pytest.mark.parametrize("wave", [Waveform.constant(70), Waveform.constant(400), SQUARE, BURSTS])
@pytest.mark.parametrize("model", [hopper, volta, lambda w: hopper(w, update_seconds=1.0)])
def test_a_healthy_counter_is_not_changed(record, wave, model):
    gained, truth, warnings = record(model(wave))
    assert gained == pytest.approx(truth, abs=1.05 * 500 * model(wave).update_seconds)
    assert warnings == ()


@pytest.mark.parametrize("module_watts", [-28.0, 150.0, 400.0])
def test_a_counter_of_a_module_is_not_changed(record, module_watts):
    gained, truth, warnings = record(hopper(Waveform.constant(300), module_watts=module_watts))
    assert gained == pytest.approx(truth + 10 * module_watts, rel=0.02)
    assert warnings == ()


@pytest.mark.parametrize("wave", [Waveform.constant(300), SQUARE, BURSTS])
@pytest.mark.parametrize("until", [5.0, 7.0, 12.0, 99.0])
def test_a_counter_frozen_from_before_the_start_is_replaced_by_its_power(record, wave, until):
    """It is neither a measured zero nor, when it jumps, charged with energy from before the start."""
    gained, truth, warnings = record(hopper(wave, frozen=((0.5, until),)))
    assert gained == pytest.approx(truth, rel=0.05)
    assert warnings[0].startswith("gpu:0: Its energy counter was frozen for over 1")


@pytest.mark.parametrize("until", [6.0, 9.0, 99.0])
def test_a_counter_that_freezes_during_the_run_loses_no_energy(record, until):
    gained, truth, warnings = record(hopper(SQUARE, frozen=((5.0, until),)))
    assert gained == pytest.approx(truth, rel=0.03)
    assert (len(warnings) == 1) == (until > 6.0)


def test_a_jump_within_the_first_second_is_not_counted(record):
    gained, truth, warnings = record(hopper(Waveform.constant(300), frozen=((0.5, 3.8),)))
    assert gained == pytest.approx(truth, rel=0.02)
    assert len(warnings) == 1
    assert warnings[0].startswith("gpu:0: Its energy counter jumped once by more than its power allows.")


def test_resets_are_a_warning(record):
    gained, truth, warnings = record(hopper(Waveform.constant(300), resets=(6.0,)))
    assert gained < truth
    assert len(warnings) == 1
    assert warnings[0].startswith("gpu:0: Its energy counter was reset once, as by a driver reload.")


def feed(guard, counter, watts, *, seconds, start=0.0):
    """Update the guard ten times per second; return the last energy."""
    energy = 0.0
    for tick in range(round(10 * seconds) + 1):
        time = start + tick / 10
        energy = guard.update(counter(time), watts, round(time * SECOND))
    return energy


@pytest.mark.parametrize(("excess", "is_counted"), [(150.0, True), (600.0, False), (1e9, False)])
def test_the_smallest_jump_that_is_rejected(excess, is_counted):
    """1.25 times 300 W over one second and 0.15 s at 700 W allow 480 J; the interval itself has 30 J."""
    guard = CounterGuard(700.0)
    gained = feed(guard, lambda t: 1_000 + 300 * t + (excess if t > 5 else 0.0), 300.0, seconds=10) - 1_000
    assert gained == pytest.approx(3_000 + excess * is_counted, abs=1)
    assert guard.jumps == (not is_counted)


@pytest.mark.parametrize("watts", [300.0, None])
def test_a_gap_in_the_readings_is_not_a_jump(watts):
    """The power at its ends does not bound the power within it."""
    guard = CounterGuard(700.0)
    feed(guard, lambda t: 50 * t, 50.0, seconds=2)
    assert guard.update(100 + 600 * 30, watts, 32 * SECOND) == pytest.approx(18_100)
    assert guard.jumps == 0


def test_without_power_readings_a_frozen_counter_stays_constant():
    guard = CounterGuard()
    assert feed(guard, lambda _: 500.0, None, seconds=5) == 500.0
    assert guard.warnings() == ()


def test_energy_stays_constant_until_a_thawed_counter_catches_up():
    """Integrated power above the counter's gain is not counted twice."""
    guard = CounterGuard(700.0)
    feed(guard, lambda t: 100 * min(t, 2.0), 120.0, seconds=6)
    energies = [guard.update(100 * t / 10, 120.0, round(t * SECOND / 10)) for t in range(61, 100)]
    assert energies == sorted(energies)
    assert energies[-1] == pytest.approx(990.0)


@given(
    counter=st.lists(st.floats(0, 1e12), min_size=1, max_size=40),
    watts=st.lists(st.none() | st.floats(0, 2_000), min_size=40, max_size=40),
)
def test_no_sequence_of_values_adds_more_than_the_limit_allows(counter, watts):
    clock = FakeClock()
    guard = CounterGuard(700.0)
    energies = []
    for joules, power in zip(counter, watts, strict=False):
        clock.advance(0.1)
        energies.append(guard.update(joules, power, clock.now_ns()))
    gains = [later - earlier for earlier, later in itertools.pairwise(energies)]
    assert all(energy >= 0 for energy in energies)
    assert all(gain <= 1.25 * 2_000 + 0.15 * 700 + 1_400 * 0.1 * len(energies) + 1e-3 for gain in gains)
