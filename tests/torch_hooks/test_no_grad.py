"""Evaluations, rollouts and generation without a data loader, found from forward passes without gradients."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.modules import module as nn_module

from profiler.recording.segmentation import EVALUATION
from tests.support.training_loops import batch, loss_of, network, sgd

UPDATES = 6


def update(model, optimizer, before=lambda: None):
    before()
    optimizer.zero_grad()
    loss_of(model).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def spans(recording):
    """Return the number of complete evaluations, after checking that starts and ends alternate in time."""
    times = [time_ns for time_ns, _ in recording.evaluations]
    assert times == sorted(times)
    assert [begins for _, begins in recording.evaluations] == [True, False] * (len(times) // 2)
    return len(times) // 2


@torch.no_grad()
def decorated(model):
    model.eval()
    for _ in range(3):
        model(batch()[0])
    model.train()


def in_inference_mode(model):
    model.eval()
    with torch.inference_mode():
        model(batch()[0])
    model.train()


def in_separate_regions(model):
    model.eval()
    for _ in range(3):
        with torch.no_grad():
            model(batch()[0])
    model.train()


def nested(model):
    model.eval()
    with torch.no_grad(), torch.no_grad(), torch.inference_mode():
        model(batch()[0])
    model.train()


def rollout(model):
    """A policy that acts in training mode, between the steps of an environment."""
    for _ in range(5):
        with torch.no_grad():
            model(torch.randn(1, 4))


def generation(model):
    model.eval()
    token = torch.randn(1, 4)
    with torch.no_grad():
        for _ in range(8):
            token = token + model(token)
    model.train()


FOUND = [decorated, in_inference_mode, in_separate_regions, nested, rollout, generation]


@pytest.mark.parametrize("evaluate", FOUND)
@pytest.mark.parametrize("updates_between", [1, 3])
def test_forward_passes_without_gradients_are_evaluations(record, evaluate, updates_between):
    model = network()
    optimizer = sgd(model)
    with record() as recording:
        for _ in range(UPDATES):
            for _ in range(updates_between):
                update(model, optimizer)
            evaluate(model)
    assert len(recording.steps) == UPDATES * updates_between
    assert spans(recording) == UPDATES
    ends = [step.end_ns for step in recording.steps][updates_between - 1 :: updates_between]
    starts = [time_ns for time_ns, begins in recording.evaluations if begins]
    assert all(start > end for start, end in zip(starts, ends, strict=True))


def teacher_pass():
    teacher = network().eval()

    def run():
        with torch.no_grad():
            teacher(batch()[0])

    return run


def metric():
    values = torch.randn(1000)

    def run():
        with torch.no_grad():
            values.square().mean()

    return run


def validation_without_gradients_disabled():
    with torch.inference_mode(mode=False):
        network()(batch()[0])


@pytest.mark.parametrize(
    "before",
    [teacher_pass(), metric(), validation_without_gradients_disabled],
    ids=["teacher", "metric", "mode=False"],
)
def test_passes_that_belong_to_each_step_are_no_evaluation(record, before):
    """A teacher or target network in every step, and calculations without a module."""
    model = network()
    optimizer = sgd(model)
    with record() as recording:
        for _ in range(UPDATES):
            update(model, optimizer, before)
    assert len(recording.steps) == UPDATES
    assert recording.evaluations == []


def test_an_unusual_pass_of_another_module_is_an_evaluation(record):
    """Such as a validation with averaged weights."""
    model = network()
    optimizer, averaged = sgd(model), copy.deepcopy(model).requires_grad_(False)
    with record() as recording:
        for _ in range(3):
            for _ in range(5):
                update(model, optimizer)
            with torch.no_grad():
                averaged(batch()[0])
    assert spans(recording) == 3


def test_the_training_pass_after_an_evaluation_is_not_part_of_it(record):
    model = network()
    optimizer = sgd(model)
    with record() as recording:
        for _ in range(3):
            update(model, optimizer)
            decorated(model)
            ended_ns = recording_time()
            update(model, optimizer)
    assert len(recording.steps) == 6
    assert recording.evaluations[-1][0] <= ended_ns


def recording_time():
    from profiler.torch_hooks.manager import hook_manager

    return hook_manager().context.now()


def test_nothing_stays_in_torch_or_in_the_model(record):
    model = network()
    optimizer = sgd(model)
    before = torch.no_grad.__enter__, torch.inference_mode.__exit__, nn.Module.eval
    guard = torch.no_grad()
    with record():
        update(model, optimizer)
        assert torch.no_grad.__enter__ is not before[0]
        decorated(model)
        pickle.loads(pickle.dumps(model))
        assert not model._forward_pre_hooks
        update(model, optimizer)
        guard.__enter__()  # not left inside the recording
        during = len(nn_module._global_forward_pre_hooks)
    guard.__exit__(None, None, None)
    assert (during, len(nn_module._global_forward_pre_hooks)) == (1, 0)
    assert before == (torch.no_grad.__enter__, torch.inference_mode.__exit__, nn.Module.eval)
    assert torch.is_grad_enabled()


def test_an_evaluation_is_recorded_as_a_span(tmp_path):
    from profiler import EnergyProfiler
    from tests.support.small_training import scripted

    model = nn.Sequential(*[nn.Linear(256, 256) for _ in range(8)])
    optimizer = sgd(model)
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        for _ in range(4):
            for _ in range(3):
                optimizer.zero_grad()
                model(torch.randn(8, 256)).square().mean().backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for _ in range(20):
                    model(torch.randn(256, 256))
            model.train()
    kinds = list(prof.run.spans["kind"])
    assert kinds.count(EVALUATION) == 4
    assert prof.run.steps["step_count"].sum() == 12


@pytest.mark.slow
def test_compiled_models_are_evaluated_without_warning_or_recompilation(record, recwarn):
    from torch._dynamo.utils import counters

    def graphs(context):
        torch._dynamo.reset()
        counters.clear()
        model = network()
        compiled, optimizer = torch.compile(model, backend="eager"), sgd(model)
        with context() as recording:
            for _ in range(4):
                update(compiled, optimizer)
                compiled.eval()
                with torch.no_grad():
                    compiled(batch()[0])
                compiled.train()
        return counters["stats"]["unique_graphs"], recording

    from contextlib import nullcontext

    plain, _ = graphs(nullcontext)
    profiled, recording = graphs(record)
    assert profiled == plain
    assert spans(recording) == 4
    assert not [one for one in recwarn if "global hooks" in str(one.message)]
