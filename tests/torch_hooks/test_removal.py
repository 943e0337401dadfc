"""Removal of the hooks, and internal errors that must not reach the training."""

import functools
import gc
import itertools
import subprocess
import sys
import threading
import weakref

import pytest
import torch
from torch.optim.optimizer import _global_optimizer_post_hooks

from profiler.torch_hooks.gradient_probes import GradientProbes
from profiler.torch_hooks.losses import LossReader
from profiler.torch_hooks.manager import hook_manager
from profiler.torch_hooks.step_detector import StepDetector
from tests.support.training_loops import LOOPS, STEPS, fused_into_backward, network, plain, scaled, sgd

SCALER = torch.amp.GradScaler


@pytest.fixture
def hooks():
    yield hook_manager()
    hook_manager().reset()


@pytest.fixture
def untouched():
    """Return a function that asserts that torch is unchanged."""
    before = torch.autograd.backward, SCALER.step, SCALER.scale, tuple(_global_optimizer_post_hooks)

    def check():
        now = torch.autograd.backward, SCALER.step, SCALER.scale, tuple(_global_optimizer_post_hooks)
        assert now == before

    return check


def test_an_exception_removes_the_hooks(record, untouched):
    with pytest.raises(ZeroDivisionError), record():
        raise ZeroDivisionError
    untouched()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_sinks_detach_in_any_order_and_each_sees_its_own_window(hooks, untouched, order):
    events = [[], [], []]
    sinks = [one.append for one in events]
    for sink in sinks:
        hooks.attach(sink)
        plain()
    for index in order:
        hooks.detach(sinks[index])
        plain()
    untouched()
    after = [STEPS * order.index(index) for index in range(3)]
    assert [len(one) for one in events] == [STEPS * (3 - index) + after[index] for index in range(3)]


def test_detaching_twice(hooks, untouched):
    sink, other = [].append, [].append
    hooks.attach(sink)
    hooks.attach(other)
    hooks.detach(sink)
    hooks.detach(sink)
    assert hooks.context.emit is other
    hooks.detach(other)
    hooks.detach(other)
    untouched()


def wrapped(original):
    """Return a third-party wrapper that counts its calls."""

    @functools.wraps(original)
    def backward(*args, **kwargs):
        backward.calls += 1
        return original(*args, **kwargs)

    backward.calls = 0
    return backward


def test_a_later_wrapper_that_is_removed_first(record, untouched):
    with record() as recording:
        wrapper = torch.autograd.backward
        torch.autograd.backward = third_party = wrapped(wrapper)
        truth = plain()
        torch.autograd.backward = wrapper
        truth += plain()
    untouched()
    assert third_party.calls == STEPS
    assert [loss for loss, _ in recording.truth] == pytest.approx([loss for loss, _ in truth])


def test_a_later_wrapper_that_stays(record, untouched):
    """It is kept, and the wrapper below it passes every call through."""
    original = torch.autograd.backward
    with record():
        torch.autograd.backward = third_party = wrapped(torch.autograd.backward)
    assert torch.autograd.backward is third_party
    plain()
    assert third_party.calls == STEPS
    torch.autograd.backward = original
    untouched()


@pytest.mark.parametrize("restored", [True, False], ids=["restored", "kept"])
def test_a_second_recording_over_a_kept_wrapper_counts_once(record, untouched, restored):
    original = torch.autograd.backward
    with record():
        wrapper = torch.autograd.backward
        torch.autograd.backward = wrapped(wrapper)
    if restored:
        torch.autograd.backward = wrapper
    with record() as recording:
        truth = plain()
    assert recording.truth == [(pytest.approx(loss), 1) for loss, _ in truth]
    torch.autograd.backward = original
    untouched()


@pytest.mark.parametrize("error", [ValueError, AttributeError, KeyError, RuntimeError, MemoryError])
def test_an_internal_error_does_not_reach_the_loop(hooks, untouched, error):
    calls = []

    def sink(event):
        calls.append(event)
        if len(calls) > 2:
            raise error("internal")

    torch.manual_seed(0)
    undisturbed = plain()
    torch.manual_seed(0)
    hooks.attach(sink)
    assert plain() == undisturbed
    assert error.__name__ in hooks.failure
    assert hooks.context.emit is None
    hooks.detach(sink)
    untouched()
    hooks.attach(sink)
    assert hooks.failure is None
    hooks.detach(sink)


def test_gradients_made_in_inference_mode_raise_nothing(record):
    models = network(), network()
    optimizers = [sgd(model) for model in models]
    with record() as recording:
        for model, optimizer in zip(models, optimizers, strict=True):
            model(torch.randn(2, 4)).sum().backward()
            optimizer.step()
        with torch.inference_mode():
            for model in models:
                for parameter in model.parameters():
                    parameter.grad = torch.ones(parameter.shape)
        for _ in range(2):
            (torch.ones((), requires_grad=True) * 2.0).backward()
        optimizers[0].step()
    assert hook_manager().failure is None
    assert recording.truth[-1] == (4.0, 2)


