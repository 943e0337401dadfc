"""A scripted power whose energy is known in closed form."""

import pytest

from profiler.sensors.replay import Waveform


@pytest.fixture
def ramp():
    """100 W rising to 300 W in two seconds, then constant."""
    return Waveform(points=((0.0, 100.0), (2.0, 300.0)))
