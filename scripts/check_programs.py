"""Run training programs of public repositories with and without the profiler, and write ``docs/programs.md``.

The folder holds a checkout of each repository, named ``OWNER+NAME``; those that are not there are skipped. Programs
run as they are, on the processor, in a copy of their checkout, shortened by their own options and with small synthetic
data.
Where torchvision is not installed, a stand-in with random images takes its place. What a program needs beyond that
(gymnasium, tyro, tensorboard, keras) must be installed. Usage::

    python scripts/check_programs.py CHECKOUTS [--only TEXT] [--write]

A witness runs each program. It counts updates and losses on its own, with a hook on torch's optimizers and a wrapper
around ``torch.autograd.backward``, and hashes all parameters at the end.
"""

import argparse
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "programs.md"

WITNESS = """
import atexit, hashlib, json, os, random, runpy, sys
target, script = sys.argv[1:3]
sys.argv = sys.argv[2:]
sys.path[0] = os.path.dirname(os.path.abspath(script))
import numpy, torch
from torch.optim.optimizer import register_optimizer_step_post_hook
random.seed(0); numpy.random.seed(0); torch.manual_seed(0)
torch.set_num_threads(1)
optimizers, parameters, passes, updates = {}, [], [], []

def after(optimizer, args, kwargs):
    optimizers.setdefault(id(optimizer), optimizer)
    updates.append((len(passes), list(optimizers).index(id(optimizer))))

register_optimizer_step_post_hook(after)
original = torch.autograd.backward

def backward(tensors, *args, **kwargs):
    loss = tensors[0] if isinstance(tensors, (list, tuple)) else tensors
    passes.append(float(loss.detach()) if loss.numel() == 1 else None)
    if not parameters and not optimizers:
        nodes, seen = [loss.grad_fn], set()
        for node in nodes:
            if node is not None and node not in seen:
                seen.add(node)
                nodes.extend(following for following, _ in node.next_functions)
        parameters.extend(one.variable for one in seen if hasattr(one, "variable"))
    return original(tensors, *args, **kwargs)

torch.autograd.backward = backward

def finish():
    groups = (g for one in optimizers.values() for g in one.param_groups)
    kept = [p for group in groups for p in group["params"]]
    kept = kept or sorted(parameters, key=lambda p: tuple(p.shape))
    hashed = sorted(hashlib.sha256(p.detach().numpy().tobytes()).hexdigest() for p in kept)
    digest = hashlib.sha256("".join(hashed).encode()).hexdigest()
    with open(target, "w") as file:
        json.dump({"weights": digest, "passes": passes, "updates": updates}, file)

atexit.register(finish)
runpy.run_path(script, run_name="__main__")
"""

