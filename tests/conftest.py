"""Fixtures of every test: an empty working directory, and a check that no hook or thread of the profiler remains."""

import os
import sys
import threading
from pathlib import Path

import pytest

os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
)
"""Subprocesses import this checkout and tests.support from any working directory."""


@pytest.fixture(autouse=True)
def _empty_working_directory(
    _nothing_remains, tmp_path, monkeypatch
):  # which is then torn down after monkeypatch
    """Runs are written to ``energy_runs`` in the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _nothing_remains():
    """Fail a test that leaves a thread or a hook of the profiler behind."""
    before = _hooks()
    yield
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("energy-profiler")]
    assert not left, f"threads left running: {left}"
    assert _hooks() == before, "hooks left in torch"


def _hooks():
    if "torch" not in sys.modules:
        return None
    import torch
    from torch.optim.optimizer import _global_optimizer_post_hooks

    scaler = torch.amp.grad_scaler.GradScaler
    return torch.autograd.backward, scaler.step, scaler.scale, len(_global_optimizer_post_hooks)
