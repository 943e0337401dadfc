"""Properties of sensors found from their readings: aliasing, part-time counters, disagreement, resets."""

import random

import pytest

from profiler.recording.aliasing import Aliasing
from profiler.recording.counter_monitor import CounterMonitor
from profiler.recording.meter import Meters
from profiler.recording.sampling_interval import SamplingInterval
from profiler.records import Domain, Provenance, Reading
from profiler.sensors.environment import Environment
from profiler.sensors.nvml import open_nvml
from profiler.testing.replay import Waveform
from tests.support.fixtures import fake_clock, nvml_library, simulated_gpus
from tests.support.simulated_nvml import hopper, pascal, volta

__all__ = ["fake_clock", "nvml_library", "simulated_gpus"]

BURSTY = Waveform.square(low=120, high=480, period_seconds=0.33)
SECOND = 1_000_000_000


@pytest.fixture
def recorded(simulated_gpus, fake_clock, tmp_path):
    """Read simulated GPUs at the sampler's interval. Return the monitor of ``gpu:0`` and all meters."""

    def record(gpu, *, seconds=20.0, step=None):
        simulated_gpus([gpu])
        fake_clock.advance(3)
        nowhere = Environment(environ={}, powercap_root=tmp_path, system_root=tmp_path, clock=fake_clock)
        (sensor,) = open_nvml(nowhere).sensors
        meters, interval, late = Meters(sensor.domains), SamplingInterval(), random.Random(1)
        monitor, begun = meters["gpu:0"].monitor, fake_clock.now_ns()
        edge = begun
        while fake_clock.now_ns() < begun + seconds * SECOND:
            list(meters.add(sensor.read()))
            while step is not None and edge + step * SECOND < fake_clock.now_ns():
                monitor.add_step(edge, edge + round(step * SECOND))
                edge += round(step * SECOND)
            interval.adapt(meters.polling_periods(), 50e-6)
            fake_clock.advance(interval.next_seconds() + late.random() / 1000)
        sensor.close()
        return monitor, meters

    return record


@pytest.mark.parametrize(("model", "period"), [(hopper, 0.1), (volta, 0.02)])
def test_update_interval_is_observed_and_recorded(recorded, model, period):
    _, meters = recorded(model(BURSTY))
    described = meters["gpu:0"].describe(0)
    assert described.update_period_seconds == pytest.approx(period, rel=0.005)
    assert described.gain_uncertainty == 0.05
    assert 0 < described.blur_seconds < 0.03 * period
    assert described.edge_watts > 20


@pytest.mark.parametrize(("counter", "sampled"), [("integral", False), ("part_time", True)])
def test_part_time_counter_is_detected(recorded, counter, sampled):
    monitor, _ = recorded(hopper(BURSTY, counter=counter))
    assert monitor.is_sampled is sampled


def test_steady_power_does_not_decide_whether_the_counter_is_part_time(recorded):
    monitor, _ = recorded(hopper(Waveform.constant(300)))
    assert monitor.is_sampled is None
    assert monitor.alias_uncertainty == 0
    assert monitor.findings() == ()


def test_steps_locked_to_a_part_time_counter_widen_the_interval_with_a_remedy(recorded):
    wave = Waveform.square(low=100, high=500, period_seconds=0.1)
    monitor, meters = recorded(hopper(wave, counter="part_time"), step=0.1)
    assert meters["gpu:0"].describe(0).gain_uncertainty > 0.5
    (warning,) = monitor.findings()
    assert warning.startswith("gpu:0: Sampling every 100 ms is aliased with the step period of 100 ms")
    assert "Change the length of a step" in warning
    assert list(meters.findings()) == [warning]


def test_no_aliasing_for_steps_that_slip_against_the_sensor(recorded):
    wave = Waveform.square(low=100, high=500, period_seconds=0.0973)
    monitor, _ = recorded(hopper(wave, counter="part_time"), step=0.0973)
    assert monitor.findings() == ()
    assert monitor.alias_uncertainty < 0.1


def test_no_aliasing_for_a_continuous_counter(recorded):
    wave = Waveform.square(low=100, high=500, period_seconds=0.2, duty=0.3)
    monitor, _ = recorded(hopper(wave), step=0.2)
    assert monitor.alias_uncertainty == 0
    assert monitor.findings() == ()


def test_board_without_a_counter_has_a_drift(recorded):
    monitor, meters = recorded(pascal(BURSTY), step=0.33)
    meters.prune(0)
    assert monitor.is_sampled
    timeline = meters["gpu:0"].timeline
    assert timeline.traits.is_sampled
    list(meters.add([]))
    assert meters["gpu:0"].describe(0).update_period_seconds is None or monitor.period_seconds < 0.4


def test_power_hidden_between_ticks_is_assumed_until_known(recorded):
    """Constant power hides nothing, but only several ticks show that."""
    early, _ = recorded(hopper(Waveform.constant(300)), seconds=0.6)
    late, _ = recorded(hopper(Waveform.constant(300)), seconds=10)
    assert early.hidden_watts > 100
    assert late.hidden_watts < 1


def test_disagreement_of_counter_and_power_is_reported_once_with_both_numbers(recorded):
    monitor, _ = recorded(hopper(Waveform.constant(200), module_watts=150))
    first = monitor.findings()
    assert "gained" in first[0]
    assert "a difference of 74 %" in first[0]
    assert monitor.findings() == first


def test_frozen_counter_is_reported(recorded):
    monitor, _ = recorded(hopper(BURSTY, frozen=((8.0, 11.0),)))
    assert any("frozen" in line for line in monitor.findings())


def test_counter_continues_after_a_reset(recorded):
    """After a driver reload the difference of the counter would be -3 kJ."""
    monitor, meters = recorded(hopper(Waveform.constant(300), resets=(10.0,)))
    timeline = meters["gpu:0"].timeline
    assert monitor.check.restarts == 1
    assert timeline.resets == 1
    seconds = (timeline.latest_ns - timeline.first_ns) / SECOND
    assert timeline.joules_at(timeline.latest_ns) == pytest.approx(300 * seconds, rel=0.01)
    assert monitor.period_seconds == pytest.approx(0.1, rel=0.005)


def test_ticks_spread_over_a_step_have_no_share():
    spread, locked = Aliasing(), Aliasing()
    for n in range(300):
        start = round(n * 0.0973 * SECOND)
        spread.add(start, start + round(0.0973 * SECOND), 0.0, 0.1 * SECOND)
        start = n * SECOND // 10
        locked.add(start, start + SECOND // 10, 7e6, 0.1 * SECOND)
    assert spread.share < 0.05
    assert locked.share > 0.5
    assert spread.concentration < 0.05
    assert locked.concentration == pytest.approx(1)
    assert Aliasing().share == 0


def test_value_that_is_always_new_appears_when_it_is_read():
    monitor = CounterMonitor(Domain(name="gpu:0", source="x", provenance=Provenance.COUNTER))
    moments = [
        monitor.add(Reading(domain="gpu:0", time_ns=n * 10_000_000, energy_joules=3.0 * n, power_watts=300.0))
        for n in range(50)
    ]
    assert moments == [n * 10_000_000 for n in range(50)]
    assert monitor.period_seconds is None
    assert not monitor.has_begun
