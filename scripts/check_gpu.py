"""Checks of the profiler and of a board's sensor that require an NVIDIA GPU. Takes about four minutes.

Measures whether recording adds synchronisations, its overhead per step, whether energy is assigned to the steps that
used it although the host runs ahead, whether the energy counter agrees with the board's power readings, and whether the
counter is a true integral or a sum of part-time readings. ``--write`` writes the results to docs/gpu-check.md. Requires
torch with CUDA and an otherwise unused board with an energy counter (Volta or newer).
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pynvml
import torch
from torch import nn

from profiler import EnergyProfiler
from profiler.torch_hooks.manager import hook_manager

ROOT = Path(__file__).resolve().parent.parent
WAITS = ("cudaDeviceSynchronize", "cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy")
PHASES = 8
PART_TIME_SPREAD = 0.10
"""An integrating counter measures the same power at each phase of a wave; a part-time counter does not."""


class Finding(NamedTuple):
    """Row of the page."""

    what: str
    found: str
    bar: str


class Board:
    """The board that torch uses, read through NVML."""

    def __init__(self) -> None:
        pynvml.nvmlInit()
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        self.name = properties.name
        self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")
        self.driver = pynvml.nvmlSystemGetDriverVersion()

    def joules(self) -> float:
        """Return the energy counter in joules."""
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3

    def watts(self) -> float:
        """Return instantaneous power if the driver supports it, otherwise the power usage, in watts."""
        (field,) = pynvml.nvmlDeviceGetFieldValues(self._handle, [pynvml.NVML_FI_DEV_POWER_INSTANT])
        if field.nvmlReturn == pynvml.NVML_SUCCESS and field.value.uiVal:
            return float(field.value.uiVal) / 1e3
        return float(pynvml.nvmlDeviceGetPowerUsage(self._handle)) / 1e3

    def next_change(self) -> tuple[float, float]:
        """Wait until the counter changes; return the time and its value."""
        before = self.joules()
        while (value := self.joules()) == before:
            time.sleep(0.001)
        return time.perf_counter(), value

    def period(self) -> float:
        """Return the median of twenty intervals between changes of the counter, in seconds."""
        moments = [self.next_change()[0] for _ in range(21)]
        return statistics.median(b - a for a, b in pairwise(moments))


class Work:
    """Heavy work (matrix products) and light work (one spinning thread) of known duration on the device."""

    def __init__(self) -> None:
        self._matrix = torch.randn(4096, 4096, device="cuda", dtype=torch.float16)
        self._out = torch.empty_like(self._matrix)
        self._product = self._seconds(lambda: torch.mm(self._matrix, self._matrix, out=self._out), 200)
        self._cycle = self._seconds(lambda: torch.cuda._sleep(1_000_000), 20) / 1e6  # noqa: SLF001 - torch's own tests use it

    @staticmethod
    def _seconds(launch: Callable[[], object], times: int) -> float:
        for _ in range(times):
            launch()
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(times):
            launch()
        torch.cuda.synchronize()
        return (time.perf_counter() - begun) / times

    def heavy(self, seconds: float) -> None:
        """Launch heavy work."""
        for _ in range(max(round(seconds / self._product), 1)):
            torch.mm(self._matrix, self._matrix, out=self._out)

    def light(self, seconds: float) -> None:
        """Launch light work."""
        torch.cuda._sleep(max(round(seconds / self._cycle), 1))  # noqa: SLF001 - torch's own tests use it


def small_loop() -> Callable[[int], None]:
    """Return a loop of short steps, for which overhead is visible, that never waits for the device."""
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)).cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    inputs, labels = torch.randn(64, 256, device="cuda"), torch.randint(0, 10, (64,), device="cuda")

    def train(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()

    train(50)
    torch.cuda.synchronize()
    return train


@contextmanager
def hooked() -> Iterator[list[tuple[object, ...]]]:
    """Attach the hooks alone, without sampling."""
    events: list[tuple[object, ...]] = []
    sink = events.append
    hook_manager().attach(sink)
    try:
        yield events
    finally:
        hook_manager().detach(sink)


def synchronisations(train: Callable[[int], None]) -> Finding:
    """Turn synchronisations into errors, then count them in traces with and without the hooks."""
    with hooked() as events:
        train(5)
        torch.cuda.set_sync_debug_mode("error")
        try:
            train(50)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        complaints = [hook_manager().failure, *hook_manager().scalars.warnings]
    errors = "; ".join(str(one) for one in complaints if one) or "none"
    added = _waits(train, recorded=True) - _waits(train, recorded=False)
    found = f"{added:+d} in a trace of 100 steps; errors: {errors}; {len(events)} of 55 steps recorded"
    return Finding("synchronisations added by recording", found, "0, no errors, all recorded")


def _waits(train: Callable[[int], None], *, recorded: bool) -> int:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
        if recorded:
            with hooked():
                train(100)
        else:
            train(100)
    return sum(event.count for event in trace.key_averages() if event.key in WAITS)


def overhead(train: Callable[[int], None], rounds: int = 30) -> Finding:
    """Compare the wall time of paired blocks of steps."""
    differences, steps = [], []
    for _ in range(rounds):
        before = _microseconds(train)
        with hooked():
            during = _microseconds(train)
        after = _microseconds(train)
        differences.append(during - (before + after) / 2)
        steps.append(before)
    found = f"{statistics.median(differences):.1f} on a step of {statistics.median(steps):.0f}"
    return Finding("overhead of the hooks with CUDA events and losses, us per step", found, "20")


def _microseconds(train: Callable[[int], None], steps: int = 200) -> float:
    torch.cuda.synchronize()
    begun = time.perf_counter()
    train(steps)
    torch.cuda.synchronize()
    return (time.perf_counter() - begun) / steps * 1e6


def steady_watts(board: Board, launch: Callable[[float], None], seconds: float = 10.0) -> float:
    """Return the mean power by the counter during one kind of work, in watts."""
    _keep_busy(launch, 2.0)
    (start, first), _ = board.next_change(), _keep_busy(launch, seconds)
    end, last = board.next_change()
    return (last - first) / (end - start)


def _keep_busy(launch: Callable[[float], None], seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        launch(0.05)
        torch.cuda.synchronize()


def attribution(
    board: Board, work: Work, folder: Path, *, pairs: int = 40, step: float = 0.25
) -> list[Finding]:
    """Record alternating heavy and light steps, launched without waiting; check their energies and end times."""
    watts = [steady_watts(board, work.light), steady_watts(board, work.heavy)]
    weight = nn.Parameter(torch.ones((), device="cuda"))
    optimizer = torch.optim.SGD([weight], lr=1e-9)
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2 * pairs + 1)]
    torch.cuda.synchronize()
    with EnergyProfiler(run_dir=folder / "attribution") as prof:
        events[0].record()
        torch.cuda.synchronize()
        origin = time.monotonic_ns()
        for number, event in enumerate(events[1:]):
            (work.heavy if number % 2 else work.light)(step)
            (weight * 1.0).backward()
            optimizer.step()
            event.record()
            while number > 3 and not events[number - 2].query():
                time.sleep(0.002)
        torch.cuda.synchronize()
    ends = [events[0].elapsed_time(event) / 1e3 for event in events[1:]]
    started = prof._session._pipeline.start_ns  # noqa: SLF001 - to convert between the two clocks
    steps = prof.run.steps
    late = [
        1e3 * (float(recorded) - (origin - started) / 1e9 - end)
        for recorded, end in zip(steps["end_seconds"], ends, strict=True)
    ]
    found = f"{statistics.median(late):+.1f}, {max(late, key=abs):+.1f}"
    lengths = [b - a for a, b in pairwise([0.0, *ends])]
    return [
        Finding("end of a step, recorded minus true, ms: median, maximum", found, "10, 50"),
        *_shares(steps["gpu_joules"].tolist(), lengths, watts),
    ]


def _shares(joules: Sequence[float], lengths: Sequence[float], watts: Sequence[float]) -> Iterator[Finding]:
    """Compare the mean joules of each kind of step with steady power times true length, without the first ten steps."""
    for kind, name in enumerate(("light", "heavy")):
        chosen = range(10 + kind, len(joules), 2)
        recorded = statistics.mean(joules[number] for number in chosen)
        true = statistics.mean(watts[kind] * lengths[number] for number in chosen)
        found = f"{recorded:.2f} J recorded, {true:.2f} J by its steady power of {watts[kind]:.0f} W"
        yield Finding(
            f"{name} steps of {1e3 * statistics.mean(lengths):.0f} ms, alternating", found, "within 10 %"
        )


def agreement(board: Board, work: Work, seconds: float = 15.0) -> Finding:
    """Compare the counter with the integrated power readings under a load that changes every second."""
    start, first = board.next_change()
    moments, watts, heavy = [start], [board.watts()], False
    while moments[-1] < start + seconds:
        heavy = int(moments[-1] - start) % 2 == 0
        (work.heavy if heavy else work.light)(0.02)
        torch.cuda.synchronize()
        moments.append(time.perf_counter())
        watts.append(board.watts())
    end, last = board.next_change()
    integrated = integrate([*moments, end], [*watts, board.watts()])
    counted = last - first
    off = 100 * (counted / integrated - 1)
    found = f"{counted:.0f} J counted, {integrated:.0f} J integrated: {off:+.1f} %"
    return Finding("counter against power readings", found, "5 %")


def integrate(moments: Sequence[float], watts: Sequence[float]) -> float:
    """Integrate by the trapezoid rule, in joules."""
    seen = list(zip(moments, watts, strict=True))
    return sum((b - a) * (p + q) / 2 for (a, p), (b, q) in pairwise(seen))


def part_time(board: Board, work: Work, *, seconds: float = 6.0) -> Finding:
    """Apply a wave with the period of the counter at several phases; an integrating counter shows equal power."""
    period = board.period()
    watts = []
    for phase in range(PHASES):
        _wave(work, period, 0.5, offset=phase / PHASES)
        start, first = board.next_change()
        _wave(work, period, seconds, offset=phase / PHASES)
        end, last = board.next_change()
        watts.append((last - first) / (end - start))
    seen = ", ".join(f"{one:.0f}" for one in watts)
    found = f"{verdict(watts)} (updated every {1e3 * period:.0f} ms; W by phase: {seen})"
    return Finding("the energy counter", found, "-")


def _wave(work: Work, period: float, seconds: float, *, offset: float, duty: float = 0.25) -> None:
    """Do heavy work for a quarter of each period, starting at a fixed phase of the host's clock."""
    first = (time.perf_counter() // period + 1 + offset) * period
    for number in range(round(seconds / period)):
        time.sleep(max(first + number * period - time.perf_counter(), 0.0))
        work.heavy(duty * period)
    torch.cuda.synchronize()


def verdict(watts: Sequence[float]) -> str:
    """Classify a counter from its mean power, in watts, at equally spaced phases of a wave."""
    spread = (max(watts) - min(watts)) / statistics.mean(watts)
    kind = "sums part-time readings" if spread > PART_TIME_SPREAD else "is a true integral"
    return f"{kind}: differs by {100 * spread:.0f} % between phases"


def measure(board: Board, folder: Path) -> Iterator[Finding]:
    """Run all checks."""
    train, work = small_loop(), Work()
    yield synchronisations(train)
    yield overhead(train)
    yield from attribution(board, work, folder)
    yield agreement(board, work)
    yield part_time(board, work)


def page(board: Any, findings: Sequence[Finding]) -> str:
    """Return the page in Markdown."""
    machine = (
        f"{board.name}, driver {board.driver}, torch {torch.__version__}, Python {sys.version.split()[0]}"
    )
    table = "\n".join(f"| {one.what} | {one.found} | {one.bar} |" for one in findings)
    return (
        f"# Checks on a GPU\n\nWritten by `scripts/check_gpu.py --write` ({machine}).\n\n"
        f"| check | result | requirement |\n|---|---|---|\n{table}\n"
    )


def main() -> int:
    """Run the checks, print and optionally write the page."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--write", action="store_true", help="write docs/gpu-check.md")
    write = options.parse_args().write
    if not torch.cuda.is_available():
        print(
            "check_gpu: torch finds no CUDA device here; run this on a machine with an NVIDIA GPU.",
            file=sys.stderr,
        )
        return 1
    board = Board()
    with tempfile.TemporaryDirectory() as folder:
        found = page(board, list(measure(board, Path(folder))))
    print(found)
    if write:
        (ROOT / "docs" / "gpu-check.md").write_text(found, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
