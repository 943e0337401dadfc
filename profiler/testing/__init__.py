"""Doubles for hardware and time, shipped so that users and extensions can test without either.

``conformance`` and ``fixtures`` need pytest and are imported by name.
"""

from profiler.testing.clock import FakeClock
from profiler.testing.powercap import FakePowercap, FakeZone
from profiler.testing.simulated_nvml import (
    SimulatedGpu,
    build_library,
    hopper,
    library_environment,
    pascal,
    simulated_nvml,
    volta,
    write_script,
)

__all__ = [
    "FakeClock",
    "FakePowercap",
    "FakeZone",
    "SimulatedGpu",
    "build_library",
    "hopper",
    "library_environment",
    "pascal",
    "simulated_nvml",
    "volta",
    "write_script",
]
