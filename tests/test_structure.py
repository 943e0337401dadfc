"""The shape of the house: who may import whom, what an import costs, what the public surface is."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import profiler

ROOT = Path(profiler.__file__).parent
BASE = {"errors", "units", "records", "platform", "aside", "uncertainty", "rate_plan", "_version"}
ALLOWED = {
    "errors": set(),
    "units": set(),
    "records": set(),
    "platform": set(),
    "aside": set(),
    "uncertainty": set(),  # pure formulas that the recorder writes with and the reader reads with
    "rate_plan": {"errors"},  # declared or simulated by the recorder, read by the forecast
    "_version": set(),
    "cost": BASE,
    "goals": BASE,
    "ending": BASE | {"live", "options", "gathering", "recording", "report"},
    "gathering": BASE | {"ranks", "recording", "rundir"},
    "integrations": BASE | {"energy_profiler", "goals"},
    "live": BASE | {"cost", "forecast", "goals", "report.words", "rundir.schema"},
    "options": BASE | {"cost", "goals", "rundir", "sensors"},
    "launch": BASE | {"hooks", "ranks", "recording", "sensors", "rundir.schema", "options"},
    "ranks": BASE,
    "sensors": BASE,
    "hooks": BASE,
    "forecast": BASE | {"report.notebook"},  # what a notebook shows of a fit, imported when it does
    "recording": BASE | {"hooks", "ranks", "sensors", "rundir.schema", "rundir.writer"},
    "rundir": BASE | {"forecast", "report"},
    "report": BASE | {"cost", "forecast", "goals", "rundir.reader", "rundir.tail"},
    "export": BASE | {"cost", "rundir.reader"},
    "cli": BASE | {"ending", "energy_profiler", "export", "recording.meta", "rundir", "report", "sensors"},
    "testing": BASE | {"sensors", "rundir"},
    "dialogue": BASE | {"forecast", "goals", "live", "options", "recording"},
    "energy_profiler": BASE | {"dialogue", "ending", "launch", "options", "recording", "rundir", "sensors"},
    "__init__": BASE | {"energy_profiler", "rundir", "forecast"},
    "__main__": {"cli"},
}
"""Which room may import which, or which module of it. A room may always import itself."""

HEAVY = {"torch", "numpy", "pandas", "scipy", "plotly", "rich", "codecarbon", "pynvml", "psutil"}


def room_of(module):
    return module.split(".")[1] if "." in module else "__init__"


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules():
    return sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_keep_their_direction(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for name in imports_of(path):
        if not name.startswith("profiler."):
            continue
        target = name.removeprefix("profiler.")
        own = target.split(".")[0] == room
        known = any(target == allowed or target.startswith(allowed + ".") for allowed in ALLOWED[room])
        part = any(allowed.startswith(target + ".") for allowed in ALLOWED[room])
        assert own or known or part, f"{room} must not import {name}"


def loaded_after(statement):
    script = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_profiler_loads_nothing_heavy():
    assert not loaded_after("import profiler; profiler.EnergyProfiler; profiler.load_run") & HEAVY


def test_training_does_not_load_what_only_reports_need():
    script = (
        "import torch, sys\n"
        "from profiler import EnergyProfiler\n"
        "p = torch.nn.Parameter(torch.ones(2)); o = torch.optim.SGD([p], lr=0.1)\n"
        "before = set(sys.modules)\n"
        "with EnergyProfiler():\n"
        "    p.sum().backward(); o.step()\n"
        "    print('LOADED', *(set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(next(line for line in done.stdout.splitlines() if line.startswith("LOADED")).split())
    assert not loaded & {"pandas", "plotly", "codecarbon", "scipy", "numpy", "rich", "torch._dynamo"}


def test_the_public_surface_is_frozen():
    assert profiler.__all__ == [
        "CurveFit",
        "EnergyProfiler",
        "Forecast",
        "Interval",
        "ProfilerError",
        "Run",
        "__version__",
        "fit_curve",
        "load_run",
    ]
    assert all(getattr(profiler, name) is not None for name in profiler.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = profiler.nothing


def test_without_torch_the_with_says_how_to_install_it(tmp_path):
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from profiler import EnergyProfiler\n"
        "with EnergyProfiler(): pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'pip install "energy-profiler[torch]"' in done.stderr.splitlines()[-1]


def test_a_script_named_profiler_py_is_named_in_the_error(tmp_path):
    (tmp_path / "profiler.py").write_text("from profiler import EnergyProfiler\n")
    script = tmp_path / "profiler.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "EnergyProfiler" in done.stderr.splitlines()[-1]
    assert str(script) in done.stderr.splitlines()[-1]


def test_functions_are_short_and_modules_have_one_job():
    for path in modules():
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 350, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"
