"""Fit a small network with JAX, whose steps the training loop reports itself.

Needs JAX: ``pip install jax``. A few seconds.
"""

import jax
import jax.numpy as jnp

from profiler import EnergyProfiler
from profiler.units import format_joules

STEPS = 500


def loss_of(weights, x, y):
    """Return the mean squared error of a network with one hidden layer."""
    hidden = jnp.tanh(x @ weights["in"])
    return jnp.mean((hidden @ weights["out"] - y) ** 2)


@jax.jit
def update(weights, x, y):
    """Return the weights after one step of gradient descent, and the loss before it."""
    loss, gradients = jax.value_and_grad(loss_of)(weights, x, y)
    return jax.tree.map(lambda weight, gradient: weight - 0.05 * gradient, weights, gradients), loss


def main() -> None:
    """Train, and print the cost of a step."""
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (256, 16))
    y = jnp.sin(x.sum(axis=1, keepdims=True))
    weights = {
        "in": 0.3 * jax.random.normal(keys[1], (16, 64)),
        "out": 0.1 * jax.random.normal(keys[2], (64, 1)),
    }
    with EnergyProfiler(name="jax") as prof:
        for _ in range(STEPS):
            weights, loss = update(weights, x, y)
            prof.step(loss=loss)  # read when it is ready, so that JAX's queue is not drained
        jax.block_until_ready(weights)

    run = prof.run
    print(f"{len(run.steps)} steps, {format_joules(run.steps['total_joules'].mean())} each.")
    print(run.path)


if __name__ == "__main__":
    main()
