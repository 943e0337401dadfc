import itertools
from pathlib import Path

import pytest

from profiler.errors import SensorError, SensorUnavailableError
from profiler.records import Provenance
from profiler.sensors.powercap import open_powercap
from profiler.sensors.rapl import LIVENESS_POLL_SECONDS, LIVENESS_SECONDS
from profiler.testing.conformance import SensorConformance, SensorRig
from profiler.testing.replay import Waveform
from tests.support.powercap import FakePowercap


@pytest.fixture
def server(tree):
    """Two sockets as an Intel server shows them: dram and core inside the packages, psys beside them."""
    zones = {}
    for socket, watts in enumerate((150.0, 120.0)):
        package = tree.add(f"package-{socket}", watts, start_joules=1_000 + 9_000 * socket)
        zones[f"package-{socket}"] = package
        zones[f"core-{socket}"] = tree.add("core", watts / 2, parent=package)
        zones[f"dram-{socket}"] = tree.add("dram", 25.0, parent=package, unit_nanojoules=15_258)
    zones["psys"] = tree.add("psys", 400.0)
    return zones


@pytest.fixture
def opened(machine):
    """Opens the sensor, and closes it at the end."""
    sensors = []

    def open_it(**more):
        found = open_powercap(machine(**more))
        sensors.extend(found.sensors)
        return found.sensors[0]

    yield open_it
    for sensor in sensors:
        sensor.close()


def energies(sensor):
    return {reading.domain: reading.energy_joules for reading in sensor.read()}


def total(sensor, before, after):
    billed = [d.name for d in sensor.domains if d.billed]
    return sum(after[name] - before[name] for name in billed)


class TestConformance(SensorConformance):
    @pytest.fixture
    def rig(self, tree, server, opened, fake_clock):
        def break_source():
            for zone in server.values():
                tree.tear(zone, "")

        watts = {"cpu:package-0": 150.0, "cpu:package-1": 120.0, "dram:package-0": 25.0, "psys": 400.0}
        return SensorRig(sensor=opened(), clock=fake_clock, true_watts=watts, break_source=break_source)


def test_only_packages_and_memory_are_counted(server, opened):
    domains = {domain.name: domain for domain in opened().domains}
    assert {name for name, domain in domains.items() if domain.billed} == {
        "cpu:package-0",
        "cpu:package-1",
        "dram:package-0",
        "dram:package-1",
    }
    assert domains["core:package-0"].parent == "cpu:package-0"
    assert domains["dram:package-0"].parent is None
    assert domains["psys"].provenance is Provenance.COUNTER


def test_the_total_counts_packages_and_memory_once(server, opened, fake_clock):
    sensor = opened()
    before = energies(sensor)
    fake_clock.advance(10)
    assert total(sensor, before, energies(sensor)) == pytest.approx((150 + 120 + 25 + 25) * 10, rel=1e-4)


@pytest.mark.parametrize("unit", [61_035, 15_258])
def test_an_hour_of_wraps_is_exact(tree, opened, fake_clock, unit):
    tree.add("package-0", Waveform.square(low=200, high=600, period_seconds=7), unit_nanojoules=unit)
    sensor = opened()
    first = energies(sensor)["cpu:package-0"]
    for _ in range(360):
        fake_clock.advance(10)
        last = energies(sensor)["cpu:package-0"]
    truth = Waveform.square(low=200, high=600, period_seconds=7).joules(3_600)
    # The kernel truncates the unit to whole nanojoules; the remainder is one count.
    assert last - first == pytest.approx(truth, rel=1e-9, abs=0.001)


def test_a_wraparound_of_one_package_does_not_affect_the_others(tree, opened, fake_clock):
    """The first wraps every 262 s, the second never within the test: each interval counts both in full."""
    tree.add("package-0", Waveform.constant(1000), unit_nanojoules=61_035)
    tree.add("package-1", Waveform.constant(10), unit_nanojoules=61_035)
    sensor = opened()
    before = energies(sensor)
    for _ in range(60):
        fake_clock.advance(10)
        after = energies(sensor)
        gained = [after[f"cpu:package-{n}"] - before[f"cpu:package-{n}"] for n in range(2)]
        assert gained == pytest.approx([10_000, 100], abs=0.001)
        before = after


