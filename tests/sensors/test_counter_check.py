import pytest

from profiler.records import Domain, Provenance
from profiler.sensors import Found, Source, discover
from profiler.sensors.calibration import describe, observe
from profiler.sensors.counter_check import CounterWatch
from profiler.sensors.nvml import open_nvml
from profiler.testing.replay import Waveform
from tests.support.simulated_nvml import hopper, pascal, volta

BURSTY = Waveform.square(low=120, high=480, period_seconds=0.33)
SAWTOOTH = Waveform(points=((0.0, 100.0), (0.73, 400.0)), period_seconds=0.73)


@pytest.fixture
def watched(simulated_gpus, machine, fake_clock):
    """Describes the given GPUs after watching them for some seconds; returns the domains."""
    opened = []

    def watch(*gpus, seconds=0.5):
        simulated_gpus(gpus)
        fake_clock.advance(3)
        found = open_nvml(machine())
        opened.extend(found.sensors)
        described = describe(found, seconds=seconds, clock=fake_clock, sleep=fake_clock.sleep)
        return described.sensors[0].domains

    yield watch
    for sensor in opened:
        sensor.close()


@pytest.mark.parametrize(
    ("model", "period"), [(hopper, 0.1), (volta, 0.02), (lambda w: hopper(w, update_seconds=0.05), 0.05)]
)
def test_the_update_period_is_found_in_half_a_second(watched, model, period):
    (domain,) = watched(model(Waveform.constant(200)))
    assert domain.update_period_seconds == pytest.approx(period, rel=0.1)


def test_the_update_period_of_a_power_reading_is_found_while_power_varies(watched):
    (domain,) = watched(pascal(SAWTOOTH, update_seconds=0.1), seconds=2)
    assert domain.provenance is Provenance.INTEGRATED
    assert domain.update_period_seconds == pytest.approx(0.1, rel=0.1)


def test_a_period_shorter_than_the_reads_stays_unknown(watched):
    (domain,) = watched(hopper(Waveform.constant(200), update_seconds=0.001))
    assert domain.update_period_seconds is None


@pytest.mark.parametrize("wave", [Waveform.constant(70), Waveform.constant(400), BURSTY])
@pytest.mark.parametrize("model", [hopper, volta])
@pytest.mark.parametrize("seconds", [0.5, 5])
def test_a_consistent_counter_is_not_accused(watched, wave, model, seconds):
    (domain,) = watched(model(wave), seconds=seconds)
    assert domain.notes == ()


def test_a_counter_of_the_whole_module_is_told_with_both_numbers(watched):
    (domain,) = watched(hopper(Waveform.constant(200), module_watts=150), seconds=5)
    (note,) = domain.notes
    assert note.startswith("Over 4.")
    assert "its counter gained 1.68 kJ and its power readings add up to 960 J" in note
    assert "75% apart" in note


def test_a_counter_that_misses_energy_at_idle_is_told(watched):
    (domain,) = watched(hopper(Waveform.constant(65.4), module_watts=-28.0), seconds=5)
    assert "43% apart" in domain.notes[0]


def test_a_frozen_counter_is_told(watched):
    (domain,) = watched(hopper(Waveform.constant(300), frozen=((4.0, 7.0),)), seconds=4)
    assert "stood still for 2.9" in domain.notes[-1] or "stood still for 3.0" in domain.notes[-1]
    assert "300 W" in domain.notes[-1]


def test_a_restart_is_counted_and_accuses_nobody(simulated_gpus, machine, fake_clock):
    simulated_gpus([hopper(Waveform.constant(300), resets=(2.0,))])
    sensor = open_nvml(machine()).sensors[0]
    watch = observe(sensor, seconds=5, clock=fake_clock, sleep=fake_clock.sleep)["gpu:0"]
    sensor.close()
    assert watch.restarts == 1
    assert watch.comparison.agrees
    assert watch.findings() == ()


def test_a_gap_is_not_integrated_across(simulated_gpus, machine, fake_clock):
    simulated_gpus([hopper(Waveform.constant(300), faults=((2.0, 4.5, 15),))])
    sensor = open_nvml(machine()).sensors[0]
    watch = observe(sensor, seconds=8, clock=fake_clock, sleep=fake_clock.sleep)["gpu:0"]
    sensor.close()
    assert 4 < watch.comparison.seconds < 6
    assert watch.comparison.integrated_joules == pytest.approx(watch.comparison.counter_joules, rel=1e-6)


class Faulty:
    domains = (Domain(name="gpu:0", source="x", provenance=Provenance.COUNTER),)
    notices = ("it was tired",)

    def read(self):
        raise ZeroDivisionError

    def close(self):
        pass


def test_a_faulty_sensor_is_handed_on_as_it_is(fake_clock):
    found = describe(Found(sensors=(Faulty(),)), seconds=0.1, clock=fake_clock, sleep=fake_clock.sleep)
    (sensor,) = found.sensors
    assert sensor.domains == Faulty.domains
    assert sensor.notices == Faulty.notices
    sensor.close()
    with pytest.raises(ZeroDivisionError):
        sensor.read()


def test_nothing_seen_says_nothing():
    watch = CounterWatch()
    assert watch.update_period_seconds is None
    assert watch.comparison is None
    assert watch.findings() == ()


def test_discovery_watches_on_request_and_leaves_models_alone(simulated_gpus, machine, fake_clock):
    simulated_gpus([hopper(Waveform.constant(200))])
    sources = [Source(name="nvml", open=open_nvml)]
    begun = fake_clock.seconds
    found = discover(
        environ={},
        clock=fake_clock,
        sources=sources,
        observe_seconds=0.5,
        sleep=fake_clock.sleep,
        system_root=machine().system_root,
    )
    assert fake_clock.seconds - begun == pytest.approx(0.5, abs=0.02)
    assert found.sensors[0].domains[0].update_period_seconds == pytest.approx(0.1, rel=0.1)
    found.sensors[0].close()
    assert describe(Found(), seconds=1, clock=fake_clock, sleep=fake_clock.sleep) == Found()
