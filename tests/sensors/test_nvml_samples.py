"""Buffered power readings: none is missed, and each has its own time, whichever clock stamps it."""

import time
from itertools import pairwise

import pytest

from profiler.records import Provenance
from profiler.sensors.nvml import open_nvml
from profiler.sensors.nvml_samples import StampClock
from profiler.testing.conformance import SensorConformance, SensorRig
from profiler.testing.replay import Waveform
from profiler.units import NANOSECONDS_PER_SECOND as SECOND
from tests.support.simulated_nvml import GPU_IS_LOST, pascal, volta

RAMP = Waveform(points=((0.0, 100.0), (100.0, 400.0)))
PERIOD_NS = SECOND // 50
MICROSECOND_NS = 1_000


@pytest.fixture
def opened(simulated_gpus, machine, fake_clock):
    """Opens the sensor on simulated GPUs three seconds after their start."""
    sensors = []

    def open_it(*gpus):
        simulated_gpus(gpus)
        fake_clock.advance(3)
        sensors.extend(open_nvml(machine()).sensors)
        return sensors[-1]

    yield open_it
    for sensor in sensors:
        sensor.close()


class TestConformance(SensorConformance):
    @pytest.fixture
    def rig(self, opened, fake_clock):
        sensor = opened(
            pascal(Waveform.constant(300), faults=((60, 600, GPU_IS_LOST),)),
            pascal(Waveform.constant(120), faults=((60, 600, GPU_IS_LOST),)),
        )
        watts = {"gpu:0": 300.0, "gpu:1": 120.0}
        return SensorRig(
            sensor=sensor, clock=fake_clock, true_watts=watts, break_source=lambda: fake_clock.advance(60)
        )


def test_the_domain_states_its_update_interval_and_buffered_time(opened):
    (domain,) = opened(pascal(RAMP)).domains
    assert domain.provenance is Provenance.INTEGRATED
    assert domain.source == "NVML buffered power readings, integrated (Simulated P100)"
    assert domain.update_period_seconds == pytest.approx(0.02)
    assert domain.buffered_seconds == pytest.approx(119 * 0.02)


@pytest.mark.parametrize("gpu", [pascal(RAMP, samples=0), pascal(RAMP, samples=2), volta(RAMP)])
def test_a_board_with_a_counter_or_without_a_buffer_returns_its_present_reading(opened, fake_clock, gpu):
    sensor = opened(gpu)
    assert sensor.domains[0].buffered_seconds == 0
    assert [reading.time_ns for reading in sensor.read()] == [fake_clock.now_ns()]


def test_a_late_read_misses_no_sample(opened, fake_clock):
    sensor = opened(pascal(RAMP))
    readings = list(sensor.read())
    for wait in (0.3, 0.001, 2.0, 0.7):
        fake_clock.advance(wait)
        readings += sensor.read()
    gaps = [after.time_ns - before.time_ns for before, after in pairwise(readings)]
    assert gaps == pytest.approx([PERIOD_NS] * len(gaps), abs=MICROSECOND_NS)
    assert fake_clock.now_ns() - readings[-1].time_ns < 2 * PERIOD_NS


def test_samples_that_left_the_buffer_are_a_gap(opened, fake_clock):
    sensor = opened(pascal(RAMP))
    before = sensor.read()[-1].time_ns
    fake_clock.advance(10)
    after = [reading.time_ns for reading in sensor.read()]
    assert len(after) == 120
    assert after[0] - before > 7 * SECOND


def ahead_of_monotonic(name):
    return (time.clock_gettime_ns(getattr(time, name)) - time.monotonic_ns()) / SECOND


@pytest.mark.parametrize(
    "ahead", [0.0, ahead_of_monotonic("CLOCK_REALTIME")], ids=["monotonic", "wall clock"]
)
def test_stamps_of_a_known_clock_are_converted(opened, fake_clock, ahead):
    """The time of a reading is the centre of its averaging interval, 5 ms before its tick, up to the clocks' jitter."""
    sensor = opened(pascal(RAMP, sample_clock_seconds=ahead))
    epoch = fake_clock.now_ns() - 3 * SECOND
    for reading in sensor.read():
        ticks = (reading.time_ns + PERIOD_NS // 4 - epoch) / PERIOD_NS
        assert ticks == pytest.approx(round(ticks), abs=0.05)


def test_the_offset_of_an_unknown_clock_converges(opened, fake_clock):
    """It is known to within a period at first, and to less than a millisecond after some reads."""
    sensor = opened(pascal(RAMP, sample_clock_seconds=54_321.0))
    epoch = fake_clock.now_ns() - 3 * SECOND
    off = []
    for _ in range(60):
        fake_clock.advance(0.3037)
        off += [
            (reading.time_ns + PERIOD_NS // 4 - epoch + PERIOD_NS // 2) % PERIOD_NS - PERIOD_NS // 2
            for reading in sensor.read()[-1:]
        ]
    assert all(0 <= late < PERIOD_NS for late in off[-5:])
    assert max(off[-5:]) < SECOND / 1000


def test_a_lost_board_continues_after_its_last_sample(opened, fake_clock):
    sensor = opened(pascal(RAMP, faults=((3.2, 3.4, GPU_IS_LOST),)), pascal(RAMP))
    last = max(reading.time_ns for reading in sensor.read() if reading.domain == "gpu:0")
    fake_clock.advance(0.3)
    assert {reading.domain for reading in sensor.read()} == {"gpu:1"}
    fake_clock.advance(1.1)
    times = [reading.time_ns for reading in sensor.read() if reading.domain == "gpu:0"]
    assert times[0] == pytest.approx(last + PERIOD_NS, abs=MICROSECOND_NS)


def test_samples_continue_after_stamps_are_set_back(opened, fake_clock):
    """After the stamps' clock is set back, new samples have old stamps."""
    sensor = opened(pascal(RAMP))
    last = sensor.read()[-1].time_ns
    sensor._gpus[0]._buffer._last_us += 2_000_000  # the simulator cannot set its clock back
    fake_clock.advance(0.5)
    assert not sensor.read()
    fake_clock.advance(0.6)
    assert sensor.read()[0].time_ns == pytest.approx(last + PERIOD_NS, abs=MICROSECOND_NS)


def test_a_read_without_a_new_sample_is_empty(opened, fake_clock):
    sensor = opened(pascal(RAMP))
    sensor.read()
    fake_clock.advance(0.001)
    assert list(sensor.read()) == []


def test_the_smallest_recent_age_counts_if_no_clock_is_known():
    clock = StampClock(())
    assert clock.ahead_ns(1_000, 51_000) == -50_000
    assert clock.ahead_ns(2_000, 12_000) == -10_000
    assert clock.ahead_ns(3_000, 63_000) == -10_000
    for _ in range(64):
        clock.ahead_ns(0, 20_000)
    assert clock.ahead_ns(0, 30_000) == -20_000
