import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.errors import SensorError, UsageError
from profiler.records import Domain, Provenance, Reading
from profiler.testing.conformance import SensorConformance, SensorRig
from profiler.testing.replay import ReplaySensor, ScriptedMeter, Waveform
from tests.support.recorded_sensor import RecordedSensor


def domain(name, provenance=Provenance.COUNTER, **more):
    return Domain(name=name, source="script", provenance=provenance, gain_uncertainty=0.05, **more)


@st.composite
def waves(draw):
    gaps = draw(st.lists(st.floats(0, 3), min_size=1, max_size=6))
    watts = draw(st.lists(st.floats(0, 500), min_size=len(gaps), max_size=len(gaps)))
    times = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    period = draw(st.none() | st.floats(times[-1] + 0.1, times[-1] + 2))
    return Waveform(points=tuple(zip(times, watts, strict=True)), period_seconds=period)


@given(waves(), st.floats(-5, 20), st.floats(0, 10), st.floats(0, 10))
def test_energies_of_subintervals_add_up(wave, start, first, second):
    middle, end = start + first, start + first + second
    whole = wave.joules(end) - wave.joules(start)
    parts = (wave.joules(middle) - wave.joules(start)) + (wave.joules(end) - wave.joules(middle))
    assert whole == pytest.approx(parts, abs=1e-6)
    assert whole >= -1e-6


@given(waves(), st.floats(0, 10))
def test_energy_is_the_integral_of_power(wave, start):
    steps = 4_000
    width = 2.0 / steps
    numeric = sum(wave.watts(start + (i + 0.5) * width) for i in range(steps)) * width
    # Each jump may be misplaced by one step of the sum.
    assert wave.joules(start + 2) - wave.joules(start) == pytest.approx(numeric, abs=500 * width * 30)


def test_square_wave_mean_and_edges():
    wave = Waveform.square(low=100, high=300, period_seconds=0.5)
    assert wave.joules(10) == pytest.approx(2_000)
    assert [wave.watts(t) for t in (0.0, 0.2, 0.25, 0.49, 0.5)] == [300, 300, 100, 100, 300]


@pytest.mark.parametrize(
    "arguments",
    [
        {"points": ()},
        {"points": ((1.0, 5.0), (0.0, 5.0))},
        {"points": ((0.0, -1.0),)},
        {"points": ((0.0, float("nan")),)},
        {"points": ((0.0, 1.0),), "period_seconds": 0.0},
    ],
)
def test_invalid_waveforms_raise(arguments):
    with pytest.raises(UsageError):
        Waveform(**arguments)


class TestReplayConformance(SensorConformance):
    @pytest.fixture
    def rig(self, fake_clock):
        meters = [
            ScriptedMeter(domain=domain("gpu:0", update_period_seconds=0.1), waveform=Waveform.constant(300)),
            ScriptedMeter(domain=domain("gpu:1", Provenance.INTEGRATED), waveform=Waveform.constant(80)),
        ]
        gaps = [(name, 60.0, 600.0) for name in ("gpu:0", "gpu:1")]
        sensor = ReplaySensor(meters, clock=fake_clock, gaps=gaps)
        watts = {"gpu:0": 300.0, "gpu:1": 80.0}
        return SensorRig(
            sensor=sensor, clock=fake_clock, true_watts=watts, break_source=lambda: fake_clock.advance(60)
        )


class TestRecordedConformance(SensorConformance):
    @pytest.fixture
    def rig(self, fake_clock):
        records = [
            Reading(domain="gpu:0", time_ns=i * 100_000_000, energy_joules=30.0 * i) for i in range(100)
        ]
        sensor = RecordedSensor([domain("gpu:0")], records, clock=fake_clock)
        return SensorRig(sensor=sensor, clock=fake_clock, true_watts={"gpu:0": 300.0})


def test_a_staircase_shows_the_value_of_the_last_tick(fake_clock):
    ramp = Waveform(points=((0.0, 100.0), (2.0, 300.0)))
    meter = ScriptedMeter(domain=domain("gpu:0", update_period_seconds=0.1), waveform=ramp, gain=1.05)
    sensor = ReplaySensor([meter], clock=fake_clock)
    fake_clock.advance(0.25)
    reading = sensor.read()[0]
    assert reading.power_watts == pytest.approx(1.05 * 120)
    assert reading.energy_joules == pytest.approx(1.05 * ramp.joules(0.2))


def test_a_gap_affects_only_its_domain(fake_clock):
    meters = [ScriptedMeter(domain=domain(f"gpu:{i}"), waveform=Waveform.constant(100)) for i in range(2)]
    sensor = ReplaySensor(meters, clock=fake_clock, gaps=[("gpu:1", 1.0, 2.0)])
    fake_clock.advance(1.5)
    assert [reading.domain for reading in sensor.read()] == ["gpu:0"]
    fake_clock.advance(1)
    assert len(sensor.read()) == 2


def test_recorded_readings_are_replayed_at_their_original_pace(fake_clock):
    records = [Reading(domain="a:0", time_ns=5_000 + t, power_watts=float(t)) for t in (300, 0, 100)]
    late = Reading(domain="b:0", time_ns=5_200, power_watts=7.0)
    sensor = RecordedSensor([domain("a:0"), domain("b:0")], [*records, late], clock=fake_clock)
    assert [(r.domain, r.power_watts) for r in sensor.read()] == [("a:0", 0.0)]
    fake_clock.advance(250e-9)
    assert [(r.domain, r.power_watts) for r in sensor.read()] == [("a:0", 100.0), ("b:0", 7.0)]


def test_an_empty_recording_raises(fake_clock):
    with pytest.raises(UsageError):
        RecordedSensor([domain("a:0")], [], clock=fake_clock)


def test_read_raises_without_a_readable_domain(fake_clock):
    sensor = ReplaySensor([], clock=fake_clock)
    with pytest.raises(SensorError, match="no replayed domain"):
        sensor.read()