TORCHVISION = {
    "__init__.py": "from . import datasets, models, transforms, utils\n",
    "transforms.py": """
class _Nothing:
    def __init__(self, *_, **__): pass
    def __call__(self, image): return image
ToTensor = Resize = CenterCrop = Normalize = _Nothing
class Lambda:
    def __init__(self, function): self.function = function
    def __call__(self, image): return self.function(image)
class Compose:
    def __init__(self, steps): self.steps = steps
    def __call__(self, image):
        for step in self.steps: image = step(image)
        return image
""",
    "utils.py": "def save_image(*_, **__): pass\n",
    "models.py": "def __getattr__(name): return None\n",
    "datasets.py": """
import torch
class _Images(torch.utils.data.Dataset):
    def __init__(self, shape, count, transform=None):
        self.transform = transform or (lambda image: image)
        generator = torch.Generator().manual_seed(1)
        self.labels = torch.randint(10, (count,), generator=generator).tolist()
        self.images = torch.rand(count, *shape, generator=generator)
    def __len__(self): return len(self.labels)
    def __getitem__(self, index): return self.transform(self.images[index]), self.labels[index]
class MNIST(_Images):
    def __init__(self, root, train=True, transform=None, **_):
        super().__init__((1, 28, 28), 1280 if train else 320, transform)
class FakeData(_Images):
    def __init__(self, image_size=(3, 64, 64), **_): super().__init__(image_size, 64)
""",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program of a public repository.

    Attributes:
        repository: ``OWNER/NAME``.
        script: Path of the script in it.
        arguments: Its arguments.
        folder: Working directory in the checkout; by default that of the script.
        texts: Text files to write first, by path.
        before: A script to run first.
        per_step: Updates of optimizers per step; 0 where none is torch's, so that each backward pass is a step, and
            None where a step begins with an update of the first optimizer, so that others need not take part in it.
        is_closure: Whether an update calls the backward pass several times, the last of which is the step's loss.
        environ: Environment variables.
        note: Description of what is special about it.
    """

    repository: str
    script: str
    arguments: str = ""
    folder: str | None = None
    texts: dict[str, str] = field(default_factory=dict)
    before: str = ""
    per_step: int | None = 1
    is_closure: bool = False
    environ: dict[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def name(self) -> str:
        """Name of a file for it."""
        return f"{self.repository}/{self.script}{self.flag}".replace("/", "-")

    @property
    def flag(self) -> str:
        """The option that distinguishes it from another use of the same script."""
        return " --use-optimizer" if "--use-optimizer" in self.arguments else ""


WORDS = "\n".join(" ".join(f"w{(i * 7 + j * j) % 50}" for j in range(12)) for i in range(60)) + "\n"
TEXTS = {f"small/{name}.txt": WORDS for name in ("train", "valid", "test")}
EXAMPLES = "pytorch/examples"
PROGRAMS = (
    Program(repository=EXAMPLES, script="mnist/main.py", arguments="--epochs 2 --no-accel"),
    Program(repository=EXAMPLES, script="mnist_rnn/main.py", arguments="--epochs 2"),
    Program(
        repository=EXAMPLES, script="vae/main.py", arguments="--epochs 2 --no-accel",
        texts={"results/empty": ""},
    ),
    Program(
        repository=EXAMPLES, script="dcgan/main.py", per_step=2, note="two optimizers that take turns",
        arguments="--dataset fake --niter 3 --workers 0 --batchSize 16 --ngf 8 --ndf 8 --manualSeed 1",
    ),
    Program(
        repository=EXAMPLES, script="word_language_model/main.py", texts=TEXTS, per_step=0,
        arguments="--data small --emsize 16 --nhid 16 --epochs 3 --batch_size 4 --bptt 10",
        note="updates its weights by hand: steps are inferred",
    ),
    Program(
        repository=EXAMPLES, script="word_language_model/main.py", texts=TEXTS,
        arguments="--data small --emsize 16 --nhid 16 --epochs 3 --batch_size 4 --bptt 10 --use-optimizer",
    ),
    Program(
        repository=EXAMPLES, script="regression/main.py", per_step=0,
        note="updates its weights by hand: steps are inferred",
    ),
    Program(
        repository=EXAMPLES, script="time_sequence_prediction/train.py", arguments="--steps 2", is_closure=True,
        before="generate_sine_wave.py", note="L-BFGS, 20 closures per update",
        environ={"MPLBACKEND": "agg", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
    ),
    Program(
        repository=EXAMPLES, script="mnist_forward_forward/main.py",
        arguments="--epochs 30 --train_size 200 --test_size 50 --no_accel",
        note="one layer after the other",
    ),
    Program(
        repository="karpathy/nanoGPT", script="train.py", folder="",
        texts={"data/shakespeare_char/input.txt": WORDS * 20}, before="data/shakespeare_char/prepare.py",
        arguments="config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=5 --log_interval=10 "
        "--eval_interval=20 --block_size=32 --batch_size=4 --n_layer=2 --n_head=2 --n_embd=32 --max_iters=80 "
        "--lr_decay_iters=80 --dropout=0.0",
        note="evaluates without a data loader",
    ),
    Program(
        repository="karpathy/minGPT", script="projects/adder/adder.py", arguments="--trainer.max_iters=60",
        environ={"PYTHONPATH": "../.."},
    ),
    Program(
        repository="karpathy/makemore", script="makemore.py",
        arguments="--max-steps 60 --num-workers 0 --n-layer 2 --n-embd 16",
    ),
    Program(
        repository="karpathy/ng-video-lecture", script="bigram.py", note="evaluates without a data loader",
    ),
    Program(
        repository="jcjohnson/pytorch-examples", script="nn/dynamic_net.py", note="another graph in each step",
    ),
    Program(repository="jcjohnson/pytorch-examples", script="nn/two_layer_net_optim.py"),
    Program(
        repository="jcjohnson/pytorch-examples", script="autograd/two_layer_net_autograd.py", per_step=0,
        note="updates its weights by hand: steps are inferred",
    ),
    Program(
        repository="yunjey/pytorch-tutorial", script="tutorials/01-basics/linear_regression/main.py",
        environ={"MPLBACKEND": "agg"}, note="60 updates of two weights",
    ),
    Program(repository="yunjey/pytorch-tutorial", script="tutorials/01-basics/logistic_regression/main.py"),
    Program(
        repository="yunjey/pytorch-tutorial",
        script="tutorials/02-intermediate/bidirectional_recurrent_neural_network/main.py",
    ),
    Program(
        repository="yunjey/pytorch-tutorial", script="tutorials/03-advanced/variational_autoencoder/main.py",
        note="a sum over the batch as the loss",
    ),
    Program(
        repository="eriklindernoren/PyTorch-GAN", script="implementations/gan/gan.py", per_step=2,
        arguments="--n_epochs 3 --batch_size 64", note="two optimizers that take turns",
    ),
    Program(
        repository="eriklindernoren/PyTorch-GAN", script="implementations/wgan/wgan.py", per_step=None,
        arguments="--n_epochs 3 --batch_size 64", note="five critic updates per update of the generator",
    ),
    Program(
        repository="eriklindernoren/PyTorch-GAN", script="implementations/wgan_gp/wgan_gp.py", per_step=None,
        arguments="--n_epochs 3 --batch_size 64", note="the same with a gradient penalty",
    ),
    Program(
        repository="Lightning-AI/pytorch-lightning", script="examples/pytorch/bug_report/bug_report_model.py",
    ),
    Program(
        repository="Lightning-AI/pytorch-lightning", script="examples/fabric/image_classifier/train_torch.py",
        arguments="--epochs 2", note="a learning rate per epoch",
    ),
    Program(
        repository="Lightning-AI/pytorch-lightning", script="examples/fabric/kfold_cv/train_fabric.py",
        arguments="--epochs 1 --folds 3",
        note="optimizers made at the start, used one after the other",
    ),
    Program(
        repository="vwxyzjn/cleanrl", script="cleanrl/c51.py", folder="", environ={"PYTHONPATH": "."},
        arguments="--total-timesteps 1500 --learning-starts 500 --no-cuda", note="a target network",
    ),
    Program(
        repository="vwxyzjn/cleanrl", script="cleanrl/ppo.py", folder="", environ={"PYTHONPATH": "."},
        arguments="--total-timesteps 2048 --no-cuda", note="rollouts without gradients",
    ),
    Program(
        repository="vwxyzjn/cleanrl", script="cleanrl/dqn.py", folder="", environ={"PYTHONPATH": "."},
        arguments="--total-timesteps 2000 --learning-starts 500 --no-cuda", note="a target network",
    ),
    Program(
        repository="keras-team/keras", script="examples/demo_subclass.py", per_step=0,
        environ={"KERAS_BACKEND": "torch"}, note="Keras has its own optimizers",
    ),
)  # fmt: skip


def checked(program: Program, checkout: Path, reports: Path | None = None) -> dict[str, object]:
    """Run a program both ways and return the row of the table."""
    plain, profiled = (
        _run(program, checkout, profiled=profiled, reports=reports) for profiled in (False, True)
    )
    truth, steps = _truth(plain["witness"], program), profiled["losses"]
    errors = [
        abs(one - other) / max(abs(one), 1e-12)
        for one, other in zip(truth, steps, strict=False)
        if None not in (one, other)
    ]
    return {
        "commit": _git(checkout, "rev-parse", "--short", "HEAD"),
        "seen": len(steps),
        "true": len(truth),
        "error": max(errors) if errors and len(truth) == len(steps) else None,
        "identical": plain["witness"]["weights"] == profiled["witness"]["weights"],
        "evaluations": profiled["evaluations"],
        "seconds": (plain["seconds"], profiled["seconds"]),
        "codes": (plain["code"], profiled["code"]),
    }


def _truth(witness: dict, program: Program) -> list[float | None]:
    """Return the loss of each step: the sum over the backward passes before its last update."""
    passes, updates = witness["passes"], witness["updates"]
    if program.per_step == 0:
        return passes
    if program.per_step is None:
        following = [*(optimizer for _, optimizer in updates[1:]), 0]
        ends = [end for (end, _), then in zip(updates, following, strict=True) if then == 0]
    else:
        ends = [end for end, _ in updates[program.per_step - 1 :: program.per_step]]
    if program.is_closure:
        return [passes[end - 1] for end in ends]
    return [_sum(passes[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def _sum(values: list[float | None]) -> float | None:
    return None if None in values or not values else sum(values)


def _run(program: Program, checkout: Path, *, profiled: bool, reports: Path | None = None) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        place, tools = Path(scratch) / "checkout", Path(scratch) / "tools"
        shutil.copytree(checkout, place, ignore=shutil.ignore_patterns(".git"))
        script = place / program.script
        _write_tools(tools, needs_images="torchvision" in script.read_text())
        folder = script.parent if program.folder is None else place / program.folder
        for name, text in program.texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        own = (
            [str((folder / program.environ["PYTHONPATH"]).resolve())]
            if "PYTHONPATH" in program.environ
            else []
        )
        path = os.pathsep.join([*own, str(tools), str(ROOT)])
        environ = {
            **os.environ,
            **program.environ,
            "PYTHONPATH": path,
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
        }
        if program.before:
            subprocess.run(
                [sys.executable, program.before], cwd=folder, env=environ, check=True, capture_output=True
            )
        prefix = ["-m", "profiler", "run", "--run-dir", f"{scratch}/run"] if profiled else []
        command = [
            *prefix,
            str(tools / "witness.py"),
            f"{scratch}/witness.json",
            str(script),
            *program.arguments.split(),
        ]
        code, seconds = _timed(command, folder, environ, Path(scratch) / "output.txt")
        witness = json.loads((Path(scratch) / "witness.json").read_text())
        found = {"witness": witness, "seconds": seconds, "code": code}
        if profiled and reports is not None:
            _save_report(Path(scratch) / "run", reports / f"{program.name}.txt")
        return found | _recorded(Path(scratch) / "run") if profiled else found


def _save_report(run: Path, path: Path) -> None:
    """Save the report of a run as text, for reading: its sentences must make sense for the program."""
    from profiler import load_run

    path.parent.mkdir(parents=True, exist_ok=True)
    if run.exists():
        load_run(run).report(path)


def _timed(command: list[str], folder: Path, environ: dict[str, str], output: Path) -> tuple[int, float]:
    """Run a command and return its exit code and processor time."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=environ, stdout=file, stderr=file
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        print(output.read_text(errors="replace")[-2000:], file=sys.stderr)
    return process.returncode, usage.ru_utime + usage.ru_stime


def _recorded(path: Path) -> dict:
    from profiler import load_run

    if not path.exists():  # the program failed before it trained
        return {"losses": [], "evaluations": 0}
    run = load_run(path)
    counts, losses = run.steps["step_count"], run.steps["loss"]
    if (counts != 1).any():
        return {"losses": [None] * int(counts.sum()), "evaluations": _evaluations(run)}
    return {
        "losses": [None if math.isnan(loss) else float(loss) for loss in losses],
        "evaluations": _evaluations(run),
    }


def _evaluations(run: object) -> int:
    return int((run.spans["kind"] == "evaluation").sum())


def _write_tools(folder: Path, *, needs_images: bool) -> None:
    folder.mkdir()
    (folder / "witness.py").write_text(WITNESS)
    if not needs_images:  # other libraries find out that there is no torchvision
        return
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # one that does not fit the installed torch raises the latter
        (folder / "torchvision").mkdir()
        for name, text in TORCHVISION.items():
            (folder / "torchvision" / name).write_text(text)


def _git(checkout: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", checkout, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def row(program: Program, found: dict) -> str:
    """Format a row of the table."""
    error = (
        "no loss"
        if found["error"] is None
        else "< 1e-6"
        if found["error"] < 1e-6
        else f"{found['error']:.1e}"
    )
    before, after = found["seconds"]
    return (
        f"| {program.repository} `{program.script}{program.flag}` | {found['commit']} "
        f"| {found['seen']:,} / {found['true']:,} | {error} "
        f"| {'yes' if found['identical'] else 'no'} | {found['evaluations']} "
        f"| {before:.1f} → {after:.1f} | {program.note} |"
    )


HEAD = """# Programs of public repositories

Made by `scripts/check_programs.py --write` (torch {torch}, Python {python}, processor only, one torch thread):
programs written by others, as they are, shortened by their own options and with small synthetic data. This project
contains none of them. True steps, losses and weights are those of a separate counter (a hook on torch's optimizers and
a wrapper around `torch.autograd.backward`) in a run without the profiler; where a program has no optimizer of torch,
each backward pass is a true step. *Identical*: the SHA-256 of all parameters at the end, with and without the profiler.
*Evaluations*: spans of that kind, rollouts included. Processor time is of the whole process, one run each on a shared
machine, so differences below a second are noise.

| program | commit | steps seen / true | loss error | identical weights | evaluations | processor time, s | notes |
|---|---|---|---|---|---|---|---|
"""


def main() -> int:
    """Check the programs, print the table, and return 1 if one of them differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkouts", type=Path)
    parser.add_argument("--only", default="", help="part of a program's repository or script")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--reports", type=Path, help="folder to save the report of each run in, as text")
    options = parser.parse_args()
    rows, differing = [], []
    for program in PROGRAMS:
        checkout = options.checkouts / program.repository.replace("/", "+")
        if options.only not in f"{program.repository}/{program.script}" or not checkout.is_dir():
            continue
        found = checked(program, checkout, options.reports)
        rows.append(row(program, found))
        print(rows[-1], flush=True)
        if found["seen"] != found["true"] or not found["identical"] or len({*found["codes"]}) > 1:
            differing.append(program.script)
    if options.write:
        import torch

        head = HEAD.format(torch=torch.__version__.partition("+")[0], python=platform.python_version())
        _, title, cost = PAGE.read_text(encoding="utf-8").partition("\n## Cost of evaluations")
        PAGE.write_text(head + "\n".join(rows) + "\n" + title + cost, encoding="utf-8")
    if differing:
        print(f"differ: {', '.join(differing)}", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
