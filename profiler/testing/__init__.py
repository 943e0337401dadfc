"""Tools for testing a sensor of your own: a fake clock, scripted power, and the sensor conformance suite.

``conformance`` needs pytest and is imported by name.
"""

from profiler.testing.clock import FakeClock
from profiler.testing.replay import Waveform

__all__ = ["FakeClock", "Waveform"]
