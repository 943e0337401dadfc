"""Whatever happens, torch is afterwards as it was before, and the training has not noticed."""

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

from profiler.torch_hooks.losses import LossReader
from profiler.torch_hooks.manager import hook_manager
from profiler.torch_hooks.step_detector import StepDetector
from tests.support.training_loops import STEPS, fused_into_backward, network, plain, scaled, sgd

SCALER = torch.amp.GradScaler


@pytest.fixture
def hooks():
    yield hook_manager()
    hook_manager().reset()


@pytest.fixture
def untouched():
    """A function that asserts that torch is as it was."""
    before = torch.autograd.backward, SCALER.step, SCALER.scale, tuple(_global_optimizer_post_hooks)

    def check():
        now = torch.autograd.backward, SCALER.step, SCALER.scale, tuple(_global_optimizer_post_hooks)
        assert now == before

    return check


def test_an_exception_inside(record, untouched):
    with pytest.raises(ZeroDivisionError), record():
        raise ZeroDivisionError
    untouched()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_sinks_leave_in_any_order_and_each_sees_its_own_time(hooks, untouched, order):
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


def test_leaving_twice(hooks, untouched):
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
    """Somebody else's wrapper, which counts its calls."""

    @functools.wraps(original)
    def backward(*args, **kwargs):
        backward.calls += 1
        return original(*args, **kwargs)

    backward.calls = 0
    return backward


def test_somebody_who_wraps_after_us_and_leaves_before_us(record, untouched):
    with record() as recording:
        ours = torch.autograd.backward
        torch.autograd.backward = theirs = wrapped(ours)
        truth = plain()
        torch.autograd.backward = ours
        truth += plain()
    untouched()
    assert theirs.calls == STEPS
    assert [loss for loss, _ in recording.truth] == pytest.approx([loss for loss, _ in truth])


def test_somebody_who_wraps_after_us_and_stays(record, untouched):
    """Their wrapper is left alone, and ours under it passes everything through."""
    original = torch.autograd.backward
    with record():
        torch.autograd.backward = theirs = wrapped(torch.autograd.backward)
    assert torch.autograd.backward is theirs
    plain()
    assert theirs.calls == STEPS
    torch.autograd.backward = original
    untouched()


@pytest.mark.parametrize("restored", [True, False], ids=["they restore ours", "they stay"])
def test_a_further_recording_over_a_wrapper_left_behind_counts_once(record, untouched, restored):
    original = torch.autograd.backward
    with record():
        ours = torch.autograd.backward
        torch.autograd.backward = wrapped(ours)
    if restored:
        torch.autograd.backward = ours
    with record() as recording:
        truth = plain()
    assert recording.truth == [(pytest.approx(loss), 1) for loss, _ in truth]
    torch.autograd.backward = original
    untouched()


@pytest.mark.parametrize("error", [ValueError, AttributeError, KeyError, RuntimeError, MemoryError])
def test_a_failure_of_ours_does_not_reach_the_loop(hooks, untouched, error):
    calls = []

    def sink(event):
        calls.append(event)
        if len(calls) > 2:
            raise error("ours")

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


def test_gradients_made_in_inference_mode_do_not_reach_the_loop(record):
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
    "counting a backward pass": (StepDetector, "_add_backward"),
    "an update inside a backward pass": (StepDetector, "_update"),
    "a scaled loss": (LossReader, "mark_scaled"),
    "a skipped update": (StepDetector, "skip_update"),
}


@pytest.mark.parametrize("part", BREAKABLE)
def test_no_part_of_ours_that_fails_reaches_the_loop(record, untouched, monkeypatch, part):
    def broken(*_, **__):
        raise RuntimeError("ours")

    loops = (fused_into_backward, scaled(overflow_at=(1,)))
    undisturbed = [after_seed(loop) for loop in loops]
    monkeypatch.setattr(*BREAKABLE[part], broken)
    found, failures = [], []
    for loop in loops:
        with record():
            found.append(after_seed(loop))
            failures.append(hook_manager().failure)
    assert found == undisturbed
    assert "RuntimeError: ours" in failures
    untouched()


def after_seed(loop):
    torch.manual_seed(0)
    return loop()


def test_after_a_failure_nobody_who_comes_or_goes_brings_the_hooks_back(hooks, untouched):
    events = []
    sink, other = events.append, [].append
    hooks.attach(sink)
    hooks.context.fail(ValueError("ours"))
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


def test_who_joins_hears_what_others_listen_to_and_installs_nothing(hooks, untouched):
    heard, sink = [], [].append
    hooks.join(heard.append)
    untouched()
    hooks.attach(sink)
    hooks.join(heard.append)
    plain()
    hooks.detach(sink)
    hooks.reset()
    assert len(heard) == STEPS
    untouched()


def test_a_failure_in_a_step_by_hand_does_not_reach_the_loop(hooks, untouched):
    def sink(event):
        raise ValueError("ours")

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
def test_an_optimizer_and_its_weights_may_die_while_we_listen(record):
    with record():
        model = network()
        optimizer = sgd(model)
        model(torch.randn(2, 4)).sum().backward()
        optimizer.step()
        ghosts = [weakref.ref(optimizer), weakref.ref(model[0].weight)]
        del model, optimizer
        gc.collect()
        assert [ghost() for ghost in ghosts] == [None, None]


def test_a_thread_that_outlives_a_recording_starts_afresh(record):
    """Its losses that never reached an update do not enter the first step of the next recording."""
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
    """It takes longer to import than many a run takes to start."""
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
def test_the_random_numbers_to_come_are_the_same(run_python, tmp_path):
    """Also those of Python itself, which some libraries draw on when they are imported."""
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
