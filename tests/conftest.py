"""What every test gets: a folder of its own, and a check that no hook or thread of ours outlives it."""

import os
import sys
import threading
from pathlib import Path

import pytest

os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
)
"""Subprocesses find this checkout, and the helpers of its tests, whatever their folder."""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Runs go to ``energy_runs`` under the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _nothing_survives():
    """The training must not notice that a profiler was ever there."""
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
