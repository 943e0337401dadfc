"""Steps, losses and numbers of backward passes of every kind of loop."""

import threading
from contextlib import suppress

import pytest
import torch
from torch import nn

from profiler.torch_hooks.async_scalars import PinnedRing
from profiler.torch_hooks.manager import hook_manager
from profiler.torch_hooks.step_detector import MAX_PENDING_LOSSES
from tests.support.loops_page import is_on_page, note_of
from tests.support.training_loops import (
    LOOPS,
    MANUAL,
    STEPS,
    Gan,
    batch,
    loss_of,
    made_by,
    network,
    plain,
    sgd,
)

OPTIMIZERS = {
    "Adafactor": {},
    "Adadelta": {},
    "Adagrad": {},
    "Adam": {"amsgrad": True},
    "Adamax": {},
    "AdamW": {},
    "ASGD": {},
    "NAdam": {},
    "RAdam": {},
    "RMSprop": {},
    "Rprop": {},
    "SGD": {"momentum": 0.9, "nesterov": True},
    "AdamW foreach": {"foreach": True},
    "AdamW fused": {"fused": True},
    "AdamW one by one": {"foreach": False},
    "SGD foreach": {"foreach": True},
    "SGD fused": {"fused": True},
    "Adagrad fused": {"fused": True},
}
ELSEWHERE = {"LBFGS", "Muon", "SparseAdam"}
"""Built-in optimizers with a separate test."""


def check(recording, truth):
    assert recording.truth == [(approximately(loss), backwards) for loss, backwards in truth]


def approximately(loss):
    return None if loss is None else pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("name", LOOPS | MANUAL)
