"""Cost per step of other tools on the loop of ``benchmark_overhead.py``, on a simulated board, where installed.

Each tool runs in a process of its own, so that none changes another's figure. Tools that are not installed are named.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from profiler.testing.replay import Waveform
from tests.support.simulated_nvml import build_library, hopper, library_environment, write_script

HERE = Path(__file__).resolve().parent
TOOLS = {
    "Zeus, one window per step without synchronization": """
from zeus.monitor import ZeusMonitor
monitor = ZeusMonitor(gpu_indices=[0], log_file=None)
def measured(steps):
    for _ in range(steps):
        monitor.begin_window("step", sync_execution=False)
        train(1)
        monitor.end_window("step", sync_execution=False)
""",
    "CodeCarbon, one task per 50 steps": """
from codecarbon import OfflineEmissionsTracker
tracker = OfflineEmissionsTracker(country_iso_code="FRA", save_to_file=False, log_level="critical")
def measured(steps):
    for first in range(0, steps, 50):
        tracker.start_task(f"{first}-{time.monotonic_ns()}")
        train(50)
        tracker.stop_task()
""",
    "torch.profiler, CPU activities, one profile per 150 steps": """
from torch.profiler import ProfilerActivity, profile
def measured(steps):
    with profile(activities=[ProfilerActivity.CPU]):
        train(steps)
""",
}
"""Python code by tool: defines ``measured(steps)``, which trains under the tool."""

_RUN = """
import statistics, time
import torch
from benchmark_overhead import make_loop
torch.set_num_threads(1)
train = make_loop(width=160)
{code}
def timed(call, steps=150):
    begun = time.process_time_ns()
    call(steps)
    return (time.process_time_ns() - begun) / steps / 1e3
train(200)
measured(50)
differences = []
for _ in range({rounds}):
    before = timed(train)
    during = timed(measured)
    differences.append(during - (before + timed(train)) / 2)
print("RESULT", statistics.median(differences))
"""


def peer_rows(rounds: int = 15) -> list[tuple[str, str, str]]:
    """Return one row per tool: name, microseconds of processor time per step, and no bar."""
    return [(f"{name}, us per step", _measure(code, rounds), "-") for name, code in TOOLS.items()]


def _measure(code: str, rounds: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        gpu = hopper(Waveform.constant(300.0))
        script = write_script(Path(folder) / "gpu.txt", [gpu], epoch_ns=time.monotonic_ns())
        paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            **library_environment(build_library(Path(folder) / "build"), script, os.environ),
            "PYTHONPATH": os.pathsep.join(paths),
        }
        done = subprocess.run(
            [sys.executable, "-c", _RUN.format(code=code, rounds=rounds)],
            env=environment, cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if found:
        return f"{float(found[-1].split()[1]):.0f}"
    reason = done.stderr.strip().splitlines()[-1:] or ["no result"]
    return "not installed" if "ModuleNotFoundError" in reason[0] else f"failed: {reason[0]}"
