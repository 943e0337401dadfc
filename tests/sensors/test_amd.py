"""AMD GPUs, read through a fake of the package ``amdsmi``."""

import sys
from types import SimpleNamespace

import pytest

from profiler.errors import MissingDependencyError, SensorUnavailableError
from profiler.recording.device_selection import cuda_uuids, select
from profiler.records import Domain, Provenance
from profiler.sensors.amd import open_amd, visible_devices
from profiler.testing.conformance import SensorConformance, SensorRig
from profiler.testing.replay import Waveform
from tests.support.fake_amdsmi import FakeAmdGpu, FakeAmdSmi

MI250X = "AMD Instinct MI250X"
CPU = Domain(name="cpu:package-0", source="test", provenance=Provenance.COUNTER)


@pytest.fixture
def board(machine):
    """Adds an AMD GPU to the PCI bus of the simulated machine."""
    device = machine().system_root / "sys/bus/pci/devices/0000:03:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x1002\n")
    (device / "class").write_text("0x038000\n")


@pytest.fixture
def opened(board, machine, fake_clock, monkeypatch):
    """Opens the sensor over fake devices; returns what was found and the fake package."""

    def open_it(*gpus, environ=None, **more):
        smi = FakeAmdSmi(gpus, fake_clock, **more)
        monkeypatch.setitem(sys.modules, "amdsmi", smi)
        return open_amd(machine(environ=environ)), smi

    return open_it


def gpu(watts=300.0, **changes):
    return FakeAmdGpu(waveform=Waveform.constant(watts), **changes)


def double(*watts):
    """Boards of two devices, the first of which reports the whole board."""
    return [
        gpu(
            power,
            model=MI250X,
            serial=f"0x{10 * number + die}",
            is_silent=die == 1,
            power_key="average_socket_power",
        )
        for number, power in enumerate(watts)
        for die in range(2)
    ]


@pytest.mark.parametrize("has_counter", [True, False])
class TestConformance(SensorConformance):
    @pytest.fixture
    def rig(self, opened, fake_clock, has_counter):
        boards = [
            gpu(watts, has_counter=has_counter, fails_from=60.0, serial=f"0x{watts}") for watts in (300, 120)
        ]
        found, _ = opened(*boards)
        return SensorRig(
            sensor=found.sensors[0],
            clock=fake_clock,
            true_watts={"gpu:0": 300.0, "gpu:1": 120.0},
            break_source=lambda: fake_clock.advance(60),
        )


class TestDoubleDieConformance(SensorConformance):
    @pytest.fixture
    def rig(self, opened, fake_clock):
        found, _ = opened(*double(500.0, 420.0))
        return SensorRig(
            sensor=found.sensors[0], clock=fake_clock, true_watts={"accel:0": 500.0, "accel:1": 420.0}
        )


def joules(sensor, clock, seconds, period=0.1):
    """Read for some time; return the energy of each domain since the first reading."""
    first, last = {}, {}
    for _ in range(round(seconds / period)):
        clock.advance(period)
        for reading in sensor.read():
            first.setdefault(reading.domain, reading.energy_joules)
            last[reading.domain] = reading.energy_joules
    return {name: last[name] - first[name] for name in last}


def test_the_accumulator_has_the_unit_of_its_resolution(opened, fake_clock):
    (sensor,) = opened(gpu(300.0))[0].sensors
    assert joules(sensor, fake_clock, 10.1)["gpu:0"] == pytest.approx(3_000.0, abs=0.01)
    assert sensor.domains[0].provenance is Provenance.COUNTER


def test_a_counter_without_a_power_is_read(opened, fake_clock):
    (sensor,) = opened(gpu(300.0, has_power=False))[0].sensors
    assert joules(sensor, fake_clock, 10.1)["gpu:0"] == pytest.approx(3_000.0, abs=0.01)


def test_the_device_without_a_counter_of_its_own_belongs_to_the_board_before(opened):
    (sensor,) = opened(*double(500.0, 420.0))[0].sensors
    assert [domain.name for domain in sensor.domains] == ["accel:0", "accel:1"]
    assert "One board with several devices, here cuda:0, cuda:1." in sensor.domains[0].notes[0]
    selection = select([CPU, *sensor.domains], ["cuda:1"], [])
    assert selection.missing == ()
    assert selection.billed == ("cpu:package-0", "accel:0", "accel:1")


def test_a_process_that_sees_one_device_of_a_board_counts_this_board(opened):
    (sensor,) = opened(*double(500.0, 420.0), environ={"ROCR_VISIBLE_DEVICES": "3"})[0].sensors
    assert [domain.name for domain in sensor.domains] == ["accel:1"]
    assert sensor.domains[0].device == "AMD-10"


