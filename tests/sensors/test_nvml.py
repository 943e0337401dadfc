import contextlib
import sys

import pytest

from profiler.errors import SensorError, SensorUnavailableError
from profiler.records import Provenance
from profiler.sensors.nvml import open_nvml
from profiler.sensors.nvml_device import load_nvml
from profiler.testing.conformance import SensorConformance, SensorRig
from profiler.testing.replay import Waveform
from tests.support.simulated_nvml import (
    GPU_IS_LOST,
    NO_PERMISSION,
    SimulatedGpu,
    hopper,
    pascal,
    simulated_nvml,
    volta,
    write_script,
)

SQUARE = Waveform.square(low=100, high=500, period_seconds=0.5)


@pytest.fixture
def opened(simulated_gpus, machine):
    """Opens the sensor over simulated GPUs, and closes it at the end."""
    sensors = []

    def open_it(*gpus, **more):
        simulated_gpus(gpus)
        found = open_nvml(machine(**more))
        sensors.extend(found.sensors)
        return found.sensors[0]

    yield open_it
    for sensor in sensors:
        sensor.close()


class Conformance(SensorConformance):
    model = staticmethod(hopper)

    @pytest.fixture
    def rig(self, opened, fake_clock):
        sensor = opened(
            self.model(Waveform.constant(300), faults=((60, 600, GPU_IS_LOST),)),
            self.model(Waveform.constant(120), faults=((60, 600, GPU_IS_LOST),)),
        )
        watts = {"gpu:0": 300.0, "gpu:1": 120.0}
        return SensorRig(
            sensor=sensor, clock=fake_clock, true_watts=watts, break_source=lambda: fake_clock.advance(60)
        )


class TestHopper(Conformance):
    pass


class TestVolta(Conformance):
    model = staticmethod(volta)


class TestPascal(Conformance):
    model = staticmethod(pascal)


del Conformance  # pytest would collect the base class as a test


def by_domain(readings):
    return {reading.domain: reading for reading in readings}


def test_the_total_is_the_sum_of_all_gpus(opened, fake_clock):
    sensor = opened(*[_numbered(i, 300) for i in range(8)])
    before = by_domain(sensor.read())
    fake_clock.advance(3_600)
    after = by_domain(sensor.read())
    joules = sum(after[name].energy_joules - before[name].energy_joules for name in before)
    assert joules / 3.6e6 == pytest.approx(2.4, rel=1e-4)


def _numbered(index, watts):
    return hopper(
        Waveform.constant(watts), uuid=f"GPU-{index:08x}-0000", bus=f"00000000:{index + 1:02X}:00.0"
    )


def test_the_counter_is_the_integral_of_a_square_wave(opened, fake_clock):
    sensor = opened(hopper(SQUARE))
    fake_clock.advance(0.1)
    first = sensor.read()[0]
    fake_clock.advance(10)
    assert sensor.read()[0].energy_joules - first.energy_joules == pytest.approx(3_000, abs=0.01)


def test_a_reading_has_energy_and_instantaneous_power(opened, fake_clock):
    sensor = opened(hopper(Waveform.constant(250)))
    fake_clock.advance(2)
    reading = sensor.read()[0]
    assert reading.energy_joules == pytest.approx(1_500)
    assert reading.power_watts == pytest.approx(250)
    assert sensor.domains[0].source == "NVML total energy counter (Simulated H100)"


def test_a_board_without_a_counter_reports_power_only(opened):
    sensor = opened(pascal(Waveform.constant(80)))
    assert sensor.domains[0].provenance is Provenance.INTEGRATED
    assert sensor.domains[0].source == "NVML instantaneous power, integrated (Simulated P100)"
    assert sensor.read()[0].energy_joules is None
    assert sensor.read()[0].power_watts == pytest.approx(80)