def test_loop(record, name):
    loop = (LOOPS | MANUAL)[name]
    with record() as recording:
        truth = loop()
    check(recording, truth)
    assert is_on_page(name, recording.truth, truth, note_of(loop)), (
        "python -m tests.support.loops_page writes it"
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer(record, name):
    kind = getattr(torch.optim, name.split()[0])
    with record() as recording:
        truth = made_by(lambda model: kind(model.parameters(), lr=0.01, **OPTIMIZERS[name]))()
    check(recording, truth)


def test_every_optimizer_of_torch_is_tested():
    kinds = [kind for kind in vars(torch.optim).values() if isinstance(kind, type)]
    there = {kind.__name__ for kind in kinds if issubclass(kind, torch.optim.Optimizer)} - {"Optimizer"}
    assert there == {name.split()[0] for name in OPTIMIZERS} | ELSEWHERE


def test_sparse_gradients(record):
    table = nn.Embedding(10, 3, sparse=True)
    optimizer = torch.optim.SparseAdam(table.parameters(), lr=0.01)
    truth = []
    with record() as recording:
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = table(torch.randint(10, (4,))).square().mean()
            loss.backward()
            optimizer.step()
            truth.append((loss.item(), 1))
    check(recording, truth)


def test_two_threads_that_train(record):
    """Each thread has its own steps, and all of them are counted."""
    truths, together = [], threading.Barrier(2)

    def train():
        together.wait()
        truths.extend(plain())

    with record() as recording:
        threads = [threading.Thread(target=train) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(truths) == 2 * STEPS
    assert sorted(recording.truth) == [(approximately(loss), n) for loss, n in sorted(truths)]


def test_two_threads_whose_optimizers_step_inside_backward(record):
    """Both threads are inside a backward pass when either updates; each update is a step of its own thread."""
    together = threading.Barrier(2)

    def train(scale):
        weight = nn.Parameter(torch.ones(()))
        optimizer = torch.optim.SGD([weight], lr=0.0)

        def update(_):
            together.wait(timeout=10.0)
            optimizer.step()
            together.wait(timeout=10.0)

        weight.register_post_accumulate_grad_hook(update)
        for _ in range(STEPS):
            (weight * scale).backward()

    with record() as recording:
        threads = [threading.Thread(target=train, args=(scale,)) for scale in (1.0, 100.0)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(recording.truth) == [(1.0, 1)] * STEPS + [(100.0, 1)] * STEPS


def test_a_step_with_too_many_pending_losses_has_no_loss(record, monkeypatch):
    ring = PinnedRing(torch, pinned=False)
    monkeypatch.setattr(hook_manager().scalars, "_ring", ring)
    monkeypatch.setattr(hook_manager().scalars, "_read_plain", ring.put)
    many, few = MAX_PENDING_LOSSES + 5, 3
    weight = nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    with record() as recording:
        for count in (many, few):
            for _ in range(count):
                torch.autograd.backward([weight * 2.0])
            optimizer.step()
            optimizer.zero_grad()
    assert recording.truth == [(None, many), (2.0 * few, few)]


def test_a_backward_from_several_elements_has_no_loss_and_warns_once(record):
    model = network()
    optimizer = sgd(model)
    with record() as recording:
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(batch()[0]).backward(torch.ones(8, 1))
            optimizer.step()
    assert recording.truth == [(None, 1)] * STEPS
    assert len(recording.warnings) == 1
    assert "several elements" in recording.warnings.pop()


def test_unseen_updates_warn(record):
    model = network()
    optimizer = sgd(model)  # while an optimizer exists, no step is inferred
    with record() as recording:
        for _ in range(STEPS):
            loss_of(model).backward()
            unseen_update(model)
    assert optimizer.param_groups
    assert recording.steps == []
    assert ["prof.step() after each update" in reason for reason in recording.warnings] == [True]


def test_warnings_are_cleared_for_the_next_recording(record):
    with record() as first, suppress(RuntimeError):
        torch.ones(2, requires_grad=True).backward()
    with record() as second:
        plain()
    assert first.warnings
    assert not second.warnings


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf"), -3.0, 0.0])
def test_a_loss_may_be_any_float(record, loss):
    weight = nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    with record() as recording:
        (weight * loss).backward()
        optimizer.step()
    assert recording.truth == [(pytest.approx(loss, nan_ok=True), 1)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_loss_may_be_of_any_precision(record, dtype):
    weight = nn.Parameter(torch.ones((), dtype=dtype))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    with record() as recording:
        (weight * 0.125).backward()
        optimizer.step()
    assert recording.truth == [(0.125, 1)]


def unseen_update(model):
    """Update the weights without an optimizer."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(0.01 * parameter.grad)
    model.zero_grad()


def test_a_manual_step_has_the_loss_of_its_backward_pass(record, manual_step):
    model, truth = network(), []
    with record() as recording:
        for _ in range(STEPS):
            loss = loss_of(model)
            loss.backward()
            unseen_update(model)
            manual_step(None)
            truth.append((loss.item(), 1))
    check(recording, truth)


@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_a_manual_step_may_have_a_loss(record, manual_step, kind):
    with record() as recording:
        for number in range(STEPS):
            manual_step(kind(number / 4))
    assert recording.truth == [(number / 4, 0) for number in range(STEPS)]


@pytest.mark.parametrize("when", ["before the update", "after the update"])
def test_a_manual_loss_replaces_the_detected_one(record, manual_step, when):
    model = network()
    optimizer = sgd(model)
    with record() as recording:
        for number in range(STEPS):
            optimizer.zero_grad()
            loss_of(model).backward()
            if when == "before the update":
                manual_step(float(number))
            optimizer.step()
            if when == "after the update":
                manual_step(float(number))
    assert recording.truth == [(float(number), 1) for number in range(STEPS)]


def test_manual_steps_may_follow_those_of_an_optimizer(record, manual_step):
    with record() as recording:
        truth = plain()
        manual_step(1.0)
        for _ in range(STEPS):
            manual_step(2.0)
    truth[-1] = (1.0, 1)
    check(recording, truth + [(2.0, 0)] * STEPS)


@pytest.mark.parametrize("loss", ["0.5x", [1, 2], torch.ones(3), object()])
def test_a_manual_step_with_an_unreadable_loss_is_counted(record, manual_step, loss):
    with record() as recording:
        manual_step(loss)
    assert recording.truth == [(None, 0)]
    assert len(recording.warnings) == 1


def test_a_backward_from_an_edge_of_the_graph_has_no_loss(record):
    model = network()
    optimizer = sgd(model)
    with record() as recording:
        loss = loss_of(model)
        torch.autograd.backward(torch.autograd.graph.get_gradient_edge(loss), torch.ones(()))
        optimizer.step()
    assert recording.truth == [(None, 1)]
    assert hook_manager().failure is None


def rates(recording):
    return [step.learning_rate for step in recording.steps]


def test_the_learning_rate_is_the_one_used_by_the_update(record):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.8)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    with record() as recording:
        for _ in range(STEPS):
            loss_of(model).backward()
            optimizer.step()
            schedule.step()
    assert rates(recording) == [0.8 * 0.5**n for n in range(STEPS)]


def test_the_learning_rate_may_be_a_tensor(record):
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=torch.tensor(0.25))
    with record() as recording:
        for _ in range(STEPS):
            loss_of(model).backward()
            optimizer.step()
    assert rates(recording) == [0.25] * STEPS


def test_the_learning_rate_is_that_of_the_group_with_the_most_trained_elements(record):
    frozen, small, large = torch.nn.Linear(64, 64), torch.nn.Linear(8, 2), torch.nn.Linear(2, 8)
    frozen.requires_grad_(False)
    groups = [
        {"params": frozen.parameters(), "lr": 0.0},
        {"params": [small.weight], "lr": 0.1},
        {"params": [small.bias, *large.parameters()], "lr": 0.3},
    ]
    optimizer = torch.optim.SGD(groups)
    falls = [lambda _: 1.0, lambda _: 1.0, lambda done: 0.5**done]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, falls)
    with record() as recording:
        for step in range(STEPS):
            large(small(torch.randn(4, 8))).square().mean().backward()
            optimizer.step()
            schedule.step()
            if step == 1:
                # Later groups leave the recorded rate as it is.
                optimizer.add_param_group({"params": torch.nn.Linear(64, 64).parameters(), "lr": 0.7})
                schedule.lr_lambdas.append(lambda _: 1.0)
                schedule.base_lrs.append(0.7)
    assert rates(recording) == pytest.approx([0.3 * 0.5**n for n in range(STEPS)])


def test_another_optimizer_of_the_same_parameters_may_have_fewer_groups(record):
    model = torch.nn.Linear(8, 8)
    groups = [{"params": [model.bias], "lr": 0.1}, {"params": [model.weight], "lr": 0.3}]
    both = [torch.optim.SGD(groups), torch.optim.SGD([model.bias, model.weight], lr=0.7)]
    with record() as recording:
        for optimizer in both:
            for _ in range(2):
                model(torch.randn(4, 8)).square().mean().backward()
                optimizer.step()
    assert rates(recording) == [0.3, 0.3, 0.7, 0.7]


def test_the_learning_rate_of_two_optimizers_is_that_of_the_first(record):
    gan = Gan()
    gan.generator_optimizer.param_groups[0]["lr"] = 0.5
    with record() as recording:
        for _ in range(STEPS):
            gan.discriminator_loss().backward()
            gan.discriminator_optimizer.step()
            gan.generator_loss().backward()
            gan.generator_optimizer.step()
    assert rates(recording) == [0.01] * STEPS


def test_the_phases_of_a_step_lie_inside_it(record):
    with record() as recording:
        plain()
    previous = 0
    for step in recording.steps:
        assert previous < step.first_backward_ns
        assert step.backward_ns > 0
        assert step.optimizer_ns > 0
        assert step.first_backward_ns + step.backward_ns + step.optimizer_ns == step.end_ns
        previous = step.end_ns
