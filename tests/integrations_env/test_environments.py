"""Reinforcement learning with gymnasium and stable-baselines3, and programs that only import them."""

import pytest
import torch

from profiler import EnergyProfiler
from profiler.records import CurveState
from tests.support.small_training import scripted, train

gymnasium = pytest.importorskip("gymnasium")


class Walk(gymnasium.Env):
    """An environment of the program, without wrappers."""

    observation_space = gymnasium.spaces.Box(-10.0, 10.0, (4,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.left = 10
        return self.observation_space.sample(), {}

    def step(self, action):
        self.left -= 1
        return self.observation_space.sample(), float(action), self.left == 0, False, {}


ENVIRONMENTS = {
    "make": lambda: gymnasium.make("CartPole-v1"),
    "sync": lambda: gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync"),
    "async": lambda: gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="async"),
    "own": Walk,
}


def policy_gradient(env, updates=6):
    """Five random-start steps of all environments per update; the loss has both signs."""
    policy = torch.nn.Linear(4, 2)
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)
    for number in range(updates):
        observation, _ = env.reset(seed=number)
        terms = []
        for _ in range(5):
            choices = torch.distributions.Categorical(logits=policy(torch.as_tensor(observation)))
            action = choices.sample()
            observation, reward, *_ = env.step(action.numpy() if action.ndim else action.item())
            terms.append((choices.log_prob(action) * torch.as_tensor(reward)).mean())
        optimizer.zero_grad()
        (-torch.stack(terms).mean()).backward()
        optimizer.step()
    env.close()
    return policy


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_policy_gradient(tmp_path, name):
    originals = gymnasium.Env.step, gymnasium.Wrapper.step, Walk.step
    torch.manual_seed(0)
    alone = policy_gradient(ENVIRONMENTS[name]())
    torch.manual_seed(0)
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        recorded = policy_gradient(ENVIRONMENTS[name]())
    assert prof.run.summary().steps == 6
    assert prof.run.meta["libraries"] == ["gymnasium"] or "stable_baselines3" in prof.run.meta["libraries"]
    assert prof.run.fit().state is CurveState.NOT_A_PROGRESS_MEASURE
    assert (gymnasium.Env.step, gymnasium.Wrapper.step, Walk.step) == originals
    if name != "own":  # its observations are random
        assert all(map(torch.equal, alone.parameters(), recorded.parameters()))


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_stable_baselines3(tmp_path, algorithm):
    library = pytest.importorskip("stable_baselines3")
    options = {
        "PPO": {"n_steps": 32, "batch_size": 16, "n_epochs": 2},
        "DQN": {"learning_starts": 20, "train_freq": 2, "batch_size": 8},
    }[algorithm]

    def learn():
        model = getattr(library, algorithm)("MlpPolicy", "CartPole-v1", seed=0, device="cpu", **options)
        model.learn(96)
        return [parameter.detach().clone() for parameter in model.policy.parameters()]

    alone = learn()
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        recorded = learn()
    assert prof.run.meta["libraries"] == ["stable_baselines3", "gymnasium"]
    assert prof.run.fit().state is CurveState.NOT_A_PROGRESS_MEASURE
    assert all(map(torch.equal, alone, recorded))


def test_supervised_training_beside_an_idle_environment(tmp_path):
    env = gymnasium.make("CartPole-v1")
    env.reset(seed=0)
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        env.step(0)
        train(30)
    assert "libraries" not in prof.run.meta
    assert prof.run.fit().state is not CurveState.NOT_A_PROGRESS_MEASURE
