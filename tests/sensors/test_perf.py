import errno
import os
import time

import pytest

from profiler.errors import SensorUnavailableError
from profiler.sensors.perf import PMU, KernelCounter, list_events, open_perf, parse_cpu_list, perf_event_open
from profiler.testing.conformance import SensorConformance, SensorRig
from profiler.testing.replay import Waveform
from tests.support.perf_events import FakePerfEvents

SERVER = {
    ("energy-pkg", 0): Waveform.constant(150),
    ("energy-pkg", 1): Waveform.constant(120),
    ("energy-ram", 0): Waveform.constant(25),
    ("energy-ram", 1): Waveform.constant(20),
    ("energy-cores", 0): Waveform.constant(90),
    ("energy-psys", 0): Waveform.constant(400),
}


@pytest.fixture
def kernel(machine, fake_clock):
    """Builds a kernel with energy events and its environment."""

    def build(powers, *, dies=1, **more):
        environment = machine(**more)
        return FakePerfEvents(environment.system_root, powers, clock=fake_clock, dies=dies), environment

    return build


class TestConformance(SensorConformance):
    @pytest.fixture
    def rig(self, kernel, fake_clock):
        events, environment = kernel(SERVER)
        sensor = open_perf(environment, events.open_event).sensors[0]

        def break_source():
            for counter in events.opened:
                counter.broken = True

        watts = {"cpu:package-0": 150.0, "cpu:package-1": 120.0, "dram:package-0": 25.0, "psys": 400.0}
        return SensorRig(sensor=sensor, clock=fake_clock, true_watts=watts, break_source=break_source)


def test_domains_are_the_same_as_those_of_powercap(kernel):
    events, environment = kernel(SERVER)
    sensor = open_perf(environment, events.open_event).sensors[0]
    assert {d.name: (d.billed, d.parent) for d in sensor.domains} == {
        "cpu:package-0": (True, None),
        "cpu:package-1": (True, None),
        "dram:package-0": (True, None),
        "dram:package-1": (True, None),
        "core:package-0": (False, "cpu:package-0"),
        "psys": (False, None),
    }


def test_mirrored_dies_are_counted_once(kernel):
    events, environment = kernel({("energy-pkg", 0): Waveform.constant(68)}, dies=4)
    cpuinfo = environment.system_root / "proc/cpuinfo"
    cpuinfo.write_text(cpuinfo.read_text().replace("GenuineIntel", "AuthenticAMD"))
    (domain,) = open_perf(environment, events.open_event).sensors[0].domains
    assert domain.name == "cpu:package-0"
    assert "same counter" in domain.notes[0]
    assert "leave it out" in domain.notes[1]


def test_dies_with_separate_counters_are_all_counted(kernel):
    events, environment = kernel({("energy-pkg", 0): Waveform.constant(68)}, dies=2)
    sensor = open_perf(environment, events.open_event).sensors[0]
    assert [d.name for d in sensor.domains] == ["cpu:package-0-die-0", "cpu:package-0-die-1"]


def test_a_package_that_goes_offline_does_not_affect_the_others(kernel, fake_clock):
    events, environment = kernel({("energy-pkg", i): Waveform.constant(100) for i in range(2)})
    sensor = open_perf(environment, events.open_event).sensors[0]
    before = {reading.domain: reading.energy_joules for reading in sensor.read()}
    events.opened[0].broken = True
    fake_clock.advance(2)
    (reading,) = sensor.read()
    assert reading.domain == "cpu:package-1"
    assert reading.energy_joules - before["cpu:package-1"] == pytest.approx(200)


def test_a_frozen_event_is_not_used(kernel):
    events, environment = kernel(
        {("energy-pkg", 0): Waveform.constant(100), ("energy-pkg", 1): Waveform.constant(0)}
    )
    sensor = open_perf(environment, events.open_event).sensors[0]
    assert [domain.name for domain in sensor.domains] == ["cpu:package-0"]


def test_only_frozen_events_are_refused(kernel):
    events, environment = kernel({("energy-pkg", 0): Waveform.constant(0)})
    with pytest.raises(SensorUnavailableError, match="counter does not change"):
        open_perf(environment, events.open_event)


def test_a_refusal_names_the_setting_and_the_commands(kernel):
    events, environment = kernel(SERVER)
    events.error = PermissionError(errno.EACCES, "Permission denied")
    setting = environment.system_root / "proc/sys/kernel/perf_event_paranoid"
    setting.parent.mkdir(parents=True)
    setting.write_text("2\n")
    with pytest.raises(SensorUnavailableError) as refused:
        open_perf(environment, events.open_event)
    assert "kernel.perf_event_paranoid is 2" in refused.value.reason
    assert "sudo sysctl kernel.perf_event_paranoid=0" in refused.value.remedy
    assert "cap_perfmon" in refused.value.remedy


def test_a_container_has_its_own_remedy(kernel):
    events, environment = kernel(SERVER, environ={"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    events.error = PermissionError(errno.EPERM, "Operation not permitted")
    with pytest.raises(SensorUnavailableError) as refused:
        open_perf(environment, events.open_event)
    assert "--cap-add PERFMON" in refused.value.remedy


def test_other_errors_are_the_reason(kernel):
    events, environment = kernel(SERVER)
    events.error = OSError(errno.ENODEV, "No such device")
    with pytest.raises(SensorUnavailableError, match="No such device"):
        open_perf(environment, events.open_event)


def test_a_kernel_without_the_pmu_is_refused(machine):
    with pytest.raises(SensorUnavailableError, match="no energy events"):
        open_perf(machine())


@pytest.mark.parametrize(("name", "text"), [("energy-pkg", "event=what"), ("energy-pkg.scale", "often")])
def test_invalid_events_are_ignored(kernel, name, text):
    _, environment = kernel(SERVER)
    (environment.system_root / PMU / "events" / name).write_text(text)
    assert "energy-pkg" not in {event.name for event in list_events(environment.system_root)}


@pytest.mark.parametrize(("text", "cpus"), [("0\n", [0]), ("0,18\n", [0, 18]), ("0-2,4\n", [0, 1, 2, 4])])
def test_parse_cpu_list(text, cpus):
    assert parse_cpu_list(text) == cpus


def test_perf_event_open_counts_task_time():
    software, task_clock = 1, 1
    try:
        counter = KernelCounter(perf_event_open(software, task_clock, pid=0, cpu=-1))
    except OSError as error:
        pytest.skip(f"this kernel refuses even the task clock of a process: {error}")
    before = counter.read()
    end = time.thread_time_ns() + 5_000_000
    while time.thread_time_ns() < end:
        pass
    assert 4_000_000 < counter.read() - before < 500_000_000
    counter.close()
    counter.close()
    with pytest.raises(OSError, match="closed"):
        counter.read()


def test_a_short_read_raises():
    reader, writer = os.pipe()
    os.write(writer, b"1234")
    os.close(writer)
    counter = KernelCounter(reader)
    with pytest.raises(OSError, match="4 bytes"):
        counter.read()
    counter.close()
