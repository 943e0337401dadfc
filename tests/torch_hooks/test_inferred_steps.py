"""Steps of loops without an optimizer of torch, inferred from backward passes."""

import threading

import pytest
import torch

from profiler.recording.step_callback import StepCallback
from profiler.recording.warning_log import WarningLog
from profiler.torch_hooks.context import HookContext
from profiler.torch_hooks.manager import hook_manager
from tests.support.loops_page import is_on_page, note_of
from tests.support.training_loops import BY_HAND, STEPS, batch, loss_of, network, sgd


@pytest.fixture
def without_optimizers(monkeypatch):
    """Ignore optimizers that other tests have left behind."""
    monkeypatch.setattr(HookContext, "has_optimizer", staticmethod(lambda: False))


def approximate(truth):
    return [(pytest.approx(loss, rel=1e-6), backwards) for loss, backwards in truth]


def train_by_hand(model, steps=STEPS, *, after=lambda: None):
    truth = []
    for _ in range(steps):
        model.zero_grad()
        loss = loss_of(model)
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(0.01 * parameter.grad)
        after()
        truth.append((loss.item(), 1))
    return truth


@pytest.mark.usefixtures("without_optimizers")
@pytest.mark.parametrize("name", BY_HAND)
def test_loop(record, name):
    loop = BY_HAND[name]
    with record() as recording:
        truth = loop()
    assert recording.truth == approximate(truth)
    assert is_on_page(name, recording.truth, truth, note_of(loop)), (
        "python -m tests.support.loops_page writes it"
    )
    assert [line for line in recording.warnings if "steps inferred from backward passes" in line]
    assert hook_manager().inferred_steps == STEPS


@pytest.mark.usefixtures("without_optimizers")
def test_an_optimizer_that_appears_later_ends_the_inference(record):
    model = network()
    with record() as recording:
        truth = train_by_hand(model)
        optimizer = sgd(model)
        for _ in range(STEPS):
            optimizer.zero_grad()
            losses = [loss_of(model), loss_of(model)]
            for loss in losses:
                loss.backward()
            optimizer.step()
            truth.append((sum(loss.item() for loss in losses), 2))
    assert recording.truth == approximate(truth)
    assert hook_manager().inferred_steps == STEPS


@pytest.mark.usefixtures("without_optimizers")
def test_a_step_that_the_loop_reports_takes_precedence(record, manual_step):
    with record() as recording:
        truth = train_by_hand(network(), after=lambda: manual_step(None))
    assert recording.truth == approximate(truth)
    assert recording.warnings == set()
    assert hook_manager().inferred_steps == 0


def test_no_step_is_inferred_while_an_optimizer_exists(record):
    """Gradients may be cleared between two backward passes of one update."""
    model = network()
    optimizer = sgd(model)
    with record() as recording:
        for _ in range(3):
            loss_of(model).backward()
            optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
    assert recording.truth == approximate([(loss.item(), 1)])
    assert hook_manager().inferred_steps == 0


@pytest.mark.usefixtures("without_optimizers")
def test_evaluations_of_a_loop_without_an_optimizer_are_found(record):
    model = network()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*batch()), batch_size=2)
    with record() as recording:
        for _ in range(3):
            for data in loader:
                model.zero_grad()
                loss_of(model, data).backward()
            with torch.no_grad():
                for data in loader:
                    loss_of(model, data)
    assert len(recording.steps) == 12
    assert [begins for _, begins in recording.evaluations] == [True, False] * 3


@pytest.mark.usefixtures("without_optimizers")
def test_an_action_between_steps_after_an_evaluation_does_not_block_the_loop(record):
    """The end of the evaluation is the event at which the action runs, with a step still to be sent."""
    calls = []

    def loop():
        model = network()
        with record() as recording:
            callback = StepCallback(hook_manager(), WarningLog(calls.append))
            train_by_hand(model, 6)
            model.eval()
            with torch.no_grad():
                loss_of(model)
            callback.schedule("log_to", lambda: calls.append("action"))
            train_by_hand(model.train(), 3)
        calls.append(len(recording.steps))

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    thread.join(20.0)
    assert calls == ["action", 9]


FRESH = """
import gc, torch
from profiler import EnergyProfiler
from profiler.torch_hooks.context import HookContext

assert not HookContext.has_optimizer()
weight = torch.ones(3, requires_grad=True)
with EnergyProfiler(run_dir={path!r}) as prof:
    for step in range(20):
        weight.grad = None
        loss = weight.square().sum()
        loss.backward()
        weight.data -= 0.1 * weight.grad
run = prof.run
assert run.meta["inferred_steps"] == len(run.steps) == 20
assert "steps inferred from backward passes" in " ".join(run.warnings)
optimizer = torch.optim.Adam([weight])
assert HookContext.has_optimizer()
del optimizer
gc.collect()
assert not HookContext.has_optimizer()
"""


@pytest.mark.slow
def test_the_record_states_that_steps_were_inferred(run_python, tmp_path):
    run_python(FRESH.format(path=str(tmp_path / "run")))


class Proxy:
    """Object that refers to an optimizer's class and raises when its own class is asked for."""

    target = torch.optim.SGD

    @property
    def __class__(self):
        raise LookupError("no object behind this proxy")


def test_the_search_for_optimizers_runs_no_code_of_other_objects():
    proxy = Proxy()
    proxy.target = torch.optim.SGD
    kept = sgd(network())
    assert HookContext.has_optimizer()
    del kept, proxy