@pytest.mark.parametrize(
    ("settings", "meaning"),
    [
        ({"fields": "all"}, "instantaneous power"),
        ({"fields": "none", "usage": "average"}, "power averaged over 1 s"),
        (
            {"fields": "none", "usage": "instant", "name": "NVIDIA A100-SXM4", "architecture": 7},
            "instantaneous power",
        ),
    ],
)
def test_the_source_names_the_meaning_of_the_power_reading(opened, settings, meaning):
    sensor = opened(SimulatedGpu(waveform=Waveform.constant(80), counter="none", **settings))
    assert sensor.domains[0].source.startswith(f"NVML {meaning}, integrated")


def test_a_counter_of_exactly_zero_is_treated_as_missing(opened):
    sensor = opened(hopper(Waveform.constant(80), start_joules=0.0))
    assert sensor.domains[0].provenance is Provenance.INTEGRATED


def test_the_older_counter_call_replaces_an_unsupported_field(opened, fake_clock):
    sensor = opened(volta(Waveform.constant(200), fields="none"))
    fake_clock.advance(1)
    reading = sensor.read()[0]
    assert sensor.domains[0].provenance is Provenance.COUNTER
    assert (reading.energy_joules, reading.power_watts) == (pytest.approx(1_200), pytest.approx(200))


def test_a_lost_gpu_is_a_gap_until_it_returns(opened, fake_clock):
    sensor = opened(
        _numbered(0, 100), hopper(Waveform.constant(300), uuid="GPU-lost", faults=((1, 4, GPU_IS_LOST),))
    )
    before = by_domain(sensor.read())["gpu:1"].energy_joules
    fake_clock.advance(2)
    assert set(by_domain(sensor.read())) == {"gpu:0"}
    fake_clock.advance(1.5)
    assert set(by_domain(sensor.read())) == {"gpu:0"}
    fake_clock.advance(1.5)
    after = by_domain(sensor.read())
    assert after["gpu:1"].energy_joules - before == pytest.approx(300 * 5, rel=1e-6)
    assert sensor.warnings == ("gpu:1 could not be read for over 1 s in total.",)


def test_reading_raises_while_every_gpu_is_lost(opened, fake_clock):
    sensor = opened(hopper(Waveform.constant(300), faults=((1, 2, GPU_IS_LOST),)))
    fake_clock.advance(1.5)
    with pytest.raises(SensorError, match=r"^no GPU could be read: GPU is lost$"):
        sensor.read()
    fake_clock.advance(1)
    assert sensor.read()


@pytest.mark.parametrize("model", [hopper, volta, lambda w, **more: volta(w, fields="none", **more)])
def test_a_failing_counter_is_a_gap_although_power_can_be_read(opened, fake_clock, model):
    sensor = opened(_numbered(0, 100), model(Waveform.constant(300), uuid="GPU-mute", mutes=((1, 2, 999),)))
    before = by_domain(sensor.read())["gpu:1"].energy_joules
    fake_clock.advance(1.5)
    assert set(by_domain(sensor.read())) == {"gpu:0"}
    fake_clock.advance(1.5)
    assert by_domain(sensor.read())["gpu:1"].energy_joules - before == pytest.approx(900)


def test_occasional_failures_lose_no_energy(opened, fake_clock):
    sensor = opened(_numbered(0, 100), hopper(Waveform.constant(300), uuid="GPU-flaky", fail_every=7))
    seen = []
    for _ in range(100):
        fake_clock.advance(0.1)
        seen += [r for r in sensor.read() if r.domain == "gpu:1"]
    assert 80 < len(seen) < 90
    watts = (seen[-1].energy_joules - seen[0].energy_joules) / ((seen[-1].time_ns - seen[0].time_ns) / 1e9)
    assert watts == pytest.approx(300, rel=0.01)


def test_a_counter_reset_appears_as_a_decrease(opened, fake_clock):
    sensor = opened(hopper(Waveform.constant(100), resets=(5.0,)))
    fake_clock.advance(4)
    before = sensor.read()[0].energy_joules
    fake_clock.advance(2)
    assert sensor.read()[0].energy_joules == pytest.approx(100, abs=1)
    assert before > 1_000


