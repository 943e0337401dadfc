"""Power limit, clock and throttle reasons of simulated boards."""

from types import SimpleNamespace

import pytest

from profiler.records import BoardState
from profiler.sensors.nvml import open_nvml
from profiler.sensors.nvml_state import StateReader, describe_reasons
from profiler.testing.replay import Waveform
from tests.support.simulated_nvml import hopper

SW_POWER_CAP, HW_THERMAL = 0x4, 0x40


@pytest.fixture
def states(simulated_gpus, machine, fake_clock):
    """Reads a simulated board for some time; returns the states by second since the start."""

    def collect(seconds, period=0.1, **board):
        simulated_gpus([hopper(Waveform.constant(300), **board)])
        (sensor,) = open_nvml(machine()).sensors
        start, found = fake_clock.now_ns(), {}
        for _ in range(round(seconds / period)):
            for reading in sensor.read():
                if reading.state is not None:
                    found[round((fake_clock.now_ns() - start) / 1e9, 1)] = reading.state
            fake_clock.advance(period)
        sensor.close()
        return found

    return collect


def test_a_state_is_read_once_per_second(states):
    assert list(states(3.1)) == [0.0, 1.0, 2.0, 3.0]


def test_changes_of_the_limit_and_the_clock_are_seen(states):
    found = states(
        4.0, limits=((1.5, 400.0),), clocks=((2.5, 1_200.0),), throttles=((1.5, SW_POWER_CAP), (2.5, 0))
    )
    assert [(s.limit_watts, s.sm_mhz, s.throttle) for s in found.values()] == [
        (700.0, 1_980, "none"),
        (700.0, 1_980, "none"),
        (400.0, 1_980, "sw_power_cap"),
        (400.0, 1_200, "none"),
    ]


def test_the_time_at_a_reduced_clock_is_counted_by_cause(states):
    steps = ((1.0, SW_POWER_CAP), (2.0, SW_POWER_CAP | HW_THERMAL), (2.5, 0))
    first, *_, last = states(4.0, throttles=steps).values()
    assert first.throttled_seconds == {"power": 0.0, "thermal": 0.0}
    assert last.throttled_seconds == pytest.approx({"power": 1.5, "thermal": 0.5})


def test_a_board_without_these_queries_has_no_state(states):
    assert states(3.0, has_states=False) == {}


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (0, "none"),
        (0x1, "gpu_idle"),
        (0x44, "sw_power_cap|hw_thermal_slowdown"),
        (0x804, "sw_power_cap|0x800"),
    ],
)
def test_reasons_have_the_names_of_nvidia_smi(bits, text):
    assert describe_reasons(bits) == text


class UnsupportedError(Exception):
    pass


def fake_nvml(**calls):
    """A stand-in for ``pynvml`` whose calls are given as functions, because real ones neither fail nor wait on cue."""
    names = {
        "NVMLError": Exception,
        "NVMLError_NotSupported": UnsupportedError,
        "NVMLError_FunctionNotFound": KeyError,
        "NVML_CLOCK_SM": 1,
        "NVML_PERF_POLICY_POWER": 0,
        "NVML_PERF_POLICY_THERMAL": 1,
        "nvmlDeviceGetEnforcedPowerLimit": lambda _: 400_000,
        "nvmlDeviceGetClockInfo": lambda *_: 1_000,
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _: 0,
        "nvmlDeviceGetViolationStatus": lambda *_: SimpleNamespace(violationTime=0),
    }
    return SimpleNamespace(**names | calls)


def test_calls_without_support_are_made_once(fake_clock):
    calls = []

    def refuse(*_):
        calls.append(1)
        raise UnsupportedError

    reader = StateReader(
        fake_nvml(
            nvmlDeviceGetClockInfo=refuse,
            nvmlDeviceGetCurrentClocksThrottleReasons=refuse,
            nvmlDeviceGetViolationStatus=refuse,
        )
    )
    for _ in range(3):
        assert reader.read(None, fake_clock) == BoardState(limit_watts=400.0)
        fake_clock.advance(1)
    assert len(calls) == 4


def test_a_call_that_fails_for_a_while_is_made_again(fake_clock):
    answers = iter([RuntimeError("busy"), 1_200])

    def clock(*_):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    reader = StateReader(fake_nvml(nvmlDeviceGetClockInfo=clock))
    assert reader.read(None, fake_clock).sm_mhz is None
    fake_clock.advance(1)
    assert reader.read(None, fake_clock).sm_mhz == 1_200


def test_slow_calls_are_made_less_often(fake_clock):
    """20 ms per state may be spent once in 4 s."""
    reader = StateReader(
        fake_nvml(nvmlDeviceGetEnforcedPowerLimit=lambda _: fake_clock.advance(0.02) or 400_000)
    )
    states = []
    for _ in range(80):
        fake_clock.advance(0.1)
        states.append(reader.read(None, fake_clock))
    assert sum(state is not None for state in states) == 2
