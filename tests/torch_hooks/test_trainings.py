"""Separate trainings of a process: sweeps and folds are, partners and added parameters are not."""

import math
import threading
from copy import deepcopy

import pytest
import torch
from torch import nn

from profiler.torch_hooks import step_detector
from profiler.torch_hooks.manager import hook_manager
from tests.support.small_training import train
from tests.support.training_loops import LOOPS, STEPS, Gan, loss_of, network, plain, sgd

SEPARATE = {
    "one model after another": 3,
    "optimizers made first, used one after the other": 3,
    "one layer after another": 3,
    "pairs of optimizers, one after the other": 2,
    "accumulation, one model after the other": 2,
    "lbfgs, one model after the other": 2,
    "scaled, one model after the other": 2,
    "actor, then critic": 2,
}
"""Number of trainings of the loops that have several. One that returns is part of the last."""


def indices(recording):
    return [step.training for step in recording.steps]


def both_backwards_then_both_steps(gan):
    gan.generator_optimizer.zero_grad()
    gan.generator_loss().backward()
    gan.discriminator_optimizer.zero_grad()
    gan.discriminator_loss().backward()
    gan.discriminator_optimizer.step()
    gan.generator_optimizer.step()


def update(model, optimizer):
    optimizer.zero_grad()
    loss_of(model).backward()
    optimizer.step()


