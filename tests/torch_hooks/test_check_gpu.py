"""The check that needs a GPU: without one it says so, and what it concludes from readings is right."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from profiler.testing.replay import Waveform

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "check_gpu.py"


@pytest.fixture(scope="module")
def script():
    found = importlib.util.spec_from_file_location("check_gpu", SCRIPT)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_without_a_gpu_the_error_is_one_line():
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, SCRIPT], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "check_gpu: torch finds no CUDA device here; run this on a machine with an NVIDIA GPU.\n"
    )


def watts_by_phase(phases, *, measured):
    """Return the mean power of a 100 ms wave by a sensor that measures the first ``measured`` seconds of each."""
    wave = Waveform.square(low=80.0, high=600.0, period_seconds=0.1, duty=0.25)
    starts = [0.1 * number / phases for number in range(phases)]
    return [(wave.joules(start + measured) - wave.joules(start)) / measured for start in starts]


def test_integrating_and_part_time_counters_are_distinguished(script):
    integral = watts_by_phase(script.PHASES, measured=0.1)
    part_time = watts_by_phase(script.PHASES, measured=0.025)
    assert script.verdict(integral) == "is a true integral: differs by 0 % between phases"
    assert script.verdict(part_time).startswith("sums part-time readings: ")


def test_power_is_integrated_over_uneven_times(script):
    assert script.integrate([0.0, 1.0, 3.0], [100.0, 300.0, 300.0]) == 800.0


def test_steps_are_compared_with_their_steady_power(script):
    joules = [10.0, 40.0] * 20
    light, heavy = script._shares(joules, [0.25] * 40, [40.0, 160.0])
    assert light.found == "10.00 J recorded, 10.00 J by its steady power of 40 W"
    assert heavy.found == "40.00 J recorded, 40.00 J by its steady power of 160 W"


def test_the_page_names_the_machine_and_every_result(script):
    board = SimpleNamespace(name="Some Board", driver="999.1")
    page = script.page(board, [script.Finding("this", "that", "5 %")])
    assert "(Some Board, driver 999.1, torch " in page
    assert page.endswith("| this | that | 5 % |\n")
