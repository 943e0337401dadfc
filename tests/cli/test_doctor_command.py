"""``energy-profiler doctor`` on simulated machines: every line that it prints, at width 80."""

import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from profiler import EnergyProfiler
from profiler.cli import main
from profiler.cli.diagnostics import (
    DriverInfo,
    Idle,
    TorchInfo,
    diagnose,
    measure_idle,
    read_driver,
    read_torch,
)
from profiler.cli.doctor import as_dict, idle_lines, lines
from profiler.records import Refusal
from profiler.reporting import render, report_of
from profiler.sensors.powercap import permission_remedy
from profiler.testing.replay import Waveform
from tests.support.powercap import FakePowercap
from tests.support.simulated_nvml import hopper, pascal
from tests.support.small_training import scripted, train

VERSIONS = {"energy-profiler": "1.2.3", "python": "3.12.1"}
MODEL = "Intel(R) Xeon(R) Gold 6248R CPU @ 3.00GHz"
CPU_TORCH = TorchInfo(version="2.9.0+cpu")


@pytest.fixture
def tree(tmp_path, fake_clock):
    return FakePowercap(tmp_path / "powercap", clock=fake_clock)


@pytest.fixture
def diagnosis(tmp_path, fake_clock, monkeypatch):
    """Function that diagnoses a machine with one Xeon and four threads; a reading takes 45 us."""
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("profiler.cli.diagnostics.perf_counter_ns", itertools.count(0, 45_000).__next__)
    monkeypatch.setattr("psutil.cpu_percent", lambda *_, **__: 50.0)

    def run(*, torch=CPU_TORCH, driver=None, flags="fpu", environ=None):
        root = tmp_path / "machine"
        (root / "proc").mkdir(parents=True, exist_ok=True)
        fields = f"vendor_id : GenuineIntel\nmodel name : {MODEL}\nphysical id : 0\nflags : {flags}\n"
        (root / "proc/cpuinfo").write_text("\n".join(f"processor : {i}\n{fields}" for i in range(4)))
        return diagnose(
            torch=torch,
            driver=driver or read_driver(),
            environ=environ or {},
            versions=VERSIONS,
            powercap_root=tmp_path / "powercap",
            system_root=root,
            clock=fake_clock,
        )

    return run


def text(found, width=80):
    return "\n".join(line for line, _ in lines(found, width)) + "\n"


HEAD = f"""\
energy-profiler 1.2.3, Python 3.12.1
system     Linux x86_64
processor  {MODEL}, 1 socket, 4 threads
"""

EVERYTHING = f"""\
{HEAD}torch      2.9.0+cu128, 2 CUDA devices
driver     NVIDIA 550.54.15

readable domains
domain           power   update  reading              source
gpu:0            300 W   100 ms  45.0 us  counter     NVML total energy counter
                                                      (Simulated H100)
gpu:1            150 W        -  45.0 us  integrated  NVML instantaneous power,
                                                      integrated (Simulated
                                                      P100)
cpu:package-0    100 W  1.00 ms  45.0 us  counter     powercap intel-rapl:0
                                                      (package-0)
dram:package-0  20.0 W  1.00 ms  45.0 us  counter     powercap intel-rapl:0:0
                                                      (dram)

GPUs
torch   here   nvidia-smi  identity  model
cuda:0  gpu:0  1           6cd51d    Simulated H100
cuda:1  gpu:1  0           d5bcc4    Simulated P100

A run here measures gpu:0, gpu:1, cpu:package-0, dram:package-0.
"""


def test_machine_with_all_sensors(diagnosis, tree, simulated_gpus):
    tree.add("dram", 20.0, parent=tree.add("package-0", 100.0))
    simulated_gpus([
        pascal(Waveform.constant(150), uuid="GPU-bbbb", bus="00000000:02:00.0"),
        hopper(Waveform.constant(300), uuid="GPU-aaaa", bus="00000000:01:00.0"),
    ])  # fmt: skip
    devices = (("Simulated H100", "GPU-aaaa"), ("Simulated P100", "GPU-bbbb"))
    assert text(diagnosis(torch=TorchInfo(version="2.9.0+cu128", devices=devices))) == EVERYTHING


def test_gpu_hidden_from_torch_is_listed(diagnosis, tree, simulated_gpus):
    tree.add("package-0", 100.0)
    simulated_gpus([hopper(Waveform.constant(300)), hopper(Waveform.constant(100))])
    driver = read_driver()
    devices = (("Simulated H100", driver.boards[1][0]),)
    found = diagnosis(
        torch=TorchInfo(version="2.9.0", devices=devices), environ={"CUDA_VISIBLE_DEVICES": "1"}
    )
    assert [(gpu.cuda_index, gpu.domain, gpu.nvml_index) for gpu in found.gpus] == [
        (0, "gpu:0", 1),
        (None, None, 0),
    ]
    assert "not visible  -      0 " in text(found)
    assert driver.boards[0][0] not in text(found), "identities are shown as short hashes"


