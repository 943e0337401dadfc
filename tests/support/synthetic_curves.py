import math

import numpy as np


def power_law(x, floor=1.2, excess=1.0, slope=0.35):
    """A curve with ``excess`` over ``floor`` at the last point."""
    x = np.asarray(x, dtype=float)
    return floor + excess * (x / x[-1]) ** -slope


def mlp_losses(seed, steps, *, hidden=16, batch=32, rate=0.03, momentum=0.9):
    """Train a small MLP on the outputs of another one, and return the loss of each step: plateaus, falls, and noise."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((512, 4))
    targets = np.tanh(inputs @ rng.standard_normal((4, 8))) @ rng.standard_normal(8) / 3.0
    weights = [
        rng.standard_normal((4, hidden)) / 2.0,
        np.zeros(hidden),
        rng.standard_normal(hidden) / math.sqrt(hidden),
    ]
    velocity = [np.zeros_like(one) for one in weights]
    losses = []
    for _ in range(steps):
        chosen = rng.integers(0, len(inputs), batch)
        x = inputs[chosen]
        active = np.tanh(x @ weights[0] + weights[1])
        error = active @ weights[2] - targets[chosen]
        losses.append(float(error @ error) / batch)
        back = np.outer(2.0 * error / batch, weights[2]) * (1.0 - active**2)
        gradients = (x.T @ back, back.sum(axis=0), active.T @ (2.0 * error / batch))
        velocity = [momentum * old + new for old, new in zip(velocity, gradients, strict=True)]
        weights = [weight - rate * moved for weight, moved in zip(weights, velocity, strict=True)]
    return np.array(losses)
