"""The example for Ray Train, where Ray is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from profiler import load_run

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_train.py"


def test_the_example_runs(tmp_path):
    pytest.importorskip("ray.train", reason='Ray is not installed: pip install "ray[train]"')
    command = [sys.executable, str(EXAMPLE), "--steps", "50", "--run-dir", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    run = load_run(tmp_path / "run")
    assert len(run.ranks) == 2
    assert run.steps["step"].iloc[-1] == 50
