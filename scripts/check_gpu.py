"""What only a machine with an NVIDIA GPU can tell of the profiler and of the board's own sensor. About four minutes.

Checks that recording adds no synchronisation, what it costs a step, that joules go to the steps that used them although
the host runs ahead, whether the energy counter agrees with the board's power readings, and whether it counts at all
times or adds up readings of a part of the time. ``--write`` puts the results into docs/gpu-check.md. Needs torch with
CUDA and a board with an energy counter (Volta or newer) that nobody else uses meanwhile.
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
from profiler.torch_hooks.manager import dispatcher

ROOT = Path(__file__).resolve().parent.parent
WAITS = ("cudaDeviceSynchronize", "cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy")
PHASES = 8
PART_TIME_SPREAD = 0.10
"""A counter of all time sees the same power at each phase of a wave; one that looks a quarter of the time does not."""


class Finding(NamedTuple):
    """One line of the page."""

    what: str
    found: str
    bar: str


class Board:
    """The board that torch works on, as NVML sees it."""

    def __init__(self) -> None:
        pynvml.nvmlInit()
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        self.name = properties.name
        self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")
        self.driver = pynvml.nvmlSystemGetDriverVersion()

    def joules(self) -> float:
        """The energy counter."""
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3

    def watts(self) -> float:
        """Momentary power where the driver has it, else what it calls power."""
        (field,) = pynvml.nvmlDeviceGetFieldValues(self._handle, [pynvml.NVML_FI_DEV_POWER_INSTANT])
        if field.nvmlReturn == pynvml.NVML_SUCCESS and field.value.uiVal:
            return float(field.value.uiVal) / 1e3
        return float(pynvml.nvmlDeviceGetPowerUsage(self._handle)) / 1e3

    def next_change(self) -> tuple[float, float]:
        """Wait for the counter to move; returns the time and its value."""
        before = self.joules()
        while (value := self.joules()) == before:
            time.sleep(0.001)
        return time.perf_counter(), value

    def period(self) -> float:
        """Seconds from one change of the counter to the next, the median of twenty."""
        moments = [self.next_change()[0] for _ in range(21)]
        return statistics.median(b - a for a, b in pairwise(moments))


# -- work ----------------------------------------------------------------------------------------------------------


class Work:
    """Heavy work (matrix products) and light work (one thread that spins) that take the device a known time."""

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
    """A loop whose steps are short, so that what is added to them shows, and which never waits for the device."""
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
    """The hooks alone, without sampling."""
    events: list[tuple[object, ...]] = []
    sink = events.append
    dispatcher().attach(sink)
    try:
        yield events
    finally:
        dispatcher().detach(sink)


# -- what recording does to the training ---------------------------------------------------------------------------


def synchronisations(train: Callable[[int], None]) -> Finding:
    """Make every wait an error, then count waits in a trace with and without the hooks."""
    with hooked() as events:
        train(5)
        torch.cuda.set_sync_debug_mode("error")
        try:
            train(50)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        complaints = [dispatcher().failure, *dispatcher().scalars.unreadable]
    refused = "; ".join(str(one) for one in complaints if one) or "none refused"
    added = _waits(train, recorded=True) - _waits(train, recorded=False)
    found = f"{added:+d} in 100 steps of a trace; made errors: {refused}, {len(events)} of 55 steps seen"
    return Finding("waits for the device that recording adds", found, "0, none refused, all seen")


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
    """Wall time of paired blocks of steps."""
    differences, steps = [], []
    for _ in range(rounds):
        before = _microseconds(train)
        with hooked():
            during = _microseconds(train)
        after = _microseconds(train)
        differences.append(during - (before + after) / 2)
        steps.append(before)
    found = f"{statistics.median(differences):.1f} on a step of {statistics.median(steps):.0f}"
    return Finding("hooks with stamps and losses from the device, us a step", found, "20")


def _microseconds(train: Callable[[int], None], steps: int = 200) -> float:
    torch.cuda.synchronize()
    begun = time.perf_counter()
    train(steps)
    torch.cuda.synchronize()
    return (time.perf_counter() - begun) / steps * 1e6


# -- whose joules ---------------------------------------------------------------------------------------------------


def steady_watts(board: Board, launch: Callable[[float], None], seconds: float = 10.0) -> float:
    """Mean power by the counter while the device does one kind of work."""
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
    """Heavy and light steps in turn, launched without waiting: what is each said to take, and when to end?"""
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
    started = prof._session._recorder.start_ns  # noqa: SLF001 - the two clocks have to be brought together
    steps = prof.run.steps
    late = [
        1e3 * (float(said) - (origin - started) / 1e9 - end)
        for said, end in zip(steps["end_seconds"], ends, strict=True)
    ]
    found = f"{statistics.median(late):+.1f}, {max(late, key=abs):+.1f}"
    lengths = [b - a for a, b in pairwise([0.0, *ends])]
    return [
        Finding("end of a step, said minus true, ms: median, worst", found, "10, 50"),
        *_shares(steps["gpu_joules"].tolist(), lengths, watts),
    ]


def _shares(joules: Sequence[float], lengths: Sequence[float], watts: Sequence[float]) -> Iterator[Finding]:
    """Mean joules of each kind of step beside steady power times true length; the first ten are left out."""
    for kind, name in enumerate(("light", "heavy")):
        chosen = range(10 + kind, len(joules), 2)
        said = statistics.mean(joules[number] for number in chosen)
        true = statistics.mean(watts[kind] * lengths[number] for number in chosen)
        found = f"{said:.2f} J said, {true:.2f} J by its steady power of {watts[kind]:.0f} W"
        yield Finding(
            f"{name} steps of {1e3 * statistics.mean(lengths):.0f} ms in turn", found, "within 10 %"
        )


# -- what the board's sensor is ------------------------------------------------------------------------------------


def agreement(board: Board, work: Work, seconds: float = 15.0) -> Finding:
    """The counter beside its power readings, integrated over time, under a load that changes every second."""
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
    """Trapezoids."""
    seen = list(zip(moments, watts, strict=True))
    return sum((b - a) * (p + q) / 2 for (a, p), (b, q) in pairwise(seen))


def part_time(board: Board, work: Work, *, seconds: float = 6.0) -> Finding:
    """A wave in step with the counter, at several phases: one that counts at all times sees the same power in each."""
    period = board.period()
    watts = []
    for phase in range(PHASES):
        _wave(work, period, 0.5, offset=phase / PHASES)
        start, first = board.next_change()
        _wave(work, period, seconds, offset=phase / PHASES)
        end, last = board.next_change()
        watts.append((last - first) / (end - start))
    seen = ", ".join(f"{one:.0f}" for one in watts)
    found = f"{verdict(watts)} (renewed every {1e3 * period:.0f} ms; W by phase: {seen})"
    return Finding("the energy counter", found, "-")


def _wave(work: Work, period: float, seconds: float, *, offset: float, duty: float = 0.25) -> None:
    """Heavy work for a quarter of each period, which begins at a fixed phase of the host's clock."""
    first = (time.perf_counter() // period + 1 + offset) * period
    for number in range(round(seconds / period)):
        time.sleep(max(first + number * period - time.perf_counter(), 0.0))
        work.heavy(duty * period)
    torch.cuda.synchronize()


def verdict(watts: Sequence[float]) -> str:
    """Say what a counter is whose mean power was ``watts`` at equally spaced phases of one wave."""
    spread = (max(watts) - min(watts)) / statistics.mean(watts)
    kind = "adds up readings of a part of the time" if spread > PART_TIME_SPREAD else "counts at all times"
    return f"{kind}: {100 * spread:.0f} % between phases"


# -- the page ------------------------------------------------------------------------------------------------------


def measure(board: Board, folder: Path) -> Iterator[Finding]:
    """Every check."""
    train, work = small_loop(), Work()
    yield synchronisations(train)
    yield overhead(train)
    yield from attribution(board, work, folder)
    yield agreement(board, work)
    yield part_time(board, work)


def page(board: Any, findings: Sequence[Finding]) -> str:
    """The page in Markdown."""
    machine = (
        f"{board.name}, driver {board.driver}, torch {torch.__version__}, Python {sys.version.split()[0]}"
    )
    table = "\n".join(f"| {one.what} | {one.found} | {one.bar} |" for one in findings)
    return (
        f"# Checked on a GPU\n\nMade by `scripts/check_gpu.py --write` ({machine}).\n\n"
        f"| what | found | bar |\n|---|---|---|\n{table}\n"
    )


def main() -> int:
    """Check, print and perhaps write the page."""
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
