"""Several trainings in one process: the live curve and the block at the end are those of the last one."""

import torch

from profiler import EnergyProfiler
from tests.support.small_training import scripted


def train(steps, slope):
    """Train a new model whose loss falls from ``slope`` with every step."""
    parameter = torch.nn.Parameter(torch.tensor(1.0))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        (parameter * slope / step).backward()
        optimizer.step()


def test_the_live_curve_is_that_of_the_last_training(tmp_path):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted(100.0)]) as prof:
        train(200, 1.0)
        train(200, 1000.0)
    live = prof._monitor.curve  # the curve that the block at the end is made from; nothing public shows it
    assert live.bins.points == 200
    assert list(prof.run.steps["training"].unique()) == [0, 1]
    assert live.level() > 1.0
    assert live.bins.origin_joules > 0.0
