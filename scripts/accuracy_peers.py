"""Other tools on the simulated library, in real time, in a separate environment.

Create it with ``python -m venv peers; peers/bin/pip install zeus codecarbon nvitop`` and pass its ``bin/python``.
"""

import os
import statistics
import subprocess
import time
from pathlib import Path

from accuracy_scenes import SENSORS, scenes

from tests.support.simulated_nvml import library_environment, write_script

SECONDS = 10.0
_WAVEFORMS = ("square 100 ms", "square 230 ms", "training, 280 ms per step", "ramps")

TOOLS = {
    "Zeus window": """
from zeus.monitor import ZeusMonitor
monitor = ZeusMonitor(gpu_indices=[0])
start = now(); monitor.begin_window("w", sync_execution=False); wait()
joules = sum(monitor.end_window("w", sync_execution=False).gpu_energy.values()); end = now()
""",
    "CodeCarbon, 1 s": """
from codecarbon import OfflineEmissionsTracker
tracker = OfflineEmissionsTracker(country_iso_code="FRA", measure_power_secs=1, save_to_file=False, log_level="error")
tracker.start(); start = now(); wait(); end = now(); tracker.stop()
joules = tracker.final_emissions_data.gpu_energy * 3.6e6
""",
    "nvitop, 1 s": """
from nvitop import Device
import time
device = Device(0); watts = []; start = now()
while now() < start + SECONDS:
    watts.append(device.power_usage() / 1e3); time.sleep(1)
end = now(); joules = sum(watts) / len(watts) * (end - start)
""",
}
_PRELUDE = """
import time
SECONDS = {seconds}
def now(): return time.monotonic()
def wait(): time.sleep(SECONDS)
"""


def measure_peers(python: str, library: Path, folder: Path) -> list[str]:
    """Run each installed tool on a few waveforms with an H100-like sensor; return the rows of a table."""
    rows = ["## Other tools on the same library, H100-like sensor, 10 s in real time, mean / maximum percent error", "",
            "| tool | error |", "|---|---|"]  # fmt: skip
    for name, code in TOOLS.items():
        errors = [
            error
            for error in (_run(python, code, w, library, folder) for w in _WAVEFORMS)
            if error is not None
        ]
        cell = f"{statistics.mean(errors):.2f} / {max(errors):.2f}" if errors else "not installed"
        rows.append(f"| {name} | {cell} |")
    return [*rows, ""]


def _run(python: str, code: str, waveform: str, library: Path, folder: Path) -> float | None:
    scene = next(s for s in scenes(SECONDS + 60, 0) if s.name == waveform)
    epoch = time.monotonic_ns()
    script = write_script(folder / "peer.txt", [SENSORS["H100-like"](scene.waveform)], epoch_ns=epoch)
    whole = f"{_PRELUDE.format(seconds=SECONDS)}{code}\nprint('RESULT', start, end, joules)"
    environment = library_environment(library, script, os.environ)
    done = subprocess.run([python, "-c", whole], env=environment, capture_output=True, text=True, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT")), None)
    if line is None:
        return None
    start, end, joules = map(float, line.split()[1:])
    truth = scene.waveform.joules(end - epoch / 1e9) - scene.waveform.joules(start - epoch / 1e9)
    return 100 * abs(joules - truth) / truth
