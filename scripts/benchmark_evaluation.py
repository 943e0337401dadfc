"""Benchmark of evaluation spans, and of the whole profiler beside an earlier version of it.

An evaluation of 50 batches between two steps is timed with and without the hooks, in paired blocks of processor time,
with an A/A control. ``--before TREE`` also times a training loop under the profiler of another checkout and under this
one, in turn. ``--write`` puts the table at the end of docs/programs.md. Takes about a minute::

    git worktree add ../before COMMIT
    python scripts/benchmark_evaluation.py --before ../before --write
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from profiler.torch_hooks.manager import hook_manager

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "programs.md"
TITLE = "## Cost of evaluations, and of training loops beside an earlier version"
BATCHES, ROUNDS, RUNS = 50, 25, 5

TRAINING = """
import statistics, sys, tempfile, time
import torch
from torch import nn
from profiler import EnergyProfiler
torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(160, 160), nn.ReLU(), nn.Linear(160, 160), nn.ReLU(), nn.Linear(160, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
inputs, labels = torch.randn(32, 160), torch.randint(0, 10, (32,))

def train(steps):
    begun = time.process_time_ns()
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return (time.process_time_ns() - begun) / steps / 1e3

train(500)
differences = []
with tempfile.TemporaryDirectory() as folder:
    for number in range(5):
        before = train(1000)
        prof = EnergyProfiler(run_dir=f"{folder}/{number}").start()
        train(10)
        during = train(1000)
        prof.stop()
        differences.append(during - (before + train(1000)) / 2)
print(statistics.median(differences))
"""


def make_evaluation(*, region_per_batch: bool) -> Callable[[], float]:
    """Return a function that makes an update and an evaluation, and returns the processor time of the latter in us."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(160, 160), nn.ReLU(), nn.Linear(160, 160), nn.ReLU(), nn.Linear(160, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    inputs = torch.randn(256, 160)

    def evaluate() -> float:
        optimizer.zero_grad()
        model(inputs[:32]).square().mean().backward()
        optimizer.step()
        begun = time.process_time_ns()
        model.eval()
        if region_per_batch:
            for _ in range(BATCHES):
                with torch.no_grad():
                    model(inputs)
        else:
            with torch.no_grad():
                for _ in range(BATCHES):
                    model(inputs)
        model.train()
        return (time.process_time_ns() - begun) / 1e3

    return evaluate


def block(evaluate: Callable[[], float]) -> float:
    """Return the median of 15 evaluations, without the first ones after a change of hooks."""
    for _ in range(6):
        evaluate()
    return statistics.median(evaluate() for _ in range(15))


def evaluation_row(what: str, *, region_per_batch: bool) -> str:
    """Return a row: microseconds per evaluation, its share, and the A/A control."""
    evaluate = make_evaluation(region_per_batch=region_per_batch)
    sink, manager = deque(maxlen=1000).append, hook_manager()
    block(evaluate)
    costs, controls, plain = [], [], []
    for _ in range(ROUNDS):
        before = block(evaluate)
        manager.attach(sink)
        during = block(evaluate)
        manager.detach(sink)
        after, last = block(evaluate), block(evaluate)
        costs.append(during - (before + after) / 2)
        controls.append(after - (before + last) / 2)
        plain.append(before)
    base, cost, control = map(statistics.median, (plain, costs, controls))
    return (
        f"| {what}, us | {cost:.1f} ({100 * cost / base:.2f} %; A/A control {control:+.1f}) on {base:,.0f} "
        "| 1 % |"
    )


def training_row(tree: Path) -> str:
    """Return a row: microseconds per step of everything that the profiler does, before and now."""
    found: dict[Path, list[float]] = {tree: [], ROOT: []}
    for _ in range(RUNS):
        for place, values in found.items():
            environ = {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
            text = subprocess.run(
                [sys.executable, "-c", TRAINING],
                env=environ,
                cwd="/",
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            values.append(float(text))
    before, now = (statistics.median(values) for values in found.values())
    commit = subprocess.run(
        ["git", "-C", tree, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return (
        f"| a step with `torch.optim`, everything on, us: commit {commit} / now | {before:.1f} / {now:.1f} "
        "| not more |"
    )


def with_section(page: str, table: str) -> str:
    """Replace the section at the end of a page, or append it."""
    return f"{page.partition(TITLE)[0].rstrip()}\n\n{TITLE}\n\n{table}"


def main() -> None:
    """Measure, print, and write the section if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, help="checkout of an earlier version")
    parser.add_argument("--write", action="store_true", help="write the table into docs/programs.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        evaluation_row(f"an evaluation of {BATCHES} batches, one `no_grad`", region_per_batch=False),
        evaluation_row("the same, one `no_grad` per batch", region_per_batch=True),
    ]
    if options.before is not None:
        rows.append(training_row(options.before.resolve()))
    table = (
        "Made by `scripts/benchmark_evaluation.py --before CHECKOUT --write`: medians of paired blocks of processor "
        "time, one torch\nthread, on a shared machine.\n\n| what | extra cost | bar |\n|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )
    print(table)
    if options.write:
        PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), table), encoding="utf-8")


if __name__ == "__main__":
    main()
