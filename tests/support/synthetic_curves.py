import numpy as np


def power_law(x, floor=1.2, excess=1.0, slope=0.35):
    """A curve with ``excess`` over ``floor`` at the last point."""
    x = np.asarray(x, dtype=float)
    return floor + excess * (x / x[-1]) ** -slope