BREAKABLE = {
    "counting a backward pass": (GradientProbes, "remember"),
    "an update inside a backward pass": (StepDetector, "_update"),
    "a scaled loss": (LossReader, "mark_scaled"),
    "a skipped update": (StepDetector, "skip_update"),
}


@pytest.mark.parametrize("part", BREAKABLE)
def test_no_failing_part_reaches_the_loop(record, untouched, monkeypatch, part):
    def broken(*_, **__):
        raise RuntimeError("internal")

    loops = (fused_into_backward, scaled(overflow_at=(1,)), LOOPS["scaled list"])
    undisturbed = [after_seed(loop) for loop in loops]
    monkeypatch.setattr(*BREAKABLE[part], broken)
    found, failures = [], []
    for loop in loops:
        with record():
            found.append(after_seed(loop))
            failures.append(hook_manager().failure)
    assert found == undisturbed
    assert "RuntimeError: internal" in failures
    untouched()


def after_seed(loop):
    torch.manual_seed(0)
    return loop()


def test_after_a_failure_no_new_sink_revives_the_hooks(hooks, untouched):
    events = []
    sink, other = events.append, [].append
    hooks.attach(sink)
    hooks.context.fail(ValueError("internal"))
    hooks.attach(other)
    plain()
    hooks.detach(other)
    plain()
    assert events == []
    assert "ValueError" in hooks.failure
    hooks.detach(sink)
    hooks.attach(sink)
    plain()
    hooks.detach(sink)
    assert len(events) == STEPS
    untouched()


def test_a_joined_sink_receives_events_and_installs_no_hooks(hooks, untouched):
    received, sink = [], [].append
    hooks.join(received.append)
    untouched()
    hooks.attach(sink)
    hooks.join(received.append)
    plain()
    hooks.detach(sink)
    hooks.reset()
    assert len(received) == STEPS
    untouched()


def test_a_failure_in_a_manual_step_does_not_reach_the_loop(hooks, untouched):
    def sink(event):
        raise ValueError("internal")

    hooks.attach(sink)
    hooks.manual_step(1.0)
    hooks.detach(sink)
    assert "ValueError" in hooks.failure
    untouched()


def test_an_optimizer_that_hides_its_groups_does_not_reach_the_loop(record):
    class Odd(torch.optim.SGD):
        def step(self, closure=None):
            groups, self.param_groups = self.param_groups, None
            self.hidden = groups

    optimizer = Odd(network().parameters(), lr=0.1)
    with record():
        optimizer.step()
    assert hook_manager().failure is not None


@pytest.mark.slow
def test_an_optimizer_and_its_weights_are_not_kept_alive(record):
    with record():
        model = network()
        optimizer = sgd(model)
        model(torch.randn(2, 4)).sum().backward()
        optimizer.step()
        ghosts = [weakref.ref(optimizer), weakref.ref(model[0].weight)]
        del model, optimizer
        gc.collect()
        assert [ghost() for ghost in ghosts] == [None, None]


def test_a_thread_that_outlives_a_recording_starts_anew(record):
    """Losses without an update do not enter the first step of the next recording."""
    model = network()
    optimizer = sgd(model)
    go, done = threading.Event(), threading.Event()
    truth = []

    def train():
        model(torch.randn(2, 4)).sum().backward()
        done.set()
        go.wait()
        optimizer.zero_grad()
        loss = model(torch.randn(2, 4)).sum()
        loss.backward()
        optimizer.step()
        truth.append((pytest.approx(loss.item()), 1))

    thread = threading.Thread(target=train)
    with record():
        thread.start()
        done.wait()
    with record() as recording:
        go.set()
        thread.join()
    assert recording.truth == truth


@pytest.mark.slow
def test_hooks_do_not_import_the_compiler():
    """Its import takes longer than the start of many runs."""
    script = """
import sys, torch
from profiler.torch_hooks.manager import hook_manager
before = set(sys.modules)
sink = [].append
hook_manager().attach(sink)
hook_manager().detach(sink)
print(sorted(name for name in set(sys.modules) - before if name.startswith("torch")), "torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"


@pytest.mark.slow
def test_random_states_are_unchanged(run_python, tmp_path):
    """Includes the state of ``random``, which some libraries use when they are imported."""
    done = run_python(
        f"""
        import random
        import numpy, torch
        from profiler import EnergyProfiler

        def states():
            return random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

        before = states()
        with EnergyProfiler(run_dir={str(tmp_path / "run")!r}, sensors=[]):
            weight = torch.nn.Parameter(torch.ones(()))
            optimizer = torch.optim.SGD([weight], lr=0.1)
            for _ in range(20):
                weight.square().backward()
                optimizer.step()
        print(before == states())
        """
    )
    assert done.stdout == "True\n"
