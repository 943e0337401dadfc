"""Benchmark of the cost of the profiler: steps, sampling, start, exit, imports, memory and log growth.

Each figure is printed with its bar. Machines are noisy, so steps are timed in paired blocks of processor time, with an
A/A control, and medians are printed. ``--write`` writes the table to docs/overhead.md; ``--hooks`` measures the hooks
only. Needs torch; takes about five minutes. Other tools are measured beside it where they are installed.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import deque
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from overhead_peers import peer_rows
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from profiler import EnergyProfiler, fit_curve, load_run
from profiler.config import ProfilerConfig
from profiler.monitoring.monitor import Monitor
from profiler.recording.pipeline import Pipeline
from profiler.records import Domain, Provenance, Reading
from profiler.storage.writer import RunWriter
from profiler.torch_hooks.manager import hook_manager
from tests.support.pipelines import build_pipeline
from tests.support.runs import write_run

ROOT = Path(__file__).resolve().parent.parent
DOMAINS = ("gpu:0", "cpu:package-0", "dram:package-0")
SECOND = 1_000_000_000
_FIRST_STEPS = 10
"""Steps after an attachment that are not timed: the first ones find the optimizer and the probe parameters."""


def make_loop(width: int, *, micro_batches: int = 1, scaled: bool = False) -> Callable[[int], float]:
    """Return a function that trains a small MLP for some steps and returns the microseconds of processor time per step.

    Args:
        width: Width of the layers.
        micro_batches: Number of backward passes per step.
        scaled: Use a gradient scaler.
    """
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    inputs, labels = torch.randn(32, width), torch.randint(0, 10, (32,))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def train(steps: int) -> float:
        begun = time.process_time_ns()
        for _ in range(steps):
            optimizer.zero_grad()
            for _ in range(micro_batches):
                loss = functional.cross_entropy(model(inputs), labels)
                (scaler.scale(loss) if scaled else loss).backward()
            if scaled:
                scaler.step(optimizer)
                scaler.update()
            else:
                optimizer.step()
        return (time.process_time_ns() - begun) / steps / 1e3

    return train


def paired(
    train: Callable[[int], float], on: Callable[[], None], off: Callable[[], None], rounds: int = 40
) -> float:
    """Return the median of (with - mean of without before and after), in microseconds per step."""
    differences = []
    for _ in range(rounds):
        before = train(150)
        on()
        train(_FIRST_STEPS)
        during = train(150)
        off()
        differences.append(during - (before + train(150)) / 2)
    return statistics.median(differences)


def nothing() -> None:
    """The A/A control."""


def hooks(train: Callable[[int], float]) -> str:
    """Return the microseconds per step of the hooks, of the control and of the step itself, as text."""
    sink = deque(maxlen=1000).append
    found = hook_manager()
    train(500)
    base = statistics.median(train(150) for _ in range(20))
    control = paired(train, nothing, nothing)
    cost = paired(train, lambda: found.attach(sink), lambda: found.detach(sink))
    return f"{cost:.1f} (A/A control {control:+.1f}) on a step of {base:.0f}"


def hook_rows() -> list[tuple[str, str, str]]:
    """Return the rows of the hooks."""
    return [
        ("hooks, us per step", hooks(make_loop(width=160)), "8; aim 6"),
        ("hooks, two micro-batches, us per step", hooks(make_loop(width=160, micro_batches=2)), "15"),
        ("hooks, gradient scaler, us per step", hooks(make_loop(width=160, scaled=True)), "15"),
        ("hook in data loaders, us per batch", f"{loading():.1f}", "3.3"),
    ]


def loading() -> float:
    """Return the microseconds per batch of the hook in data loaders."""
    loader = DataLoader(TensorDataset(torch.randn(150 * 8, 16)), 8)

    def load(_: int) -> float:
        begun = time.process_time_ns()
        for _ in loader:
            pass
        return (time.process_time_ns() - begun) / 150 / 1e3

    sink = deque(maxlen=1000).append
    found = hook_manager()
    load(0)
    return paired(load, lambda: found.attach(sink, times_loading=True), lambda: found.detach(sink))


def whole(train: Callable[[int], float], folder: Path) -> tuple[float, float, float, float]:
    """Return us per step with everything on and of the recorder's thread, and seconds to start and to stop."""
    differences, threads, starts, stops = [], [], [], []
    for round_ in range(3):
        before = train(3000)
        prof = EnergyProfiler(run_dir=folder / f"whole-{round_}")
        begun = time.perf_counter()
        prof.start()
        starts.append(time.perf_counter() - begun)
        train(_FIRST_STEPS)
        during = train(3000)
        spent = prof._session._sampler.cost.cpu_seconds  # noqa: SLF001 - without the end of the run
        threads.append(spent / (3000 + _FIRST_STEPS) * 1e6)
        begun = time.perf_counter()
        prof.stop()
        stops.append(time.perf_counter() - begun)
        differences.append(during - (before + train(3000)) / 2)
    return tuple(map(statistics.median, (differences, threads, starts, stops)))