def test_all_partitions_of_a_board_belong_to_it(opened):
    partitions = [gpu(700.0, serial="0x1"), *(gpu(0.0, serial=f"0x{n}", is_silent=True) for n in range(2, 9))]
    (sensor,) = opened(*partitions)[0].sensors
    assert [domain.name for domain in sensor.domains] == ["accel:0"]


def test_an_idle_device_of_another_model_is_not_part_of_the_board_before(opened):
    found, _ = opened(gpu(300.0), gpu(0.0, model=MI250X, is_silent=True, serial="0x2"))
    assert [domain.name for domain in found.sensors[0].domains] == ["gpu:0"]


def test_a_frozen_counter_is_replaced_by_the_power(opened, fake_clock):
    (sensor,) = opened(gpu(300.0, frozen_from=5.0))[0].sensors
    assert joules(sensor, fake_clock, 40)["gpu:0"] == pytest.approx(300 * 39.9, rel=0.02)
    assert any("was frozen" in warning and "gpu:0" in warning for warning in sensor.warnings)


def test_a_counter_that_is_always_zero_is_not_used(opened, fake_clock):
    """As with boards whose driver does not fill it; the power is integrated instead."""
    (sensor,) = opened(gpu(300.0, has_counter=False))[0].sensors
    fake_clock.advance(1)
    (reading,) = sensor.read()
    assert (reading.energy_joules, reading.power_watts) == (None, 300.0)


@pytest.mark.parametrize("key", ["socket_power", "current_socket_power", "average_socket_power"])
def test_the_power_is_found_under_the_key_that_the_board_supports(opened, key):
    (sensor,) = opened(gpu(300.0, power_key=key))[0].sensors
    assert sensor.read()[0].power_watts == 300.0


def test_devices_are_numbered_in_the_order_of_hip(opened, fake_clock):
    (sensor,) = opened(gpu(100.0, node=5, serial="0x5"), gpu(200.0, node=2, serial="0x2"))[0].sensors
    assert [(d.name, d.device) for d in sensor.domains] == [("gpu:0", "AMD-2"), ("gpu:1", "AMD-5")]


@pytest.mark.parametrize(
    ("environ", "visible"),
    [
        ({}, [0, 1, 2, 3]),
        ({"HIP_VISIBLE_DEVICES": "2,0"}, [2, 0]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, [1]),
        ({"HIP_VISIBLE_DEVICES": "1", "CUDA_VISIBLE_DEVICES": "2"}, [1]),
        ({"ROCR_VISIBLE_DEVICES": "3,1", "HIP_VISIBLE_DEVICES": "1"}, [1]),
        ({"ROCR_VISIBLE_DEVICES": "GPU-cc"}, [2]),
        ({"HIP_VISIBLE_DEVICES": "1,9,0"}, [1]),
        ({"HIP_VISIBLE_DEVICES": ""}, []),
        ({"HIP_VISIBLE_DEVICES": "-1"}, []),
    ],
)
def test_variables_select_devices(environ, visible):
    assert visible_devices(["aa", "bb", "cc", "dd"], environ) == visible


def test_other_machines_find_nothing(machine):
    assert open_amd(machine()).sensors == ()


def test_hidden_devices_are_refused_and_the_package_is_shut_down(opened, fake_clock):
    with pytest.raises(SensorUnavailableError, match="no AMD GPU that this process can use"):
        opened(gpu(), environ={"HIP_VISIBLE_DEVICES": ""})
    assert not sys.modules["amdsmi"].is_running


def test_a_package_that_does_not_start_is_refused_with_a_remedy(opened):
    with pytest.raises(SensorUnavailableError, match="does not start: Error code: 34") as refused:
        opened(gpu(), init_code=34)
    assert "modprobe amdgpu" in refused.value.remedy


def test_a_missing_package_is_named(board, machine, monkeypatch):
    monkeypatch.delitem(sys.modules, "amdsmi", raising=False)
    monkeypatch.setattr("profiler.sensors.amd.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="amdsmi"):
        open_amd(machine())


def test_nvidia_gpus_come_first(opened, machine, board):
    nvidia = Domain(name="gpu:0", source="NVML", provenance=Provenance.COUNTER)
    found = open_amd(machine(measured=(nvidia,)))
    assert found.sensors == ()
    assert "NVIDIA" in found.refusals[0].reason


def test_torch_for_rocm_has_no_identifiers_that_the_driver_knows(monkeypatch):
    cuda = SimpleNamespace(is_initialized=lambda: True)
    torch = SimpleNamespace(cuda=cuda, version=SimpleNamespace(hip="6.2"))
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert cuda_uuids() is None
