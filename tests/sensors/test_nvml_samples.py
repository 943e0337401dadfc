"""A board that remembers its power readings: none is missed, each has its own time, whatever clock stamps it."""

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
    """Opens the sensor over simulated GPUs that have been drawing power for three seconds."""
    sensors = []

    def open_it(*gpus):
        simulated_gpus(gpus)
        fake_clock.advance(3)
        sensors.extend(open_nvml(machine()).sensors)
        return sensors[-1]

    yield open_it
    for sensor in sensors:
        sensor.close()


class TestRemembering(SensorConformance):
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


def test_a_domain_says_how_often_it_is_measured_and_how_far_back_it_remembers(opened):
    (domain,) = opened(pascal(RAMP)).domains
    assert domain.provenance is Provenance.INTEGRATED
    assert domain.source == "NVML buffered power readings, integrated (Simulated P100)"
    assert domain.update_period_seconds == pytest.approx(0.02)
    assert domain.buffered_seconds == pytest.approx(119 * 0.02)


@pytest.mark.parametrize("gpu", [pascal(RAMP, samples=0), pascal(RAMP, samples=2), volta(RAMP)])
def test_a_board_with_a_counter_or_no_memory_gives_its_present_reading(opened, fake_clock, gpu):
    sensor = opened(gpu)
    assert sensor.domains[0].buffered_seconds == 0
    assert [reading.time_ns for reading in sensor.read()] == [fake_clock()]


def test_a_late_thread_misses_no_reading(opened, fake_clock):
    sensor = opened(pascal(RAMP))
    readings = list(sensor.read())
    for wait in (0.3, 0.001, 2.0, 0.7):
        fake_clock.advance(wait)
        readings += sensor.read()
    gaps = [after.time_ns - before.time_ns for before, after in pairwise(readings)]
    assert gaps == pytest.approx([PERIOD_NS] * len(gaps), abs=MICROSECOND_NS)
    assert fake_clock() - readings[-1].time_ns < 2 * PERIOD_NS


def test_what_the_board_forgot_is_a_gap(opened, fake_clock):
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
def test_a_known_clock_is_taken_at_its_word(opened, fake_clock, ahead):
    """Each stamp becomes the middle of what its reading measured: 5 ms before its tick, but for the clocks' jitter."""
    sensor = opened(pascal(RAMP, sample_clock_seconds=ahead))
    epoch = fake_clock() - 3 * SECOND
    for reading in sensor.read():
        ticks = (reading.time_ns + PERIOD_NS // 4 - epoch) / PERIOD_NS
        assert ticks == pytest.approx(round(ticks), abs=0.05)


def test_an_unknown_clock_is_found_from_its_youngest_stamps(opened, fake_clock):
    """Within a read's place in a period at first, and to less than a millisecond after some."""
    sensor = opened(pascal(RAMP, sample_clock_seconds=54_321.0))
    epoch = fake_clock() - 3 * SECOND
    off = []
    for _ in range(60):
        fake_clock.advance(0.3037)
        off += [
            (reading.time_ns + PERIOD_NS // 4 - epoch + PERIOD_NS // 2) % PERIOD_NS - PERIOD_NS // 2
            for reading in sensor.read()[-1:]
        ]
    assert all(0 <= late < PERIOD_NS for late in off[-5:])
    assert max(off[-5:]) < SECOND / 1000


def test_a_board_that_was_lost_goes_on_where_it_stopped(opened, fake_clock):
    sensor = opened(pascal(RAMP, faults=((3.2, 3.4, GPU_IS_LOST),)), pascal(RAMP))
    last = max(reading.time_ns for reading in sensor.read() if reading.domain == "gpu:0")
    fake_clock.advance(0.3)
    assert {reading.domain for reading in sensor.read()} == {"gpu:1"}
    fake_clock.advance(1.1)
    times = [reading.time_ns for reading in sensor.read() if reading.domain == "gpu:0"]
    assert times[0] == pytest.approx(last + PERIOD_NS, abs=MICROSECOND_NS)


def test_stamps_that_go_back_are_taken_up_again(opened, fake_clock):
    """As those of a wall clock that was set back: what the board says then is new, although its stamp is old."""
    sensor = opened(pascal(RAMP))
    last = sensor.read()[-1].time_ns
    sensor._gpus[0]._buffer._last_us += 2_000_000
    fake_clock.advance(0.5)
    assert not sensor.read()
    fake_clock.advance(0.6)
    assert sensor.read()[0].time_ns == pytest.approx(last + PERIOD_NS, abs=MICROSECOND_NS)


def test_no_reading_yet_is_no_failure(opened, fake_clock):
    sensor = opened(pascal(RAMP))
    sensor.read()
    fake_clock.advance(0.001)
    assert list(sensor.read()) == []


def test_the_youngest_age_lately_counts_where_no_clock_is_known():
    clock = StampClock(())
    assert clock.ahead_ns(1_000, 51_000) == -50_000
    assert clock.ahead_ns(2_000, 12_000) == -10_000
    assert clock.ahead_ns(3_000, 63_000) == -10_000
    for _ in range(64):
        clock.ahead_ns(0, 20_000)
    assert clock.ahead_ns(0, 30_000) == -20_000
