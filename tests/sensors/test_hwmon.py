"""hwmon chips. The files are those of the documentation that ``profiler.sensors.hwmon`` names."""

from dataclasses import replace

import pytest

from profiler.errors import SensorUnavailableError
from profiler.records import Domain, Provenance
from profiler.sensors.base import MODULE_NOTE
from profiler.sensors.hwmon import VARIABLE, open_hwmon
from profiler.testing.conformance import SensorConformance, SensorRig
from profiler.testing.replay import Waveform
from tests.support.file_trees import FakeHwmon

GPU = Domain(name="gpu:0", source="x", provenance=Provenance.COUNTER)


@pytest.fixture
def tree(machine, fake_clock):
    return FakeHwmon(machine().system_root / "sys/class/hwmon", fake_clock)


def add_grace(tree, socket, watts):
    """Add the power meters of a Grace socket: name, label and power by part."""
    for part, power in watts.items():
        label = f"{part} Power Socket {socket}"
        chip = tree.chip("power_meter", {"power1_oem_info": label, "power1_average_interval": "50"})
        tree.power(chip / "power1_average", power)


def add_altra(tree, watts):
    chip = tree.chip("smpro_hwmon")
    for number, power in enumerate(watts, start=1):
        tree.power(chip / f"power{number}_input", power)


def add_jetson(tree, rails):
    chip = tree.chip("ina3221")
    for number, (label, volts, watts) in enumerate(rails, start=1):
        (chip / f"in{number}_label").write_text(f"{label}\n")
        (chip / f"in{number}_input").write_text(f"{volts * 1_000}\n")
        tree.power(chip / f"curr{number}_input", watts / volts, scale=1e3)


def add_intel_gpu(tree, driver, address, watts):
    chip = tree.chip(driver, device=address)
    tree.energy(chip / "energy1_input", watts)
    return chip


def add_amd(tree, watts):
    chip = tree.chip("amd_energy", {"energy1_label": "Ecore000"})
    tree.energy(chip / "energy1_input", 3.0)
    for socket, power in enumerate(watts):
        (chip / f"energy{129 + socket}_label").write_text(f"Esocket{socket}\n")
        tree.energy(chip / f"energy{129 + socket}_input", power)


BUILDERS = {
    "grace": (
        lambda tree: add_grace(tree, 0, {"Grace": 240.0, "CPU": 150.0, "SysIO": 40.0}),
        {"cpu:package-0": 240.0, "core:package-0": 150.0},
    ),
    "altra": (
        lambda tree: add_altra(tree, (80.0, 20.0, 9.0, 8.0, 19.5)),
        {"cpu:package-0": 119.5, "dram:package-0": 17.0},
    ),
    "amd_energy": (
        lambda tree: add_amd(tree, (180.0, 120.0)),
        {"cpu:package-0": 180.0, "cpu:package-1": 120.0},
    ),
    "xe": (lambda tree: add_intel_gpu(tree, "xe", "0000:03:00.0", 220.0), {"xpu:0": 220.0}),
    "jetson": (
        lambda tree: add_jetson(
            tree, [("VDD_IN", 5.0, 20.0), ("VDD_CPU_GPU_CV", 5.0, 12.0), ("NC", 5.0, 0.0)]
        ),
        {"node:vdd-in": 20.0, "rail:vdd-cpu-gpu-cv": 12.0},
    ),
}


@pytest.mark.parametrize("chip", BUILDERS)
class TestConformance(SensorConformance):
    @pytest.fixture
    def rig(self, tree, machine, fake_clock, chip):
        build, watts = BUILDERS[chip]
        build(tree)
        (sensor,) = open_hwmon(machine()).sensors

        def break_source():
            tree.is_frozen = True
            for path in tree.folder.glob("*/*"):
                if path.name.endswith(("_input", "_average")):
                    path.unlink()

        return SensorRig(sensor=sensor, clock=fake_clock, true_watts=watts, break_source=break_source)


def domains_of(machine, **more):
    (sensor,) = open_hwmon(machine(**more)).sensors
    return {domain.name: domain for domain in sensor.domains}


def counted(domains):
    return {name for name, domain in domains.items() if domain.billed}


def test_a_grace_superchip_counts_its_sockets(tree, machine):
    for socket in (0, 1):
        add_grace(tree, socket, {"Grace": 240.0, "CPU": 150.0, "SysIO": 40.0})
    domains = domains_of(machine)
    assert counted(domains) == {"cpu:package-0", "cpu:package-1"}
    assert domains["core:package-1"].parent == "cpu:package-1"
    assert "memory" in domains["cpu:package-0"].notes[0]


def test_the_power_meter_of_a_grace_hopper_module_contains_the_others(tree, machine):
    add_grace(tree, 0, {"Module": 700.0, "Grace": 240.0})
    assert counted(domains_of(machine)) == {"cpu:package-0"}


