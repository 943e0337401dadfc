"""External meters: files and named pipes that another program writes."""

import itertools
import os
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from profiler.errors import SensorError, SensorUnavailableError
from profiler.records import Domain, Provenance
from profiler.sensors.environment import Environment
from profiler.sensors.external import VARIABLE, open_external
from profiler.testing.conformance import SensorConformance, SensorRig
from profiler.testing.replay import Waveform
from profiler.units import NANOSECONDS_PER_SECOND as SECOND
from tests.support.file_trees import UNIX_EPOCH_SECONDS, FakeExternalMeter


@pytest.fixture
def meter(tmp_path, fake_clock):
    """Builds an external meter and opens its sensor."""

    def build(machine, waveform, **more):
        fake = FakeExternalMeter(tmp_path / "meter.csv", fake_clock, waveform, **more)
        (sensor,) = open_external(machine(environ={VARIABLE: str(fake.path)})).sensors
        return fake, sensor

    return build


@pytest.mark.parametrize("unit", ["watts", "joules"])
class TestConformance(SensorConformance):
    @pytest.fixture
    def rig(self, meter, machine, fake_clock, unit):
        _, sensor = meter(machine, Waveform.constant(900), unit=unit)
        return SensorRig(sensor=sensor, clock=fake_clock, true_watts={"node:external": 900.0})


def collect(sensor, clock, seconds, period=0.05):
    readings = []
    for _ in range(round(seconds / period)):
        clock.advance(period)
        readings += sensor.read()
    return readings


@pytest.mark.parametrize("clock_error", [0.0, -7_200.0, 1e6])
@pytest.mark.parametrize("delay", [0.0, 2.5])
def test_the_offset_of_the_meters_clock_is_estimated(meter, machine, fake_clock, clock_error, delay):
    """Whatever the offset, reading times are late by the delay and at most one polling interval."""
    ramp = Waveform(points=((0.0, 0.0), (100.0, 1_000.0)))
    _, sensor = meter(machine, ramp, delay_seconds=delay, clock_error_seconds=clock_error)
    start = fake_clock.now_ns()
    for reading in collect(sensor, fake_clock, 20):
        measured_at = reading.power_watts / 10
        late = (reading.time_ns - start) / SECOND - measured_at
        assert delay - 1e-3 <= late <= delay + 0.051


