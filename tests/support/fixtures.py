"""Fixtures of simulated hardware.

Import the needed ones in a ``conftest.py``::

    from tests.support.fixtures import fake_clock, nvml_library, simulated_gpus
"""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

import profiler
from profiler.testing.clock import FakeClock
from tests.support.simulated_nvml import (
    NO_COMPILER,
    SimulatedGpu,
    build_library,
    simulated_nvml,
    write_script,
)

__all__ = ["fake_clock", "nvml_library", "run_python", "simulated_gpus"]

Install = Callable[[Sequence[SimulatedGpu]], None]
RunPython = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that is advanced by hand."""
    return FakeClock()


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated ``libnvidia-ml.so.1``, compiled once per session; skips the test without a compiler."""
    if shutil.which("cc") is None:
        pytest.skip(NO_COMPILER)
    return build_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def simulated_gpus(nvml_library: Path, fake_clock: FakeClock, tmp_path: Path) -> Iterator[Install]:
    """A function that installs simulated GPUs in this process, on ``fake_clock``, until the test ends.

    Their waveforms start when it is called.
    """
    with ExitStack() as stack:

        def install(gpus: Sequence[SimulatedGpu]) -> None:
            script = write_script(tmp_path / "gpus.txt", gpus, epoch_ns=fake_clock.now_ns())
            stack.enter_context(simulated_nvml(nvml_library, script, clock=fake_clock))

        yield install


@pytest.fixture
def run_python() -> RunPython:
    """A function that runs code in a new process that can import this package, and fails with its output.

    Keyword arguments, as in ``run_python(code, NAME="value")``, are environment variables.
    """

    def run(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
        home = str(Path(profiler.__path__[0]).parent)
        path = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-c", textwrap.dedent(code)]
        everything = {**os.environ, "PYTHONPATH": path, **environ}
        done = subprocess.run(command, env=everything, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done

    return run
