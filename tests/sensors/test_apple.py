"""Apple silicon, read through a fake of ``zeus-apple-silicon`` with the attributes of its version 1.1.0."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from profiler.errors import MissingDependencyError, SensorError, SensorUnavailableError
from profiler.recording.device_selection import select
from profiler.sensors.apple import open_apple
from profiler.testing.conformance import SensorConformance, SensorRig

WATTS = {"cpu_total_mj": 12.0, "gpu_mj": 20.0, "gpu_sram_mj": 1.0, "dram_mj": 3.0, "ane_mj": 0.5}


class FakeMac:
    """State of the Mac that the fake monitor reads: power in watts by metric, None for a metric it does not report."""

    def __init__(self, clock):
        self.watts = dict(WATTS)
        self.is_broken = False
        self._clock = clock

    def get_cumulative_energy(self):
        """Return whole millijoules, as the package does."""
        if self.is_broken:
            raise RuntimeError("Failed to create IOReport subscription.")
        return SimpleNamespace(
            **{
                name: None if watts is None else int(watts * self._clock.seconds * 1e3)
                for name, watts in self.watts.items()
            }
        )


@pytest.fixture
def mac(fake_clock, monkeypatch):
    found = FakeMac(fake_clock)
    package = ModuleType("zeus_apple_silicon")
    package.AppleEnergyMonitor = lambda: found
    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", package)
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    return found


@pytest.fixture
def opened(mac, machine):
    (sensor,) = open_apple(machine()).sensors
    return sensor


class TestConformance(SensorConformance):
    @pytest.fixture
    def rig(self, mac, opened, fake_clock):
        return SensorRig(
            sensor=opened,
            clock=fake_clock,
            true_watts={"mps:0": 21.0, "cpu:package-0": 12.0, "dram:package-0": 3.0, "ane:package-0": 0.5},
            break_source=lambda: setattr(mac, "is_broken", True),
        )


def test_a_training_on_mps_counts_gpu_processor_and_memory(opened):
    selection = select(opened.domains, ["mps:0"], [])
    assert selection.billed == ("mps:0", "cpu:package-0", "dram:package-0")
    assert selection.missing == ()
    assert select(opened.domains, ["mps"], []).missing == ()


def test_metrics_that_a_mac_does_not_report_are_no_domains(mac, machine):
    mac.watts |= {"dram_mj": None, "gpu_sram_mj": None, "ane_mj": None}
    (sensor,) = open_apple(machine()).sensors
    assert [domain.name for domain in sensor.domains] == ["mps:0", "cpu:package-0"]


def test_a_mac_without_any_metric_is_refused(mac, machine):
    mac.watts = dict.fromkeys(WATTS)
    with pytest.raises(SensorUnavailableError, match="reports no energy"):
        open_apple(machine())


def test_a_metric_that_disappears_is_a_gap(mac, opened):
    mac.watts["gpu_mj"] = None
    assert "mps:0" not in {reading.domain for reading in opened.read()}
    mac.watts = dict.fromkeys(WATTS)
    with pytest.raises(SensorError, match="no energy"):
        opened.read()


def test_ioreport_without_permission_is_refused(mac, machine):
    mac.is_broken = True
    with pytest.raises(SensorUnavailableError, match="subscription"):
        open_apple(machine())


def test_a_missing_package_is_named(mac, machine, monkeypatch):
    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", None)
    with pytest.raises(MissingDependencyError, match=r"energy-profiler\[apple\]"):
        open_apple(machine())


@pytest.mark.parametrize(("system", "processor"), [("Linux", "aarch64"), ("Darwin", "x86_64")])
def test_other_machines_find_nothing(mac, machine, monkeypatch, system, processor):
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: processor)
    assert open_apple(machine()).sensors == ()
