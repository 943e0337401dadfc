"""Curves and fits of stored runs, with several trainings in one process."""

import math

import pytest

from profiler import load_run
from profiler.analysis import curve
from profiler.errors import UsageError
from profiler.forecasting.priors import IMAGES, Priors
from profiler.records import CurveState
from profiler.reporting import report_of
from profiler.reporting.live_report import Watch
from tests.support.runs import write_run


@pytest.fixture
def run(tmp_path):
    return load_run(
        write_run(tmp_path / "run", steps=600, loss=lambda step: 1.0 + 3.0 * (step % 300 + 1) ** -0.4)
    )


def add_trainings(run):
    run.steps["training"] = (run.steps["step"] > 300).astype(int)


def test_run_without_the_column_is_one_training(run):
    assert curve.trainings(run) == (0,)
    (fit,) = run.fits()
    assert fit.level == run.fit().level


def test_each_training_has_its_own_fit(run):
    add_trainings(run)
    first, last = run.fits()
    assert first.joules < last.origin_joules < last.joules
    assert (first.state, last.state) == (CurveState.IMPROVING,) * 2
    assert last.level == pytest.approx(first.level, rel=0.01)
    assert curve.fit_metric(run, curve.learning_rate_trace(run)).level == last.level


def test_unknown_training_is_rejected(run):
    add_trainings(run)
    with pytest.raises(UsageError, match="no training 7; it has 0, 1"):
        curve.metric_points(run, "loss", 7)


def test_diverged_run_names_the_step(tmp_path):
    def loss(step):
        return 1.0 + 3.0 / step if step < 361 else math.nan

    fit = load_run(write_run(tmp_path / "run", steps=600, loss=loss)).fit()
    assert fit.state is CurveState.DIVERGED
    assert "step 361" in fit.state_reason


@pytest.mark.parametrize(
    ("count", "state"), [(12, CurveState.NOT_A_PROGRESS_MEASURE), (11, CurveState.IMPROVING)]
)
def test_optimizers_that_take_turns_in_many_steps_have_no_common_loss(run, count, state):
    add_trainings(run)
    run.meta["alternating_steps"] = count
    assert run.fit().state is state


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_last_value_of_a_metric_may_be_no_number(tmp_path, value):
    """The live view and the report show the same one: an older number would hide that the run diverged."""
    path = write_run(
        tmp_path / "run",
        steps=100,
        loss=lambda step: 1.0 + 3.0 / step if step < 95 else value,
        metrics=[(50, "val_loss", 2.0), (99, "val_loss", value)],
    )
    run = load_run(path)
    assert not math.isfinite(curve.last_value(run))
    assert not math.isfinite(curve.last_value(run, "val_loss"))
    assert not math.isfinite(Watch(path).poll().loss)
    assert [math.isfinite(one.last) for one in report_of(run).metrics] == [False, False]


@pytest.mark.parametrize(("training", "values"), [(0, [0.5, 0.7]), (1, [0.6, 0.8, 0.9])])
def test_an_evaluation_after_the_last_step_belongs_to_the_training(tmp_path, training, values):
    logged = [(200, 0.5), (300, 0.7), (300, 0.1), (350, 0.6), (400, 0.8), (400, 0.9)]
    run = load_run(write_run(tmp_path / "run", metrics=[(step, "val_acc", value) for step, value in logged]))
    add_trainings(run)
    # They are logged after the end of the step.
    run.metrics["cumulative_joules"] += 1.0
    assert curve.metric_points(run, "val_acc", training)[1].tolist() == values


def test_trainings_of_a_process_are_counted(run):
    add_trainings(run)
    assert run.summary().trainings == 2


@pytest.mark.parametrize(
    ("value", "best", "state"),
    [
        (lambda k: 1.0 - 0.5 * k**-0.3 if k < 90 else 0.0, 1.0, CurveState.DIVERGED),
        (lambda k: -200.0 * k**-0.3 * (1.0 + 0.01 * (-1) ** k), 0.0, CurveState.IMPROVING),
        (lambda k: 1.0 - 0.5 * k**-0.3 if k < 90 else 1.0, 1.0, CurveState.FLAT),
    ],
    ids=["accuracy collapses to zero", "negative reward", "accuracy of one"],
)
def test_a_metric_that_rises_has_the_same_state_with_a_learning_rate_that_varies(
    tmp_path, value, best, state
):
    metrics = [(3 * k, "score", value(k)) for k in range(1, 101)]
    for name, rate in (("constant", lambda _: 1e-3), ("falling", lambda step: 1e-3 * (1.0 - step / 600))):
        run = load_run(write_run(tmp_path / name, steps=300, learning_rate=rate, metrics=metrics))
        fit = run.fit("score", goal="max", best=best)
        assert fit.state is state
        assert fit.points == 100 - (11 if state is CurveState.FLAT else 0)


def models(run, losses):
    """Divide 600 steps among models, 30 steps each, whose losses ``losses(model, step)`` gives."""
    run.steps["training"] = (run.steps["step"] - 1) // 30
    run.steps["loss"] = [losses((step - 1) // 30, (step - 1) % 30) for step in run.steps["step"]]
    return run


def federated(model, step):
    """Rounds of four clients: each starts at the common model, and fits its own data better than the others'."""
    return 0.4 + 0.8 * (model // 4 + 1) ** -0.7 - 0.003 * step + 0.02 * (7 * model % 5)


def test_models_of_federated_rounds_are_one_training(run):
    one = models(run, federated)
    assert (curve.rounds(one), curve.trainings(one)) == (20, (0,))
    fit = one.fit()
    assert fit.state is CurveState.IMPROVING
    assert fit.points == 600
    assert "Each of the 20 models in this process continues the one before" in fit.notes[0]
    assert [other.joules for other in one.fits()] == [fit.joules]
    assert report_of(one).summary.trainings == 1


@pytest.mark.parametrize(
    "losses",
    {
        "trials that learn faster and faster": lambda model, step: 0.3 + 2.0 * math.exp(-0.01 * model * step),
        "folds": lambda model, step: 1.0 + 3.0 * (step + 1) ** -0.4 + 0.01 * (7 * model % 5),
        "a first trial that starts high": lambda model, step: (9.0 if model == 0 else 2.3) - 0.02 * step,
        "models without progress": lambda model, step: 1.0 + 0.01 * (7 * model % 5) + 0.01 * (11 * step % 7),
        "losses of both signs": lambda model, step: federated(model, step) - 0.6,
        "two values that do not count": lambda model, _: math.nan if model in (3, 4) else 1.0 / (model + 1),
    }.values(),
)
def test_models_that_start_anew_are_trainings_of_their_own(run, losses):
    several = models(run, losses)
    assert curve.rounds(several) == 0
    assert len(curve.trainings(several)) == 20


def test_models_that_take_turns_are_not_rounds(run):
    run.steps["training"] = run.steps["step"] % 20
    assert curve.rounds(run) == 0


def test_convolutions_over_images_change_the_assumed_gain(run):
    assert run.fit().priors == Priors()
    run.meta["convolutional"] = True
    assert run.fit().priors == IMAGES
    given = Priors(anneal_gain=0.01)
    assert run.fit(priors=given).priors == given
