"""Environments of reinforcement learning that are stepped between updates."""

import io
import pickle
import sys
import types

import pytest
import torch

from profiler.torch_hooks.manager import hook_manager
from tests.support.training_loops import STEPS, loss_of, network, plain, sgd


class Env:
    """The abstract class of a library, which its environments override."""

    def step(self, action):
        raise NotImplementedError


class Wrapper(Env):
    def __init__(self, env):
        self.env = env

    def step(self, action):
        return self.env.step(action)


class Counter(Env):
    """An environment of the program."""

    def __init__(self):
        self.steps = 0

    def step(self, action):
        """Count."""
        self.steps += 1
        return action


class VecEnv:
    def step_async(self, actions):
        self.actions = actions

    def step_wait(self):
        return self.actions


@pytest.fixture(autouse=True)
def library(monkeypatch):
    """Stand-ins for the base classes of gymnasium."""
    monkeypatch.setitem(sys.modules, "gymnasium.core", types.SimpleNamespace(Env=Env))
    monkeypatch.delitem(sys.modules, "gymnasium.vector.vector_env", raising=False)
    monkeypatch.delitem(sys.modules, "stable_baselines3.common.vec_env.base_vec_env", raising=False)


@pytest.fixture
def baselines(monkeypatch):
    module = types.SimpleNamespace(VecEnv=VecEnv)
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.vec_env.base_vec_env", module)


def methods():
    return [cls.__dict__["step"] for cls in (Env, Wrapper, Counter)]


def train(model, optimizer):
    optimizer.zero_grad()
    loss = loss_of(model)
    loss.backward()
    optimizer.step()


def test_environments_that_are_stepped_between_updates_are_noticed(record):
    originals = methods()
    env, model = Wrapper(Counter()), network()
    optimizer = sgd(model)
    with record():
        for number in range(STEPS):
            assert env.step(number) == number
            assert methods() == originals, (
                "nothing is replaced before the first update, nor after the first step"
            )
            train(model, optimizer)
        assert hook_manager().libraries == ("gymnasium",)
    assert env.env.steps == STEPS
    assert methods() == originals
    assert hook_manager().libraries == ("gymnasium",), "the final record needs it"


def test_an_import_alone_is_no_reinforcement_learning(record):
    originals = methods()
    with record():
        plain()
        assert hook_manager().libraries == ()
    assert methods() == originals


def test_a_data_set_collected_before_the_training_is_no_reinforcement_learning(record):
    env = Counter()
    with record():
        for number in range(STEPS):
            env.step(number)
        plain()
    env.step(0)
    assert hook_manager().libraries == ()


def test_a_recording_forgets_the_environments_of_the_last(record):
    env = Counter()
    with record():
        plain()
        env.step(0)
    assert hook_manager().libraries == ("gymnasium",)
    with record():
        plain()
    assert hook_manager().libraries == ()


@pytest.mark.usefixtures("baselines")
def test_vectorized_environments_are_noticed_when_they_start_a_step(record):
    envs = VecEnv()
    with record():
        plain()
        envs.step_async([1])
        assert envs.step_wait() == [1]
    assert hook_manager().libraries == ("stable_baselines3", "gymnasium")


def test_environments_are_noticed_beside_steps_of_other_libraries(record):
    env = Counter()
    with record():
        hook_manager().manual_step(1.0)
        env.step(0)
    assert hook_manager().libraries == ("gymnasium",)


def test_a_class_that_is_pickled_by_value_is_pickled_without_the_watch(record):
    """As cloudpickle does with classes of the main module, to start environments in other processes."""
    with record():
        plain()
        method = Counter.__dict__["step"]
        assert method.__doc__ == "Count."
        assert method.__wrapped__.__name__ == "step"

        class Pickler(pickle.Pickler):
            def persistent_id(self, value):
                return "original" if value is method.__wrapped__ else None

        class Unpickler(pickle.Unpickler):
            def persistent_load(self, name):
                return name

        written = io.BytesIO()
        Pickler(written).dump(method)
        assert Unpickler(io.BytesIO(written.getvalue())).load() == "original"


def test_classes_that_cannot_be_watched_leave_the_hooks_working(record, monkeypatch):
    class Frozen(type):
        def __setattr__(cls, name, value):
            raise TypeError("immutable")

    class Base(metaclass=Frozen):
        def step(self, action):
            return action

    monkeypatch.setitem(sys.modules, "gymnasium.core", types.SimpleNamespace(Env=Base))
    monkeypatch.setitem(sys.modules, "gymnasium.vector.vector_env", types.SimpleNamespace(VectorEnv=Counter))
    with record() as recording:
        plain()
        Base().step(0)
        assert not hook_manager().libraries
        Counter().step(0)
        assert hook_manager().libraries == ("gymnasium",)
    assert len(recording.steps) == STEPS
    assert any("steps of environments cannot be seen" in warning for warning in recording.warnings)


def test_weights_are_the_same_with_and_without_environments(record):
    def run():
        torch.manual_seed(0)
        env, model = Counter(), network()
        optimizer = sgd(model)
        for number in range(STEPS):
            env.step(number)
            train(model, optimizer)
        return [parameter.detach().clone() for parameter in model.parameters()]

    alone = run()
    with record():
        recorded = run()
    assert all(map(torch.equal, alone, recorded))
