"""Cray pm_counters. The file format is that of HPE's "User Access to Compute Node Power Data"."""

from dataclasses import replace

import pytest

from profiler.errors import SensorError, SensorUnavailableError
from profiler.recording.device_selection import select
from profiler.records import Domain, Provenance
from profiler.sensors import discover
from profiler.sensors.cray import VARIABLE, PmCounter, open_cray
from profiler.sensors.file_meters import STALE_SECONDS
from profiler.testing.conformance import SensorConformance, SensorRig
from profiler.testing.replay import Waveform
from tests.support.file_trees import FakePmCounters

WATTS = {
    "energy": 2_100.0,
    "cpu_energy": 250.0,
    "memory_energy": 80.0,
    **{f"accel{i}_energy": 400.0 + i for i in range(4)},
}


@pytest.fixture
def tree(machine, fake_clock):
    """The counters of a node with four accelerators, at their usual place."""
    folder = machine().system_root / "sys/cray/pm_counters"
    return FakePmCounters(folder, fake_clock, {name: Waveform.constant(w) for name, w in WATTS.items()})


@pytest.fixture
def opened(tree, machine):
    (sensor,) = open_cray(machine()).sensors
    return sensor


class TestConformance(SensorConformance):
    @pytest.fixture
    def rig(self, opened, tree, fake_clock):
        def break_source():
            for path in tree.folder.glob("*energy"):
                path.unlink()
            tree.is_frozen = True

        watts = {"node": 2_100.0, "cpu:node": 250.0, "accel:3": 403.0}
        return SensorRig(
            sensor=opened, clock=fake_clock, true_watts=watts, tolerance=0.03, break_source=break_source
        )


def gains(sensor, clock, seconds):
    before = {reading.domain: reading.energy_joules for reading in sensor.read()}
    clock.advance(seconds)
    return {reading.domain: reading.energy_joules - before[reading.domain] for reading in sensor.read()}


def test_the_total_is_the_sum_of_the_parts_and_the_node_contains_them(opened, fake_clock):
    domains = {domain.name: domain for domain in opened.domains}
    gained = gains(opened, fake_clock, 10)
    parts = [name for name, domain in domains.items() if domain.billed]
    assert parts == ["cpu:node", "dram:node", "accel:0", "accel:1", "accel:2", "accel:3"]
    assert {domains[name].parent for name in parts} == {"node"}
    assert sum(gained[name] for name in parts) == pytest.approx(19_360, abs=7)
    assert gained["node"] == pytest.approx(21_000, abs=1)


def test_accelerators_without_a_sensor_of_their_own_are_covered(opened):
    """The counters have no relation to the numbers of torch's devices, so all accelerators of the node are counted."""
    selection = select(opened.domains, ["cuda:0", "cuda:7"], [])
    assert selection.missing == ()
    assert set(selection.billed) == {domain.name for domain in opened.domains if domain.billed}


def test_reads_faster_than_the_counters_are_updated_lose_nothing(tree, opened, fake_clock):
    """Each update of the node's counter adds 210 J, also between two reads that are 5 ms apart."""
    first = {reading.domain: reading.energy_joules for reading in opened.read()}
    for _ in range(400):
        fake_clock.advance(0.005)
        last = {reading.domain: reading.energy_joules for reading in opened.read()}
        assert last.keys() == first.keys()
    assert last["node"] - first["node"] == pytest.approx(4_200, abs=211)
    assert opened.warnings == ()


def test_other_machines_find_nothing(machine):
    found = open_cray(machine())
    assert (found.sensors, found.refusals) == ((), ())


def test_the_environment_variable_names_another_folder(machine, fake_clock, tmp_path):
    FakePmCounters(tmp_path / "copy", fake_clock, {"energy": Waveform.constant(500)})
    (sensor,) = open_cray(machine(environ={VARIABLE: str(tmp_path / "copy")})).sensors
    (domain,) = sensor.domains
    assert (domain.name, domain.billed) == ("node", True)


