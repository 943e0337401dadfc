"""States of synthetic curves whose right state is known: a confusion table.

python scripts/forecast_states.py [--curves N]
"""

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from profiler.forecasting import CurveFit, fit_curve
from profiler.records import CurveState

NOISES = (0.0, 1.1e-16, 0.001, 0.01, 0.1)
"""Relative noise of flat curves; the second is one unit in the last place."""
PERSISTENCE = 0.8
"""Correlation of neighbours in autocorrelated noise."""
BUCKETS = (0, 50, 200, 1000, 10**9)
"""Edges of the number of effective points by which results are grouped."""

Curve = tuple[np.ndarray, np.ndarray, float]
"""Joules, values, and the effective number of points."""


def noise(rng: np.random.Generator, points: int, scale: float, persistence: float) -> np.ndarray:
    """Return noise of a standard deviation, white or first-order autoregressive."""
    white = rng.standard_normal(points)
    for k in range(1, points):
        white[k] = persistence * white[k - 1] + math.sqrt(1.0 - persistence**2) * white[k]
    return scale * white


def points(rng: np.random.Generator) -> int:
    """Draw a number of points between 20 and 3,000, evenly in its logarithm."""
    return int(np.exp(rng.uniform(math.log(20), math.log(3000))))


def flat(rng: np.random.Generator) -> Curve:
    """Return a constant under one of five noises, white or autocorrelated."""
    n, persistence = points(rng), rng.choice([0.0, PERSISTENCE])
    x = np.arange(1.0, n + 1.0)
    y = rng.uniform(0.05, 5.0) * np.exp(noise(rng, n, rng.choice(NOISES), persistence))
    return x, y, n * (1.0 - persistence) / (1.0 + persistence)


def slow(rng: np.random.Generator) -> Curve:
    """Return a curve that gains 1 % per doubling of energy, under 1 % of noise."""
    n, persistence = points(rng), rng.choice([0.0, PERSISTENCE])
    x = np.arange(1.0, n + 1.0)
    y = 2.0 * x ** math.log2(0.99) * np.exp(noise(rng, n, 0.01, persistence))
    return x, y, n * (1.0 - persistence) / (1.0 + persistence)


def falling(rng: np.random.Generator) -> Curve:
    """Return a power law with a floor, as a training makes it."""
    n = points(rng)
    x = np.arange(1.0, n + 1.0)
    share, slope = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8)
    level = 1.0 - share + share * (x / x[-1]) ** -slope
    return x, level * np.exp(noise(rng, n, rng.choice([0.003, 0.03]), 0.0)), n


def settled(rng: np.random.Generator) -> Curve:
    """Return a fine-tuning: a sharp drop in the first twentieth, then flat and noisy."""
    n = points(rng)
    x = np.arange(1.0, n + 1.0)
    level = 1.0 + np.exp(-x / (0.01 * n + 1.0))
    return x, level * np.exp(noise(rng, n, rng.choice([0.003, 0.03]), 0.0)), n


def not_finite(rng: np.random.Generator) -> Curve:
    """Return a falling curve whose second half or less is NaN."""
    x, y, n = falling(rng)
    y[int(rng.uniform(0.5, 0.9) * y.size) :] = math.nan
    return x, y, n


def blown_up(rng: np.random.Generator) -> Curve:
    """Return a falling curve whose level jumps by a factor of 3 to 30 and stays there."""
    x, y, n = falling(rng)
    y[int(rng.uniform(0.5, 0.8) * y.size) :] *= rng.uniform(3.0, 30.0)
    return x, y, n


def rising(rng: np.random.Generator) -> Curve:
    """Return a curve that falls and then rises, as the validation loss of an overfit."""
    n = max(points(rng), 100)
    x = np.arange(1.0, n + 1.0)
    u = x / n
    return x, (1.0 + 0.2 * (u - 0.4) ** 2 / 0.36 + 0.2 * u**-0.3) * np.exp(noise(rng, n, 0.005, 0.0)), n


