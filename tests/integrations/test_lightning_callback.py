"""Lightning callback in real fits."""

import json
import logging
import time
import warnings

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from profiler import EnergyProfiler
from profiler.errors import UsageError
from profiler.integrations.lightning import EnergyProfilerCallback
from profiler.records import Status
from tests.support.small_training import scripted, train

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore::FutureWarning:lightning")


class Plane(pl.LightningModule):
    """Linear model that stores its losses."""

    def __init__(self, *, fails_at=None, optimizers=1):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.losses = []
        self.fails_at = fails_at

    def training_step(self, batch, index):
        if len(self.losses) == self.fails_at:
            raise ZeroDivisionError("theirs")
        loss = self.layer(batch[0]).square().mean()
        self.losses.append(loss.item())
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, index):
        self.log("val_error", self.layer(batch[0]).square().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Kept(Logger):
    """Logger that stores its input."""

    name = version = "kept"

    def __init__(self):
        super().__init__()
        self.metrics = []

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        self.metrics.append((step, dict(metrics)))


class Slow(Callback):
    """Callback that waits for the sensors."""

    def on_train_batch_end(self, *args):
        time.sleep(0.05)


def data(size=40):
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(size * 4, 4)), batch_size=4)


@pytest.fixture
def fit(tmp_path):
    """Fit a model and return its trainer."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    def run(model, *callbacks, **options):
        trainer = pl.Trainer(
            accelerator="cpu", callbacks=list(callbacks), default_root_dir=tmp_path, enable_checkpointing=False,
            enable_model_summary=False, enable_progress_bar=False,
            **{"logger": False, "max_epochs": 1, "log_every_n_steps": 10} | options,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(model, data(), data(2))
        return trainer

    return run


def test_fit_is_a_run(fit, tmp_path):
    callback = EnergyProfilerCallback(run_dir=tmp_path / "run", sensors=[scripted()])
    assert callback.profiler is None
    model = Plane()
    fit(model, callback)
    run = callback.profiler.run
    assert run.status is Status.COMPLETED
    assert run.steps["loss"].tolist() == pytest.approx(model.losses)
    assert run.total_joules > 0


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize(("options", "total"), [({"max_steps": 30}, 30), ({"max_epochs": 1}, None)])
def test_declared_steps_are_those_of_the_trainer(fit, tmp_path, options, total):
    callback = EnergyProfilerCallback(run_dir=tmp_path / "run", sensors=[scripted()])
    fit(Plane(), callback, **options)
    assert callback.profiler.run.meta.get("total_steps") == total


def test_metrics_go_to_every_logger_at_logging_steps(fit, tmp_path):
    one, other = Kept(), Kept()
    callback = EnergyProfilerCallback(run_dir=tmp_path / "run", sensors=[scripted()])
    fit(Plane(), callback, Slow(), logger=[one, other])
    energies = [
        (step, kept["energy/total_joules"]) for step, kept in one.metrics if "energy/total_joules" in kept
    ]
    theirs = [step for step, kept in one.metrics if "train_loss" in kept]
    assert {step for step, _ in energies} <= {9, 19, 29, 39, 10, 20, 30, 40}
    assert len(energies) >= 2
    assert theirs
    joules = [amount for _, amount in energies]
    assert joules == sorted(joules)
    assert [kept for _, kept in other.metrics] == [kept for _, kept in one.metrics]


@pytest.mark.slow
def test_validation_metrics_and_joules_of_each_epoch(fit, tmp_path):
    """The module logs its validation error with Lightning; the callback records it without user code."""
    kept = Kept()
    callback = EnergyProfilerCallback(run_dir=tmp_path / "run", sensors=[scripted()])
    trainer = fit(Plane(), callback, Slow(), logger=[kept], max_epochs=2)
    run = callback.profiler.run
    assert list(run.metrics["name"]) == ["val_error"] * 2
    assert run.metrics["value"].iloc[-1] == pytest.approx(trainer.callback_metrics["val_error"].item())
    epochs = [
        metrics["energy/epoch_joules"] for _, metrics in kept.metrics if "energy/epoch_joules" in metrics
    ]
    assert len(epochs) == 2
    assert all(joules > 0 for joules in epochs)
    assert sum(epochs) <= run.total_joules


@pytest.mark.slow
def test_fit_ends_on_its_budget(fit, tmp_path):
    callback = EnergyProfilerCallback(run_dir=tmp_path / "run", sensors=[scripted()], energy_budget=20.0)
    model = Plane()
    fit(model, callback, Slow(), max_epochs=50)
    assert 0 < len(model.losses) < 200
    assert len(model.losses) % 10 == 0, "it ends at a logging step"
    assert callback.profiler.run.status is Status.COMPLETED


def test_failed_fit_ends_its_run(fit, tmp_path):
    callback = EnergyProfilerCallback(run_dir=tmp_path / "run", sensors=[scripted()])
    with pytest.raises(ZeroDivisionError, match="theirs"):
        fit(Plane(fails_at=15), callback)
    assert callback.profiler.run.status is Status.FAILED
    assert len(callback.profiler.run.steps) == 15


@pytest.mark.slow
def test_joules_are_counted_once_inside_a_recording(fit, tmp_path, capsys):
    kept = Kept()
    callback = EnergyProfilerCallback(name="ignored")
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        train(3)
        fit(Plane(), callback, Slow(), logger=kept)
        assert prof.is_recording
    assert callback.profiler is prof
    assert len(prof.run.steps) == 3 + 40
    assert [path.name for path in tmp_path.glob("**/run.json")] == ["run.json"]
    assert any("energy/total_joules" in values for _, values in kept.metrics)
    assert (
        "another profiler is recording; options of the callback are ignored: name=" in capsys.readouterr().err
    )


@pytest.mark.slow
def test_budget_of_the_outer_recording_ends_the_fit(fit, tmp_path):
    model = Plane()
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()], energy_budget=20.0):
        fit(model, EnergyProfilerCallback(), Slow(), max_epochs=50)
    assert 0 < len(model.losses) < 200


@pytest.mark.slow
def test_each_fit_is_its_own_run(fit, tmp_path):
    callback = EnergyProfilerCallback(run_dir=tmp_path / "run", sensors=[scripted()])
    fit(Plane(), callback)
    first = callback.profiler.run
    fit(Plane(), callback)
    assert first.path.name == "run"
    assert callback.profiler.run.path.name == "run-2"
    assert len(callback.profiler.run.steps) == len(first.steps) == 40


def test_no_recording_without_the_callback(fit, tmp_path):
    fit(Plane())
    assert not list(tmp_path.glob("**/run.json"))


def test_invalid_option_is_refused_at_once():
    with pytest.raises(UsageError, match="energy_budget"):
        EnergyProfilerCallback(energy_budget=-1.0)


def test_hyperparameters_are_stored_without_secrets(fit, tmp_path, capfd):
    model = Plane()
    model.save_hyperparameters({"lr": 0.01, "api_key": "correct horse", "layers": [1, 2]})
    callback = EnergyProfilerCallback(sensors=[scripted()], run_dir=tmp_path / "run")
    fit(model, callback)
    text = (tmp_path / "run" / "run.json").read_text()
    config = json.loads(text)["config"]
    assert config["lr"] == 0.01
    assert "layers" not in config
    assert "horse" not in text
    assert "api_key" in capfd.readouterr().err
