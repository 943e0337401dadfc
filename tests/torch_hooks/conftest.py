"""Fixtures of the hook tests. Torch uses one thread: a second costs more than it saves on models of this size."""

import pytest
import torch

from profiler.torch_hooks.manager import hook_manager
from tests.support.fixtures import run_python  # noqa: F401 - a fixture
from tests.support.step_recording import recorded

torch.set_num_threads(1)


@pytest.fixture
def record():
    """Return the context manager ``record() as recording``; its steps are available after the block."""
    torch.manual_seed(0)
    return recorded


@pytest.fixture
def manual_step():
    """Return the function behind ``prof.step(loss=...)``."""
    return hook_manager().manual_step