def mixed(rng: np.random.Generator) -> Curve:
    """Return a loss of policy gradients: of mixed sign, and rising."""
    n = points(rng)
    x = np.arange(1.0, n + 1.0)
    return x, 20.0 * rng.standard_normal(n) + 5.0 * x / n, n


def phase_change(rng: np.random.Generator) -> Curve:
    """Return a power law whose exponent falls at a break; the third entry is the noiseless level at the end."""
    first = rng.uniform(0.2, 0.8)
    second = first * rng.uniform(0.3, 1.0)
    at = math.exp(rng.uniform(math.log(0.02), math.log(0.6)))
    scale = math.exp(rng.uniform(math.log(0.005), math.log(0.03)))
    u = np.arange(1.0, 2001.0) / 2000.0
    level = np.where(u < at, (u / at) ** -first, (u / at) ** -second)
    return u * 1e4, level * np.exp(noise(rng, u.size, scale, 0.0)), float(level[-1])


def fine_tuning(rng: np.random.Generator, gain: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return joules, values and learning rates of a fine-tuning, and its noiseless level at the end.

    Args:
        rng: Source of randomness.
        gain: Mean log level that annealing the learning rate to zero removes.
    """
    n = int(np.exp(rng.uniform(math.log(40), math.log(3000))))
    u = np.arange(1.0, n + 1.0) / n
    decays = {
        "linear": 1.0 - u,
        "cosine": 0.5 * (1.0 + np.cos(np.pi * u)),
        "late": np.minimum((1.0 - u) / 0.2, 1.0),
    }
    rate = np.maximum(decays[str(rng.choice(list(decays)))], 0.0) * np.minimum(u / 0.05, 1.0)
    progress = np.append(0.0, np.cumsum(np.maximum(-np.diff(rate), 0.0)))
    drop, length = rng.uniform(0.2, 1.5), rng.uniform(0.005, 0.03)
    scale = math.exp(rng.uniform(math.log(0.003), math.log(0.2)))
    level = (1.0 + drop * np.exp(-u / length)) * np.exp(-gain * rng.uniform(0.5, 1.5) * progress)
    return u * 1e4, level * np.exp(noise(rng, n, scale, 0.0)), rate, float(level[-1])


CASES: dict[str, Callable[[np.random.Generator], Curve]] = {
    "flat": flat,
    "1 % per doubling under 1 % noise": slow,
    "power law": falling,
    "sharp drop, then flat": settled,
    "NaN tail": not_finite,
    "level jumps up": blown_up,
    "falls, then rises": rising,
    "mixed signs": mixed,
}


def state_of(curve: Curve) -> CurveState:
    """Return the state that a fit gives a curve."""
    fit: CurveFit = fit_curve(curve[0], curve[1])
    return fit.state


def confusion(curves: int, seed: int) -> Iterator[str]:
    """Yield a table of states by case and number of effective points."""
    states = tuple(CurveState)
    yield "| curve | effective points | curves | " + " | ".join(state.value for state in states) + " |"
    yield "|---|---|---|" + "---|" * len(states)
    for name, make in CASES.items():
        rng = np.random.default_rng(seed)
        counts: dict[int, Counter[CurveState]] = {}
        for _ in range(curves // len(CASES)):
            curve = make(rng)
            bucket = max(k for k, edge in enumerate(BUCKETS) if curve[2] >= edge)
            counts.setdefault(bucket, Counter())[state_of(curve)] += 1
        for bucket in sorted(counts):
            total = counts[bucket].total()
            low, high = BUCKETS[bucket], BUCKETS[bucket + 1]
            label = f"from {low}" if high == BUCKETS[-1] else f"{low} to {high}"
            shares = " | ".join(f"{counts[bucket][state] / total:.1%}" for state in states)
            yield f"| {name} | {label} | {total} | {shares} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--curves", type=int, default=2000, help="number of curves in all")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for line in confusion(options.curves, options.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main()
