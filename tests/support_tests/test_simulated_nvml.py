import os
import shutil
import subprocess
import time

import pytest

from profiler.testing.replay import Waveform
from tests.support.simulated_nvml import (
    SimulatedGpu,
    build_library,
    hopper,
    library_environment,
    simulated_nvml,
    write_script,
)

RAMP = Waveform(points=((0.0, 100.0), (1.0, 300.0), (1.0, 50.0)), period_seconds=3.0)


@pytest.fixture
def nvml(simulated_gpus, fake_clock):
    """Starts pynvml with the given GPUs; returns it with their handles."""
    import pynvml

    def start(*gpus):
        simulated_gpus(gpus)
        pynvml.nvmlInit()
        return pynvml, [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]

    return start


def test_the_counter_is_the_energy_of_the_waveform(nvml, fake_clock):
    pynvml, (gpu,) = nvml(SimulatedGpu(waveform=RAMP, update_seconds=0, start_joules=0))
    for step in (0.3, 0.7, 0.001, 2.5, 100.25):
        fake_clock.advance(step)
        seconds = fake_clock.seconds - 1.0
        shown = pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3
        assert shown == pytest.approx(RAMP.joules(seconds), abs=0.002)
        assert pynvml.nvmlDeviceGetFieldValues(gpu, [186])[0].value.uiVal / 1e3 == pytest.approx(
            RAMP.watts(seconds), abs=0.01
        )


def test_values_change_only_at_ticks(nvml, fake_clock):
    pynvml, (gpu,) = nvml(SimulatedGpu(waveform=RAMP, update_seconds=0.1, phase_seconds=0.03))
    changes, last = [], None
    for _ in range(300):
        fake_clock.advance(0.001)
        shown = pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
        if shown != last:
            changes.append(round(fake_clock.seconds - 1.0, 3))
        last = shown
    assert changes[1:] == [0.03, 0.13, 0.23]


def test_a_part_time_counter_sees_a_quarter_of_the_time(nvml, fake_clock):
    wave = Waveform.square(low=100, high=500, period_seconds=0.1, duty=0.5)
    part_time = SimulatedGpu(waveform=wave, averaging_seconds=0.025, counter="part_time")
    pynvml, (blind, seeing) = nvml(part_time, hopper(wave, uuid="GPU-2"))
    before = [pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) for gpu in (blind, seeing)]
    fake_clock.advance(10)
    joules = [
        (pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) - b) / 1e3
        for gpu, b in zip((blind, seeing), before, strict=True)
    ]
    assert joules == pytest.approx([1_000, 3_000], rel=1e-6)


def test_averaged_power_follows_a_jump_within_a_second(nvml, fake_clock):
    jump = Waveform(points=((0.0, 100.0), (5.0, 100.0), (5.0, 300.0)))
    pynvml, (gpu,) = nvml(SimulatedGpu(waveform=jump, update_seconds=0.1))
    fake_clock.advance(5.5)
    instant, average = (v.value.uiVal / 1e3 for v in pynvml.nvmlDeviceGetFieldValues(gpu, [186, 185]))
    assert (instant, average) == (pytest.approx(300), pytest.approx(200, abs=0.01))
    assert pynvml.nvmlDeviceGetPowerUsage(gpu) / 1e3 == pytest.approx(200, abs=0.01)


def test_gain_noise_and_module_power(nvml, fake_clock):
    gpu_script = SimulatedGpu(
        waveform=Waveform.constant(200), gain=1.05, noise_watts=5, module_watts=100, start_joules=0
    )
    pynvml, (gpu,) = nvml(gpu_script)
    powers = []
    for _ in range(400):
        fake_clock.advance(0.1)
        powers.append(pynvml.nvmlDeviceGetFieldValues(gpu, [186])[0].value.uiVal / 1e3)
    mean = sum(powers) / len(powers)
    spread = (sum((p - mean) ** 2 for p in powers) / len(powers)) ** 0.5
    assert mean == pytest.approx(210, abs=1)
    assert spread == pytest.approx(5, rel=0.15)
    assert pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3 == pytest.approx(310 * 40, rel=1e-6)


def test_faults_happen_at_their_scripted_times(nvml, fake_clock):
    gpu_script = SimulatedGpu(
        waveform=Waveform.constant(100),
        faults=((1, 2, 15),),
        frozen=((3, 4),),
        resets=(5.0,),
        start_joules=500,
    )
    pynvml, (gpu,) = nvml(gpu_script)
    seen = []
    for _ in range(11):
        try:
            seen.append(pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) // 1000)
        except pynvml.NVMLError_GpuIsLost:
            seen.append("lost")
        fake_clock.advance(0.5)
    assert seen == [500, 550, "lost", "lost", 700, 750, 800, 800, 900, 950, 0]


