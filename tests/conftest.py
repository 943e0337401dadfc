"""Fixtures of every test: an empty working directory, and a check that nothing of the profiler remains."""

import os
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.warm_python import WarmPython

os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
)
"""Subprocesses import this checkout and tests.support from any working directory."""
settings.register_profile("suite", derandomize=True, deadline=None)
"""The same examples in each run, so that only a change can break it; ``--hypothesis-profile=default`` draws others."""
settings.load_profile("suite")
PARENT = "ENERGY_PROFILER_PARENT"
"""Set while this process records, for the processes that it starts."""


@pytest.fixture(autouse=True)
def _empty_working_directory(
    _nothing_remains, tmp_path, monkeypatch
):  # which is then torn down after monkeypatch
    """Runs are written to ``energy_runs`` in the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _nothing_remains():
    """Fail a test that leaves a thread or a hook of the profiler behind."""
    before, parent = _hooks(), os.environ.get(PARENT)
    yield
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("energy-profiler")]
    assert not left, f"threads left running: {left}"
    assert _hooks() == before, "hooks left in torch"
    assert os.environ.get(PARENT) == parent, f"{PARENT} left in the environment"


@pytest.fixture(scope="module")
def warm_python():
    """A process that has imported torch, from which scripts are forked."""
    python = WarmPython()
    yield python
    python.close()


def _hooks():
    if "torch" not in sys.modules:
        return None
    import torch
    from torch.optim.optimizer import _global_optimizer_post_hooks

    scaler = torch.amp.grad_scaler.GradScaler
    return torch.autograd.backward, scaler.step, scaler.scale, len(_global_optimizer_post_hooks)