def test_a_wraparound_just_before_the_end_loses_no_energy(tree, opened, fake_clock):
    zone = tree.add("package-0", 350.0)
    tree.restart(zone, zone.max_range_uj / 1e6 - 349.0)
    sensor = opened()
    before = energies(sensor)["cpu:package-0"]
    fake_clock.advance(1.0)
    assert energies(sensor)["cpu:package-0"] - before == pytest.approx(350, abs=0.01)


def test_the_mmio_view_of_a_package_is_not_a_second_package(tree, opened):
    tree.add("package-0", 100.0)
    tree.add("package-0", 100.0, control="intel-rapl-mmio")
    assert [domain.name for domain in opened().domains] == ["cpu:package-0"]


def test_the_mmio_view_is_used_if_the_other_cannot_be_read(tree, opened):
    tree.make_unreadable(tree.add("package-0", 100.0))
    tree.add("package-0", 100.0, control="intel-rapl-mmio")
    assert [domain.source for domain in opened().domains] == ["powercap intel-rapl-mmio:0 (package-0)"]


def test_dies_that_show_one_counter_are_counted_once(tree, opened, fake_clock):
    die = tree.add("package-0-die-0", 68.0)
    for other in (1, 2, 3):
        tree.mirror(f"package-0-die-{other}", die)
    sensor = opened()
    assert [domain.name for domain in sensor.domains] == ["cpu:package-0"]
    assert "same counter" in sensor.domains[0].notes[0]
    before = energies(sensor)
    fake_clock.advance(10)
    assert total(sensor, before, energies(sensor)) == pytest.approx(680, rel=1e-4)


def test_dies_with_separate_counters_are_all_counted(tree, opened):
    for die in (0, 1):
        tree.add(f"package-0-die-{die}", 68.0, start_joules=1_000 + 500 * die)
    assert [domain.name for domain in opened().domains] == ["cpu:package-0-die-0", "cpu:package-0-die-1"]


def test_psys_alone_is_counted_with_a_note(tree, opened):
    tree.add("psys", 100.0)
    domain = opened().domains[0]
    assert domain.billed
    assert "platform" in domain.notes[0]


def test_missing_memory_is_noted(tree, opened):
    tree.add("package-0", 100.0)
    sensor = opened()
    assert [domain.name for domain in sensor.domains] == ["cpu:package-0"]
    assert "leave it out" in sensor.domains[0].notes[0]


@pytest.mark.parametrize("text", ["", "12", "nonsense\n", "-5\n", "123456789"])
def test_a_truncated_read_is_a_gap_of_that_zone_and_loses_no_energy(tree, server, opened, fake_clock, text):
    sensor = opened()
    before = energies(sensor)
    fake_clock.advance(1)
    tree.tear(server["package-0"], text)
    assert "cpu:package-0" not in energies(sensor)
    assert "cpu:package-1" in energies(sensor)
    tree.heal(server["package-0"])
    fake_clock.advance(1)
    assert energies(sensor)["cpu:package-0"] - before["cpu:package-0"] == pytest.approx(300, rel=1e-3)


def test_a_zone_that_vanishes_and_returns_is_a_gap(tree, server, opened, fake_clock):
    sensor = opened()
    before = energies(sensor)["cpu:package-1"]
    tree.vanish(server["package-1"])
    fake_clock.advance(1)
    assert "cpu:package-1" not in energies(sensor)
    assert "cpu:package-1" not in energies(sensor)
    tree.heal(server["package-1"])
    fake_clock.advance(1)
    assert energies(sensor)["cpu:package-1"] - before == pytest.approx(240, rel=1e-3)


