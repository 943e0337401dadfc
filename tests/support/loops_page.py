"""The page of loops: which were tried, what was seen of each and what is true. Run as a script it writes the page."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "loops.md"
HEAD = """# Training loops that were tried

Made by `python -m tests.support.loops_page`; every row is also a test (torch {torch}, Lightning {lightning},
transformers {transformers}, Accelerate {accelerate}; CPU and gloo). Each loop knows its own truth,
which is compared with what the profiler saw from outside. Every built-in optimizer of torch is tried too, plain,
`foreach` and `fused`.

**A step** is an optimizer update whose gradients were used. Several optimizers that take turns share a step.

**The loss of a step** is the sum of the unscaled scalars whose gradients entered the update: the objective that the
step descends. A loss divided for accumulation is thus its mean; the count of backward passes stands beside it in
`steps.csv`. What `zero_grad` or a scaler's skipped update threw away does not count, and a skipped update's joules go
to the next step.

| loop | steps seen / true | loss error | notes |
|---|---|---|---|
"""
TAIL = """
## What hooks cannot see

| loop | what to do |
|---|---|
| a CUDA graph that holds the update: a replay has no Python step | `prof.step(loss=...)` after each replay |
| an optimizer that is not a `torch.optim.Optimizer`, functional updates | `prof.step(loss=...)` |
| `backward(gradient)` from a tensor of several elements: there is no scalar | `prof.step(loss=...)` after the update |
| `from torch.autograd import backward` before the profiler, called as a function | the step is seen, its loss is not |
| the loss of a `DTensor`: reading it may need communication | `prof.step(loss=...)` with a local value |
| gradients set to zero, not to None, between two backward passes on a GPU | both count: asking would wait for the GPU |
| evaluation that loads nothing from a `DataLoader` | `with prof.phase("evaluation"):` |
| evaluation that leaves its loader early, where gradients are off only inside the loop's body | the same |
"""


def row(name, seen, truth, note=""):
    """One line: steps, and the largest relative error of a loss that is known."""
    errors = [
        abs(one - true) / max(abs(true), 1e-12)
        for (one, _), (true, _) in zip(seen, truth, strict=False)
        if one is not None and true is not None
    ]
    worst = max(errors, default=None)
    error = "no loss" if worst is None else "< 1e-6" if worst < 1e-6 else f"{worst:.1e}"
    return f"| {name} | {len(seen)} / {len(truth)} | {error} | {note} |"


def note_of(loop):
    """The first sentence of a loop's own description."""
    return " ".join((loop.__doc__ or "").split(". ")[0].split()).rstrip(".").replace("``", "`")


def is_on_page(name, seen, truth, note=""):
    """Whether the page holds exactly this."""
    return row(name, seen, truth, note) in PAGE.read_text(encoding="utf-8").splitlines()


def run_frameworks(folder):
    """Results of :mod:`framework_loops` by loop, from a process of its own."""
    target = Path(folder) / "frameworks.json"
    _run([sys.executable, "-m", "tests.support.framework_loops", target], folder).wait()
    return json.loads(target.read_text())


def run_distributed(folder):
    """Results of :mod:`distributed_loops` by loop of each of two ranks."""
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
    from tests.support.training_loops import BY_HAND, LOOPS
    from tests.torch_hooks.test_compile import LOOPS as COMPILED
    from tests.torch_hooks.test_compile import fresh, run

    for name, loop in (LOOPS | BY_HAND).items():
        torch.manual_seed(0)
        with recorded() as recording:
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
