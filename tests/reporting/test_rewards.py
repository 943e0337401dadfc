"""Advice for reinforcement learning, whose loss does not measure progress."""

import sys
from types import SimpleNamespace

import pytest

from profiler import EnergyProfiler
from profiler.records import CurveState
from profiler.reporting import report_of
from profiler.reporting.answer import answer_of
from tests.support.scripted_tables import Script
from tests.support.small_training import scripted, train


@pytest.mark.parametrize(
    ("libraries", "name"),
    [(["gymnasium", "stable_baselines3"], "ep_rew_mean"), (["gymnasium"], '["episode"]["r"]'), ([], "")],
)
def test_advice_for_a_loss_that_is_no_measure_names_the_reward(tmp_path, libraries, name):
    """The loss of a policy gradient has both signs."""
    script = Script(tmp_path / "run")
    for number in range(200):
        script.step(-1.0 if number % 2 else 1.0)
    if libraries:
        script.meta["libraries"] = libraries
    advice = " ".join(answer_of(report_of(script.run())).advice.split())
    assert "does not measure progress" in advice
    assert name in advice
    assert ("log it with" in advice) == bool(libraries)


def test_a_falling_loss_of_reinforcement_learning_has_no_forecast(tmp_path):
    """The targets of a Q-network move with it."""
    script = Script(tmp_path / "run")
    for number in range(200):
        script.step(0.1 + (number + 1.0) ** -0.5)
    script.meta["libraries"] = ["gymnasium"]
    report = report_of(script.run())
    assert report.state is CurveState.NOT_A_PROGRESS_MEASURE
    advice = " ".join(answer_of(report).advice.split())
    assert "move with the policy" in advice
    assert '["episode"]["r"]' in advice
    assert not report.outlook.targets


@pytest.mark.parametrize("is_stepped", [True, False])
def test_a_library_is_recorded_if_its_environments_are_stepped(tmp_path, monkeypatch, is_stepped):
    class Env:
        def step(self, action):
            return action

    monkeypatch.setitem(sys.modules, "gymnasium.core", SimpleNamespace(Env=Env))
    env = Env()
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        env.step(0)
        train(20)
        if is_stepped:
            env.step(1)
            train(20)
    assert prof.run.meta.get("libraries", []) == ["gymnasium"] * is_stepped
    assert (prof.run.fit().state is CurveState.NOT_A_PROGRESS_MEASURE) == is_stepped
