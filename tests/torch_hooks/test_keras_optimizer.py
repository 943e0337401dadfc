"""The hook on the optimizers of Keras, on stand-ins for its versions; tests/integrations_env has the real one."""

import sys
import weakref
from types import SimpleNamespace

import pytest
import torch

from profiler.torch_hooks.manager import hook_manager


def fake_keras(optimizer, backend="torch"):
    return SimpleNamespace(
        __version__="3.x",
        config=SimpleNamespace(backend=lambda: backend),
        optimizers=SimpleNamespace(Optimizer=optimizer),
    )


class Optimizer:
    """An optimizer with the attributes of Keras's that the hook reads."""

    def __init__(self, weight, *, every=None):
        self._trainable_variables = [SimpleNamespace(value=weight)]
        self.learning_rate = SimpleNamespace(value=torch.tensor(0.5))
        self.gradient_accumulation_steps = every

    def apply(self, grads):
        for variable, gradient in zip(self._trainable_variables, grads, strict=True):
            variable.value.data -= 0.01 * gradient


def train(optimizer, weight, steps):
    losses = []
    for _ in range(steps):
        weight.grad = None
        loss = weight.square().sum()
        loss.backward()
        optimizer.apply([weight.grad])
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("every", [None, 2])
def test_each_update_is_a_step(record, monkeypatch, every):
    monkeypatch.setitem(sys.modules, "keras", fake_keras(Optimizer))
    original, weight = Optimizer.apply, torch.nn.Parameter(torch.ones(3))
    with record() as recording:
        losses = train(Optimizer(weight, every=every), weight, 4)
    assert Optimizer.apply is original
    if every is None:
        assert [step.loss for step in recording.steps] == pytest.approx(losses)
        assert {step.learning_rate for step in recording.steps} == {0.5}
    else:
        assert len(recording.steps) == len(losses) // every
    assert hook_manager().inferred_steps == 0


def test_an_optimizer_that_the_training_drops_is_freed(record, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", fake_keras(Optimizer))
    weight = torch.nn.Parameter(torch.ones(3))
    with record():
        optimizer = Optimizer(weight)
        train(optimizer, weight, 2)
        dropped = weakref.ref(optimizer)
        del optimizer
        assert dropped() is None


@pytest.mark.parametrize(
    ("keras", "sentence"),
    [
        (SimpleNamespace(__version__="9.0"), "the hooks do not know Keras 9.0"),
        (fake_keras(object), "the hooks do not know Keras 3.x"),
        (fake_keras(Optimizer, "jax"), "Keras uses the backend jax, whose steps the hooks do not see"),
    ],
)
def test_a_version_or_backend_that_is_not_known_costs_one_sentence(record, monkeypatch, keras, sentence):
    monkeypatch.setitem(sys.modules, "keras", keras)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with record() as recording:
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert [line for line in recording.warnings if line.startswith(sentence)]
    assert len(recording.steps) == 1
    assert hook_manager().failure is None
