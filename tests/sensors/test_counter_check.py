import pytest

from profiler.errors import SensorError
from profiler.records import Domain, Provenance, Reading
from profiler.sensors.counter_check import CounterCheck, observe
from profiler.sensors.nvml import open_nvml
from profiler.testing.replay import Waveform
from profiler.units import NANOSECONDS_PER_SECOND as SECOND
from tests.support.simulated_nvml import hopper, pascal, volta

BURSTY = Waveform.square(low=120, high=480, period_seconds=0.33)
SAWTOOTH = Waveform(points=((0.0, 100.0), (0.73, 400.0)), period_seconds=0.73)


@pytest.fixture
def check_of(simulated_gpus, machine, fake_clock):
    """Observes a simulated GPU for some seconds and returns its check."""
    opened = []

    def run(gpu, *, seconds=0.5, lead_seconds=3):
        simulated_gpus([gpu])
        fake_clock.advance(lead_seconds)
        (sensor,) = open_nvml(machine()).sensors
        opened.append(sensor)
        return observe(sensor, seconds=seconds, clock=fake_clock)["gpu:0"]

    yield run
    for sensor in opened:
        sensor.close()


@pytest.mark.parametrize(
    ("model", "period"), [(hopper, 0.1), (volta, 0.02), (lambda w: hopper(w, update_seconds=0.05), 0.05)]
)
def test_the_update_interval_is_determined_in_half_a_second(check_of, model, period):
    check = check_of(model(Waveform.constant(200)))
    assert check.update_period_seconds == pytest.approx(period, rel=0.1)


def test_the_update_interval_of_power_readings_is_determined_while_power_varies(check_of):
    check = check_of(pascal(SAWTOOTH, update_seconds=0.1, samples=0), seconds=2)
    assert check.update_period_seconds == pytest.approx(0.1, rel=0.1)


def test_an_interval_shorter_than_the_reads_is_unknown(check_of):
    check = check_of(hopper(Waveform.constant(200), update_seconds=0.001))
    assert check.update_period_seconds is None


@pytest.mark.parametrize("wave", [Waveform.constant(70), Waveform.constant(400), BURSTY])
@pytest.mark.parametrize("model", [hopper, volta])
@pytest.mark.parametrize("seconds", [0.5, 5])
def test_a_consistent_counter_causes_no_warning(check_of, wave, model, seconds):
    assert check_of(model(wave), seconds=seconds).warnings() == ()


def test_a_counter_of_the_whole_module_is_reported_with_both_energies(check_of):
    (warning,) = check_of(hopper(Waveform.constant(200), module_watts=150), seconds=5).warnings()
    assert warning.startswith("Over 4.")
    assert "its counter gained 1.68 kJ and its power readings add up to 960 J" in warning
    assert "a difference of 75 %" in warning


def test_a_counter_that_misses_idle_energy_is_reported(check_of):
    (warning,) = check_of(hopper(Waveform.constant(65.4), module_watts=-28.0), seconds=5).warnings()
    assert "a difference of 43 %" in warning


def test_a_frozen_counter_is_reported():
    check = CounterCheck()
    for tick in range(60):
        energy = 30.0 * min(tick, 20)
        check.add(
            Reading(domain="gpu:0", time_ns=tick * SECOND // 10, energy_joules=energy, power_watts=300.0)
        )
    (warning,) = check.warnings()
    assert warning == "Its counter was frozen for 3.90 s while the device drew up to 300 W."


def test_a_reset_is_counted_and_causes_no_disagreement(check_of):
    check = check_of(hopper(Waveform.constant(300), resets=(2.0,)), seconds=5, lead_seconds=0)
    assert check.restarts == 1
    assert check.comparison.agrees
    assert check.warnings() == ()


def test_power_is_not_integrated_across_a_gap(check_of):
    check = check_of(hopper(Waveform.constant(300), faults=((2.0, 4.5, 15),)), seconds=8, lead_seconds=0)
    assert 4 < check.comparison.seconds < 6
    assert check.comparison.integrated_joules == pytest.approx(check.comparison.counter_joules, rel=1e-6)


class BrokenSensor:
    domains = (Domain(name="gpu:0", source="x", provenance=Provenance.COUNTER),)

    def read(self):
        raise SensorError("broken")

    def close(self):
        pass


def test_without_readings_nothing_is_known(fake_clock):
    observed = observe(BrokenSensor(), seconds=0.1, clock=fake_clock)["gpu:0"]
    for check in (CounterCheck(), observed):
        assert check.update_period_seconds is None
        assert check.comparison is None
        assert check.warnings() == ()
