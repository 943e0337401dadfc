"""Direction of metrics and choice of the headline metric."""

import math

import pytest

from profiler import load_run
from profiler.errors import UsageError
from profiler.records import CurveState
from profiler.reporting import report_of
from profiler.reporting.metric_choice import best_of, goal_of, headline
from tests.support.runs import write_run

GOALS = {
    "loss": "min", "val/loss": "min", "validError": "min", "perplexity": "min", "eval_wer": "min",
    "acc": "max", "val_acc1": "max", "top5-accuracy": "max", "F1": "max", "eval/bleu": "max", "episode_reward": "max",
    "score": None, "lr": None, "accuracy_loss": None, "": None, "map_loss": None, "grad_norm": None,
}  # fmt: skip


@pytest.mark.parametrize(("name", "goal"), GOALS.items())
def test_the_name_of_a_metric_shows_its_direction(name, goal):
    assert goal_of(name) == goal


@pytest.mark.parametrize(
    ("name", "highest", "best"),
    [("val_acc", 0.93, 1.0), ("val_acc", 93.0, 100.0), ("reward", 0.5, None), ("bleu", 250.0, None)],
)
def test_the_best_value_is_one_or_a_hundred_or_unknown(name, highest, best):
    assert best_of(name, highest) == best


HEADLINES = [
    ((), "loss", "min", ""),
    (("aux_loss",), "loss", "min", ""),
    (("aux_loss", "val_loss"), "val_loss", "min", ""),
    (("eval/accuracy",), "eval/accuracy", "max", ""),
    (("val_score",), "loss", "min", "direction of val_score is unknown"),
    (("val_loss", "val_acc"), "loss", "min", "2 logged metrics look like validation metrics"),
]


@pytest.mark.parametrize(("names", "name", "goal", "note"), HEADLINES)
def test_the_headline_is_the_only_validation_metric(names, name, goal, note):
    found = headline(names)
    assert (found.name, found.goal) == (name, goal)
    assert note in found.note
    assert bool(note) == bool(found.note)


def test_the_user_decides_metric_and_goal():
    assert headline(("val_loss", "score"), "score", "max").goal == "max"
    assert headline(("val_loss",), "loss").name == "loss"
    assert headline(("val_score",), goal="max").name == "val_score"
    with pytest.raises(UsageError, match="no metric 'acc'; it has: loss, val_loss"):
        headline(("val_loss",), "acc")
    with pytest.raises(UsageError, match="'min' or 'max'"):
        headline((), goal="up")


@pytest.mark.parametrize(("values", "name"), [(1, "loss"), (5, "loss"), (6, "val_loss")])
def test_a_metric_with_too_few_values_for_a_forecast_is_not_at_the_top(tmp_path, values, name):
    metrics = [(40 * (k + 1), "val_loss", 2.0 - 0.1 * k) for k in range(values)]
    report = report_of(load_run(write_run(tmp_path / "run", metrics=metrics)))
    assert report.metric == name
    assert ("too few for a forecast" in report.note) == (name == "loss")
    assert report_of(load_run(tmp_path / "run"), metric="val_loss").metric == "val_loss"


@pytest.mark.parametrize("name", ["val_accuracy", "reward", "val_loss"])
def test_a_metric_without_a_finite_value_has_a_report_that_states_it(tmp_path, name):
    metrics = [(step, name, math.nan) for step in range(1, 31)]
    run = load_run(write_run(tmp_path / "run", metrics=metrics))
    known = report_of(run, metric=name).metrics[0]
    assert known.refused.startswith("None of 30 recorded values is finite")
    assert report_of(run).metric == "loss"


def test_a_logged_metric_that_ends_in_nan_has_diverged(tmp_path):
    metrics = [(step, "val_loss", 2.0 + step**-0.4 if step < 300 else math.nan) for step in range(1, 401)]
    report = report_of(load_run(write_run(tmp_path / "run", metrics=metrics)))
    assert report.state is CurveState.DIVERGED
