"""Examples with frameworks, and messages for missing frameworks."""

import json
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("example", "arguments", "steps"),
    [("train_transformers.py", ["--steps", "12"], 12), ("train_lightning.py", ["--epochs", "1"], 57)],
)
def test_example_records_its_run(example, arguments, steps, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [example, *arguments])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the frameworks' own
        runpy.run_path(str(EXAMPLES / example), run_name="__main__")
    path = Path(capsys.readouterr().out.splitlines()[-1])
    meta = json.loads((path / "run.json").read_text())
    assert meta["status"] == "completed"
    assert meta["totals"]["steps"] == steps


@pytest.mark.parametrize(
    ("framework", "packages"), [("lightning", "lightning"), ("transformers", "transformers accelerate")]
)
def test_missing_framework_is_named_with_its_install_command(framework, packages):
    script = (
        f"import sys; sys.modules['{framework}'] = sys.modules['{framework}.pytorch'] = None\n"
        f"import profiler.integrations.{framework}\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"profiler.errors.MissingDependencyError: This callback needs {framework}, which is not installed. "
        f"Install it with: pip install {packages}"
    )


def test_package_imports_no_framework():
    script = "import profiler, profiler.integrations, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"lightning", "transformers", "torch"} & set(done.stdout.split())
