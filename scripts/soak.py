"""Train under the profiler with random faults, and check the record of every round.

    python scripts/soak.py --minutes 20 [--seed 1] [--round-seconds 30] [--keep FOLDER]
    python scripts/soak.py --seed 1 --round 7 --keep FOLDER

Each round is a process that trains with two simulated energy counters of known power. While it runs, random faults
happen: sensors that fail or are slow, the GIL held by native code, the process stopped with SIGSTOP, forked children,
slow writes, a full disk, and a signal that ends it. After each round the record is read. The script fails if the
training was affected, if the rows do not add up to the total, or if the total is wrong beyond its own 90 % interval and
1 %.

The seed and the number of a round determine the kinds, times and lengths of its faults; ``--round`` repeats one round.
``--keep`` keeps of each round that broke a promise its run directory, its schedule of faults (``schedule.json``), the
faults as they happened (``out.txt``), its messages (``err.txt``) and its results (``result.json``).
"""

import argparse
import itertools
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
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
KINDS = {
    "GIL held": ("loop", 0.1, 0.2, 5.0),
    "fork": ("loop", 0.03, 0.0, 0.0),
    "SIGSTOP": ("parent", 0.05, 0.2, 6.0),
    "sensor fails": ("sensor", 0.03, 0.1, 3.0),
    "sensor fails once": ("sensor", 0.1, 0.0, 0.0),
    "sensor is slow": ("sensor", 0.04, 0.05, 1.0),
    "write is slow": ("disk", 0.2, 0.1, 2.0),
}
"""Place of each kind of fault, its number per second, and the range of its length in seconds."""
ENDS = ("SIGKILL", "SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")
"""Signals that end a fifth of the rounds."""


class Schedule:
    """The faults of one round, drawn from its seed.

    Attributes:
        disk: One of `DISKS`.
        end: Name of the signal that ends the round; empty without one.
        end_seconds: Time of that signal.
        first_failing_write: Number of the first write that a full disk refuses.
    """

    def __init__(self, seed: int, number: int, seconds: float) -> None:
        dice = random.Random(seed + 1000 * number)  # noqa: S311 - not for secrets
        self.disk = DISKS[(number - 1) % len(DISKS)]
        self.end = dice.choice(ENDS) if dice.random() < 0.2 else ""
        self.end_seconds = dice.uniform(0.3, 0.9) * seconds
        self.first_failing_write = dice.randint(1, 60)
        self.faults: list[tuple[float, str, float]] = []
        for kind, (place, rate, shortest, longest) in KINDS.items():
            if place == "disk" and self.disk != "slow":
                continue
            at = dice.expovariate(rate)
            while at < seconds:
                self.faults.append((at, kind, dice.uniform(shortest, longest)))
                at += dice.expovariate(rate)
        self.faults.sort()

    def of(self, place: str, index: int = 0, count: int = 1) -> "Faults":
        """Return every ``count``-th fault of a place, from number ``index`` on."""
        return Faults([fault for fault in self.faults if KINDS[fault[1]][0] == place][index::count])


class Faults:
    """Faults of one place, in the order of time."""

    def __init__(self, faults: "list[tuple[float, str, float]]") -> None:
        self._faults = deque(faults)

    def due(self, seconds: float) -> "tuple[str, float] | None":
        """Return the kind and length of the next fault if its time has come, and remove it."""
        if not self._faults or seconds < self._faults[0][0]:
            return None
        _, kind, length = self._faults.popleft()
        return kind, length


class ChaosSensor:
    """A sensor whose reads fail, for a time or once, or are slow."""

    def __init__(self, sensor: Any, faults: Faults, note: Any) -> None:
        self._sensor, self._faults, self._note = sensor, faults, note
        self._fails_until = 0.0
        self.domains = sensor.domains

    def read(self) -> Any:
        now = time.monotonic()
        if now < self._fails_until:
            raise OSError(5, "injected sensor failure")
        kind, length = self._note(self._faults) or ("", 0.0)
        self._fails_until = now + length if kind == "sensor fails" else 0.0
        if "fails" in kind:
            raise OSError(5, "injected sensor failure")
        time.sleep(length)
        return self._sensor.read()

    def close(self) -> None:
        self._sensor.close()


def waveforms() -> "dict[str, Any]":
    """Return the power of each domain."""
    from profiler.testing import Waveform

    return {name: Waveform.square(low=a, high=b, period_seconds=p) for name, (a, b, p) in WAVES.items()}


