"""Train under the profiler with random faults, and check the record of every round.

    python scripts/soak.py --minutes 20 [--seed 1] [--round-seconds 30]

Each round is a process that trains with two simulated energy counters of known power. While it runs, random faults
happen: sensors that fail or hang, the GIL held by native code, the process stopped with SIGSTOP, slow writes, a full
disk, and SIGKILL at the end of some rounds. After each round the record is read. The script fails if the training was
affected, if the rows do not add up to the total, or if the total is wrong beyond its own 90 % interval and 1 %.
"""

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE))

RELATIVE_ERROR = 0.01
"""Largest error of a total of cumulative counters, besides its own interval."""
DISKS = ("good", "slow", "good", "full")
"""The disk of successive rounds."""
WAVES = {"gpu:0": (100.0, 400.0, 2.6), "cpu:package-0": (40.0, 90.0, 0.9)}
"""Low watts, high watts and period in seconds."""


class ChaosSensor:
    """A sensor whose reads fail or hang until a random time."""

    def __init__(self, sensor: Any, dice: random.Random, counts: "Counter[str]") -> None:
        self._sensor, self._dice, self._counts = sensor, dice, counts
        self._fails_until = 0.0
        self.domains = sensor.domains

    def read(self) -> Any:
        now = time.monotonic()
        if now < self._fails_until:
            raise OSError(5, "injected sensor failure")
        fate = self._dice.random()
        if fate < 0.002:
            self._counts["sensor fails for up to 3 s"] += 1
            self._fails_until = now + self._dice.uniform(0.1, 3.0)
        elif fate < 0.010:
            self._counts["sensor fails once"] += 1
            raise OSError(5, "injected sensor failure")
        elif fate < 0.013:
            self._counts["sensor takes up to 1 s"] += 1
            time.sleep(self._dice.uniform(0.05, 1.0))
        return self._sensor.read()

    def close(self) -> None:
        self._sensor.close()


def waveforms() -> "dict[str, Any]":
    """Return the power of each domain."""
    from profiler.testing import Waveform

    return {name: Waveform.square(low=a, high=b, period_seconds=p) for name, (a, b, p) in WAVES.items()}


def child(folder: Path, seconds: float, seed: int, disk: str) -> None:
    """Train in one round, with faults that happen inside the process; print the true joules."""
    import ctypes
    import errno

    import psutil
    import pytest
    import torch

    from profiler import EnergyProfiler
    from profiler.records import Domain, Provenance
    from profiler.testing.replay import ReplaySensor, ScriptedMeter
    from tests.support.faults import FaultyCalls

    dice, counts = random.Random(seed), Counter[str]()  # noqa: S311 - not for secrets
    origin = time.monotonic_ns()
    sensors = []
    for name, wave in waveforms().items():
        domain = Domain(
            name=name, source="scripted", provenance=Provenance.COUNTER, update_period_seconds=0.1
        )
        meter = ScriptedMeter(domain=domain, waveform=wave)
        replay = ReplaySensor([meter], origin_ns=origin)
        sensors.append(ChaosSensor(replay, dice, counts))
    patch = pytest.MonkeyPatch()
    if disk == "full":
        FaultyCalls(folder, "write", first=dice.randint(1, 60), last=10**9, code=errno.ENOSPC).install(patch)
    elif disk == "slow":
        patch.setattr(os, "write", slow_write(dice, counts))

    hold = ctypes.PyDLL(None).usleep
    torch.manual_seed(0)
    torch.set_num_threads(1)
    weights = torch.nn.Parameter(torch.randn(200, 200))
    optimizer = torch.optim.SGD([weights], lr=0.001)
    slowest, memory = 0.0, []
    prof = EnergyProfiler(run_dir=folder, sensors=sensors).start()
    begun = time.monotonic_ns()
    print(json.dumps({"begun": begun, "origin": origin}), flush=True)
    steps = 0
    while time.monotonic_ns() - begun < seconds * 1e9:
        before = time.monotonic()
        optimizer.zero_grad()
        loss = (weights @ weights.T).square().mean()
        loss.backward()
        optimizer.step()
        steps += 1
        slowest = max(slowest, time.monotonic() - before)
        if dice.random() < 0.0003:
            counts["GIL held for up to 5 s"] += 1
            hold(int(dice.uniform(0.2, 5.0) * 1e6))
        if steps % 1000 == 0:
            memory.append(psutil.Process().memory_info().rss)
    ended = time.monotonic_ns()
    prof.stop()
    patch.undo()
    report = {"ended": ended, "steps": steps, "counts": counts, "slowest": slowest, "loss": loss.item()}
    print(json.dumps(report | {"memory": memory}), flush=True)


