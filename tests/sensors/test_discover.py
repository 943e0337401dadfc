import pytest

from profiler.errors import MissingDependencyError, SensorUnavailableError
from profiler.recording.device_selection import select
from profiler.records import Domain, Provenance
from profiler.sensors import SOURCES, Found, Source, discover
from profiler.sensors.perf import open_perf
from profiler.testing.replay import Waveform
from tests.support.perf_events import FakePerfEvents
from tests.support.simulated_nvml import hopper


@pytest.fixture
def find(machine, fake_clock):
    """Runs discovery on a described machine, and closes what it finds."""
    opened = []

    def run(*, sources=SOURCES, environ=None, **more):
        where = machine(environ=environ, **more)
        found = discover(
            environ=where.environ,
            powercap_root=where.powercap_root,
            system_root=where.system_root,
            clock=fake_clock,
            sources=sources,
        )
        opened.extend(found.sensors)
        return found

    yield run
    for sensor in opened:
        sensor.close()


def names(found):
    return [domain.name for sensor in found.sensors for domain in sensor.domains]


def test_nothing_is_estimated_if_everything_is_measured(find, tree, simulated_gpus):
    package = tree.add("package-0", 100.0)
    tree.add("dram", 20.0, parent=package)
    simulated_gpus([hopper(Waveform.constant(300))])
    found = find()
    assert names(found) == ["gpu:0", "cpu:package-0", "dram:package-0"]
    assert found.refusals == ()


def test_the_processor_of_a_module_is_not_estimated_beside_a_counter_that_includes_it(find, simulated_gpus):
    simulated_gpus([hopper(Waveform.constant(300), name="NVIDIA GH200 480GB", module_watts=150)])
    found = find()
    assert names(found) == ["gpu:0"]
    assert select(found.sensors[0].domains, ["cuda:0"], []).missing == ()


def test_memory_is_not_estimated_beside_a_measured_package(find, tree, simulated_gpus):
    tree.add("package-0", 100.0)
    simulated_gpus([hopper(Waveform.constant(300))])
    provenances = {d.provenance for sensor in find().sensors for d in sensor.domains}
    assert provenances == {Provenance.COUNTER}


def test_the_processor_is_estimated_without_counters_and_each_refusal_has_a_reason(find, simulated_gpus):
    simulated_gpus([])
    found = find(flags="fpu hypervisor")
    assert names(found) == ["cpu:package-0", "dram:package-0"]
    assert [refusal.source for refusal in found.refusals] == ["nvml", "powercap", "perf"]
    assert all(refusal.reason for refusal in found.refusals)


def test_perf_events_replace_counters_that_only_root_may_read(
    find, tree, machine, simulated_gpus, fake_clock
):
    simulated_gpus([])
    tree.make_unreadable(tree.add("package-0", 100.0))
    events = FakePerfEvents(
        machine().system_root, {("energy-pkg", 0): Waveform.constant(100)}, clock=fake_clock
    )
    perf = Source(name="perf", open=lambda s: open_perf(s, events.open_event))
    found = find(sources=[perf if source.name == "perf" else source for source in SOURCES])
    assert names(found) == ["cpu:package-0"]
    assert {d.provenance for sensor in found.sensors for d in sensor.domains} == {Provenance.COUNTER}
    assert [refusal.source for refusal in found.refusals] == ["nvml", "powercap"]


def test_a_platform_counter_covers_the_processor(find, tree, simulated_gpus):
    tree.add("psys", 60.0)
    simulated_gpus([])
    assert names(find()) == ["psys"]


def test_a_frozen_package_is_estimated_and_its_measured_memory_is_not(find, tree, simulated_gpus):
    package = tree.add("package-0", 0.0)
    tree.add("dram", 20.0, parent=package)
    simulated_gpus([])
    found = find()
    provenances = {d.name: d.provenance for sensor in found.sensors for d in sensor.domains}
    assert provenances == {"dram:package-0": Provenance.COUNTER, "cpu:package-0": Provenance.MODELLED}
    assert "does not change" in next(r.reason for r in found.refusals if r.source == "powercap")


@pytest.mark.parametrize(
    ("error", "reason", "remedy"),
    [
        (SensorUnavailableError("it is off", remedy="turn it on"), "it is off", "turn it on"),
        (
            MissingDependencyError("left-pad", needed_for="x", install="pip install left-pad"),
            "left-pad is not installed",
            "pip install left-pad",
        ),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero", "report"),
        (OSError(5, "I/O error"), "OSError: [Errno 5] I/O error", "report"),
    ],
)
def test_an_exception_of_a_source_becomes_a_refusal_and_the_others_are_tried(find, error, reason, remedy):
    def broken(_):
        raise error

    healthy = Found(sensors=(_EmptySensor(),))
    sources = [Source(name="odd", open=broken), Source(name="fine", open=lambda _: healthy)]
    found = find(sources=sources)
    assert names(found) == ["gpu:0"]
    assert found.refusals[0].reason == reason
    assert remedy in found.refusals[0].remedy


class _EmptySensor:
    domains = (Domain(name="gpu:0", source="x", provenance=Provenance.COUNTER),)

    def read(self):
        return []

    def close(self):
        pass


def test_source_names_are_unique():
    assert len({source.name for source in SOURCES}) == len(SOURCES)


def test_importing_the_package_loads_no_heavy_module(run_python):
    heavy = ("pynvml", "psutil", "codecarbon", "numpy", "pandas", "torch")
    done = run_python(f"import sys, profiler.sensors; print([m for m in {heavy!r} if m in sys.modules])")
    assert done.stdout.strip() == "[]"


def test_discovery_on_this_machine_writes_nothing_and_does_not_import_codecarbon(run_python):
    code = """
        import os, sys
        from profiler.sensors import discover
        found = discover(environ=os.environ)
        assert "codecarbon" not in sys.modules
        assert found.sensors or found.refusals
        for sensor in found.sensors:
            sensor.close()
    """
    done = run_python(code, CUDA_VISIBLE_DEVICES="")
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("files", "container", "reason", "remedy"),
    [
        ({}, False, "no NVIDIA driver and no NVIDIA GPU", ""),
        (
            {"sys/bus/pci/devices/0/vendor": "0x10de", "sys/bus/pci/devices/0/class": "0x030200"},
            False,
            "no driver for it",
            "ubuntu-drivers",
        ),
        (
            {"sys/bus/pci/devices/0/vendor": "0x8086", "sys/bus/pci/devices/0/class": "0x030000"},
            False,
            "no NVIDIA GPU",
            "",
        ),
        ({"proc/driver/nvidia/version": "550"}, False, "libnvidia-ml.so.1 cannot be found", "ubuntu-drivers"),
        (
            {"proc/driver/nvidia/version": "550"},
            True,
            "libnvidia-ml.so.1 cannot be found",
            "docker run --gpus all",
        ),
    ],
)
def test_the_reason_for_a_missing_nvml_library(machine, files, container, reason, remedy):
    from profiler.sensors.nvml import nvml_error

    where = machine(environ={"APPTAINER_CONTAINER": "x"} if container else {})
    for name, text in files.items():
        path = where.system_root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    refused = nvml_error(12, "Library not found", where)
    assert reason in refused.reason
    assert remedy in refused.remedy
