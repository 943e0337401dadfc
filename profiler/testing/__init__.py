"""Doubles for hardware and time, shipped so that users and extensions can test without either.

``conformance`` and ``fixtures`` need pytest and are imported by name.
"""

from profiler.sensors.replay import Waveform
from profiler.testing.clock import FakeClock
from profiler.testing.perf_events import FakePerfEvents
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
    "FakePerfEvents",
    "FakePowercap",
    "FakeZone",
    "SimulatedGpu",
    "Waveform",
    "build_library",
    "hopper",
    "library_environment",
    "pascal",
    "simulated_nvml",
    "volta",
    "write_script",
]
