"""Several trainings in one process, recorded end to end."""

import json

import torch

from profiler import EnergyProfiler, load_run
from profiler.records import CurveState
from tests.support.small_training import scripted, train
from tests.support.training_loops import Gan, loss_of, network, sgd


def test_a_sweep_has_a_training_per_model(tmp_path):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]):
        for _ in range(3):
            train(20)
    run = load_run(tmp_path / "run")
    assert run.steps.groupby("training")["step_count"].sum().tolist() == [20, 20, 20]
    assert "alternating_steps" not in run.meta


def test_a_gan_with_both_backward_passes_before_both_updates_takes_turns(tmp_path, capsys):
    torch.manual_seed(0)
    gan = Gan()
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]):
        for _ in range(20):
            gan.generator_optimizer.zero_grad()
            gan.generator_loss().backward()
            gan.discriminator_optimizer.zero_grad()
            gan.discriminator_loss().backward()
            gan.discriminator_optimizer.step()
            gan.generator_optimizer.step()
    run = load_run(tmp_path / "run")
    assert (run.meta["alternating_steps"], run.summary().steps) == (20, 20)
    assert run.fit().state is CurveState.NOT_A_PROGRESS_MEASURE
    assert "take turns with losses of their own" in " ".join(capsys.readouterr().err.split())


def test_a_gan_after_another_training_takes_turns(tmp_path):
    torch.manual_seed(0)
    gan = Gan()
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]):
        train(20)
        for _ in range(20):
            gan.generator_optimizer.zero_grad()
            gan.generator_loss().backward()
            gan.discriminator_optimizer.zero_grad()
            gan.discriminator_loss().backward()
            gan.discriminator_optimizer.step()
            gan.generator_optimizer.step()
    run = load_run(tmp_path / "run")
    assert run.steps.groupby("training")["step_count"].sum().tolist() == [20, 20]
    assert run.fit().state is CurveState.NOT_A_PROGRESS_MEASURE


def test_folds_whose_optimizers_are_made_first_are_trainings_of_equal_length(tmp_path):
    torch.manual_seed(0)
    models = [network() for _ in range(3)]
    optimizers = [sgd(model) for model in models]
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]):
        for model, optimizer in zip(models, optimizers, strict=True):
            for _ in range(14):
                optimizer.zero_grad()
                loss_of(model).backward()
                optimizer.step()
    run = load_run(tmp_path / "run")
    assert run.steps.groupby("training")["step_count"].sum().tolist() == [14, 14, 14]
    assert "alternating_steps" not in run.meta


def test_a_gan_is_one_training_whose_optimizers_take_turns(tmp_path, capsys):
    torch.manual_seed(0)
    gan = Gan()
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]):
        for _ in range(20):
            for loss, optimizer in (
                (gan.discriminator_loss, gan.discriminator_optimizer),
                (gan.generator_loss, gan.generator_optimizer),
            ):
                optimizer.zero_grad()
                loss().backward()
                optimizer.step()
    run = load_run(tmp_path / "run")
    assert set(run.steps["training"]) == {0}
    assert json.loads((tmp_path / "run" / "run.json").read_text())["alternating_steps"] == 20
    printed = " ".join(capsys.readouterr().err.split())
    assert "Several optimizers take turns with losses of their own" in printed


def test_federated_rounds_end_with_the_report_of_one_training(tmp_path, capsys):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]):
        for client in range(12):
            copied = torch.nn.Parameter(torch.ones(2))
            optimizer = torch.optim.SGD([copied], lr=0.1)
            for step in range(4):
                optimizer.zero_grad()
                (0.4 + (client + 1) ** -0.7 - 0.01 * step + 0.0 * copied.sum()).backward()
                optimizer.step()
    words = " ".join(capsys.readouterr().err.split())
    assert load_run(tmp_path / "run").steps["training"].nunique() == 12
    assert "trainings in one process" not in words
    assert "the curve has 4" not in words
