import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from profiler.sensors.environment import Environment
from tests.support.fixtures import fake_clock, nvml_library, run_python, simulated_gpus
from tests.support.powercap import FakePowercap

__all__ = ["fake_clock", "nvml_library", "run_python", "simulated_gpus"]

NOBODY = 65_534


@pytest.fixture
def tree(tmp_path, fake_clock):
    """An empty powercap tree on the fake clock."""
    return FakePowercap(tmp_path / "powercap", clock=fake_clock)


@pytest.fixture
def machine(tmp_path, fake_clock):
    """Builds the environment of a machine with the given processor."""

    def build(
        *, flags="fpu sse", model="Intel(R) Xeon(R) Gold 6248R CPU @ 3.00GHz", sockets=1, environ=None, **more
    ):
        root = tmp_path / "machine"
        (root / "proc").mkdir(parents=True, exist_ok=True)
        fields = f"vendor_id : GenuineIntel\nmodel name : {model}\nflags : {flags}\n"
        blocks = [f"processor : {i}\nphysical id : {i % sockets}\n{fields}" for i in range(4)]
        (root / "proc/cpuinfo").write_text("\n".join(blocks))
        more.setdefault("powercap_root", tmp_path / "powercap")
        return Environment(environ=environ or {}, system_root=root, clock=fake_clock, **more)

    return build


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that other users may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def as_plain_user():
    """A context in which root has the file permissions of an ordinary user."""

    @contextmanager
    def plain() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)

    return plain
