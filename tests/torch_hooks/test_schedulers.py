"""Simulation of torch's learning-rate schedulers, which leaves the schedulers unchanged."""

import copy
import functools
import gc
import math
import random
import warnings
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as schedulers

from profiler.lr_plan import RatePlan
from profiler.torch_hooks import lr_simulation
from profiler.torch_hooks.manager import hook_manager

SEEN, TOTAL = 60, 200
FALLING = functools.partial(schedulers.LambdaLR, lr_lambda=lambda done: 1.0 - done / TOTAL)


def warmed_up(optimizer, then):
    parts = [schedulers.LinearLR(optimizer, start_factor=0.1, total_iters=10), then(optimizer)]
    return schedulers.SequentialLR(optimizer, parts, milestones=[10])


def chained(optimizer):
    parts = [schedulers.LinearLR(optimizer, 0.1, total_iters=10), schedulers.ExponentialLR(optimizer, 0.98)]
    return schedulers.ChainedScheduler(parts)


class Own(schedulers.LRScheduler):
    """A user-defined scheduler with an attribute that must not be copied and a bound method."""

    def __init__(self, optimizer, model):
        self.model = model
        self.factor = self.of
        super().__init__(optimizer)

    def of(self, done):
        return 1.0 / (1.0 + done)

    def get_lr(self):
        return [base * self.factor(self.last_epoch) for base in self.base_lrs]