def child(folder: Path, seconds: float, seed: int, number: int) -> None:  # noqa: C901, PLR0915 - one script
    """Train in one round, with the faults that happen inside the process; print them, and the results."""
    import ctypes
    import errno

    import psutil
    import pytest
    import torch

    from profiler import EnergyProfiler
    from profiler.records import Domain, Provenance
    from profiler.testing.replay import ReplaySensor, ScriptedMeter
    from tests.support.faults import FaultyCalls

    schedule = Schedule(seed, number, seconds)
    begun = math.inf  # the faults begin with the window
    lock = threading.Lock()

    def note(faults: Faults) -> "tuple[str, float] | None":
        now = time.monotonic() - begun
        if (fault := faults.due(now)) is not None:
            with lock:
                print(json.dumps({"fault": fault[0], "at": round(now, 3), "seconds": fault[1]}), flush=True)
        return fault

    origin = time.monotonic_ns()
    sensors = []
    for index, (name, wave) in enumerate(waveforms().items()):
        domain = Domain(
            name=name, source="scripted", provenance=Provenance.COUNTER, update_period_seconds=0.1
        )
        meter = ScriptedMeter(domain=domain, waveform=wave)
        replay = ReplaySensor([meter], origin_ns=origin)
        sensors.append(ChaosSensor(replay, schedule.of("sensor", index, len(WAVES)), note))
    patch = pytest.MonkeyPatch()
    if schedule.disk == "full":
        refusal = {"first": schedule.first_failing_write, "last": 10**9, "code": errno.ENOSPC}
        FaultyCalls(folder, "write", **refusal).install(patch)
    elif schedule.disk == "slow":
        patch.setattr(os, "write", slow_write(schedule.of("disk"), note))

    hold = ctypes.PyDLL(None).usleep
    torch.manual_seed(0)
    torch.set_num_threads(1)
    weights = torch.nn.Parameter(torch.randn(200, 200))
    optimizer = torch.optim.SGD([weights], lr=0.001)
    slowest, memory, in_loop = 0.0, [], schedule.of("loop")
    prof = EnergyProfiler(run_dir=folder, sensors=sensors).start()
    begun_ns = time.monotonic_ns()
    begun = begun_ns / 1e9
    print(json.dumps({"begun": begun_ns, "origin": origin}), flush=True)
    steps = 0
    while time.monotonic() - begun < seconds:
        before = time.monotonic()
        optimizer.zero_grad()
        loss = (weights @ weights.T).square().mean()
        loss.backward()
        optimizer.step()
        steps += 1
        slowest = max(slowest, time.monotonic() - before)
        kind, length = note(in_loop) or ("", 0.0)
        if kind == "GIL held":
            hold(int(length * 1e6))
        elif kind == "fork":
            process = os.fork()
            if not process:
                weights.square().sum().backward()
                os._exit(0)
            os.waitpid(process, 0)
        if steps % 1000 == 0:
            memory.append(psutil.Process().memory_info().rss)
    ended = time.monotonic_ns()
    prof.stop()
    patch.undo()
    report = {"ended": ended, "steps": steps, "slowest": slowest, "loss": loss.item()}
    print(json.dumps(report | {"memory": memory}), flush=True)


def slow_write(faults: Faults, note: Any) -> Any:
    """Return a replacement of ``os.write`` that sometimes waits, on the profiler's own threads only."""
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        if threading.current_thread().name.startswith("energy-profiler"):
            _, length = note(faults) or ("", 0.0)
            time.sleep(length)
        return real(descriptor, data)

    return write


def true_joules(origin: int, begun: int, ended: int) -> float:
    """Return the energy of all domains between two times, in closed form."""
    start, end = (begun - origin) / 1e9, (ended - origin) / 1e9
    return sum(wave.joules(end) - wave.joules(start) for wave in waveforms().values())


