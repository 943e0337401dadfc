"""Schedulers that may be simulated while the training runs, and those that may not."""

import functools
import math
import random
import threading

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as schedulers

from profiler.lr_plan import RatePlan
from profiler.torch_hooks import lr_simulation
from profiler.torch_hooks.isolation import is_isolated
from profiler.torch_hooks.manager import hook_manager
from profiler.torch_hooks.scheduler_copy import copy_scheduler
from tests.torch_hooks.test_schedulers import SCHEDULES, SEEN, TOTAL, Own, Training

HISTORY = []
STATE = {"factor": 1.0}


def warm_up_then_cosine(done, warm_up, total):
    if done < warm_up:
        return done / max(1, warm_up)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * (done - warm_up) / (total - warm_up))))


def remembering(done):
    HISTORY.append(done)
    return 1.0


def renewing(done):
    STATE["factor"] = 0.99**done
    return STATE["factor"]


def counting(done):
    global HISTORY  # noqa: PLW0603 - the effect that is examined
    HISTORY = [*HISTORY, done]
    return 1.0


def counter():
    calls = 0

    def rate(done):
        nonlocal calls
        calls += 1
        return 1.0 / calls

    return rate


class Attribute:
    def __init__(self):
        self.last = 0

    def __call__(self, done):
        self.last = done
        return 1.0


class Table:
    """A callable that only reads."""

    def __init__(self):
        self.rates = [1.0, 0.5, 0.1]

    def __call__(self, done):
        return self.rates[min(done // 20, 2)]


PURE = {
    "lambda": lambda done: 1.0 - done / TOTAL,
    "partial of a function with math": functools.partial(warm_up_then_cosine, warm_up=10, total=TOTAL),
    "comprehension": lambda done: 0.5 ** sum([done >= one for one in (20, 100)]),
    "numpy": lambda done: float(np.cos(0.001 * done)),
    "table": Table(),
}
IMPURE = {
    "list": remembering,
    "item": renewing,
    "global": counting,
    "nonlocal": counter(),
    "attribute": Attribute(),
    "random": lambda done: random.random(),
    "numpy random": lambda done: float(np.random.rand()),  # noqa: NPY002
    "torch": lambda done: float(torch.cos(torch.tensor(0.01 * done))),
    "file": lambda done: float(open("rate").read()),  # noqa: PTH123, SIM115
    "bound method": HISTORY.index,
}


def scheduler(make):
    model = torch.nn.Linear(2, 1)
    return make(torch.optim.SGD(model.parameters(), lr=0.1))


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "user-defined"])
def test_schedulers_of_torch_are_isolated(name):
    assert is_isolated(copy_scheduler(scheduler(SCHEDULES[name][0])))


@pytest.mark.parametrize("name", PURE)
def test_pure_function_is_isolated(name):
    assert is_isolated(copy_scheduler(scheduler(lambda o: schedulers.LambdaLR(o, PURE[name]))))


@pytest.mark.parametrize("name", IMPURE)
def test_function_with_an_effect_is_not_isolated(name):
    assert not is_isolated(IMPURE[name])


def test_scheduler_that_holds_a_model_is_not_isolated():
    assert not is_isolated(copy_scheduler(scheduler(lambda o: Own(o, torch.nn.Linear(2, 2)))))


def seen_after(make, steps=SEEN):
    hooks, sink = hook_manager(), [].append
    hooks.attach(sink)
    try:
        Training(make).go(steps)
        return hooks.schedulers.most_active()
    finally:
        hooks.detach(sink)


@pytest.mark.parametrize("total", [None, TOTAL])
def test_plan_during_the_training_is_that_of_the_end(total):
    seen = seen_after(SCHEDULES["cosine"][0])
    plans = (
        lr_simulation.plan_section(seen, step=SEEN, total_steps=total),
        lr_simulation.plan_section_meanwhile(seen, step=SEEN, total_steps=total, is_over=threading.Event()),
    )
    assert plans[0] == plans[1]
    assert plans[0]["knots"][-1][0] == pytest.approx(TOTAL, abs=1)


def test_random_numbers_are_not_drawn_during_the_training():
    seen = seen_after(lambda o: schedulers.LambdaLR(o, lambda _: random.random()), 5)
    before = random.getstate()
    found = lr_simulation.plan_section_meanwhile(seen, step=5, total_steps=TOTAL, is_over=threading.Event())
    assert found is None
    assert random.getstate() == before


def test_plan_is_simulated_again_only_where_the_rate_has_left_it():
    section = lr_simulation.plan_section(seen_after(SCHEDULES["cosine"][0]), step=SEEN, total_steps=TOTAL)
    plan = RatePlan.read({"learning_rate_plan": section})
    later = seen_after(SCHEDULES["cosine"][0], 2 * SEEN)
    assert lr_simulation.is_followed(plan, later, step=2 * SEEN)
    assert not lr_simulation.is_followed(plan, later, step=3 * SEEN)
    assert not lr_simulation.is_followed(plan, seen_after(SCHEDULES["one cycle"][0], 2 * SEEN), step=2 * SEEN)


def test_simulation_ends_with_the_run():
    is_over = threading.Event()
    is_over.set()
    seen = seen_after(SCHEDULES["cosine"][0])
    assert lr_simulation.plan_section_meanwhile(seen, step=SEEN, total_steps=TOTAL, is_over=is_over) is None
