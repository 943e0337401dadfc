"""A scripted power whose energy is known in closed form, and properties that may take their time."""

import pytest
from hypothesis import settings

from profiler.testing.replay import Waveform

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture
def ramp():
    """100 W rising to 300 W in two seconds, then constant."""
    return Waveform(points=((0.0, 100.0), (2.0, 300.0)))
