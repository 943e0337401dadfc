"""Fixtures of the hook tests. Torch uses one thread: a second costs more than it saves on models of this size."""

import sys

import pytest
import torch

from profiler.torch_hooks.manager import hook_manager
from tests.support.fixtures import run_python  # noqa: F401 - a fixture
from tests.support.step_recording import recorded

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_compiled_program():
    """Forget what other tests have compiled, because programs that compile are recorded in another way."""
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()


@pytest.fixture
def record():
    """Return the context manager ``record() as recording``; its steps are available after the block."""
    torch.manual_seed(0)
    return recorded


@pytest.fixture
def manual_step():
    """Return the function behind ``prof.step(loss=...)``."""
    return hook_manager().manual_step