SCHEDULES = {
    "lambda": (FALLING, 1),
    "cosine": (lambda o: schedulers.CosineAnnealingLR(o, TOTAL), 1),
    "cosine with a floor": (lambda o: schedulers.CosineAnnealingLR(o, TOTAL, eta_min=0.01), 1),
    "cosine of epochs": (lambda o: schedulers.CosineAnnealingLR(o, TOTAL // 15), 15),
    "steps of epochs": (lambda o: schedulers.StepLR(o, 3, gamma=0.5), 10),
    "milestones": (lambda o: schedulers.MultiStepLR(o, [90, 150]), 1),
    "one cycle": (lambda o: schedulers.OneCycleLR(o, 0.1, total_steps=TOTAL), 1),
    "triangles": (lambda o: schedulers.CyclicLR(o, 0.01, 0.1, step_size_up=25, mode="exp_range", gamma=0.99), 1),
    "polynomial": (lambda o: schedulers.PolynomialLR(o, TOTAL, power=2.0), 1),
    "restarts": (lambda o: schedulers.CosineAnnealingWarmRestarts(o, 40), 1),
    "warmed up": (lambda o: warmed_up(o, lambda o: schedulers.CosineAnnealingLR(o, TOTAL - 10)), 1),
    "chained": (chained, 1),
    "user-defined": (lambda o: Own(o, torch.nn.Linear(2, 2)), 1),
}  # fmt: skip


def leaves(value):
    if isinstance(value, torch.Tensor):
        yield value.tolist()
    elif isinstance(value, dict):
        for key in value:
            yield from leaves(value[key])
    elif isinstance(value, list | tuple):
        for part in value:
            yield from leaves(part)
    elif isinstance(value, schedulers.LRScheduler):
        yield from leaves(vars(value))
    elif isinstance(value, str | int | float | None):
        yield value


class Training:
    """A loop that can be continued."""

    def __init__(self, make, *, every=1, calls=1, arguments=()):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(4, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.scheduler = make(self.optimizer)
        self.every, self.calls, self.arguments, self.steps = every, calls, arguments, 0

    def go(self, steps):
        """Train; returns the learning rate of each step."""
        rates = []
        for _ in range(steps):
            self.optimizer.zero_grad()
            self.model(torch.randn(8, 4)).square().mean().backward()
            rates.append(self.optimizer.param_groups[0]["lr"])
            self.optimizer.step()
            self.steps += 1
            for _ in range(self.calls if self.steps % self.every == 0 else 0):
                self.scheduler.step(*self.arguments)
        return rates

    @property
    def state(self):
        """All that a checkpoint would hold, to the last bit."""
        parts = (
            self.model.state_dict(),
            self.optimizer.state_dict(),
            vars(self.scheduler),
            torch.get_rng_state(),
        )
        return list(leaves(parts))


def plan_after(training, steps=SEEN, *, total_steps=TOTAL):
    """Train under a recording, and return the plan's section of ``run.json``."""
    hooks, sink = hook_manager(), [].append
    hooks.attach(sink)
    try:
        training.go(steps)
        seen = hooks.schedulers.most_active()
        assert not hooks.scalars.warnings
    finally:
        hooks.detach(sink)
    return seen and lr_simulation.plan_section(seen, step=training.steps, total_steps=total_steps)


def assert_predicted(section, training):
    """Compare the plan with the rates of the remaining steps."""
    plan = RatePlan.read({"learning_rate_plan": section})
    ahead = range(training.steps + 1, int(plan.last_step))
    rates = training.go(len(ahead))
    planned = [plan.rate_at(step) for step in ahead]
    assert planned == pytest.approx(rates, abs=1.001e-3 * max(plan.rates))


def test_the_plan_is_that_of_the_group_whose_rate_is_recorded():
    training = Training(FALLING)
    training.optimizer = torch.optim.SGD(
        [{"params": [training.model.bias], "lr": 0.5}, {"params": [training.model.weight], "lr": 0.1}]
    )
    falls = [lambda _: 1.0, lambda done: 1.0 - done / TOTAL]
    training.scheduler = schedulers.LambdaLR(training.optimizer, falls)
    section = plan_after(training)
    assert "refused" not in section, section
    plan = RatePlan.read({"learning_rate_plan": section})
    for step in (SEEN + 1, 150, TOTAL):
        assert plan.rate_at(step) == pytest.approx(0.1 * (1.0 - (step - 1) / TOTAL), abs=1e-4)


def test_the_plan_is_that_of_the_recorded_group_where_a_larger_one_is_added():
    training = Training(FALLING)
    training.scheduler = SimpleNamespace(step=lambda: None)
    hooks, sent = hook_manager(), []
    sink = sent.append
    hooks.attach(sink)
    try:
        training.go(3)
        training.optimizer.add_param_group({"params": torch.nn.Linear(64, 64).parameters(), "lr": 0.7})
        falls = [lambda done: 1.0 - done / TOTAL, lambda _: 1.0]
        training.scheduler = schedulers.LambdaLR(training.optimizer, falls)
        training.go(3)
        assert hooks.schedulers.most_active().checkpoints == pytest.approx(
            {done: 0.1 * (1.0 - done / TOTAL) for done in (1, 2, 3)}
        )
    finally:
        hooks.detach(sink)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rest_of_a_schedule_is_predicted(name):
    make, every = SCHEDULES[name]
    training = Training(make, every=every)
    section = plan_after(training)
    assert (
        section["source"]
        == f"{type(training.scheduler).__module__}.{type(training.scheduler).__qualname__}, simulated"
    )
    assert section["knots"][0][0] == SEEN
    assert section["knots"][-1][0] == TOTAL
    assert_predicted(section, training)


@pytest.mark.parametrize(
    "name", ["lambda", "cosine", "cosine of epochs", "one cycle", "polynomial", "warmed up"]
)
def test_a_schedule_that_ends_at_zero_determines_the_length_of_the_run(name):
    make, every = SCHEDULES[name]
    training = Training(make, every=every)
    section = plan_after(training, total_steps=None)
    assert section["knots"][-1][0] == pytest.approx(TOTAL, abs=6)
    assert section["knots"][-1][1] == pytest.approx(0.0, abs=1e-6)
    assert_predicted(section, training)


@pytest.mark.parametrize("name", SCHEDULES)
def test_weights_and_states_are_bit_identical(name):
    make, every = SCHEDULES[name]
    alone = Training(make, every=every)
    alone.go(SEEN)
    undisturbed = alone.state
    watched = Training(make, every=every)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan_after(watched)
    assert watched.state == undisturbed


def test_several_calls_per_step():
    """As in a job whose processes each step a scheduler that counts the steps of all."""
    training = Training(lambda o: schedulers.CosineAnnealingLR(o, 2 * TOTAL), calls=2)
    assert_predicted(plan_after(training), training)


def test_a_scheduler_that_stepped_before_the_recording():
    training = Training(SCHEDULES["cosine"][0])
    training.go(30)
    assert_predicted(plan_after(training, 30), training)


@pytest.mark.slow
def test_a_scheduler_that_is_deleted_before_the_end():
    hooks, sink = hook_manager(), [].append
    hooks.attach(sink)
    training = Training(SCHEDULES["cosine"][0])
    training.go(SEEN)
    ghosts = [weakref.ref(part) for part in (training.scheduler, training.optimizer, training.model)]
    del training
    gc.collect()
    assert [ghost() for ghost in ghosts] == [None] * 3
    seen = hooks.schedulers.most_active()
    hooks.detach(sink)
    assert lr_simulation.simulate(seen, step=SEEN, total_steps=TOTAL, source="").last_step == TOTAL


def test_attributes_that_cannot_be_copied_are_shared():
    model = torch.nn.Linear(2, 2)
    hooks, sink = hook_manager(), [].append
    hooks.attach(sink)
    Training(lambda o: Own(o, model)).go(3)
    twin = hooks.schedulers.most_active().copy
    hooks.detach(sink)
    assert twin.model.weight is model.weight
    assert twin.factor.__self__ is twin


def test_a_callable_object_is_copied_and_not_called():
    class Counting:
        def __init__(self):
            self.calls = 0

        def __call__(self, done):
            self.calls += 1
            return 1.0 - done / TOTAL

    counting = Counting()
    training = Training(lambda o: schedulers.LambdaLR(o, counting))
    section = plan_after(training)
    assert counting.calls == SEEN + 1
    assert_predicted(section, training)


def with_side_effects(kind):
    """Return a function for ``LambdaLR`` with side effects, and the objects that they change."""
    numbers, chance, table = iter(range(1, 10**6)), random.Random(0), {"rates": [iter(range(1, 10**6))]}
    held = Held(numbers)
    return {
        "closure": lambda _: 1.0 / next(numbers),
        "default": lambda _, source=numbers: 1.0 / next(source),
        "partial": functools.partial(lambda source, _: 1.0 / next(source), numbers),
        "global": lambda _: 1.0 / next(NUMBERS),
        "called function": lambda _: of_a_global(),
        "table": lambda _: 1.0 / next(table["rates"][0]),
        "object": held,
        "method": held.rate,
        "random numbers of its own": lambda _: chance.random(),
    }[kind], (numbers, chance, table, held)


class Held:
    """A callable that advances an iterator."""

    def __init__(self, numbers):
        self.numbers = numbers

    def __call__(self, _):
        return 1.0 / next(self.numbers)

    def rate(self, _):
        return 1.0 / next(self.numbers)


NUMBERS = iter(range(1, 10**6))


def of_a_global():
    return 1.0 / next(NUMBERS)


@pytest.mark.parametrize(
    "kind",
    [
        "closure",
        "default",
        "partial",
        "global",
        "called function",
        "table",
        "object",
        "method",
        "random numbers of its own",
    ],
)
def test_functions_with_side_effects_are_not_simulated(kind):
    function, sources = with_side_effects(kind)
    training = Training(lambda o: schedulers.LambdaLR(o, function))
    hooks, sink = hook_manager(), [].append
    hooks.attach(sink)
    training.go(5)
    seen = hooks.schedulers.most_active()
    hooks.detach(sink)
    before = state_of(sources)
    section = lr_simulation.plan_section(seen, step=5, total_steps=TOTAL)
    assert section["refused"] == "it may use an iterator or random numbers, which a simulation would advance"
    assert state_of(sources) == before


def state_of(sources):
    numbers, chance, table, _ = sources
    return [next(copy.copy(one)) for one in (numbers, table["rates"][0], NUMBERS)], chance.getstate()


@pytest.mark.parametrize(
    "draw",
    [random.random, lambda: float(np.random.rand()), lambda: float(torch.rand(()))],  # noqa: NPY002
)
def test_random_states_are_unchanged(draw):
    training = Training(lambda o: schedulers.LambdaLR(o, lambda _: draw()))
    hooks, sink = hook_manager(), [].append
    hooks.attach(sink)
    training.go(5)
    seen = hooks.schedulers.most_active()
    hooks.detach(sink)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    section = lr_simulation.plan_section(seen, step=5, total_steps=TOTAL)
    assert "where the scheduler set" in section["refused"]
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002


class Table:
    """A callable with a copy method."""

    copies = 0

    def __init__(self):
        self.total = TOTAL

    def __call__(self, done):
        return 1.0 - done / self.total

    def __setstate__(self, state):
        type(self).copies += 1


@pytest.mark.parametrize("kind", [Table, lambda: torch.nn.Linear(2, 2)])
def test_objects_with_copy_methods_are_shared(kind):
    thing = kind()
    hooks, sink = hook_manager(), [].append
    hooks.attach(sink)
    Training(lambda o: Own(o, thing)).go(3)
    assert hooks.schedulers.most_active().copy.model is thing
    hooks.detach(sink)
    assert Table.copies == 0


def test_a_scheduler_may_hold_a_cyclic_structure():
    def make(optimizer):
        scheduler = FALLING(optimizer)
        scheduler.log = [{}]
        scheduler.log[0]["all"] = scheduler.log
        return scheduler

    training = Training(make)
    assert_predicted(plan_after(training), training)


def test_an_error_of_a_scheduler_is_raised_unchanged():
    hooks, sink = hook_manager(), [].append
    hooks.attach(sink)
    training = Training(lambda o: schedulers.OneCycleLR(o, 0.1, total_steps=20))
    with pytest.raises(ValueError, match="total steps is 20"):
        training.go(30)
    assert hooks.schedulers.most_active().calls == 20
    hooks.detach(sink)


class Stateful(schedulers.LRScheduler):
    """Depends on the state of the optimizer."""

    def get_lr(self):
        return [base * (1.0 + float(self.optimizer.state_dict()["state"] != {})) for base in self.base_lrs]


class Broken(Own):
    """Fails at a later step."""

    def of(self, done):
        return 1.0 / (SEEN + 5 - done)


@pytest.mark.parametrize(
    ("make", "steps", "total", "reason"),
    [
        (Stateful, SEEN, TOTAL, "its copy failed (AttributeError"),
        (
            lambda o: Broken(o, None),
            SEEN,
            TOTAL,
            "its copy failed (ZeroDivisionError: float division by zero)",
        ),
        (
            lambda o: schedulers.LambdaLR(o, lambda done: math.nan),
            SEEN,
            TOTAL,
            "its rates are not plain numbers",
        ),
        (SCHEDULES["cosine"][0], 1, TOTAL, "it has stepped too rarely to know how often it steps"),
        (SCHEDULES["cosine"][0], TOTAL, TOTAL, "the schedule has ended"),
        (SCHEDULES["cosine"][0], TOTAL, None, "the schedule has ended"),
        (SCHEDULES["cosine with a floor"][0], SEEN, None, "the length of the run is unknown"),
        (SCHEDULES["cosine"][0], SEEN, 10**6, "a simulation would take 1,000,000 of its steps"),
    ],
)
def test_an_unpredictable_schedule_is_refused_with_the_reason(make, steps, total, reason):
    section = plan_after(Training(make), steps, total_steps=total)
    assert reason in section["refused"]
    assert "simulated" not in section["source"]
    assert RatePlan.read({"learning_rate_plan": section}) is None


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda o: schedulers.ExponentialLR(o, 0.98), "does not fall to zero"),
        (lambda o: schedulers.StepLR(o, 50, gamma=0.1), "does not fall to zero"),
        (lambda o: schedulers.MultiStepLR(o, [30, 90, 150], gamma=0.1), "does not fall to zero"),
        (lambda o: schedulers.CosineAnnealingWarmRestarts(o, 25), "does not fall to zero"),
        (lambda o: schedulers.LinearLR(o, 1.0, 0.1, total_iters=TOTAL), "does not fall to zero"),
        (lambda o: schedulers.CosineAnnealingLR(o, 40), "rises again after a fall to zero"),
    ],
    ids=["exponential", "steps", "milestones", "restarts", "linear to a tenth", "cosine beyond its end"],
)
def test_a_schedule_without_an_end_gives_no_end_of_the_run(make, reason):
    section = plan_after(Training(make), total_steps=None)
    assert reason in section["refused"]
    assert "declare total_steps= (--total-steps)" in section["refused"]


