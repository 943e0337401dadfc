"""The scripts of the README: from any directory, and without a network once they have installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.mark.parametrize("script", ["environment.sh", "test", "test-integrations", "demo", "../.ci/run"])
def test_the_scripts_have_valid_syntax(script):
    subprocess.run(["bash", "-n", str(SCRIPTS / script)], check=True)


def test_an_installed_environment_is_not_installed_again(tmp_path):
    stamp = Path(sys.prefix) / "energy-profiler-test.stamp"
    made_from = [SCRIPTS.parent / "pyproject.toml", SCRIPTS.parent / "constraints.txt"]
    if not stamp.exists() or stamp.stat().st_mtime < max(file.stat().st_mtime for file in made_from):
        pytest.skip("scripts/test has not set this environment up since its requirements changed")
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    environ = {
        name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "CONDA_PREFIX")
    }
    environ["PIP_INDEX_URL"] = "http://127.0.0.1:9/"
    command = f'source "{SCRIPTS}/environment.sh"; prepare test; "$python" -c "import sys; print(sys.prefix)"'
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.strip().endswith(".venv")