def test_grace_is_not_counted_beside_a_gpu_counter_that_includes_it(tree, machine):
    add_grace(tree, 0, {"Grace": 240.0})
    module = replace(GPU, notes=(MODULE_NOTE,))
    assert counted(domains_of(machine, measured=(module,))) == set()


def test_labels_may_be_in_the_device_folder(tree, machine):
    chip = tree.chip("power_meter", {"device/power1_oem_info": "Grace Power Socket 0"})
    tree.power(chip / "device/power1_average", 200.0)
    assert counted(domains_of(machine)) == {"cpu:package-0"}


def test_a_power_meter_with_another_label_is_ignored(tree, machine):
    chip = tree.chip("power_meter", {"power1_oem_info": "Chassis"})
    tree.power(chip / "power1_average", 200.0)
    assert open_hwmon(machine()).sensors == ()


def test_intel_gpus_are_numbered_in_pci_order(tree, machine, fake_clock):
    add_intel_gpu(tree, "i915", "0000:83:00.0", 100.0)
    add_intel_gpu(tree, "i915", "0000:03:00.0", 300.0)
    (sensor,) = open_hwmon(machine()).sensors
    before = {reading.domain: reading.energy_joules for reading in sensor.read()}
    fake_clock.advance(1)
    gained = {reading.domain: reading.energy_joules - before[reading.domain] for reading in sensor.read()}
    assert gained == {"xpu:0": pytest.approx(300), "xpu:1": pytest.approx(100)}


def test_a_jetson_without_a_supply_rail_counts_its_rails_with_a_wide_interval(tree, machine):
    add_jetson(tree, [("VDD_GPU_SOC", 19.0, 20.0), ("VDD_CPU_CV", 19.0, 8.0), ("VIN_SYS_5V0", 5.0, 5.0)])
    domains = domains_of(machine)
    assert counted(domains) == {"rail:vdd-gpu-soc", "rail:vdd-cpu-cv", "rail:vin-sys-5v0"}
    assert all(domain.gain_uncertainty == 0.15 for domain in domains.values())


def test_a_jetson_with_a_supply_rail_counts_it_alone(tree, machine):
    add_jetson(tree, [("VDD_IN", 5.0, 20.0), ("VDD_SOC", 5.0, 4.0)])
    domains = domains_of(machine)
    assert counted(domains) == {"node:vdd-in"}
    assert domains["rail:vdd-soc"].parent == "node:vdd-in"


def test_a_socket_that_rapl_measures_is_recorded_and_not_counted(tree, machine):
    add_amd(tree, (180.0,))
    package = replace(GPU, name="cpu:package-1")
    assert counted(domains_of(machine, measured=(package,))) == set()


def test_unknown_chips_are_ignored(tree, machine):
    chip = tree.chip("nvme")
    tree.power(chip / "power1_input", 5.0)
    found = open_hwmon(machine())
    assert (found.sensors, found.refusals) == ((), ())


def test_a_named_folder_without_a_chip_is_refused(machine, tmp_path):
    with pytest.raises(SensorUnavailableError, match="no readable channel"):
        open_hwmon(machine(environ={VARIABLE: str(tmp_path)}))


def test_root_only_files_are_refused_with_the_command(open_folder, machine, fake_clock, as_plain_user):
    tree = FakeHwmon(open_folder / "sys/class/hwmon", fake_clock)
    add_amd(tree, (180.0,))
    for path in tree.folder.glob("*/energy*_input"):
        path.chmod(0o200)
    environment = replace(machine(), system_root=open_folder)
    with as_plain_user():
        found = open_hwmon(environment)
    assert found.sensors == ()
    assert "root only" in found.refusals[0].reason
    assert "chmod a+r" in found.refusals[0].remedy


@pytest.mark.parametrize(
    ("text", "problem"), [("-3000000", "implausible"), ("9e15", "implausible"), ("x", None)]
)
def test_absurd_values_are_a_gap(tree, machine, fake_clock, text, problem):
    add_grace(tree, 0, {"Grace": 240.0, "CPU": 150.0})
    (sensor,) = open_hwmon(machine()).sensors
    next(tree.folder.glob("hwmon0/power1_average")).write_text(f"{text}\n")
    assert [reading.domain for reading in sensor.read()] == ["core:package-0"]
    assert any("implausible" in warning for warning in sensor.warnings) == bool(problem)


def test_power_that_varies_is_not_reported_as_frozen(tree, machine, fake_clock):
    chip = tree.chip("power_meter", {"power1_oem_info": "Grace Power Socket 0"})
    tree.power(chip / "power1_average", Waveform.square(low=100, high=200, period_seconds=2.0))
    (sensor,) = open_hwmon(machine()).sensors
    for _ in range(80):
        fake_clock.advance(0.1)
        sensor.read()
    assert sensor.warnings == ()
    tree.is_frozen = True
    for _ in range(80):
        fake_clock.advance(0.1)
        sensor.read()
    assert "frozen for over 6 s" in sensor.warnings[0]
