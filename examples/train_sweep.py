"""Train character models of six sizes on the Python standard library's own source, one profiled run each.

The sweep of docs/decisions.md: perceptrons over 16 characters, six widths at one learning rate, one run with a rate
that is too high, and one whose data loading is slow. About three minutes on two cores; the runs are in the folder
``sweep``.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from train_char_lm import load_text

from profiler import EnergyProfiler

CONTEXT, BATCH = 16, 64
WIDTHS = (16, 32, 64, 128, 256, 512)


def batches(text: torch.Tensor, steps: int, pause_seconds: float):
    """Yield random windows of characters and the character after each."""
    for step in range(steps):
        starts = torch.randint(len(text) - CONTEXT - 1, (BATCH,))
        windows = torch.stack([text[s : s + CONTEXT + 1] for s in starts.tolist()])
        if pause_seconds:
            time.sleep(pause_seconds * (1 + step % 40 // 20))  # a disk that is slower at times
        yield windows[:, :-1], windows[:, -1]


class Windows(torch.utils.data.IterableDataset):
    """The batches as a data set, so that the profiler times their loading."""

    def __init__(self, text: torch.Tensor, steps: int, pause_seconds: float) -> None:
        super().__init__()
        self.batches = text, steps, pause_seconds

    def __iter__(self):
        """Yield the batches."""
        return batches(*self.batches)


def model_of(width: int) -> nn.Module:
    """Return a perceptron with two hidden layers over embedded characters."""
    return nn.Sequential(
        nn.Embedding(128, 16),
        nn.Flatten(),
        nn.Linear(16 * CONTEXT, width),
        nn.GELU(),
        nn.Linear(width, width),
        nn.GELU(),
        nn.Linear(width, 128),
    )


def train(
    text: torch.Tensor, folder: Path, *, width: int, rate: float, steps: int, pause_seconds: float = 0.0
) -> None:
    """Train one model and record it in ``folder``."""
    torch.manual_seed(0)
    model = model_of(width)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    loader = torch.utils.data.DataLoader(Windows(text, steps, pause_seconds), batch_size=None)
    config = {"width": width, "lr": rate, "batch_size": BATCH}
    work = {"characters": BATCH}
    with EnergyProfiler(run_dir=folder, name=folder.name, config=config, work_per_step=work):
        for inputs, targets in loader:
            loss = functional.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def main() -> None:
    """Train the sweep."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--folder", type=Path, default=Path("sweep"))
    options.add_argument("--steps", type=int, default=3000)
    options.add_argument("--width", type=int, help="train this width alone, as for a probe of other hardware")
    given = options.parse_args()
    text = load_text()
    for width in WIDTHS if given.width is None else (given.width,):
        train(text, given.folder / f"w{width}", width=width, rate=0.05, steps=given.steps)
    if given.width is not None:
        return
    train(text, given.folder / "hot", width=128, rate=2.0, steps=given.steps)
    train(text, given.folder / "slow-disk", width=64, rate=0.05, steps=given.steps // 2, pause_seconds=0.003)


if __name__ == "__main__":
    main()