def test_a_missing_named_folder_is_refused(machine, tmp_path):
    with pytest.raises(SensorUnavailableError, match="cannot be read"):
        open_cray(machine(environ={VARIABLE: str(tmp_path / "nothing")}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SensorUnavailableError, match="no readable energy counter"):
        open_cray(machine(environ={VARIABLE: str(tmp_path / "empty")}))


def test_parts_that_other_sensors_measure_are_not_counted_twice(tree, machine):
    gpu = Domain(name="gpu:0", source="x", provenance=Provenance.COUNTER)
    package = replace(gpu, name="cpu:package-0")
    (sensor,) = open_cray(machine(measured=(gpu, package))).sensors
    billed = {domain.name for domain in sensor.domains if domain.billed}
    assert billed == {"dram:node"}
    unbilled = next(domain for domain in sensor.domains if domain.name == "accel:0")
    assert "Another sensor measures this part" in unbilled.notes[-1]


def test_discovery_estimates_nothing_on_a_cray_node(tree, machine, fake_clock, simulated_gpus):
    simulated_gpus([])
    where = machine()
    found = discover(
        environ={},
        system_root=where.system_root,
        powercap_root=where.powercap_root,
        clock=fake_clock,
    )
    assert {d.provenance for sensor in found.sensors for d in sensor.domains} == {Provenance.COUNTER}


def test_counters_that_stand_still_at_the_start_are_refused(tree, machine):
    tree.is_frozen = True
    with pytest.raises(SensorUnavailableError, match="stale: freshness does not change"):
        open_cray(machine())


def test_counters_that_freeze_are_a_warning(tree, opened, fake_clock):
    opened.read()
    assert opened.warnings == ()
    tree.is_frozen = True
    for _ in range(int(STALE_SECONDS) + 1):
        fake_clock.advance(1)
        opened.read()
    (warning,) = opened.warnings
    assert warning.startswith("node, cpu:node, dram:node, accel:0")
    assert "frozen for over 6 s" in warning


def test_a_changed_power_cap_is_a_warning(tree, opened, fake_clock):
    tree.generation = 2
    fake_clock.advance(1)
    opened.read()
    assert opened.warnings == ("The power cap of this node was changed during the run.",)


def test_a_restarted_counter_is_a_decrease_and_a_warning(tree, opened, fake_clock):
    before = {reading.domain: reading.energy_joules for reading in opened.read()}
    tree.start_joules = 0
    after = {}
    for _ in range(5):
        fake_clock.advance(1)
        try:
            after = {reading.domain: reading.energy_joules for reading in opened.read()}
        except SensorError:
            continue
    assert after["node"] < before["node"]
    assert any("the counter was reset once" in warning for warning in opened.warnings)


@pytest.mark.parametrize(
    "text", ["", "abc J 1 us", "12", "12 BTU 1 us", "-5 J 1 us", "nan J 1 us", "9e30 J 1 us"]
)
def test_invalid_values_are_a_gap_of_that_domain(tree, opened, fake_clock, text):
    opened.read()
    fake_clock.advance(1)
    (tree.folder / "cpu_energy").write_text(text)
    assert "cpu:node" not in {reading.domain for reading in opened.read()}


def test_another_unit_is_converted(tree):
    (tree.folder / "energy").write_text("3 kJ 1 us\n")
    assert PmCounter(tree.folder / "energy").read() == 3_000.0


def test_values_are_read_again_if_a_scan_happens_in_between(tree, machine, fake_clock, monkeypatch):
    """All counters of a reading belong to the same scan."""
    (sensor,) = open_cray(machine()).sensors
    calls, read = [], PmCounter.read

    def read_slowly(counter):
        calls.append(counter.path.name)
        if len(calls) == 3:
            fake_clock.advance(0.1)
        return read(counter)

    monkeypatch.setattr(PmCounter, "read", read_slowly)
    sensor.read()
    assert len(calls) == 2 * len(WATTS)