def idle_share() -> float:
    """Return the processor time of the sampler thread over wall time without steps."""
    with tempfile.TemporaryDirectory() as folder, EnergyProfiler(run_dir=Path(folder) / "idle") as prof:
        begun = time.perf_counter()
        time.sleep(10)
        return float(prof._session._sampler.cost.cpu_seconds / (time.perf_counter() - begun))  # noqa: SLF001


def import_seconds() -> float:
    """Return the median time of ``import profiler`` and of its main class in seven new processes, without torch."""
    timed = "import time; t = time.perf_counter(); import profiler; profiler.EnergyProfiler"
    script = f"{timed}; print(time.perf_counter() - t)"
    times = [float(subprocess.check_output([sys.executable, "-c", script])) for _ in range(7)]
    return statistics.median(times)


def record(
    steps: int, step_ns: int, folder: Path, *, traced: bool = False, grown_since: int = 0
) -> tuple[float, int, int, int]:
    """Feed a recorder with simulated steps.

    Return microseconds per step, bytes of memory held at the end if traced, bytes written, and the bytes by which the
    process has grown since the step ``grown_since``.
    """
    process, resident = psutil.Process(), 0
    domains = [Domain(name=name, source="scripted", provenance=Provenance.COUNTER) for name in DOMAINS]
    writer = RunWriter(folder, print)
    monitor = Monitor(ProfilerConfig(), print)
    recorder, inbox, _, _ = build_pipeline(domains, writer, devices=("cpu",), monitor=monitor)
    writer.open({})
    beat(recorder, 0)
    recorder.begin(0)
    if traced:
        tracemalloc.start()
    begun = time.process_time()
    done = 0
    for tick in range(1, steps * step_ns // (SECOND // 10) + 2):
        now = tick * SECOND // 10
        while done < steps and (done + 1) * step_ns <= now:
            done += 1
            end = done * step_ns
            update = (end, 1.0, end - step_ns // 2, end - step_ns // 10, 0.1, 0, 1, 0, 0, 0, 0)
            inbox.events.append(update)
        if not resident and done >= grown_since:
            resident = process.memory_info().rss
        beat(recorder, now)
        if tick % 5 == 0:
            recorder.drain(now)
            monitor.advance(recorder.progress(now))
    spent = time.process_time() - begun
    held, _ = tracemalloc.get_traced_memory()
    if traced:
        tracemalloc.stop()
    grown = process.memory_info().rss - resident
    recorder.finish(done * step_ns)
    writer.close()
    return spent / steps * 1e6, held, writer.bytes_written, grown


def beat(recorder: Pipeline, now: int) -> None:
    """One reading of every domain at 100 W."""
    recorder.add([Reading(domain=name, time_ns=now, energy_joules=100 * now / SECOND) for name in DOMAINS])


def fit_milliseconds(points: int) -> float:
    """Return the median of nine fits."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(points, generator=generator, dtype=torch.float64).mul(0.03).exp()
    joules = torch.arange(1, points + 1, dtype=torch.float64)
    losses = (1.5 + 3.0 * joules.pow(-0.4)) * noise
    times = []
    for _ in range(9):
        begun = time.perf_counter()
        fit_curve(joules.numpy(), losses.numpy())
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e3


def report_seconds(folder: Path, steps: int) -> float:
    """Return the time to read a run of many rows and to write its page."""
    path = write_run(folder / f"long-{steps}", steps=steps)
    begun = time.perf_counter()
    load_run(path).report(folder / "long.html")
    return time.perf_counter() - begun


def measure(folder: Path) -> list[tuple[str, str, str]]:
    """Return every figure with its bar."""
    train = make_loop(width=160)
    total, thread, start, stop = whole(train, folder)
    per_row, *_ = record(9_000, SECOND // 2000, folder / "rows")
    per_step, *_ = record(500_000, SECOND // 2000, folder / "blocks")
    _, held_short, *_ = record(100_000, SECOND // 2000, folder / "short", traced=True)
    _, held_long, *_ = record(400_000, SECOND // 2000, folder / "long-feed", traced=True)
    *_, grown = record(10_000_000, SECOND // 2000, folder / "ten-million", grown_since=1_000_000)
    _, _, hour_bytes, _ = record(720_000, SECOND // 200, folder / "hour")
    return [
        *hook_rows(),
        ("everything on, one row per step, us per step", f"{total:.1f}", "15 (64 to 70 before)"),
        ("recorder thread in that loop, readings included, us per step", f"{thread:.1f}", "-"),
        ("sampler thread, share of one core, idle loop", f"{100 * idle_share():.2f} %", "0.3 %"),
        (
            "recorder thread on scripted steps, us per step: first 10,000 / later",
            f"{per_row:.1f} / {per_step:.1f}",
            "- (12.3 / 4.6 before)",
        ),
        ("import profiler without torch, s", f"{import_seconds():.3f}", "0.1"),
        ("start, s", f"{start:.3f}", "0.3"),
        ("exit with the report, s", f"{stop:.3f}", "1"),
        (
            "memory held, MiB, after 1e5 / 4e5 steps",
            f"{held_short / 2**20:.2f} / {held_long / 2**20:.2f}",
            "constant",
        ),
        ("growth of the process from 1e6 to 1e7 steps, MiB", f"{grown / 2**20:.2f}", "constant"),
        (
            "logs per day at 200 steps/s and 3 domains, MB (24 x the first hour)",
            f"{hour_bytes * 24 / 1e6:.0f}",
            "115",
        ),
        (
            "fit of 1e4 / 1e6 points, ms",
            f"{fit_milliseconds(10_000):.1f} / {fit_milliseconds(1_000_000):.0f}",
            "20 / 200",
        ),
        ("page of a run of 1e6 steps (about 12,000 rows), s", f"{report_seconds(folder, 12_000):.2f}", "3"),
        *peer_rows(),
    ]


def main() -> None:
    """Measure, print, and write the page if asked."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--write", action="store_true", help="write docs/overhead.md")
    options.add_argument("--hooks", action="store_true", help="measure the hooks only, and write nothing")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = hook_rows() if chosen.hooks else measure(Path(folder))
    table = "\n".join(f"| {what} | {figure} | {bar} |" for what, figure, bar in rows)
    machine = f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, one torch thread"
    page = (
        "# What the profiler costs\n\n"
        f"Made by `scripts/benchmark_overhead.py --write` ({machine}). Medians of paired blocks of processor time.\n"
        "[Reading](readers.md) has the cost of the commands that read runs.\n\n"
        f"| what | measured | bar |\n|---|---|---|\n{table}\n"
    )
    print(page)
    if chosen.write and not chosen.hooks:
        (ROOT / "docs" / "overhead.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
