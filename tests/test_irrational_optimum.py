"""An instance with known verdicts: geometric convergence down to the floor of a number format."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent.parent / "examples" / "irrational_optimum.py"
FLOORS = {"float64": 1e-28, "float32": 1e-11, "bfloat16": 0.1}
"""Upper bounds of the final error in each format."""


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--watts", "50"],
        cwd=tmp_path_factory.mktemp("example"), capture_output=True, text=True, check=True,
    )  # fmt: skip
    parts = re.split(r"^(\w+): ", done.stdout, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_it_trains_in_three_formats(printed):
    assert list(printed) == list(FLOORS)


@pytest.mark.parametrize("name", ["float64", "float32"])
def test_geometric_convergence_is_recognised_and_priced(printed, name):
    share, joules = re.search(r"exponential families (\d+)%, ([\d.]+) J a decade", printed[name]).groups()
    assert int(share) > 90
    assert float(joules) == pytest.approx(11.0, rel=0.3)


@pytest.mark.parametrize("name", ["float64", "float32"])
def test_an_error_above_the_floor_is_reached_at_the_predicted_energy(printed, name):
    assert "predicted reachable" in printed[name]
    assert "within the interval" in printed[name]


@pytest.mark.parametrize("name", FLOORS)
def test_an_error_below_the_floor_is_unreachable(printed, name):
    level, floor = re.search(r"at the end: error (\S+), floor (\S+)", printed[name]).groups()
    assert float(floor) <= float(level) < FLOORS[name]
    never = re.search(r"unreachable, P\(never\) ([\d.]+)%", printed[name])
    assert float(never[1]) > 95
