"""The recipes for sweeps and continuous integration in docs/recipes.md, run as they are printed."""

import re
import subprocess
import sys
import time
from pathlib import Path

import optuna
import torch

from profiler import load_run

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")


def block(heading, language):
    """Return the first block of a language below a heading."""
    _, _, section = PAGE.partition(f"## {heading}\n")
    return re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)[1]


def test_optuna_prunes_at_equal_energy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = block("Optuna: a pruner on joules", "python")
    assert code.count("1_000.0") == code.count("n_trials=20") == 1
    code = code.replace("1_000.0", "2.0").replace("n_trials=20", "n_trials=5")
    begun = []

    def losses(lr):
        """Train for a second; trials after the third are ten times worse."""
        assert 1e-4 <= lr <= 1e-1
        begun.append(lr)
        scale = 10.0 if len(begun) > 3 else 1.0
        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
        for _ in range(50):
            optimizer.zero_grad()
            loss = scale * (model(torch.ones(8, 4)) - 3.0).square().mean()
            loss.backward()
            optimizer.step()
            time.sleep(0.02)
            yield loss.item()

    scope = {"train": losses}
    exec(compile(code, "docs/recipes.md: Optuna", "exec"), scope)
    trials = scope["study"].trials
    complete, pruned = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED
    assert [trial.state for trial in trials[:3]] == [complete] * 3
    assert all(trial.intermediate_values for trial in trials)
    runs = {run.meta["name"]: run for run in map(load_run, sorted((tmp_path / "energy_runs").iterdir()))}
    assert {run.status.value for run in runs.values()} == {"completed"}
    for trial in trials:
        run = runs[f"trial-{trial.number}"]
        assert run.meta["config"] == trial.params
        assert max(trial.intermediate_values) * 2.0 <= run.total_joules
    assert pruned in {trial.state for trial in trials[3:]}


SCRIPT = """
import torch
torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Linear(256, 256)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(100):
    optimizer.zero_grad()
    model(torch.randn(256, 256)).square().mean().backward()
    optimizer.step()
"""


def test_the_commands_of_the_workflow(tmp_path):
    """Run the commands of the workflow; checkouts are left out, so that both sides are the same code."""
    steps = re.findall(
        r"run: \|\n((?: {10}.*\n)+)",
        block("Continuous integration: fail on a regression of the energy", "yaml"),
    )
    lines = [line.strip() for step in steps for line in re.sub(r"\\\n\s*", "", step).splitlines()]
    script = "\n".join(line for line in lines if not line.startswith("git checkout"))
    assert script.count("energy-profiler run") == 2
    (tmp_path / "train.py").write_text(SCRIPT)
    summary = tmp_path / "summary.md"
    shell = f'energy-profiler() {{ {sys.executable} -m profiler "$@"; }}\nset -e\n{script}\n'
    root = Path(__file__).parents[2]
    done = subprocess.run(
        ["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={
            "GITHUB_STEP_SUMMARY": str(summary), "PYTHONPATH": str(root), "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path), "OMP_NUM_THREADS": "1",
        },
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    text = summary.read_text()
    assert text.startswith("**")
    assert ("**Energy regression.**" in text) == (done.returncode == 1)
    assert "estimated from 3 bases" in text