def test_logical_indices_follow_the_selection(opened, fake_clock):
    sensor = opened(_numbered(0, 100), _numbered(1, 200), environ={"CUDA_VISIBLE_DEVICES": "1"})
    fake_clock.advance(1)
    assert [domain.name for domain in sensor.domains] == ["gpu:0"]
    assert sensor.domains[0].device == "GPU-00000001-0000"
    assert sensor.read()[0].power_watts == pytest.approx(200)


def test_a_selection_by_uuid_prefix_selects_that_board(opened):
    sensor = opened(_numbered(0, 100), _numbered(1, 200), environ={"CUDA_VISIBLE_DEVICES": "GPU-00000001"})
    assert [domain.device for domain in sensor.domains] == ["GPU-00000001-0000"]


def test_an_instance_is_measured_by_its_whole_board_with_a_note(opened):
    board = hopper(Waveform.constant(300), instances=("MIG-aaaa", "MIG-bbbb"))
    sensor = opened(board, environ={"CUDA_VISIBLE_DEVICES": "MIG-bbbb"})
    assert [domain.name for domain in sensor.domains] == ["gpu:0"]
    assert "whole board" in sensor.domains[0].notes[0]


def test_a_module_has_a_note_that_its_counter_includes_more_than_the_gpu(opened):
    sensor = opened(hopper(Waveform.constant(300), name="NVIDIA GH200 480GB", module_watts=150))
    assert "includes the processor" in sensor.domains[0].notes[0]


@pytest.mark.parametrize(
    ("processes", "in_use", "shared"),
    [
        ((), False, False),
        (((0, 1),), True, False),
        (((99, 1),), False, True),
        (((0, 1), (99, 1)), True, True),
        (((99, 1),), True, False),  # a container may list this process under another number
        (((98, 1), (99, 1)), True, True),
    ],
)
def test_a_board_used_by_other_processes_has_a_note(opened, processes, in_use, shared):
    board = hopper(Waveform.constant(100), uuid="GPU-a", processes=processes)
    (domain,) = opened(board, cuda_uuids=("GPU-a",) if in_use else None).domains
    assert any("Other processes" in note for note in domain.notes) == shared


def test_a_guessed_order_is_noted_on_the_boards(opened):
    small = hopper(Waveform.constant(50), name="T4", uuid="GPU-small", cores=2_560)
    large = hopper(Waveform.constant(300), name="H100", uuid="GPU-large")
    sensor = opened(small, large)
    assert [domain.device for domain in sensor.domains] == ["GPU-large", "GPU-small"]
    assert "CUDA_DEVICE_ORDER" in sensor.domains[0].notes[0]


def test_cuda_devices_are_matched_by_uuid(opened):
    bare = tuple(f"{i:08x}-0000" for i in (2, 0))
    sensor = opened(*[_numbered(i, 100) for i in range(3)], cuda_uuids=bare)
    assert [domain.device for domain in sensor.domains] == ["GPU-00000002-0000", "GPU-00000000-0000"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (9, ("not loaded", "sudo modprobe nvidia")),
        (4, ("no permission", "/dev/nvidiactl")),
        (18, ("was updated", "Reboot")),
        (999, ("code 999", "")),
    ],
)
def test_each_failure_of_nvml_has_its_own_reason(nvml_library, machine, code, expected):
    environment = machine()
    script = write_script(environment.system_root / "script", [], init_code=code)
    with simulated_nvml(nvml_library, script), pytest.raises(SensorUnavailableError) as refused:
        open_nvml(environment)
    assert expected[0] in refused.value.reason
    assert expected[1] in refused.value.remedy


def test_a_driver_without_gpus_is_refused(simulated_gpus, machine):
    simulated_gpus([])
    with pytest.raises(SensorUnavailableError, match="lists no GPU"):
        open_nvml(machine())