@pytest.mark.parametrize("name", LOOPS)
def test_loops_are_one_training_unless_they_train_several_models(record, name):
    with record() as recording:
        LOOPS[name]()
    found = indices(recording)
    count = SEPARATE.get(name, 1)
    block = STEPS if count > 1 else len(found)
    assert found == [min(number // block, count - 1) for number in range(len(found))]


def test_a_sweep_whose_models_are_kept_starts_a_training_with_each(record):
    kept = []
    with record() as recording:
        for _ in range(3):
            kept.append((model := network(), optimizer := sgd(model)))
            for _ in range(STEPS):
                update(model, optimizer)
    assert indices(recording) == [0] * STEPS + [1] * STEPS + [2] * STEPS


def test_a_gan_after_a_training_whose_model_is_kept_is_a_training_of_two_partners(record):
    model, gan = network(), Gan()
    optimizer = sgd(model)
    with record() as recording:
        for _ in range(STEPS):
            update(model, optimizer)
        for _ in range(STEPS):
            both_backwards_then_both_steps(gan)
    assert indices(recording) == [0] * STEPS + [1] * STEPS
    assert recording.truth[STEPS:] == [(loss, 2) for loss, _ in recording.truth[STEPS:]]
    assert turns(recording) == [1] * STEPS + [1] + [2] * (STEPS - 1)


def test_a_gan_after_a_training_whose_model_is_gone_takes_turns(record):
    gan = Gan()
    with record() as recording:
        train(STEPS)
        for _ in range(STEPS):
            both_backwards_then_both_steps(gan)
    assert indices(recording) == [0] * STEPS + [1] * STEPS
    assert turns(recording) == [1] * STEPS + [1] + [2] * (STEPS - 1)


def test_a_gan_with_alternating_updates_after_a_training_is_one_training(record):
    model, gan = network(), Gan()
    optimizer = sgd(model)
    with record() as recording:
        for _ in range(STEPS):
            update(model, optimizer)
        for _ in range(STEPS):
            for loss, partner in (
                (gan.discriminator_loss, gan.discriminator_optimizer),
                (gan.generator_loss, gan.generator_optimizer),
            ):
                partner.zero_grad()
                loss().backward()
                partner.step()
    assert indices(recording) == [0] * STEPS + [1] * STEPS
    assert turns(recording) == [1] * STEPS + [2] * STEPS


def test_pairs_of_updates_whose_losses_meet_share_steps(record):
    """Soft actor-critic with delayed updates: two of the critic, then two of the actor, whose loss it gives."""
    actor, critic = nn.Linear(4, 4), nn.Linear(4, 1)
    actor_optimizer, critic_optimizer = sgd(actor), sgd(critic)
    with record() as recording:
        for _ in range(STEPS):
            for loss, optimizer in 2 * [
                (lambda: critic(torch.randn(8, 4)).square().mean(), critic_optimizer)
            ] + 2 * [(lambda: -critic(actor(torch.randn(8, 4))).mean(), actor_optimizer)]:
                optimizer.zero_grad()
                loss().backward()
                optimizer.step()
    assert len(recording.steps) == 2 * STEPS + 1
    assert set(indices(recording)) == {0}


def test_a_generator_that_is_updated_twice_per_discriminator_starts_no_training(record):
    with record() as recording:
        LOOPS["gan, two generator steps"]()
    assert set(indices(recording)) == {0}


def test_changes_between_many_optimizers_cost_few_searches(record, monkeypatch):
    """A search of a large graph takes milliseconds."""
    searches = []
    original = step_detector.leaves_of
    monkeypatch.setattr(step_detector, "leaves_of", lambda *args: searches.append(0) or original(*args))
    gan = Gan()
    with record() as recording:
        for _ in range(30):
            for _ in range(3):
                gan.discriminator_optimizer.zero_grad()
                gan.discriminator_loss().backward()
                gan.discriminator_optimizer.step()
            gan.generator_optimizer.zero_grad()
            gan.generator_loss().backward()
            gan.generator_optimizer.step()
    assert len(recording.steps) == 90
    assert len(searches) < 8


def test_a_model_at_the_address_of_a_deleted_one_starts_a_training(record):
    """Python reuses the addresses of deleted objects, so their ids identify neither optimizers nor parameters."""
    with record() as recording:
        for _ in range(100):
            train(3)
    assert indices(recording) == [index for index in range(100) for _ in range(3)]


def test_an_added_parameter_group_starts_no_training(record):
    model, head = network(), nn.Linear(4, 1)
    optimizer = sgd(model)
    with record() as recording:
        for step in range(STEPS):
            if step == 2:
                optimizer.add_param_group({"params": list(head.parameters())})
            update(model, optimizer)
    assert indices(recording) == [0] * STEPS


def test_separate_actor_and_critic_that_alternate_are_one_training(record):
    models = network(), network()
    optimizers = [sgd(model) for model in models]
    with record() as recording:
        for _ in range(STEPS):
            for model, optimizer in zip(models, optimizers, strict=True):
                update(model, optimizer)
    assert indices(recording) == [0] * STEPS


def test_a_generator_that_is_updated_before_several_critic_steps_is_a_partner(record):
    gan = Gan()
    with record() as recording:
        for _ in range(2):
            gan.generator_loss().backward()
            gan.generator_optimizer.step()
            for _ in range(3):
                gan.discriminator_optimizer.zero_grad()
                gan.discriminator_loss().backward()
                gan.discriminator_optimizer.step()
    assert set(indices(recording)) == {0}


def test_an_optimizer_that_returns_takes_part_in_the_present_training(record):
    """The index never decreases, so that the rows of a training are contiguous."""
    models = network(), network()
    optimizers = [sgd(model) for model in models]
    with record() as recording:
        for which in (0, 0, 0, 1, 1, 1, 0, 0, 0):
            update(models[which], optimizers[which])
    found = indices(recording)
    assert found == sorted(found)
    assert set(found) == {0, 1}


def test_threads_with_separate_models_are_separate_trainings(record):
    with record() as recording:
        for _ in range(2):
            thread = threading.Thread(target=plain)
            thread.start()
            thread.join()
    assert indices(recording) == [0] * STEPS + [1] * STEPS


def test_threads_that_share_a_model_are_one_training(record):
    model = network()

    def update_often():
        optimizer = sgd(model)
        for _ in range(STEPS):
            update(model, optimizer)

    with record() as recording:
        for _ in range(2):
            thread = threading.Thread(target=update_often)
            thread.start()
            thread.join()
    assert indices(recording) == [0] * 2 * STEPS


def test_a_recording_counts_trainings_from_zero(record):
    for _ in range(2):
        with record() as recording:
            plain()
        assert indices(recording) == [0] * STEPS


def test_threads_after_each_other_have_step_states_of_their_own(record):
    """The system gives a new thread the identifier of an ended one."""
    kept, threads = [], set()

    def train_a_model():
        threads.add(threading.get_ident())
        kept.append((model := network(), optimizer := sgd(model)))
        for _ in range(STEPS):
            update(model, optimizer)

    with record() as recording:
        for _ in range(3):
            thread = threading.Thread(target=train_a_model)
            thread.start()
            thread.join()
    assert len(threads) < 3, "no identifier was used twice"
    assert indices(recording) == [0] * STEPS + [1] * STEPS + [2] * STEPS


def test_memory_does_not_grow_with_models_that_are_gone(record):
    outer = network()
    optimizer = sgd(outer)
    with record():
        for _ in range(200):
            inner = network()
            partner = sgd(inner)
            update(inner, partner)
            update(inner, partner)
            update(outer, optimizer)
        trainings, detector = hook_manager().context.trainings, hook_manager().detectors.existing()
        count = trainings.parameter_count
        # The memory that these use has no public measure.
        sizes = [len(one) for one in (trainings._optimizers, trainings._sizes, trainings._parameters)]
        assert max(*sizes, len(detector._optimizers), len(detector._probes._probes)) < 100
    assert count in {size_of(outer), 2 * size_of(outer)}


def joint(model, partner):
    """One loss, two optimizers: the parameters of the second took part in the loss before they are classified."""
    optimizers = [sgd(model), sgd(partner)]
    for _ in range(STEPS):
        for optimizer in optimizers:
            optimizer.zero_grad()
        (loss_of(model) + loss_of(partner)).backward()
        for optimizer in optimizers:
            optimizer.step()


def in_turns(model, partner):
    optimizers = [(one, sgd(one)) for one in (model, partner)]
    for _ in range(STEPS):
        for one, optimizer in optimizers:
            update(one, optimizer)


def made_anew(model, partner):
    """The partner of each step is a new copy, as the adapted model of meta-learning is."""
    optimizer = sgd(model)
    for _ in range(STEPS):
        copy = deepcopy(partner)
        inner = sgd(copy)
        for one in (optimizer, inner):
            one.zero_grad()
        (loss_of(model) + loss_of(copy)).backward()
        for one in (optimizer, inner):
            one.step()


def one_model(model, partner):
    optimizers = [sgd(model), sgd(model)]
    for _ in range(STEPS):
        for optimizer in optimizers:
            update(model, optimizer)


@pytest.mark.parametrize(("loop", "partners"), [(joint, 1), (in_turns, 1), (made_anew, 1), (one_model, 0)])
def test_each_parameter_of_partners_counts_once(record, loop, partners):
    model, partner = network(), network()
    with record():
        loop(model, partner)
        count = hook_manager().parameter_count
    assert count == size_of(model) + partners * size_of(partner)


def size_of(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_many_optimizers_whose_first_updates_are_skipped_leave_the_hooks_working(record):
    models = [network() for _ in range(12)]
    optimizers = [sgd(model) for model in models]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    with record():
        for factor in (math.inf, 1.0):
            for model, optimizer in zip(models, optimizers, strict=True):
                optimizer.zero_grad()
                scaler.scale(loss_of(model) * factor).backward()
                scaler.step(optimizer)
            scaler.update()
        assert hook_manager().failure is None


def turns(recording):
    return [step.turns for step in recording.steps]


@pytest.mark.parametrize(
    "name", ["gan, alternating", "gan, both backwards, then both steps", "gan, gradients set to zero"]
)
def test_optimizers_with_losses_of_their_own_take_turns(record, name):
    with record() as recording:
        LOOPS[name]()
    assert turns(recording) == [2] * STEPS


def test_a_discriminator_that_is_frozen_for_the_generator_takes_turns(record):
    gan = Gan()
    with record() as recording:
        for _ in range(STEPS):
            gan.discriminator_optimizer.zero_grad()
            gan.generator_optimizer.zero_grad()
            gan.discriminator_loss().backward()
            gan.generator_loss().backward(inputs=list(gan.generator.parameters()))
            gan.discriminator_optimizer.step()
            gan.generator_optimizer.step()
    assert turns(recording) == [2] * STEPS


@pytest.mark.parametrize("passes", [1, 3, 20])
def test_optimizers_that_share_the_losses_of_micro_batches_take_no_turns(record, passes):
    """Muon for matrices and AdamW for the rest, with accumulated gradients."""
    model = network()
    parameters = list(model.parameters())
    optimizers = [torch.optim.SGD(half, lr=0.1) for half in (parameters[::2], parameters[1::2])]
    with record() as recording:
        for _ in range(STEPS):
            for _ in range(passes):
                loss_of(model).backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
    assert turns(recording) == [1] * STEPS


def test_losses_of_one_optimizer_take_no_turns(record):
    with record() as recording:
        LOOPS["several losses with a retained graph"]()
    assert turns(recording) == [1] * STEPS


@pytest.mark.parametrize("overflows", [{"generator"}, {"discriminator"}, {"generator", "discriminator"}])
@pytest.mark.parametrize("at", [0, 2])
def test_an_overflow_of_a_scaled_gan_adds_no_step(record, overflows, at):
    gan, scaler = Gan(), torch.amp.GradScaler("cpu", init_scale=2.0)
    turns_of = (
        ("discriminator", gan.discriminator_loss, gan.discriminator_optimizer),
        ("generator", gan.generator_loss, gan.generator_optimizer),
    )
    with record() as recording:
        for step in range(STEPS):
            for name, loss, optimizer in turns_of:
                optimizer.zero_grad()
                factor = math.inf if step == at and name in overflows else 1.0
                scaler.scale(loss() * factor).backward()
                scaler.step(optimizer)
                scaler.update()
    whole = STEPS - (len(overflows) == 2)
    assert len(recording.steps) == whole
    assert sorted(turns(recording)) == [1] * (whole - STEPS + 1) + [2] * (STEPS - 1)


@pytest.mark.parametrize(
    ("layer", "size", "expected"),
    [
        (nn.Conv2d(1, 2, 3), (1, 1, 4, 4), True),
        (nn.Conv1d(1, 2, 3), (1, 1, 4), False),
        (nn.Linear(4, 2), (1, 4), False),
        (nn.Sequential(nn.Conv2d(1, 2, 3).requires_grad_(False), nn.Linear(2, 2)), (1, 1, 4, 4), False),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 6000)), (1, 1, 4, 4), False),
    ],
    ids=["images", "sequences", "vectors", "frozen", "few"],
)
def test_convolutions_over_images_are_noticed(record, layer, size, expected):
    optimizer = sgd(layer)
    with record():
        for _ in range(3):
            optimizer.zero_grad()
            layer(torch.ones(size)).square().mean().backward()
            optimizer.step()
        assert hook_manager().is_convolutional is expected
    with record():
        assert not hook_manager().is_convolutional, "of an earlier recording"
