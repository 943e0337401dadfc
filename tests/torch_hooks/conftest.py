"""A recorder of steps, and torch kept to one thread: these models are smaller than the cost of a second one."""

import pytest
import torch

from profiler.torch_hooks.manager import hook_manager
from tests.support.fixtures import run_python  # noqa: F401 - a fixture
from tests.support.step_recording import recorded

torch.set_num_threads(1)


@pytest.fixture
def record():
    """``with record() as recording:`` around a loop; its steps are there afterwards."""
    torch.manual_seed(0)
    return recorded


@pytest.fixture
def by_hand():
    """What ``prof.step(loss=...)`` calls."""
    return hook_manager().manual_step