def test_a_smooth_fall_to_a_small_floor_is_an_end():
    section = plan_after(
        Training(lambda o: schedulers.CosineAnnealingLR(o, TOTAL, eta_min=1e-4)), total_steps=None
    )
    assert section["knots"][-1] == [TOTAL + 1, pytest.approx(1e-4)]


@pytest.mark.parametrize("total", [SEEN - 20, None])
def test_fewer_declared_steps_than_made_count_as_unknown(total):
    section = plan_after(Training(SCHEDULES["cosine"][0]), total_steps=total)
    assert section["knots"][-1][0] == pytest.approx(TOTAL, abs=1)


def test_a_scheduler_that_takes_a_metric_is_refused():
    section = plan_after(Training(schedulers.ReduceLROnPlateau, arguments=(1.0,)))
    assert section == {
        "source": "torch.optim.lr_scheduler.ReduceLROnPlateau",
        "refused": "scheduler.step() takes arguments (such as a metric), so its schedule depends on the training",
    }


def test_a_rate_changed_outside_the_scheduler_is_refused():
    training = Training(SCHEDULES["cosine"][0])
    hooks, sink = hook_manager(), [].append
    hooks.attach(sink)
    training.go(30)
    training.scheduler.base_lrs[0] *= 0.5
    training.optimizer.param_groups[0]["lr"] *= 0.5
    training.go(30)
    seen = hooks.schedulers.most_active()
    hooks.detach(sink)
    with pytest.raises(
        lr_simulation.NotSimulableError, match=r"its copy sets .* in its step 32, where the scheduler set"
    ):
        lr_simulation.simulate(seen, step=60, total_steps=TOTAL, source="")