def test_several_lines_between_two_reads_have_their_own_times(meter, machine, fake_clock):
    _, sensor = meter(machine, Waveform.constant(500), interval_seconds=0.1)
    fake_clock.advance(1)
    times = [reading.time_ns for reading in sensor.read()]
    assert len(times) == 10
    assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([SECOND // 10] * 9, abs=1_000)


def test_old_lines_are_ignored(tmp_path, machine, fake_clock):
    path = tmp_path / "meter.csv"
    path.write_text(f"time,watts\n{UNIX_EPOCH_SECONDS},500\n{UNIX_EPOCH_SECONDS},7")
    (sensor,) = open_external(machine(environ={VARIABLE: str(path)})).sensors
    with path.open("a") as file:
        file.write(f"00\n{UNIX_EPOCH_SECONDS + 1},600\n")
    fake_clock.advance(1)
    assert [reading.power_watts for reading in sensor.read()] == [600.0]
    assert sensor.warnings == ()


def test_a_recent_line_from_before_the_start_is_used_with_its_time_by_this_machine(tmp_path):
    path = tmp_path / "meter.csv"
    path.write_text(f"time,joules\n{time.time() - 9:.3f},10\n{time.time() - 2:.3f},500\n")
    (sensor,) = open_external(Environment(environ={VARIABLE: str(path)})).sensors
    before = time.monotonic_ns()
    (first,) = sensor.read()
    assert first.energy_joules == 500.0
    assert before - first.time_ns == pytest.approx(2 * SECOND, abs=SECOND / 2)
    with path.open("a") as file:
        file.write(f"{time.time() - 1:.3f},900\n")
    (second,) = sensor.read()
    assert second.time_ns - first.time_ns == pytest.approx(SECOND, abs=SECOND / 2)


def test_the_meter_is_the_total_if_nothing_else_is_measured(meter, machine):
    _, sensor = meter(machine, Waveform.constant(500))
    assert sensor.domains[0].billed


def test_the_meter_contains_the_parts_that_other_sensors_measure(tmp_path, machine, fake_clock):
    fake = FakeExternalMeter(tmp_path / "meter.csv", fake_clock, Waveform.constant(500))
    gpu = Domain(name="gpu:0", source="x", provenance=Provenance.COUNTER)
    environment = machine(environ={VARIABLE: str(fake.path)}, measured=(gpu,))
    (domain,) = open_external(environment).sensors[0].domains
    assert not domain.billed
    assert "Contains the counted parts" in domain.notes[0]


@pytest.mark.parametrize(
    "line",
    ["", "nonsense", "1,2,3", f"{UNIX_EPOCH_SECONDS},-5", f"{UNIX_EPOCH_SECONDS},nan", f"{UNIX_EPOCH_SECONDS},1e9",
     "x" * 5_000, "\x00\xff"],
)  # fmt: skip
def test_invalid_lines_are_ignored_with_a_warning(tmp_path, machine, fake_clock, line):
    path = tmp_path / "meter.csv"
    path.write_text("time,watts\n")
    (sensor,) = open_external(machine(environ={VARIABLE: str(path)})).sensors
    fake_clock.advance(1)
    with path.open("a", encoding="latin-1") as file:
        file.write(f"{line}\n")
    assert list(sensor.read()) == []
    assert bool(sensor.warnings) == bool(line)


def test_random_bytes_raise_nothing(tmp_path, machine, fake_clock):
    draw = random.Random(1)
    path = tmp_path / "meter.csv"
    path.write_text("time,joules\n")
    (sensor,) = open_external(machine(environ={VARIABLE: str(path)})).sensors
    for _ in range(50):
        fake_clock.advance(0.1)
        with path.open("ab") as file:
            file.write(draw.randbytes(300))
        assert all(reading.energy_joules >= 0 for reading in sensor.read())


@pytest.mark.parametrize("header", ["", "time;watts\n", "when,watts\n", "time,volts\n"])
def test_a_missing_header_is_refused(tmp_path, machine, header):
    path = tmp_path / "meter.csv"
    path.write_text(header)
    with pytest.raises(SensorUnavailableError, match="has no header") as refused:
        open_external(machine(environ={VARIABLE: str(path)}))
    assert "time,watts or time,joules" in refused.value.remedy


def test_a_missing_file_is_refused(tmp_path, machine):
    with pytest.raises(SensorUnavailableError, match="cannot be opened: No such file"):
        open_external(machine(environ={VARIABLE: str(tmp_path / "nothing")}))
    assert open_external(machine()).sensors == ()


def test_a_silent_meter_is_stale(meter, machine, fake_clock):
    fake, sensor = meter(machine, Waveform.constant(500))
    collect(sensor, fake_clock, 2)
    fake.is_frozen = True
    collect(sensor, fake_clock, 7, period=0.5)
    assert sensor.warnings == (
        "node:external: the external meter was stale: it wrote no reading for over 6 s.",
    )


def test_a_counter_that_restarts_is_a_decrease_and_a_warning(tmp_path, machine, fake_clock):
    path = tmp_path / "meter.csv"
    path.write_text("time,joules\n")
    (sensor,) = open_external(machine(environ={VARIABLE: str(path)})).sensors
    energies = []
    for second, joules in enumerate((9_000, 9_500, 10, 510, 1_010, 1_510)):
        fake_clock.advance(1)
        with path.open("a") as file:
            file.write(f"{UNIX_EPOCH_SECONDS + second},{joules}\n")
        energies += [reading.energy_joules for reading in sensor.read()]
    assert energies[:2] == [9_000, 9_500]
    assert energies[2] < 9_500
    assert any("was reset once" in warning for warning in sensor.warnings)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_never_blocks(tmp_path, machine, fake_clock):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    environment = machine(environ={VARIABLE: str(path)})
    with pytest.raises(SensorUnavailableError, match="has no header"):
        open_external(environment)  # no writer
    writer = os.open(path, os.O_RDWR)
    os.write(writer, b"time,watts\n")
    (sensor,) = open_external(environment).sensors
    assert list(sensor.read()) == []
    fake_clock.advance(1)
    os.write(writer, f"{UNIX_EPOCH_SECONDS},450\n".encode())
    assert [reading.power_watts for reading in sensor.read()] == [450.0]
    os.close(writer)
    fake_clock.advance(1)
    assert list(sensor.read()) == []
    sensor.close()
    with pytest.raises(SensorError, match="closed"):
        sensor.read()


def test_a_file_of_another_user_is_refused(open_folder, machine, as_plain_user):
    path = open_folder / "meter.csv"
    path.write_text("time,watts\n")
    path.chmod(0o600)
    environment = machine(environ={VARIABLE: str(path)})
    with as_plain_user(), pytest.raises(SensorUnavailableError, match="cannot be opened: Permission denied"):
        open_external(environment)


PAGE = Path(__file__).parents[2] / "docs" / "meters.md"
POLLERS = [
    block for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL) if "time,watts" in block
]
ANSWERS = {
    "ipmitool": "    Instantaneous power reading:                   220 Watts\n"
    "    Minimum during sampling period:                210 Watts\n    Sampling period:  00000001 Seconds.\n",
    "curl": '{"Name": "Power", "PowerControl": [{"MemberId": "0", "PowerConsumedWatts": 220}]}\n',
}
"""Answers in the format of ipmitool's manual and of DMTF's Redfish schema ``Power``."""


@pytest.mark.skipif(shutil.which("jq") is None, reason="the Redfish poller needs jq")
@pytest.mark.parametrize("poller", POLLERS, ids=["ipmi", "redfish"])
def test_the_documented_pollers_write_readings(tmp_path, poller):
    for name, answer in ANSWERS.items():
        command = tmp_path / name
        command.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}END\n")
        command.chmod(0o755)
    once = poller.replace("while sleep 1; do", "for once in 1; do")
    environ = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", once], cwd=tmp_path, env=environ, check=True)
    (sensor,) = open_external(Environment(environ={VARIABLE: str(tmp_path / "node.csv")})).sensors
    assert [reading.power_watts for reading in sensor.read()] == [220.0]
    assert sensor.warnings == ()