def test_virtual_machine_measures_nothing(diagnosis, simulated_gpus):
    simulated_gpus([])
    found = diagnosis(flags="fpu hypervisor", environ={"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    message = text(found)
    assert message.startswith(HEAD.replace("x86_64", "x86_64 (virtual machine, Kubernetes container)"))
    assert (
        """\
unavailable
  nvml      the NVIDIA driver lists no GPU
  powercap  this is a virtual machine (Kubernetes container), and hypervisors do
            not expose the processor's energy counters
            -> Profile on the host itself to measure the processor.
  perf      the kernel offers no energy events
            (/sys/bus/event_source/devices/power)

Nothing here is measured: cpu:package-0, dram:package-0 are estimated, good to
about 50 %.
"""
        in message
    )
    assert found.measured == ()
    assert max(map(len, message.splitlines())) <= 80


def test_commands_to_type_are_not_wrapped(diagnosis, tree, simulated_gpus):
    simulated_gpus([])
    zone = tree.add("package-0", 100.0)
    remedy = permission_remedy(zone.folder.parent)
    found = diagnosis()
    refused = replace(found, refusals=(Refusal(source="powercap", reason="root only", remedy=remedy),))
    assert f"            -> {remedy}\n" in text(refused)
    assert f"{remedy}\n" in text(refused, width=40)


def test_measured_cpu_beside_an_unmeasured_gpu(diagnosis, tree, simulated_gpus):
    tree.add("package-0", 100.0)
    simulated_gpus([hopper(Waveform.constant(300), counter="none", usage="none", fields="none")])
    found = diagnosis()
    assert [one.domain.name for one in found.measured] == ["cpu:package-0"]
    assert "it reports neither energy nor power" in " ".join(text(found).split())


def test_constant_counter_has_no_power(diagnosis, tree, simulated_gpus):
    simulated_gpus([])
    tree.add("uncore", 0.0, parent=tree.add("package-0", 100.0))
    _, uncore = diagnosis().checked
    assert uncore.watts is None
    assert "no change" in text(diagnosis())


def test_machine_without_sensors(diagnosis, tree, simulated_gpus):
    simulated_gpus([])
    tree.add("package-0", 1.0)
    empty = replace(diagnosis(), checked=(), torch=TorchInfo(), driver=DriverInfo())
    message = text(empty)
    assert "torch      not installed: steps are recorded where the loop calls prof.step(loss=...)" in message
    assert message.endswith("No sensor can be read here: a run records steps and losses, and no energy.\n")


def test_states_of_torch(diagnosis, tree, simulated_gpus):
    simulated_gpus([])
    tree.add("package-0", 1.0)
    found = diagnosis(torch=TorchInfo(problem="libcudart.so.12: cannot open shared object file"))
    assert "torch      cannot be imported: libcudart.so.12: cannot open" in text(found)
    found = diagnosis(torch=TorchInfo(version="2.9.0", others=("mps",)))
    assert "! no sensor covers mps: totals of runs that use it are incomplete" in text(found)


def test_gpus_without_sensor_are_listed_one_by_one(diagnosis, tree, simulated_gpus):
    simulated_gpus([])
    tree.add("package-0", 1.0)
    found = diagnosis(torch=TorchInfo(version="2.9.0+rocm6.4", devices=(("MI300X", ""), ("MI300X", ""))))
    assert [gpu.cuda_index for gpu in found.gpus] == [0, 1]
    assert "! no sensor covers cuda:0, cuda:1: totals" in text(found)


def test_json_holds_the_diagnosis_without_serial_numbers(diagnosis, tree, simulated_gpus):
    tree.add("package-0", 100.0)
    simulated_gpus([hopper(Waveform.constant(300), uuid="GPU-aaaa")])
    devices = (("Simulated H100", "GPU-aaaa"),)
    found = json.loads(json.dumps(as_dict(diagnosis(torch=TorchInfo(version="2.9.0", devices=devices)))))
    assert [(one["name"], one["provenance"]) for one in found["domains"]] == [
        ("gpu:0", "counter"),
        ("cpu:package-0", "counter"),
    ]
    assert found["domains"][1]["watts"] == pytest.approx(100.0, rel=0.01)
    assert found["measured"] == ["gpu:0", "cpu:package-0"]
    assert "GPU-aaaa" not in json.dumps(found)


@pytest.mark.slow
def test_command_prints_json(capsys):
    code = main(["doctor", "--json"])
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert code == (0 if found["measured"] else 1)
    assert (found["torch"]["version"], err) == (str(torch.__version__), "")


def test_installed_torch_is_read():
    found = read_torch()
    assert (found.version, found.problem) == (str(torch.__version__), "")
    assert len(found.devices) == torch.cuda.device_count()


@pytest.mark.slow
def test_command_closes_every_sensor_and_returns_the_exit_code(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "profiler", "doctor"],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == (1 if done.stdout.split("\n\n")[-1].startswith("Nothing here") else 0)
    assert "\x1b" not in done.stdout
    assert list(tmp_path.iterdir()) == []


# -- idle power ------------------------------------------------------------------------------------------------------


@pytest.fixture
def idle(diagnosis, tmp_path, tree, fake_clock, monkeypatch):
    """Function that measures the idle power of the simulated machine at a load of its processors in percent."""

    def run(load=2.0, seconds=10.0):
        diagnosis()  # writes the files of the machine
        monkeypatch.setattr("psutil.cpu_percent", lambda *_, **__: load)
        return measure_idle(
            seconds,
            environ={},
            powercap_root=tmp_path / "powercap",
            system_root=tmp_path / "machine",
            clock=fake_clock,
        )

    return run


def test_idle_power_of_every_measured_domain(idle, tree, simulated_gpus):
    tree.add("package-0", 40.0)
    simulated_gpus([hopper(Waveform.constant(61))])
    found = idle()
    assert {d.name: w for d, w in found.watts.items()} == pytest.approx(
        {"gpu:0": 61.0, "cpu:package-0": 40.0}, rel=0.02
    )
    shown = "\n".join(idle_lines(found, 10.0, Path("/x/idle.json")))
    assert "gpu:0                  61.0 W" in shown
    assert "idle power over 10.0 s, stored in /x/idle.json" in shown


def test_the_power_of_a_busy_machine_is_not_stored(idle, tree, simulated_gpus):
    tree.add("package-0", 40.0)
    simulated_gpus([hopper(Waveform.constant(61), processes=((4_000_000, 2**30),))])
    found = idle(load=55.0)
    assert found.problem == (
        "the processors were 55 % busy and other processes use gpu:0, so this is not the idle power"
    )
    assert "nothing was stored: the processors" in "\n".join(idle_lines(found, 10.0, None))


@pytest.mark.parametrize("seconds", ["x", "0", "nan"])
def test_a_duration_that_is_none_is_refused_with_its_range(capsys, seconds):
    with pytest.raises(SystemExit):
        main(["doctor", "--idle", seconds])
    assert "must be between" in capsys.readouterr().err


def test_the_command_stores_idle_power_for_later_runs(tmp_path, monkeypatch, capsys):
    """The stored power is that of this test's own machine, whatever it can measure."""
    domain = scripted(12.0).domains[0]
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("profiler.cli.doctor.measure_idle", lambda *_, **__: Idle(watts={domain: 12.0}))
    assert main(["doctor", "--idle", "30", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)["idle"]
    assert known["watts"] == {"cpu:package-0": 12.0}
    assert Path(known["path"]).exists()
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted(48.0)]) as prof:
        train(15, pause=0.01)
    assert prof.run.meta["domains"][0]["idle_watts"] == 12.0
    assert "idle" in capsys.readouterr().err
    report = report_of(prof.run)
    assert report.idle.idle_share == pytest.approx(0.25, abs=0.01)
    for extension in (".txt", ".md", ".html"):
        assert re.search(
            r"[Ii]dle [0-9.]+ m?J, 25 %; active", " ".join(str(render(report, extension)).split())
        )


def test_the_command_stores_nothing_without_a_measurement(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("profiler.cli.doctor.measure_idle", lambda *_, **__: Idle(watts={}))
    assert main(["doctor", "--idle", "30"]) == 1
    assert "nothing was stored: no sensor measures" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seconds", ["0", "nan", "-3", "soon"])
def test_impossible_lengths_are_refused(seconds, capsys):
    with pytest.raises(SystemExit):
        main(["doctor", "--idle", seconds])
    assert "--idle" in capsys.readouterr().err


def test_defaults_from_the_environment_are_shown(diagnosis, monkeypatch):
    monkeypatch.setenv("ENERGY_PROFILER_PUE", "1.3")
    monkeypatch.setenv("ENERGY_PROFILER_CONTRY", "FRA")
    monkeypatch.setenv("ENERGY_PROFILER_RUNS", "/data/runs")
    found = diagnosis()
    shown = [text for text, _ in lines(found, 80)]
    assert "ENERGY_PROFILER_PUE=1.3" in shown
    assert "ENERGY_PROFILER_CONTRY is no variable of energy-profiler and is ignored" in shown
    assert not any("ENERGY_PROFILER_RUNS" in text for text in shown)
    assert as_dict(found)["defaults"] == {"ENERGY_PROFILER_PUE": "1.3"}
