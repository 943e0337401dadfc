"""Train a classifier on scikit-learn's handwritten digits, log its validation error and forecast both curves.

Needs scikit-learn: ``pip install "energy-profiler[torch,examples]"``. About half a minute on two cores.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from profiler import EnergyProfiler, ProfilerError
from profiler.units import format_joules

EPOCHS, BATCH = 60, 32


def main() -> None:
    """Train, and print what a lower validation error would cost."""
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32) / 16
    y = torch.tensor(labels)
    order = torch.randperm(len(x))
    train, valid = order[:1200], order[1200:]

    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)

    with EnergyProfiler(name="digits") as prof:
        for _ in range(EPOCHS):
            for batch in train[torch.randperm(len(train))].split(BATCH):
                loss = functional.cross_entropy(model(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                error = (model(x[valid]).argmax(1) != y[valid]).float().mean()
            prof.log(val_error=error)

    try:
        fit = prof.run.fit(metric="val_error")
    except ProfilerError as reason:
        print(f"No forecast of the validation error: {reason}")
    else:
        target = fit.level * 0.9
        forecast = fit.joules_at(loss=target)
        print(f"Validation error now {fit.level:.3f} after {format_joules(fit.joules)}.")
        print(f"For {target:.3f}: {forecast.verdict.value}. {forecast.reason}")
    print(prof.run.path)


if __name__ == "__main__":
    main()