def run_round(folder: Path, seconds: float, seed: int, number: int) -> dict[str, Any]:
    """Run one round and return its results; ``faults`` lists broken promises.

    Args:
        folder: New directory of the round: ``run`` in it is the run directory.
        seconds: Length of the training.
        seed: Seed of the soak.
        number: Number of the round, from 1.
    """
    schedule, counts = Schedule(seed, number, seconds), Counter[str]()
    folder.mkdir()
    counts[f"{schedule.disk} disk"] += 1
    arguments = [str(folder / "run"), str(seconds), str(seed), str(number)]
    Path(folder, "schedule.json").write_text(json.dumps(vars(schedule), indent=1), encoding="utf-8")
    with Path(folder, "out.txt").open("wb") as out, Path(folder, "err.txt").open("wb") as err:
        command = [sys.executable, __file__, "--child", *arguments]
        process = subprocess.Popen(command, stdout=out, stderr=err, cwd=folder)
    is_over = drive(process, folder, schedule, seconds, counts)
    lines, err_text = printed(folder), Path(folder, "err.txt").read_text(encoding="utf-8", errors="replace")
    first = next((line for line in lines if "begun" in line), None)
    last = next((line for line in lines if "ended" in line), None)
    counts.update(line["fault"] for line in lines if "fault" in line)
    result: dict[str, Any] = {
        "round": number, "disk": schedule.disk, "returncode": process.returncode, "counts": counts,
        "messages": err_text.count("energy-profiler:"), "faults": [], "growth": math.nan,
    }  # fmt: skip
    if not is_over:
        return result | {"faults": ["the process did not end"]}
    if first is None:
        return result | {"faults": [f"no start: {err_text[-500:]}"]}
    sent = schedule.end if counts[schedule.end] else ""
    faults = end_faults(last, process.returncode, err_text, sent)
    faults += record_faults(Path(folder, "run"), first, last, err_text)
    memory = last["memory"] if last else []
    growth = (memory[-1] - memory[len(memory) // 4]) / 2**20 if memory else math.nan
    return result | {"faults": faults, "growth": growth} | measure(Path(folder, "run"), first, last)


def printed(folder: Path) -> list[dict[str, Any]]:
    """Return the whole lines that the process of a round has printed so far."""
    text = Path(folder, "out.txt").read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def drive(
    process: "subprocess.Popen[bytes]",
    folder: Path,
    schedule: Schedule,
    seconds: float,
    counts: "Counter[str]",
) -> bool:
    """Stop, continue and end a process as its schedule has it; return False if it had to be killed."""
    faults, begun = schedule.of("parent"), None
    deadline = time.monotonic() + 10 * seconds + 60
    while process.poll() is None:
        time.sleep(0.05)
        if begun is None:
            begun = next((line["begun"] / 1e9 for line in printed(folder) if "begun" in line), None)
            continue
        now = time.monotonic() - begun
        if (fault := faults.due(now)) is not None:
            counts[fault[0]] += 1
            process.send_signal(signal.SIGSTOP)
            time.sleep(fault[1])
            process.send_signal(signal.SIGCONT)
        if schedule.end and now > schedule.end_seconds and not counts[schedule.end]:
            counts[schedule.end] += 1
            process.send_signal(signal.Signals[schedule.end])
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            return False
    return True


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


def end_faults(last: dict[str, Any] | None, code: int, err: str, end: str) -> list[str]:
    """Return the promises about the end of a process; ``end`` is the name of the signal sent to it, or empty."""
    faults = []
    if "Traceback" in err.replace("Traceback", "", int(end == "SIGINT")):
        faults.append(f"traceback on stderr: {err[-800:]}")
    if code not in ({0, -signal.Signals[end]} if end else {0}):
        faults.append(f"the training ended with {code}")
    if (code == 0) != (last is not None):
        faults.append(f"the training ended with {code} {'before' if last is None else 'after'} its last line")
    return faults


def record_faults(folder: Path, first: dict[str, int], last: dict[str, Any] | None, err: str) -> list[str]:
    """Return the promises about the record that a round broke."""
    from profiler import load_run

    faults: list[str] = []
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


def soak(numbers: Iterable[int], minutes: float, seed: int, round_seconds: float, keep: Path | None) -> int:
    """Run rounds until the time is over; print one line per round and a summary. Return the number of bad rounds."""
    counts, bad, rounds = Counter[str](), 0, 0
    worst = dict.fromkeys(DISKS, 0.0)
    growth = 0.0
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as scratch:
        for number in numbers:
            if time.monotonic() > end:
                break
            rounds += 1
            folder = Path(scratch, f"round-{number}")
            result = run_round(folder, round_seconds, seed, number)
            counts.update(result["counts"])
            bad += bool(result["faults"])
            error = math.nan
            if result.get("total") is not None:
                error = result["total"] / result["truth"] - 1
                worst[result["disk"]] = max(worst[result["disk"]], abs(error))
            growth = max(growth, result["growth"])  # the first operand is kept where it is NaN
            kinds = ", ".join(f"{kind}: {n}" for kind, n in sorted(result["counts"].items()))
            print(f"round {number}, error {100 * error:+.3f} %, {result['messages']} messages; {kinds}")
            for fault in result["faults"]:
                print(f"    FAULT: {fault}")
            if result["faults"]:
                print(f"    repeat with --seed {seed} --round {number} --round-seconds {round_seconds:g}")
                if keep is not None:
                    print(f"    kept in {keep_round(folder, keep, seed, result)}")
            shutil.rmtree(folder, ignore_errors=True)
            sys.stdout.flush()
    errors = ", ".join(f"{100 * worst[disk]:.2f} % ({disk} disk)" for disk in dict.fromkeys(DISKS))
    print(f"\n{rounds} rounds, {bad} with faults, largest error of a total {errors}")
    print(f"  largest growth of memory after the first quarter of a round: {growth:.1f} MiB")
    for kind, number in sorted(counts.items()):
        print(f"  {kind}: {number}")
    return bad


def keep_round(folder: Path, keep: Path, seed: int, result: dict[str, Any]) -> Path:
    """Move the directory of a round below ``keep``, with its results, and return its new path."""
    Path(folder, "result.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    keep.mkdir(parents=True, exist_ok=True)
    target = keep / f"seed-{seed}-round-{result['round']}"
    shutil.rmtree(target, ignore_errors=True)  # of an earlier repetition
    return Path(shutil.move(folder, target))


def main() -> int:
    """Parse the command line."""
    if sys.argv[1:2] == ["--child"]:
        folder, seconds, seed, number = sys.argv[2:]
        child(Path(folder), float(seconds), int(seed), int(number))
        return 0
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round-seconds", type=float, default=30.0)
    parser.add_argument("--round", type=int, help="run only this round of the seed")
    parser.add_argument("--keep", type=Path, help="keep each round that broke a promise in this folder")
    options = parser.parse_args()
    numbers = itertools.count(1) if options.round is None else [options.round]
    bad = soak(numbers, options.minutes, options.seed, options.round_seconds, options.keep)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
