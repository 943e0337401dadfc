"""Tools for testing a sensor: a fake clock, scripted power, and the conformance suite.

The conformance suite, ``profiler.testing.conformance``, needs pytest and must be imported explicitly.
"""

from profiler.testing.clock import FakeClock
from profiler.testing.replay import Waveform

__all__ = ["FakeClock", "Waveform"]