def test_the_scheduler_that_steps_most_often_is_used():
    hooks, sink = hook_manager(), [].append
    hooks.attach(sink)
    seldom, often = Training(FALLING, every=10), Training(SCHEDULES["cosine"][0])
    for _ in range(SEEN):
        seldom.go(1)
        often.go(1)
    seen = hooks.schedulers.most_active()
    hooks.detach(sink)
    assert type(seen.copy) is schedulers.CosineAnnealingLR


def test_the_scheduler_of_the_last_training_is_used():
    hooks, sink = hook_manager(), [].append
    hooks.attach(sink)
    first, second = Training(FALLING), Training(SCHEDULES["cosine"][0])
    first.go(2 * SEEN)
    second.go(SEEN)
    seen = hooks.schedulers.most_active()
    hooks.detach(sink)
    assert type(seen.copy) is schedulers.CosineAnnealingLR


@pytest.mark.parametrize("every", [1, 15])
def test_a_scheduler_that_has_ended_is_used_while_the_training_continues(every):
    hooks, sink = hook_manager(), [].append
    hooks.attach(sink)
    training = Training(SCHEDULES["cosine"][0], every=every)
    training.go(SEEN)
    training.calls = 0
    training.go(SEEN)
    seen = hooks.schedulers.most_active()
    hooks.detach(sink)
    assert type(seen.copy) is schedulers.CosineAnnealingLR


