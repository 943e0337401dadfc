"""The callbacks of examples/integrations, with the real frameworks; those that are not installed are skipped."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch

os.environ.setdefault("KERAS_BACKEND", "torch")
EXAMPLES = Path(__file__).parents[2] / "examples" / "integrations"


def callback_of(library, tmp_path):
    """Return the callback for a library, and skip the test where that is not installed."""
    try:
        module = importlib.import_module(library)
    except (ImportError, RuntimeError) as error:  # the latter for a torchvision that does not fit torch
        pytest.skip(f"{library} cannot be imported: {error}")
    path = EXAMPLES / f"{library}_callback.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return module, example.EnergyProfilerCallback(run_dir=tmp_path / "run")


def data():
    x = np.random.default_rng(0).normal(size=(160, 4)).astype("float32")
    return x, x.sum(axis=1, keepdims=True).astype("float32")


def metric_names(run):
    return set(run.metrics["name"])


def test_keras(tmp_path):
    keras, callback = callback_of("keras", tmp_path)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(*data(), epochs=2, batch_size=16, verbose=0, validation_split=0.2, callbacks=[callback])
    run = callback.profiler.run
    assert run.steps["step_count"].sum() == 16
    assert run.steps["loss"].notna().all()
    assert metric_names(run) == {"val_loss"}


def test_skorch(tmp_path):
    skorch, callback = callback_of("skorch", tmp_path)
    net = skorch.NeuralNetRegressor(
        torch.nn.Linear, module__in_features=4, module__out_features=1, max_epochs=2, batch_size=16, verbose=0,
        callbacks=[callback],
    )  # fmt: skip
    net.fit(*data())
    run = dict(net.callbacks_)["EnergyProfilerCallback"].profiler.run
    assert run.steps["step_count"].sum() == 16
    assert metric_names(run) == {"valid_loss"}


def loaders(make, dataset=torch.utils.data.TensorDataset):
    x, y = map(torch.from_numpy, data())
    return make(dataset(x[:128], y[:128]), 16), make(dataset(x[128:], y[128:]), 16)


def test_fastai(tmp_path):
    _, callback = callback_of("fastai", tmp_path)
    learner, core, load, metrics = (
        importlib.import_module(f"fastai.{name}") for name in ("learner", "data.core", "data.load", "metrics")
    )
    model = torch.nn.Linear(4, 1)
    learn = learner.Learner(
        core.DataLoaders(*loaders(load.DataLoader)), model, loss_func=torch.nn.MSELoss(), metrics=metrics.mae,
        cbs=callback,
    )  # fmt: skip
    learn.fit(2)
    run = callback.profiler.run
    assert run.steps["step_count"].sum() == 16
    assert run.steps["loss"].notna().all()
    assert metric_names(run) == {"valid_loss", "mae"}
    assert (run.spans["kind"] == "evaluation").sum() == 2


def test_composer(tmp_path):
    composer, callback = callback_of("composer", tmp_path)
    torchmetrics = importlib.import_module("torchmetrics")

    class Model(composer.ComposerModel):
        def __init__(self):
            super().__init__()
            self.layer, self.error = torch.nn.Linear(4, 1), torchmetrics.MeanSquaredError()

        def forward(self, batch):
            return self.layer(batch[0])

        def loss(self, outputs, batch):
            return (outputs - batch[1]).square().mean()

        def get_metrics(self, is_train=False):
            return {} if is_train else {"mse": self.error}

        def update_metric(self, batch, outputs, metric):
            metric.update(outputs, batch[1])

    model = Model()
    train, valid = loaders(torch.utils.data.DataLoader)
    trainer = composer.Trainer(
        model=model, train_dataloader=train, eval_dataloader=valid, max_duration="2ep", device="cpu",
        optimizers=torch.optim.SGD(model.parameters(), 0.01), callbacks=[callback], progress_bar=False,
    )  # fmt: skip
    trainer.fit()
    run = callback.profiler.run
    assert run.steps["step_count"].sum() == 16
    assert run.steps["loss"].notna().all()
    assert metric_names(run) == {"mse"}
    assert (run.spans["kind"] == "evaluation").sum() == 2


def test_stable_baselines3(tmp_path):
    library, callback = callback_of("stable_baselines3", tmp_path)
    model = library.PPO(
        "MlpPolicy", "CartPole-v1", n_steps=64, batch_size=32, n_epochs=2, seed=0, device="cpu"
    )
    model.learn(256, callback=callback)
    run = callback.profiler.run
    assert run.steps["step_count"].sum() == 4 * 2 * 2
    assert metric_names(run) == {"reward"}
    assert (run.spans["kind"] == "evaluation").sum() >= 3, "the rollouts"
