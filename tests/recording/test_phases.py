"""Phases and evaluations of a real loop with data loaders, in the run directory."""

import time

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from profiler import EnergyProfiler
from tests.support.small_training import scripted

PHASES = ["data_seconds", "forward_seconds", "backward_seconds", "optimizer_seconds"]


class Slow(TensorDataset):
    """Data set of which a batch of eight takes 10 ms to load."""

    def __getitem__(self, index):
        time.sleep(0.01 if index % 8 == 0 else 0)
        return super().__getitem__(index)


def loader(batches):
    return DataLoader(Slow(torch.randn(8 * batches, 4), torch.randn(8 * batches, 1)), 8)


def train_and_evaluate(epochs=2):
    """Record two epochs of ten steps, each followed by an evaluation of ten batches."""
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(epochs):
        for x, y in loader(10):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
        with torch.no_grad():
            for x, _ in loader(10):
                model(x)


def recorded(tmp_path, **options):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted(100.0)], **options) as prof:
        train_and_evaluate()
    return prof.run


@pytest.mark.slow
def test_each_phase_of_a_step_has_time_and_joules(tmp_path):
    run = recorded(tmp_path)
    assert run.steps["step_count"].sum() == 20
    assert run.steps[PHASES].notna().all(axis=None)
    assert (run.steps["data_seconds"][1:] > 0.01).all(), "the first may belong to the set-up"
    lengths = run.steps["end_seconds"] - run.steps["start_seconds"]
    assert (run.steps[PHASES].sum(axis=1) <= lengths + 1e-5).all()
    phases = run.energy_by_phase()
    assert [phase.name for phase in phases] == ["data", "forward", "backward", "optimizer", "other"]
    assert sum(phase.joules.median for phase in phases) == pytest.approx(run.steps["total_joules"].sum())
    assert sum(phase.seconds for phase in phases) == pytest.approx(lengths.sum())


@pytest.mark.slow
def test_evaluations_are_spans(tmp_path):
    run = recorded(tmp_path)
    evaluations = run.spans[run.spans["kind"] == "evaluation"]
    assert len(evaluations) == 2
    assert (evaluations["end_seconds"] - evaluations["start_seconds"] > 0.1).all()
    assert (evaluations["total_joules"] > 100.0 * 0.09).all()


@pytest.mark.slow
def test_timing_of_loading_can_be_disabled(tmp_path):
    run = recorded(tmp_path, time_data_loading=False)
    assert run.steps["data_seconds"].isna().all()
    assert run.steps[PHASES[1:]].notna().all(axis=None)
