"""Intervals of curves whose early part is steeper than what follows."""

import math

import numpy as np
import pytest

from profiler.forecasting import fit_curve


def broken(seed):
    """Return a power law whose exponent falls at a break, and its noiseless level at the end."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(0.2, 0.8)
    second = first * rng.uniform(0.3, 1.0)
    at = math.exp(rng.uniform(math.log(0.02), math.log(0.6)))
    u = np.arange(1.0, 1001.0) / 1000.0
    level = np.where(u < at, (u / at) ** -first, (u / at) ** -second)
    return u * 1e4, level * np.exp(0.01 * rng.standard_normal(u.size)), float(level[-1])


@pytest.mark.slow
def test_interval_from_a_tenth_of_the_run_covers_the_end():
    covered = 0
    for seed in range(60):
        x, y, end = broken(seed)
        seen = x <= 0.1 * x[-1]
        interval = fit_curve(x[seen], y[seen]).loss_at(x[-1])
        covered += interval.low <= end <= interval.high
    assert covered >= 0.85 * 60 - 3


def test_gentle_curves_are_hardly_wider():
    """A curve that gains 3 % per doubling has an upper end within a few percent of that without the allowance."""
    x = np.arange(1.0, 1001.0)
    y = 3.0 * x ** math.log2(0.97)
    fit = fit_curve(x, y)
    interval = fit.loss_at(4.0 * x[-1])
    truth = 3.0 * (4.0 * x[-1]) ** math.log2(0.97)
    assert truth < interval.high < 1.05 * truth


def test_interval_of_a_fit_of_seconds_holds_the_fall_that_follows():
    """A small MLP of 33 s, whose smoothed loss fell three to five times lower by 79 s."""
    x = np.arange(1.0, 3101.0)
    level = 0.4 * (1.0 + x / 15.0) ** -1.2
    level = np.where(x < 900, level, level[899] * (x / 900.0) ** -1.7)
    seen = x <= 1300
    y = level * np.exp(0.3 * np.random.default_rng(0).standard_normal(x.size))
    fit = fit_curve(x[seen], y[seen])
    interval = fit.loss_at(x[-1])
    assert interval.low <= level[-1] * math.exp(0.3**2 / 2.0) <= interval.high
    assert fit.floor.low == pytest.approx(0.0, abs=1e-6)