@pytest.mark.parametrize("selection", ["", "-1", "7"])
def test_hidden_gpus_have_their_own_reason(simulated_gpus, machine, selection):
    simulated_gpus([hopper(Waveform.constant(100))])
    with pytest.raises(SensorUnavailableError) as refused:
        open_nvml(machine(environ={"CUDA_VISIBLE_DEVICES": selection}))
    assert f"CUDA_VISIBLE_DEVICES={selection!r} hides every one of the 1 GPUs" in refused.value.reason


def test_a_gpu_without_readings_is_refused_beside_the_others(simulated_gpus, machine):
    mute = SimulatedGpu(
        waveform=Waveform.constant(1), uuid="GPU-mute", counter="none", usage="none", fields="none"
    )
    simulated_gpus([_numbered(0, 100), mute])
    found = open_nvml(machine())
    assert [domain.name for domain in found.sensors[0].domains] == ["gpu:0"]
    assert found.refusals[0].reason == "gpu:1 cannot be read: it reports neither energy nor power"
    found.sensors[0].close()


def test_a_gpu_lost_at_the_start_is_refused_with_its_error(simulated_gpus, machine):
    simulated_gpus([_numbered(0, 100), hopper(Waveform.constant(1), faults=((-1, 99, GPU_IS_LOST),))])
    found = open_nvml(machine())
    assert "GPU is lost" in found.refusals[0].reason
    found.sensors[0].close()


@pytest.mark.parametrize(("code", "reason"), [(GPU_IS_LOST, "GPU is lost"), (NO_PERMISSION, "no permission")])
def test_the_reason_is_right_if_the_only_gpu_fails_at_the_start(simulated_gpus, machine, code, reason):
    simulated_gpus([hopper(Waveform.constant(1), faults=((-1, 99, code),))])
    with pytest.raises(SensorUnavailableError) as refused:
        open_nvml(machine())
    assert reason in refused.value.reason
    assert "lists no GPU" not in refused.value.reason
    assert refused.value.remedy


def test_frequent_failures_cause_one_warning(opened, fake_clock):
    sensor = opened(hopper(Waveform.constant(300), fail_every=2))
    sentences = set()
    for _ in range(160):
        fake_clock.advance(0.05)
        with contextlib.suppress(SensorError):
            sensor.read()
        sentences.update(sensor.warnings)
    assert sentences == {"gpu:0 could not be read for over 1 s in total."}


def test_a_forked_child_does_not_shut_down_nvml(opened, monkeypatch):
    import pynvml

    sensor = opened(hopper(Waveform.constant(100)))
    with monkeypatch.context() as child:
        child.setattr("os.getpid", lambda: -1)
        sensor.close()
    assert pynvml.nvmlDeviceGetCount() == 1
    pynvml.nvmlShutdown()


def test_nvml_is_restarted_after_a_foreign_shutdown(opened, fake_clock):
    import pynvml

    sensor = opened(hopper(Waveform.constant(100)))
    pynvml.nvmlShutdown()
    for _ in range(70):
        fake_clock.advance(0.1)
        try:
            readings = sensor.read()
        except SensorError:
            readings = ()
    assert readings


def test_closing_after_a_foreign_shutdown_is_safe(opened):
    import pynvml

    sensor = opened(hopper(Waveform.constant(100)))
    pynvml.nvmlShutdown()
    with pytest.raises(SensorError):
        sensor.read()
    sensor.close()


@pytest.fixture
def deprecated_pynvml(tmp_path, monkeypatch):
    """The package ``pynvml`` in front of nvidia-ml-py."""
    (tmp_path / "pynvml.py").write_text(
        "import warnings\n"
        "warnings.warn('The pynvml package is deprecated. Please install nvidia-ml-py instead.', FutureWarning)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    return tmp_path / "pynvml.py"


@pytest.mark.filterwarnings("error")
def test_deprecated_package_of_the_same_name_does_not_warn(deprecated_pynvml):
    assert load_nvml("a test").__file__ == str(deprecated_pynvml)