def test_without_a_range_a_wraparound_appears_as_a_reset(tree, opened, fake_clock):
    zone = tree.add("package-0", 350.0)
    tree.restart(zone, zone.max_range_uj / 1e6 - 1_000.0)
    tree.hide_maximum(zone)
    sensor = opened()
    seen = []
    for _ in range(100):
        fake_clock.advance(0.1)
        seen += [reading.energy_joules for reading in _or_nothing(sensor)]
    steps = [later - earlier for earlier, later in itertools.pairwise(seen)]
    assert min(seen) >= 0
    assert max(steps) < 100
    assert sum(step < 0 for step in steps) == 1  # the reset, which makes the timeline bridge the interval


def _or_nothing(sensor):
    try:
        return sensor.read()
    except SensorError:
        return []


def test_estimated_wraparounds_and_resets_are_warnings(tree, opened, fake_clock):
    zone = tree.add("package-0", 300.0, unit_nanojoules=15_258)
    sensor = opened()
    sensor.read()
    assert sensor.warnings == ()
    fake_clock.advance(3_600)
    sensor.read()
    tree.restart(zone, 5.0)
    for _ in range(4):
        fake_clock.advance(0.1)
        _or_nothing(sensor)
    assert ["wraparounds" in sensor.warnings[0], "reset once" in sensor.warnings[1]] == [True, True]


def test_a_counter_that_is_frozen_at_the_start_is_refused(tree, machine, fake_clock):
    """It must not be recorded as a measured energy of zero."""
    package = tree.add("package-0", 0.0)
    tree.add("core", 0.0, parent=package)
    with pytest.raises(SensorUnavailableError, match="package-0 cannot be read: its counter does not change"):
        open_powercap(machine())
    assert fake_clock.seconds - 1 == pytest.approx(LIVENESS_SECONDS, abs=0.01)


def test_a_counter_that_wraps_more_often_than_it_is_read_is_refused(tree, machine):
    """Nothing shows how often it wrapped, and any number would be as wrong as the next."""
    tree.add("package-0", 120.0, unit_nanojoules=2)
    with pytest.raises(
        SensorUnavailableError, match=r"its counter wraps around every 8\.59 J, possibly more than"
    ):
        open_powercap(machine())
    tree.add("package-1", 120.0, unit_nanojoules=15_258)
    found = open_powercap(machine(sockets=2))
    assert [domain.name for domain in found.sensors[0].domains] == ["cpu:package-1"]
    assert len(found.refusals) == 1


def test_a_frozen_package_is_refused_beside_the_others(tree, machine):
    tree.add("package-0", 100.0)
    tree.add("package-1", 0.0)
    found = open_powercap(machine())
    assert [domain.name for domain in found.sensors[0].domains] == ["cpu:package-0"]
    assert [refusal.reason for refusal in found.refusals] == [
        "energy_uj of package-1 cannot be read: its counter does not change, although the processor is running"
    ]
    found.sensors[0].close()


def test_an_idle_integrated_gpu_is_not_frozen(tree, opened):
    package = tree.add("package-0", 100.0)
    tree.add("uncore", 0.0, parent=package)
    assert [domain.name for domain in opened().domains] == ["cpu:package-0", "uncore:package-0"]


def test_healthy_counters_delay_the_start_by_one_update_at_most(tree, server, machine, fake_clock):
    found = open_powercap(machine())
    assert fake_clock.seconds - 1 <= 2 * LIVENESS_POLL_SECONDS
    found.sensors[0].close()


def test_a_counter_that_freezes_during_the_run_causes_one_warning(tree, opened, fake_clock):
    zone = tree.add("package-0", 100.0)
    sensor = opened()
    warnings = set()
    for second in range(80):
        if second == 40:
            tree.freeze(zone)
        fake_clock.advance(0.1)
        sensor.read()
        warnings.update(sensor.warnings)
    assert len(warnings) == 1
    assert warnings.pop().startswith("cpu:package-0: its counter was frozen for over 1 s.")