def slow_write(dice: random.Random, counts: "Counter[str]") -> Any:
    """Return a replacement of ``os.write`` that sometimes waits, on the profiler's own threads only."""
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        if threading.current_thread().name.startswith("energy-profiler") and dice.random() < 0.05:
            counts["a write takes up to 2 s"] += 1
            time.sleep(dice.uniform(0.1, 2.0))
        return real(descriptor, data)

    return write


def true_joules(origin: int, begun: int, ended: int) -> float:
    """Return the energy of all domains between two times, in closed form."""
    start, end = (begun - origin) / 1e9, (ended - origin) / 1e9
    return sum(wave.joules(end) - wave.joules(start) for wave in waveforms().values())


def run_round(folder: Path, seconds: float, seed: int, disk: str) -> dict[str, Any]:
    """Run one round and return its results; ``faults`` lists broken promises."""
    dice, counts = random.Random(seed + 1), Counter[str]()  # noqa: S311 - not for secrets
    kills = dice.random() < 0.2
    command = [sys.executable, __file__, "--child", str(folder), str(seconds), str(seed), disk]
    counts[f"disk: {disk}"] += 1
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder.parent
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    first = json.loads(line) if line else {}
    deadline = time.monotonic() + (dice.uniform(0.3, 0.9) * seconds if kills else math.inf)
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
        if dice.random() < 0.05 / 15 and first:
            counts["SIGSTOP for up to 6 s"] += 1
            process.send_signal(signal.SIGSTOP)
            time.sleep(dice.uniform(0.2, 6.0))
            process.send_signal(signal.SIGCONT)
        if first and time.monotonic() - first["begun"] / 1e9 > 10 * seconds + 60:
            process.kill()
            return {"faults": ["the process did not end"], "counts": counts, "disk": disk}
    if kills and process.poll() is None:
        counts["SIGKILL"] += 1
        process.kill()
    out, err = process.communicate()
    result: dict[str, Any] = {
        "counts": counts,
        "disk": disk,
        "seed": seed,
        "messages": err.count("energy-profiler:"),
    }
    last = json.loads(out.splitlines()[-1]) if out.strip() else None
    counts.update(last["counts"] if last else {})
    result["faults"] = (
        faults_of(folder, first, last, process.returncode, err) if first else [f"no start: {err[-500:]}"]
    )
    result.update(measure(folder, first, last) if first else {})
    memory = last["memory"] if last else []
    result["growth"] = (memory[-1] - memory[len(memory) // 4]) / 2**20 if memory else math.nan
    return result


def measure(folder: Path, first: dict[str, int], last: dict[str, Any] | None) -> dict[str, Any]:
    """Return the total of a record, its interval and the truth, in joules."""
    from profiler import load_run
    from profiler.errors import ProfilerError
    from profiler.reporting import report_of

    try:
        run = load_run(folder)
        window = run.summary().window_seconds
        energy = report_of(run).energy
    except ProfilerError as error:
        return {"unreadable": str(error)}
    ended = last["ended"] if last else first["begun"] + round(window * 1e9)
    truth = true_joules(first["origin"], first["begun"], ended)
    total = run.total_joules
    in_rows = float(run.steps["total_joules"].sum() + run.spans["total_joules"].sum())
    interval = (energy.low, energy.high) if energy is not None and energy.low is not None else None
    return {"truth": truth, "total": total, "in_rows": in_rows, "interval": interval, "window": window}


def faults_of(
    folder: Path, first: dict[str, int], last: dict[str, Any] | None, code: int, err: str
) -> list[str]:
    """Return the promises that a round broke."""
    from profiler import load_run

    faults = []
    if "Traceback" in err:
        faults.append(f"traceback on stderr: {err[-800:]}")
    if last is None and code != -signal.SIGKILL:
        faults.append(f"the training ended with {code}")
    found = measure(folder, first, last)
    if "unreadable" in found:
        if "cannot write" not in err:
            faults.append(f"unreadable: {found['unreadable']}")
        return faults
    run = load_run(folder)
    truth, total = found["truth"], found["total"]
    if total is None:
        return [*faults, "the total is unknown"]
    low, high = found["interval"] or (total, total)
    if not (low <= truth <= high or abs(total - truth) <= RELATIVE_ERROR * truth):
        faults.append(f"total {total:.1f} J [{low:.1f}, {high:.1f}], truth {truth:.1f} J")
    if not math.isclose(found["in_rows"], total, abs_tol=1e-4) and not run.meta.get("rows_lost"):
        faults.append(f"rows hold {found['in_rows']:.6f} J of {total:.6f} J")
    if not math.isclose(sum(run.energy_by_domain().values()), total, abs_tol=1e-4):
        faults.append(f"domains add up to {sum(run.energy_by_domain().values()):.6f} J of {total:.6f} J")
    if last is not None and run.summary().steps != last["steps"]:
        faults.append(f"{run.summary().steps} of {last['steps']} steps")
    return faults


def soak(minutes: float, seed: int, round_seconds: float) -> int:
    """Run rounds until the time is over; print one line per round and a summary. Return the number of bad rounds."""
    counts, bad, rounds = Counter[str](), 0, 0
    worst = dict.fromkeys(DISKS, 0.0)
    growth = 0.0
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            disk = DISKS[rounds % len(DISKS)]
            rounds += 1
            result = run_round(Path(folder, f"round-{rounds}"), round_seconds, seed + 1000 * rounds, disk)
            counts.update(result["counts"])
            bad += bool(result["faults"])
            error = math.nan
            if result.get("total") is not None:
                error = result["total"] / result["truth"] - 1
                worst[disk] = max(worst[disk], abs(error))
            growth = max(growth, result.get("growth") or 0.0)  # the first operand is kept where it is NaN
            kinds = ", ".join(f"{kind}: {n}" for kind, n in sorted(result["counts"].items()))
            print(
                f"round {rounds}, error {100 * error:+.3f} %, {result.get('messages', 0)} messages; {kinds}"
            )
            for fault in result["faults"]:
                print(f"    FAULT (seed {result.get('seed')}): {fault}")
            sys.stdout.flush()
    errors = ", ".join(f"{100 * worst[disk]:.2f} % ({disk} disk)" for disk in dict.fromkeys(DISKS))
    print(f"\n{rounds} rounds, {bad} with faults, largest error of a total {errors}")
    print(f"  largest growth of memory after the first quarter of a round: {growth:.1f} MiB")
    for kind, number in sorted(counts.items()):
        print(f"  {kind}: {number}")
    return bad


def main() -> int:
    """Parse the command line."""
    if sys.argv[1:2] == ["--child"]:
        folder, seconds, seed, disk = sys.argv[2:]
        child(Path(folder), float(seconds), int(seed), disk)
        return 0
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round-seconds", type=float, default=30.0)
    options = parser.parse_args()
    return 1 if soak(options.minutes, options.seed, options.round_seconds) else 0


if __name__ == "__main__":
    sys.exit(main())
