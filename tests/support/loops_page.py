"""The page ``docs/loops.md``: detected and true steps of every test loop. Run as a script, it writes the page."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import torch

from profiler.torch_hooks.context import HookContext

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "loops.md"
HEAD = """# Tested training loops

Each row is a test (torch {torch}, Lightning {lightning}, transformers {transformers}, Accelerate {accelerate}; CPU and
gloo): the loop counts its own steps and losses, which are compared with those that the hooks detected. Every built-in
optimizer of torch is tested too, plain, `foreach` and `fused`. `python -m tests.support.loops_page` writes this page.

**A step** is an optimizer update whose gradients were used. Several optimizers that take turns share a step.

**The loss of a step** is the sum of the unscaled scalars whose gradients entered the update: the objective that the
step descends. Losses divided for accumulation therefore add up to their mean; `steps.csv` also has the number of
backward passes. Gradients that `zero_grad` or a skipped update of a scaler discarded do not count. The energy of a
skipped update counts for the next step.

| loop | steps detected / true | loss error | notes |
|---|---|---|---|
"""
TAIL = """
## Limits of the hooks

| loop | remedy or effect |
|---|---|
| a CUDA graph that contains the update: its replays run no Python code | `prof.step(loss=...)` after each replay |
| updates without an optimizer of torch or Keras | steps are inferred from backward passes; `prof.step()` is exact |
| functional updates with `torch.autograd.grad` or `torch.func` | `prof.step(loss=...)` |
| `backward(gradient)` from a tensor of several elements: there is no scalar | `prof.step(loss=...)` after the update |
| `from torch.autograd import backward` before the profiler starts | the step is detected without its loss |
| the loss of a `DTensor`: reading it may need communication | `prof.step(loss=...)` with a local value |
| gradients set to zero between two backward passes on a GPU | both count: reading them would wait for it |
| evaluation with gradients enabled and without a `DataLoader` | `with prof.phase("evaluation"):` |
| one forward pass without gradients per step, in training mode | counted in the step, as a teacher's is |
| an optimizer that is updated only once after another's steps | its update shares the last of these steps |
| environments that derive from neither gymnasium nor stable-baselines3 | the loss gets a forecast; log a reward |
| a supervised policy that is evaluated in an environment during the run | its loss gets no forecast; log its reward |
| child processes without a process group (hogwild) | counted, not recorded; start a profiler in their function |
"""


def row(name, seen, truth, note=""):
    """Return a row of the table: steps, and the largest relative error of the known losses."""
    errors = [
        abs(one - true) / max(abs(true), 1e-12)
        for (one, _), (true, _) in zip(seen, truth, strict=False)
        if one is not None and true is not None
    ]
    worst = max(errors, default=None)
    error = "no loss" if worst is None else "< 1e-6" if worst < 1e-6 else f"{worst:.1e}"
    return f"| {name} | {len(seen)} / {len(truth)} | {error} | {note} |"


def note_of(loop):
    """Return the first sentence of a loop's docstring."""
    return " ".join((loop.__doc__ or "").split(". ")[0].split()).rstrip(".").replace("``", "`")


def is_on_page(name, seen, truth, note=""):
    """Return whether the page has exactly this row."""
    return row(name, seen, truth, note) in PAGE.read_text(encoding="utf-8").splitlines()


def run_frameworks(folder):
    """Run :mod:`framework_loops` in another process, and return its results by loop."""
    target = Path(folder) / "frameworks.json"
    _run([sys.executable, "-m", "tests.support.framework_loops", target], folder).wait()
    return json.loads(target.read_text())


def run_distributed(folder):
    """Run :mod:`distributed_loops` on two ranks, and return the results by loop of each."""
    ranks = [
        _run([sys.executable, "-m", "tests.support.distributed_loops", str(n), "2", folder], folder)
        for n in range(2)
    ]
    for rank in ranks:
        rank.wait()
    return [json.loads((Path(folder) / f"rank-{n}.json").read_text()) for n in range(2)]


def _run(command, folder):
    offline = {"HF_HUB_OFFLINE": "1", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    with (Path(folder) / "output.txt").open("ab") as output:
        return subprocess.Popen(
            command, cwd=folder, env={**os.environ, **offline}, stdout=output, stderr=subprocess.STDOUT
        )


def _rows():
    from tests.support import distributed_loops, framework_loops
    from tests.support.step_recording import recorded
    from tests.support.training_loops import BY_HAND, LOOPS, MANUAL
    from tests.torch_hooks.test_compile import LOOPS as COMPILED
    from tests.torch_hooks.test_compile import fresh, run

    for name, loop in (LOOPS | MANUAL).items():
        torch.manual_seed(0)
        with recorded() as recording:
            truth = loop()
        yield row(name, recording.truth, truth, note_of(loop))
    for name, loop in BY_HAND.items():
        with recorded() as recording, mock.patch.object(HookContext, "has_optimizer", return_value=False):
            truth = loop()
        yield row(name, recording.truth, truth, note_of(loop))
    for loop in COMPILED:
        with recorded() as recording:
            truth = run(fresh(loop, "eager"))[0]
        yield row(f"torch.compile: {loop.__name__}", recording.truth, truth, note_of(loop))
    with tempfile.TemporaryDirectory() as folder:
        frameworks, (distributed, _) = run_frameworks(folder), run_distributed(folder)
    for loops, results in ((framework_loops.LOOPS, frameworks), (distributed_loops.LOOPS, distributed)):
        for name, loop in loops.items():
            yield row(name, results[name]["seen"], results[name]["truth"], note_of(loop))


def main():
    from importlib.metadata import version

    names = ("torch", "lightning", "transformers", "accelerate")
    versions = {name: version(name).partition("+")[0] for name in names}
    PAGE.write_text(HEAD.format(**versions) + "\n".join(_rows()) + "\n" + TAIL, encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
