import numpy as np
import pytest


def power_law(x, floor=1.2, excess=1.0, slope=0.35):
    """A curve with ``excess`` over ``floor`` at the last point."""
    x = np.asarray(x, dtype=float)
    return floor + excess * (x / x[-1]) ** -slope


@pytest.fixture
def noisy_curve():
    """Joules and values of a noisy curve whose floor is 1.2 and whose level now is 2.2."""
    rng = np.random.default_rng(1)
    joules = np.arange(1.0, 2001.0) * 50.0
    return joules, power_law(joules) * np.exp(0.03 * rng.standard_normal(joules.size))
