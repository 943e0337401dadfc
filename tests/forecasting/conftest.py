import os
from pathlib import Path

import numpy as np
import pytest

import profiler
from tests.support.synthetic_curves import power_law


@pytest.fixture
def environment():
    """For a fresh interpreter that finds the package whatever its folder."""
    return {**os.environ, "PYTHONPATH": str(Path(profiler.__file__).parents[1])}


@pytest.fixture
def noisy_curve():
    """Joules and values of a noisy curve whose floor is 1.2 and whose level now is 2.2."""
    rng = np.random.default_rng(1)
    joules = np.arange(1.0, 2001.0) * 50.0
    return joules, power_law(joules) * np.exp(0.03 * rng.standard_normal(joules.size))
