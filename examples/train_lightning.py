"""Classify scikit-learn's handwritten digits with Lightning, with the joules in its own CSV log beside the loss.

Needs Lightning: ``pip install "energy-profiler[lightning,examples]"``. Half a minute on two cores; ``--help`` has the
options.
"""

import argparse
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from profiler.integrations.lightning import EnergyProfilerCallback


class Digits(pl.LightningModule):
    """A network of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        loss = functional.cross_entropy(self.layers(images), labels)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.SGD(self.parameters(), lr=0.02)


def main(epochs: int, budget: float) -> None:
    """Train until the epochs are done or the budget is used."""
    pl.seed_everything(0)
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels))
    callback = EnergyProfilerCallback(name="digits", energy_budget=budget)
    logger = CSVLogger("lightning_logs", name="digits")
    trainer = pl.Trainer(
        max_epochs=epochs,
        callbacks=[callback],
        logger=logger,
        log_every_n_steps=20,
        enable_progress_bar=False,
    )
    trainer.fit(Digits(), DataLoader(digits, batch_size=32, shuffle=True))
    print(Path(logger.log_dir) / "metrics.csv")
    print(callback.profiler.run.path)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--epochs", type=int, default=60)
    options.add_argument("--budget", type=float, default=5_000.0, help="joules")
    main(**vars(options.parse_args()))