def test_a_scheduler_that_cannot_be_copied_warns_once():
    class Uncopied(dict):
        def __copy__(self):
            raise RuntimeError("mine")

    def make(optimizer):
        scheduler = schedulers.ConstantLR(optimizer)
        scheduler.table = Uncopied()
        return scheduler

    hooks, sink = hook_manager(), [].append
    hooks.attach(sink)
    training = Training(make)
    training.go(10)
    assert hooks.schedulers.most_active() is None
    (warning,) = hooks.scalars.warnings
    assert warning.startswith(
        "a scheduler of the learning rate cannot be followed (RuntimeError: mine): forecasts"
    )
    hooks.detach(sink)
    assert training.scheduler.last_epoch == 10


def test_without_a_scheduler_there_is_no_plan():
    training = Training(FALLING, every=10**9)
    assert plan_after(training) is None


def test_schedulers_are_restored():
    classes = (schedulers.LRScheduler, schedulers.SequentialLR, schedulers.ReduceLROnPlateau)
    before = [one.__dict__["step"] for one in classes]
    hooks, sink = hook_manager(), [].append
    hooks.attach(sink)
    assert [one.__dict__["step"].__wrapped__ for one in classes] == before
    Training(FALLING).go(3)
    hooks.detach(sink)
    assert [one.__dict__["step"] for one in classes] == before
    assert hooks.schedulers.most_active() is None
