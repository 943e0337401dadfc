import time
from dataclasses import replace

import psutil
import pytest

from profiler.errors import SensorError
from profiler.records import Provenance
from profiler.sensors.estimated import (
    BYTES_PER_GB,
    EstimatedSensor,
    estimate_dimm_count,
    machine_cpu_times,
    model_cpu,
    model_ram,
    open_estimated,
)
from profiler.sensors.host import Host
from profiler.testing.conformance import SensorConformance, SensorRig

GOLD = Host(
    system="Linux",
    machine="x86_64",
    cpu_model="Intel(R) Xeon(R) Gold 6248R CPU @ 3.00GHz",
    vendor="GenuineIntel",
    sockets=2,
    threads=96,
    virtual=False,
    container=None,
)


class Load:
    """A machine of four threads with a scripted load."""

    def __init__(self, clock):
        self.busy = self.total = 0.0
        self.load = 0.5
        self.broken = False
        clock.watch(self._tick)
        self._last = clock.now_ns()

    def _tick(self, now):
        seconds, self._last = (now - self._last) / 1e9, now
        self.total += 4 * seconds
        self.busy += 4 * seconds * self.load

    def __call__(self):
        if self.broken:
            raise OSError("no /proc/stat")
        return self.busy, self.total


@pytest.fixture
def load(fake_clock):
    return Load(fake_clock)


@pytest.fixture
def sensor(load, fake_clock):
    cpu = replace(model_cpu(GOLD), full_watts=100.0)
    return EstimatedSensor(
        cpu=cpu, ram_watts=(20.0, model_ram(64 * BYTES_PER_GB, GOLD)[1]), cpu_times=load, clock=fake_clock
    )


class TestConformance(SensorConformance):
    @pytest.fixture
    def rig(self, sensor, load, fake_clock):
        def break_source():
            load.broken = True

        watts = {"cpu:package-0": 12.0 + 0.5 * 90.0, "dram:package-0": 20.0}
        return SensorRig(sensor=sensor, clock=fake_clock, true_watts=watts, break_source=break_source)


@pytest.mark.parametrize(("busy", "watts"), [(0.0, 12.0), (0.25, 34.5), (1.0, 102.0), (1.7, 102.0)])
def test_power_is_linear_from_idle_to_full_load(sensor, load, fake_clock, busy, watts):
    load.load = busy
    fake_clock.advance(1)
    cpu, ram = sensor.read()
    assert (cpu.power_watts, ram.power_watts) == (pytest.approx(watts), 20.0)
    assert (cpu.energy_joules, ram.energy_joules) == (pytest.approx(watts), pytest.approx(20.0))


def test_each_interval_has_its_own_load(sensor, load, fake_clock):
    for busy, seconds in ((1.0, 2.0), (0.0, 3.0)):
        load.load = busy
        fake_clock.advance(seconds)
        cpu = sensor.read()[0]
    assert cpu.energy_joules == pytest.approx(2 * 102 + 3 * 12)


def test_the_last_load_applies_until_the_kernel_tick_advances(sensor, load, fake_clock):
    fake_clock.advance(1)
    sensor.read()
    assert sensor.read()[0].power_watts == pytest.approx(57.0)


def test_an_unreadable_load_raises_and_its_time_is_counted_at_the_next_read(sensor, load, fake_clock):
    load.broken = True
    fake_clock.advance(1)
    with pytest.raises(SensorError, match="load cannot be read"):
        sensor.read()
    load.broken = False
    fake_clock.advance(1)
    assert sensor.read()[0].energy_joules == pytest.approx(2 * 57.0)


def test_machine_times_agree_with_cpu_percent():
    before = machine_cpu_times()
    end = time.perf_counter() + 0.1
    while time.perf_counter() < end:
        pass
    after = machine_cpu_times()
    busy, total = (new - old for new, old in zip(after, before, strict=True))
    assert 0 < busy <= total * (1.0 + 1e-9)  # equal where every processor was busy, but for rounding
    assert total == pytest.approx(0.1 * psutil.cpu_count(), rel=0.6)


def test_domains_are_labelled_as_estimates(sensor):
    for domain in sensor.domains:
        assert domain.provenance is Provenance.MODELLED
        assert domain.gain_uncertainty == 0.3
        assert domain.notes[0].startswith("Estimated, not measured")
        assert "50 %" in domain.notes[0]


@pytest.fixture
def table(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    path.write_text("Name,TDP\nIntel Xeon Gold 6248R,205\n")
    monkeypatch.setattr("profiler._codecarbon.find_file", lambda _: path)


def test_a_known_processor_draws_its_design_power_on_every_socket(table):
    model = model_cpu(GOLD)
    assert model.full_watts == 410.0
    assert "2 x 205 W of Intel Xeon Gold 6248R in codecarbon's table" in model.notes[0]


def test_a_virtual_machine_draws_by_its_threads_up_to_the_design_power(table):
    assert model_cpu(replace(GOLD, virtual=True, threads=8)).full_watts == 32.0
    assert model_cpu(replace(GOLD, virtual=True, threads=80)).full_watts == 205.0


@pytest.mark.parametrize("name", ["AMD EPYC", None])
def test_an_unknown_processor_is_estimated_from_its_threads(table, name):
    assert model_cpu(replace(GOLD, cpu_model=name)).full_watts == 4.0 * 96


@pytest.mark.parametrize(
    ("gigabytes", "watts"),
    [
        (1, 10.0),
        (8, 10.0),
        (16, 10.0),
        (24, 20.0),
        (64, 20.0),
        (128, 38.0),
        (512, 38.0),
        (1024, 38.0),
        (2048, 70.0),
    ],
)
def test_memory_follows_codecarbons_rule(gigabytes, watts):
    assert model_ram(gigabytes * BYTES_PER_GB, GOLD)[0] == pytest.approx(watts)


def test_memory_of_an_arm_machine_draws_less():
    arm = replace(GOLD, machine="aarch64")
    assert model_ram(8 * BYTES_PER_GB, arm)[0] == 3.0
    assert model_ram(64 * BYTES_PER_GB, arm)[0] == 6.0


def test_the_number_of_modules_is_bounded():
    assert [estimate_dimm_count(gb) for gb in (0.5, 4, 129, 100_000)] == [1, 2, 9, 32]


def test_this_machine_can_be_estimated(machine, fake_clock):
    sensor = open_estimated(machine()).sensors[0]
    fake_clock.advance(1)
    cpu, ram = sensor.read()
    assert cpu.power_watts > 0
    assert ram.power_watts > 0
    sensor.close()


def test_without_codecarbon_the_power_depends_on_the_threads_and_the_note_says_why(run_python):
    code = """
        import os, sys
        sys.modules["codecarbon"] = None
        from profiler.sensors import SOURCES, discover
        (sensor,) = discover(environ=os.environ, sources=[s for s in SOURCES if s.name == "modelled"]).sensors
        print(sensor.domains[0].notes[0])
        assert sensor.read()[0].power_watts > 0
    """
    done = run_python(code)
    assert "pip install codecarbon" in done.stdout or "does not report its name" in done.stdout
    assert "4 W for each" in done.stdout
