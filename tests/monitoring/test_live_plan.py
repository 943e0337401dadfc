"""Plans of schedulers and gains of earlier runs during the training: the same forecast as at the end."""

import json
import threading
import time

import pytest
import torch

from profiler import EnergyProfiler, load_run
from profiler.analysis.earlier_runs import EarlierRuns
from profiler.budget import Budget
from profiler.forecasting.binning import CurveBins
from profiler.monitoring import monitor
from profiler.monitoring.earlier_gains import EarlierGains
from profiler.monitoring.live_forecast import forecast_run
from profiler.torch_hooks import lr_simulation
from tests.analysis.test_earlier_runs import earlier, unfinished
from tests.support.small_training import scripted

TOTAL = 400


def train(steps, after, make=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, TOTAL)):
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = make(optimizer)
    losses = []
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss = model(torch.randn(8, 4)).square().mean()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
        after(step)
    return losses


def plan_of(path):
    return json.loads((path / "run.json").read_text())["learning_rate_plan"]


def wait_for_plan(path):
    """Wait until the plan is in ``run.json``; at most ten seconds."""
    deadline = time.monotonic() + 10.0
    while "learning_rate_plan" not in json.loads((path / "run.json").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("live", [False, True])
def test_running_run_states_the_plan_of_its_scheduler(tmp_path, monkeypatch, live):
    monkeypatch.setattr(monitor, "PERIOD_SECONDS", 0.05)
    path = tmp_path / "run"
    seen = {}

    def look(step):
        if step == TOTAL // 2:
            wait_for_plan(path)
            seen["plan"], seen["rates"] = plan_of(path), load_run(path).learning_rate
            seen["status"] = load_run(path).status.value

    with EnergyProfiler(run_dir=path, sensors=[scripted()], live=live):
        watched = train(TOTAL // 2, look)
    assert seen["status"] == "running"
    assert seen["plan"]["source"] == plan_of(path)["source"]
    assert seen["plan"]["knots"][-1] == plan_of(path)["knots"][-1] == [TOTAL + 1, 0.0]
    assert seen["rates"].as_fit_kwargs().keys() == {"planned_learning_rate"}
    assert watched == train(TOTAL // 2, lambda step: None)


def test_declared_plan_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(monitor, "PERIOD_SECONDS", 0.02)
    path = tmp_path / "run"
    options = {"planned_learning_rate": "cosine at 400 steps"}
    with EnergyProfiler(run_dir=path, sensors=[scripted()], **options) as prof:
        train(50, lambda step: None)
        assert prof._monitor._thread is None, "there is nothing to simulate"
    assert "planned_learning_rate" in plan_of(path)["source"]


@pytest.mark.parametrize(("total", "begins"), [(TOTAL, True), (300_000, False)])
def test_costly_simulation_waits_until_the_run_is_longer(tmp_path, monkeypatch, total, begins):
    """At 3 us per call, 300,000 calls would take 9 % of the first ten seconds."""
    monkeypatch.setattr(monitor, "PERIOD_SECONDS", 0.02)
    polled, begun = threading.Event(), []
    monkeypatch.setattr(lr_simulation, "plan_section_meanwhile", lambda *args, **_: begun.append(args))
    real = lr_simulation.most_seconds

    def most_seconds(*args, **kwargs):
        polled.set()
        return real(*args, **kwargs)

    monkeypatch.setattr(lr_simulation, "most_seconds", most_seconds)
    path = tmp_path / "run"
    with EnergyProfiler(run_dir=path, sensors=[scripted()], total_steps=total):
        train(50, lambda step: step < 50 or polled.wait(10.0))
    assert polled.is_set()
    assert bool(begun) is begins
    assert plan_of(path)["knots"], "the plan is simulated at the end of the run"


def bins_of(run):
    joules, losses, weights = run.curve()
    bins = CurveBins(origin_joules=run.learning_rate.origin_joules)
    bins.extend(joules.tolist(), losses.tolist(), weights.tolist())
    return bins


@pytest.mark.parametrize("gain", [0.0, 0.12])
def test_live_forecast_uses_the_earlier_runs_that_a_report_uses(tmp_path, gain):
    for seed in (1, 2):
        earlier(tmp_path, f"before-{seed}", gain, seed)
    run = unfinished(tmp_path)
    target = 0.93 * run.fit().level
    budget = Budget(target_loss=target)
    gains = EarlierGains(run.path)
    known, alone = (
        forecast_run(bins_of(run), run.learning_rate, budget, earlier=one) for one in (gains, None)
    )
    assert known.forecast == run.fit().joules_at(target)
    assert alone.forecast == run.fit(earlier_runs=False).joules_at(target) != known.forecast
    assert gains.seconds > 0.0


def test_earlier_runs_are_not_read_where_no_anneal_is_planned(tmp_path, monkeypatch):
    earlier(tmp_path, "before", 0.12)
    run = unfinished(tmp_path, learning_rate_plan={"source": "none"}, total_steps=1)
    monkeypatch.setattr(EarlierRuns, "priors", lambda *_, **__: pytest.fail("it was read"))
    gains = EarlierGains(run.path)
    assert forecast_run(bins_of(run), run.learning_rate, Budget(target_loss=1.0), earlier=gains) is not None
