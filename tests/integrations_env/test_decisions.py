"""The Optuna pruner of docs/decisions.md, run as it is printed."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "decisions.md").read_text(encoding="utf-8")
BUDGET = 200


@pytest.fixture
def optuna():
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def pruner():
    _, _, section = PAGE.partition("### An Optuna pruner\n")
    scope = {}
    exec(
        compile(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1], "docs/decisions.md", "exec"), scope
    )
    return scope["EnergyPruner"](BUDGET)


@pytest.mark.parametrize(("direction", "sign"), [("minimize", 1.0), ("maximize", -1.0)])
def test_it_stops_the_trials_that_cannot_be_the_best(optuna, direction, sign):
    def objective(trial):
        floor = (0.1, 0.5, 0.3, 0.6)[trial.number]
        for joules in range(5, BUDGET + 1, 5):
            level = floor + 0.4 * joules**-0.5
            value = level if sign > 0 else 1.0 - level
            trial.report(value, step=joules)
            if joules % 50 == 0 and trial.should_prune():
                raise optuna.TrialPruned
        return value

    study = optuna.create_study(direction=direction, pruner=pruner())
    study.optimize(objective, n_trials=4)
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "PRUNED", "PRUNED", "PRUNED"]
    assert max(study.trials[1].intermediate_values) < BUDGET
    assert study.best_trial.number == 0
