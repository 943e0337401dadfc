"""Forecasts of an interrupted run that follow the planned learning rate to its end."""

import time

import pytest
import torch

from profiler import EnergyProfiler
from profiler.records import Domain, Provenance, Reading
from tests.support.small_training import scripted

pytestmark = pytest.mark.slow

TOTAL, FEATURES, BATCH = 3000, 100, 32
STEP_JOULES, IDLE_WATTS = 0.05, 0.01


class Effort:
    """A sensor with the same energy for each step, independent of the load of the machine."""

    def __init__(self):
        self.steps = 0
        self.domains = [Domain(name="cpu:package-0", source="scripted", provenance=Provenance.COUNTER)]

    def read(self):
        now = time.monotonic_ns()
        joules = STEP_JOULES * self.steps + IDLE_WATTS * now / 1e9
        return [Reading(domain="cpu:package-0", time_ns=now, energy_joules=joules)]

    def close(self):
        pass


def train(steps, *, schedules=True, effort=None):
    """Fit a noisy linear law at a rate so high that lowering it lowers the loss, and return the losses."""
    torch.manual_seed(2)
    spread, law = torch.logspace(0, -1, FEATURES), torch.randn(FEATURES, 1)
    model = torch.nn.Linear(FEATURES, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, TOTAL) if schedules else None
    losses = []
    for step in range(steps):
        x = torch.randn(BATCH, FEATURES) * spread
        loss = (model(x) - x @ law - 0.2 * torch.randn(BATCH, 1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        if not schedules:
            optimizer.param_groups[0]["lr"] = cosine(step)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        losses.append(loss.item())
        if effort is not None:
            effort.steps = step + 1
    return losses


def cosine(done):
    return 0.01 * (1.0 + torch.cos(torch.tensor(torch.pi * done / TOTAL)).item())


@pytest.fixture(scope="module")
def end():
    """Return the loss at the end of the whole run."""
    losses = train(TOTAL)
    return sum(losses[-200:]) / 200


@pytest.fixture(scope="module", params=["a scheduler", "a function", "a function, and no scheduler"])
def cut(request, tmp_path_factory):
    """Record half of the run."""
    options = {"total_steps": TOTAL, "planned_learning_rate": cosine} if "function" in request.param else {}
    effort = Effort()
    with EnergyProfiler(run_dir=tmp_path_factory.mktemp("cut") / "run", sensors=[effort], **options) as prof:
        train(TOTAL // 2, schedules="no scheduler" not in request.param, effort=effort)
    return prof


def test_the_forecast_follows_the_plan_to_an_interval_of_the_end(cut, end):
    fit = cut.run.fit()
    assert fit.scenarios == ("planned", "held", "annealed")
    there = fit.loss_at(fit.planned_joules)
    assert there.low < end < there.high


def test_the_plan_ends_at_twice_the_joules(cut):
    assert cut.run.fit().planned_joules == pytest.approx(STEP_JOULES * TOTAL, rel=0.1)
    if "total_steps" in cut.run.meta:
        assert cut.run.planned_joules == pytest.approx(cut.run.fit().planned_joules, rel=0.01)


def test_the_report_prices_both_futures(cut, tmp_path):
    printed = " ".join(cut.run.report(tmp_path / "report.txt").read_text().split())
    assert "rate held" in printed
    assert "rate annealed" in printed
    assert "may bend" not in printed


def test_a_contradicted_plan_is_ignored_with_a_warning(tmp_path, capsys):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()], planned_learning_rate=0.5) as prof:
        train(600)
    assert prof.run.fit().scenarios == ("held", "annealed")
    assert prof.run.planned_joules is None
    printed = " ".join(capsys.readouterr().err.split())
    assert (
        "The plan of the learning rate (planned_learning_rate) is ignored: at step 600 the rate was"
        in printed
    )


S = torch.optim.lr_scheduler
SEEN, END = 300, 600
KINDS = {
    "cosine": (lambda o: S.CosineAnnealingLR(o, END), {}, 2.0, ""),
    "cosine of epochs": (lambda o: S.CosineAnnealingLR(o, END // 20), {}, 2.0, ""),
    "one cycle": (lambda o: S.OneCycleLR(o, 0.02, total_steps=END), {}, 2.0, ""),
    "linear": (lambda o: S.LinearLR(o, 1.0, 0.0, total_iters=END), {}, 2.0, ""),
    "warm-up, then cosine": (
        lambda o: S.SequentialLR(
            o, [S.LinearLR(o, 0.1, total_iters=30), S.CosineAnnealingLR(o, END - 30)], [30]
        ),
        {}, 2.0, "",
    ),
    "steps with total_steps": (lambda o: S.StepLR(o, 200), {"total_steps": END}, 2.0, ""),
    "steps": (lambda o: S.StepLR(o, 200), {}, None, "StepLR: its rate does not fall to zero"),
    "milestones": (lambda o: S.MultiStepLR(o, [100, 500]), {}, None, "MultiStepLR: its rate does not fall"),
    "exponential": (lambda o: S.ExponentialLR(o, 0.997), {}, None, "ExponentialLR: its rate does not fall"),
    "restarts": (lambda o: S.CosineAnnealingWarmRestarts(o, 110), {}, None, "so the length of the run is unknown"),
    "metric": (lambda o: S.ReduceLROnPlateau(o, patience=50), {}, None, "so its schedule depends on the training"),
    "ended": (lambda o: S.CosineAnnealingLR(o, SEEN), {}, None, ""),
    "longer than declared": (
        lambda o: S.CosineAnnealingLR(o, END), {"total_steps": 100}, 2.0, "more than the 100 of total_steps",
    ),
}  # fmt: skip


def train_with(make, *, every=1, takes_loss=False, effort):
    torch.manual_seed(2)
    model = torch.nn.Linear(FEATURES, 1)
    rates = [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.001}]
    optimizer = torch.optim.SGD(rates, lr=0.02)
    scheduler, target = make(optimizer), torch.randn(FEATURES, 1)
    for step in range(1, SEEN + 1):
        x = torch.randn(BATCH, FEATURES)
        loss = (model(x) - x @ target).square().mean() + 0.5
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % every == 0:
            scheduler.step(*[loss.item()] if takes_loss else [])
        effort.steps = step


@pytest.mark.parametrize("kind", KINDS)
def test_plan_of_each_kind_of_schedule(tmp_path, capsys, kind):
    make, options, ratio, note = KINDS[kind]
    effort = Effort()
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[effort], **options) as prof:
        train_with(make, every=20 if "epochs" in kind else 1, takes_loss=kind == "metric", effort=effort)
    fit = prof.run.fit()
    rates = prof.run.learning_rate
    # Joules per step vary in so short a run: the plan must end at the joules of its last step, at the recent pace.
    expected = None if ratio is None else pytest.approx(rates.joules_at(round(ratio * SEEN)), rel=0.01)
    assert fit.planned_joules == expected
    assert note in " ".join(rates.notes())
    if not note:
        assert not rates.notes()
    printed = capsys.readouterr().err
    assert printed.endswith(prof.run.report(tmp_path / "report.txt").read_text())