def test_instances_belong_to_their_board_and_have_no_sensor(nvml):
    pynvml, (gpu,) = nvml(hopper(RAMP, uuid="GPU-a", instances=("MIG-1", "MIG-2")))
    assert pynvml.nvmlDeviceGetMigMode(gpu) == [1, 1]
    part = pynvml.nvmlDeviceGetHandleByUUID("MIG-2")
    assert pynvml.nvmlDeviceGetUUID(part) == "MIG-2"
    assert pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(part)) == "GPU-a"
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceGetPowerUsage(part)


def test_queries_of_other_tools(nvml, fake_clock):
    pynvml, (gpu,) = nvml(hopper(RAMP, processes=((0, 2**30), (77, 5))))
    fake_clock.advance(1)
    assert pynvml.nvmlSystemGetDriverVersion() == "550.54.15"
    assert pynvml.nvmlDeviceGetName(gpu) == "Simulated H100"
    assert pynvml.nvmlDeviceGetPciInfo(gpu).busId == "00000000:01:00.0"
    assert pynvml.nvmlDeviceGetCudaComputeCapability(gpu) == (9, 0)
    assert pynvml.nvmlDeviceGetMemoryInfo(gpu).total == 80 * 2**30
    assert pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu == 90
    processes = {p.pid: p.usedGpuMemory for p in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)}
    assert processes == {os.getpid(): 2**30, 77: 5}
    _, samples = pynvml.nvmlDeviceGetSamples(gpu, pynvml.NVML_TOTAL_POWER_SAMPLES, 0)
    assert len(samples) == 11
    assert samples[-1].timeStamp == fake_clock.now_ns() // 1000
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetSamples(gpu, pynvml.NVML_TOTAL_POWER_SAMPLES, samples[-1].timeStamp)


def test_an_invalid_script_fails_at_the_start(nvml_library, tmp_path, capfd):
    import pynvml

    script = tmp_path / "script"
    script.write_text("gpu\npower zero 100\n")
    with simulated_nvml(nvml_library, script), pytest.raises(pynvml.NVMLError):
        pynvml.nvmlInit()
    assert "line 2: not understood" in capfd.readouterr().err


def test_the_process_is_restored(nvml_library, tmp_path):
    import pynvml

    before = (
        pynvml.nvmlLib,
        dict(pynvml._nvmlGetFunctionPointer_cache),
        os.environ.get("NVML_SIMULATOR_SCRIPT"),
    )
    with simulated_nvml(nvml_library, write_script(tmp_path / "script", [hopper(RAMP)])):
        pynvml.nvmlInit()
        assert pynvml.nvmlDeviceGetCount() == 1
    after = (
        pynvml.nvmlLib,
        dict(pynvml._nvmlGetFunctionPointer_cache),
        os.environ.get("NVML_SIMULATOR_SCRIPT"),
    )
    assert after == before


@pytest.mark.slow
def test_other_processes_load_it_as_the_real_library(nvml_library, tmp_path, run_python):
    wave = Waveform.square(low=100, high=300, period_seconds=0.2)
    script = write_script(tmp_path / "gpus", [hopper(wave)], epoch_ns=time.monotonic_ns())
    code = """
        import os, time
        from profiler.sensors import SOURCES, discover
        found = discover(environ=os.environ, sources=SOURCES[:1])
        (sensor,) = found.sensors
        assert sensor.domains[0].name == "gpu:0", found
        first = sensor.read()[0]
        time.sleep(0.6)
        last = sensor.read()[0]
        print((last.energy_joules - first.energy_joules) / (last.time_ns - first.time_ns) * 1e9)
    """
    environ = library_environment(nvml_library, script, os.environ)
    done = run_python(code, CUDA_VISIBLE_DEVICES="0", **environ)
    assert float(done.stdout) == pytest.approx(200, rel=0.35)


def test_the_source_compiles_without_a_warning(tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no cc on this machine")
    from tests.support.simulated_nvml import _SOURCES

    for source in sorted(_SOURCES.glob("*.c")):
        command = [
            compiler,
            "-std=c11",
            "-D_GNU_SOURCE",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fsyntax-only",
            str(source),
        ]
        subprocess.run(command, check=True)


def test_an_existing_library_is_not_rebuilt(nvml_library):
    before = nvml_library.stat().st_mtime_ns
    assert build_library(nvml_library.parent) == nvml_library
    assert nvml_library.stat().st_mtime_ns == before