@pytest.mark.parametrize(
    ("constraints", "is_accepted"),
    [
        ({}, True),
        ({"constraint_0_max_power_uw": 125}, False),
        ({"constraint_0_max_power_uw": 125, "constraint_1_power_limit_uw": 600}, True),
        ({"constraint_0_power_limit_uw": 50}, True),
    ],
)
def test_a_jump_above_twice_the_rated_power_is_rejected(tree, opened, fake_clock, constraints, is_accepted):
    """A power limit without a rated power is not used, because it may be raised during the run."""
    zone = tree.add("package-0", 100.0)
    for name, watts in constraints.items():
        (zone.folder / name).write_text(f"{watts * 1_000_000}\n")
    sensor = opened()
    before = energies(sensor)["cpu:package-0"]
    fake_clock.advance(1)
    tree.restart(zone, before + 1_000)
    assert ("cpu:package-0" in {reading.domain for reading in _or_nothing(sensor)}) == is_accepted


def test_a_nested_tree_without_links_is_read(tree, server, machine):
    found = open_powercap(machine(powercap_root=tree.root.parent / "powercap-devices"))
    assert len(found.sensors[0].domains) == 7
    found.sensors[0].close()


def test_root_only_counters_are_refused_with_the_commands(open_folder, fake_clock, machine, as_plain_user):
    tree = FakePowercap(open_folder / "powercap", clock=fake_clock)
    tree.forbid(tree.add("package-0", 100.0))
    environment = machine(powercap_root=tree.root)
    with as_plain_user(), pytest.raises(SensorUnavailableError) as refused:
        open_powercap(environment)
    assert "root only" in refused.value.reason
    assert f"sudo chmod a+r {tree.root}/intel-rapl*/energy_uj" in refused.value.remedy
    assert "/etc/udev/rules.d/70-rapl.rules" in refused.value.remedy
    assert 'RUN+="/usr/bin/chgrp rapl /sys%p/energy_uj"' in refused.value.remedy


def test_an_unreadable_memory_counter_is_a_refusal_beside_the_package(tree, server, machine):
    tree.make_unreadable(server["dram-1"])
    found = open_powercap(machine())
    assert [refusal.reason.partition(" cannot")[0] for refusal in found.refusals] == ["energy_uj of dram"]
    assert "dram:package-1" not in {domain.name for domain in found.sensors[0].domains}
    found.sensors[0].close()


@pytest.mark.parametrize(
    ("arrange", "reason", "remedy"),
    [
        ({"flags": "fpu hypervisor"}, "virtual machine", "host itself"),
        (
            {"environ": {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}},
            "Kubernetes container hides",
            "systempaths=unconfined",
        ),
        ({}, "driver is not loaded", "sudo modprobe intel_rapl_msr"),
    ],
)
def test_each_cause_of_a_missing_tree_has_its_own_reason(machine, arrange, reason, remedy):
    with pytest.raises(SensorUnavailableError) as refused:
        open_powercap(machine(**arrange))
    assert reason in refused.value.reason
    assert remedy in refused.value.remedy


@pytest.mark.parametrize("system", ["Windows", "Darwin"])
def test_other_systems_expose_no_counters(machine, monkeypatch, system):
    monkeypatch.setattr("platform.system", lambda: system)
    with pytest.raises(SensorUnavailableError, match=f"{system} does not expose"):
        open_powercap(machine())


def test_the_tree_is_not_used_without_pread(tree, server, machine, monkeypatch):
    monkeypatch.delattr("os.pread")
    with pytest.raises(SensorUnavailableError):
        open_powercap(machine())


def test_arm_processors_have_no_rapl_counters(machine, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(SensorUnavailableError, match="aarch64 have no RAPL counters"):
        open_powercap(machine())


def test_a_masked_tree_is_attributed_to_the_container(tree, server, machine):
    tree.mask()
    with pytest.raises(SensorUnavailableError, match="container hides"):
        open_powercap(machine())


DESCRIPTORS = Path("/proc/self/fd")


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="the system does not list open files")
def test_closing_releases_every_descriptor(server, machine):
    before = len(list(DESCRIPTORS.iterdir()))
    sensor = open_powercap(machine()).sensors[0]
    sensor.read()
    assert len(list(DESCRIPTORS.iterdir())) == before + 7
    sensor.close()
    assert len(list(DESCRIPTORS.iterdir())) == before
