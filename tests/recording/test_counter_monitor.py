"""What readings tell of their sensor while a run goes on: lock to the steps, part-time counters, disagreement."""

import random

import pytest

from profiler.recording.aliasing import Aliasing
from profiler.recording.counter_monitor import Intake
from profiler.recording.meter import Meters
from profiler.recording.sampling_interval import Pace
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
    """Reads simulated GPUs at the recorder's own pace; returns what was learnt of ``gpu:0``."""

    def record(gpu, *, seconds=20.0, step=None):
        simulated_gpus([gpu])
        fake_clock.advance(3)
        nowhere = Environment(environ={}, powercap_root=tmp_path, system_root=tmp_path, clock=fake_clock)
        (sensor,) = open_nvml(nowhere).sensors
        meters, pace, late = Meters(sensor.domains), Pace(), random.Random(1)
        intake, begun = meters.intakes["gpu:0"], fake_clock()
        edge = begun
        while fake_clock() < begun + seconds * SECOND:
            list(meters.add(sensor.read()))
            while step is not None and edge + step * SECOND < fake_clock():
                intake.step(edge, edge + round(step * SECOND))
                edge += round(step * SECOND)
            pace.adapt(meters.periods(), 50e-6)
            fake_clock.advance(pace.next_seconds() + late.random() / 1000)
        sensor.close()
        return intake, meters

    return record


@pytest.mark.parametrize(("model", "period"), [(hopper, 0.1), (volta, 0.02)])
def test_the_period_is_followed_and_stands_in_the_record(recorded, model, period):
    _, meters = recorded(model(BURSTY))
    described = meters.described("gpu:0")
    assert described.update_period_seconds == pytest.approx(period, rel=0.005)
    assert described.gain_uncertainty == 0.05
    assert 0 < described.blur_seconds < 0.03 * period
    assert described.edge_watts > 20


@pytest.mark.parametrize(("counter", "sampled"), [("integral", False), ("part_time", True)])
def test_a_counter_made_of_part_time_readings_is_told_from_a_true_one(recorded, counter, sampled):
    intake, _ = recorded(hopper(BURSTY, counter=counter))
    assert intake.is_sampled is sampled


def test_steady_power_tells_nothing_of_the_counter(recorded):
    intake, _ = recorded(hopper(Waveform.constant(300)))
    assert intake.is_sampled is None
    assert intake.alias_uncertainty == 0
    assert intake.findings() == ()


def test_steps_that_lock_to_a_part_time_counter_widen_the_interval_and_say_what_to_do(recorded):
    wave = Waveform.square(low=100, high=500, period_seconds=0.1)
    intake, meters = recorded(hopper(wave, counter="part_time"), step=0.1)
    assert meters.described("gpu:0").gain_uncertainty > 0.5
    (said,) = intake.findings()
    assert said.startswith("gpu:0: Its sensor, renewed every 100 ms, keeps in step with steps of 100 ms")
    assert "Change the length of a step" in said
    assert list(meters.findings()) == [said]


def test_steps_that_slip_against_the_sensor_are_not_accused(recorded):
    wave = Waveform.square(low=100, high=500, period_seconds=0.0973)
    intake, _ = recorded(hopper(wave, counter="part_time"), step=0.0973)
    assert intake.findings() == ()
    assert intake.alias_uncertainty < 0.1


def test_a_true_counter_is_not_accused_whatever_the_steps(recorded):
    wave = Waveform.square(low=100, high=500, period_seconds=0.2, duty=0.3)
    intake, _ = recorded(hopper(wave), step=0.2)
    assert intake.alias_uncertainty == 0
    assert intake.findings() == ()


def test_a_board_without_a_counter_has_a_drift(recorded):
    intake, meters = recorded(pascal(BURSTY), step=0.33)
    meters.prune(0)
    assert intake.is_sampled
    timeline = meters.timelines["gpu:0"]
    assert timeline.is_sampled
    list(meters.add([]))
    assert meters.described("gpu:0").update_period_seconds is None or intake.period_seconds < 0.4


def test_what_lies_hidden_between_ticks_is_assumed_until_it_is_known(recorded):
    """Constant power hides nothing, which only several ticks tell."""
    early, _ = recorded(hopper(Waveform.constant(300)), seconds=0.6)
    late, _ = recorded(hopper(Waveform.constant(300)), seconds=10)
    assert early.hidden_watts > 100
    assert late.hidden_watts < 1


def test_a_counter_that_disagrees_with_its_power_is_told_once_with_both_numbers(recorded):
    intake, _ = recorded(hopper(Waveform.constant(200), module_watts=150))
    first = intake.findings()
    assert "gained" in first[0]
    assert "a difference of 74%" in first[0]
    assert intake.findings() == first


def test_a_counter_that_freezes_under_load_is_told(recorded):
    intake, _ = recorded(hopper(BURSTY, frozen=((8.0, 11.0),)))
    assert any("frozen" in line for line in intake.findings())


def test_a_counter_that_restarts_is_taken_up_again(recorded):
    """As after a driver was reloaded: what a difference of the counter would make of it is -3 kJ."""
    intake, meters = recorded(hopper(Waveform.constant(300), resets=(10.0,)))
    timeline = meters.timelines["gpu:0"]
    assert intake.watch.restarts == 1
    assert timeline.resets == 1
    seconds = (timeline.latest_ns - timeline.first_ns) / SECOND
    assert timeline.joules_at(timeline.latest_ns) == pytest.approx(300 * seconds, rel=0.01)
    assert intake.period_seconds == pytest.approx(0.1, rel=0.005)


def test_looks_that_spread_over_a_step_have_no_share():
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


def test_a_value_that_is_always_new_appears_when_it_is_read():
    intake = Intake(Domain(name="gpu:0", source="x", provenance=Provenance.COUNTER))
    moments = [
        intake.time_of(
            Reading(domain="gpu:0", time_ns=n * 10_000_000, energy_joules=3.0 * n, power_watts=300.0)
        )
        for n in range(50)
    ]
    assert moments == [n * 10_000_000 for n in range(50)]
    assert intake.period_seconds is None
    assert not intake.has_begun
