"""The wheel, installed outside the checkout, and the documentation site."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SMOKE = """
import json, sys
import torch
import profiler
from profiler import EnergyProfiler, load_run

weights = torch.nn.Parameter(torch.ones(2))
optimizer = torch.optim.SGD([weights], lr=0.1)
with EnergyProfiler(run_dir="run") as prof:
    for _ in range(30):
        optimizer.zero_grad()
        weights.square().sum().backward()
        optimizer.step()
run = load_run("run")
run.report("page.html")
print(json.dumps({"file": profiler.__file__, "steps": len(run.steps), "joules": run.total_joules}))
"""


def clean_environment():
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel without a network: hatchling is part of the test requirements."""
    folder = tmp_path_factory.mktemp("dist")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, env=clean_environment(), cwd=folder)
    (built,) = folder.glob("energy_profiler-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Install the wheel into a new environment that finds its requirements, but not this checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    scheme = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=scheme))
    python = Path(sysconfig.get_path("scripts", "venv", vars=scheme)) / "python"
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(wheel)]
    subprocess.run(pip, check=True, env=clean_environment(), cwd=folder)
    # A path in a .pth file does not activate the .pth files below it, such as that of an editable install.
    (packages / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder, python, packages


@pytest.mark.slow
def test_the_wheel_contains_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    unexpected = [
        name
        for name in names
        if not name.startswith(("profiler/", "energy_profiler-", "energy_profiler_autoload.py"))
    ]
    suffixes = {Path(name).suffix for name in names if name.startswith("profiler/")}
    tests = [
        name
        for name in names
        if "test_" in name or "simulat" in name.rpartition("/")[2].replace("lr_sim", "")
    ]
    assert unexpected == []
    assert tests == []
    assert suffixes <= {".py", ".html", ".css", ".js", ".svg", ".txt", ".typed"}
    assert "profiler/py.typed" in names
    source = {path.relative_to(ROOT).as_posix() for path in (ROOT / "profiler").rglob("*.py")}
    assert source <= set(names)


@pytest.mark.slow
def test_the_wheel_records_and_reports_outside_the_checkout(installed, tmp_path):
    _, python, packages = installed
    done = subprocess.run(
        [python, "-c", SMOKE],
        env=clean_environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert Path(printed["file"]).is_relative_to(packages)
    assert printed["steps"] == 30
    assert printed["joules"] > 0
    assert "</html>" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_wheel_installs_the_command(installed, tmp_path):
    folder, python, _ = installed
    command = [python.parent / "energy-profiler", "--version"]
    done = subprocess.run(
        command, env=clean_environment(), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("energy-profiler ")
    assert str(folder) in Path(command[0]).read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_documentation_builds_without_warnings(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(ROOT / "docs")]
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, str(tmp_path / "site")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
    assert 'id="profiler.EnergyProfiler.start"' in reference
    assert 'id="profiler.CurveFit.joules_at"' in reference


def test_the_readme_is_short_and_its_links_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    targets = re.findall(r"\]\(([^)#]+)\)", text)
    assert len(targets) > 10
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_tests_that_the_documentation_names_exist():
    named = re.findall(r"`(tests/[\w/]+\.py)` `(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text())
    assert len(named) > 20
    missing = [(file, name) for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]
    assert missing == []


def test_the_extension_points_of_the_contributor_guide_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    tables = re.findall(r"`([A-Z]+)` in `([\w/.]+)`", text)
    assert len(tables) == 5
    assert [
        row for row in tables if not re.search(rf"^{row[0]}\b.*=", (ROOT / row[1]).read_text(), re.MULTILINE)
    ] == []
    files = re.findall(r"`((?:tests|profiler|docs|scripts)/[\w/.]+)`", text.replace("NAME", "__init__"))
    assert [file for file in files if not (ROOT / file).exists() and "__init__" not in file] == []
