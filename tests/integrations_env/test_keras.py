"""Keras 3 on torch: its updates are steps, its weights do not change, and its evaluations are spans."""

import os
import sys

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")

import numpy as np  # noqa: E402 - the backend is chosen before Keras is imported

from profiler import EnergyProfiler  # noqa: E402


def train():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(160, 4)).astype("float32")
    model = keras.Sequential([keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(x, x.sum(axis=1, keepdims=True), epochs=2, batch_size=16, verbose=0, validation_split=0.2)
    return model


@pytest.mark.skipif("keras.config.backend() != 'torch'")
def test_each_batch_of_keras_is_a_step(tmp_path):
    plain = train()
    with EnergyProfiler(run_dir=tmp_path / "run") as prof:
        profiled = train()
    run = prof.run
    assert run.steps["step_count"].sum() == 16
    assert run.steps["loss"].notna().all()
    assert run.steps["learning_rate"].iloc[-1] == pytest.approx(0.001)
    assert "inferred_steps" not in run.meta
    assert sys.modules["torch"]
    for one, other in zip(plain.get_weights(), profiled.get_weights(), strict=True):
        assert np.array_equal(one, other)
