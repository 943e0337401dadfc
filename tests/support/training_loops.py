"""Training loops of many kinds. Each returns its own ``(loss, backwards)`` per step, to compare with the hooks.

The loss of a step is the sum of the unscaled scalars whose gradients entered its update.
"""

import threading

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from profiler.torch_hooks.manager import hook_manager

STEPS = 4


def batch():
    return torch.randn(8, 4), torch.randn(8, 1)


def network():
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def loss_of(model, data=None):
    x, y = data or batch()
    return nn.functional.mse_loss(model(x), y)


def sgd(model, **options):
    return torch.optim.SGD(model.parameters(), lr=0.01, **options)


def plain():
    model = network()
    optimizer = sgd(model)
    truth = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        truth.append((loss.item(), 1))
    return truth


def function_instead_of_method():
    model = network()
    optimizer = sgd(model)
    truth = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model)
        torch.autograd.backward(loss)
        optimizer.step()
        truth.append((loss.item(), 1))
    return truth


def closure():
    model = network()
    optimizer = sgd(model)
    truth = []

    def evaluate():
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    for _ in range(STEPS):
        loss = optimizer.step(evaluate)
        truth.append((loss.item(), 1))
    return truth


def lbfgs():
    model, data = network(), batch()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=5)
    losses, truth = [], []

    def evaluate():
        optimizer.zero_grad()
        loss = loss_of(model, data)
        loss.backward()
        losses.append(loss.item())
        return loss

    for _ in range(STEPS):
        optimizer.step(evaluate)
        truth.append((losses[-1], 1))
    return truth


def accumulation(share):
    """Micro-batches: ``share(loss, count)`` is what ``backward`` is called on."""

    def loop():
        model = network()
        optimizer = sgd(model)
        truth = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            total = 0.0
            for _ in range(3):
                loss = share(loss_of(model), 3)
                loss.backward()
                total += loss.item()
            optimizer.step()
            truth.append((total, 3))
        return truth

    return loop


def divided_in_place(loss, count):
    loss /= count
    return loss


def several_losses_with_retained_graph():
    model = network()
    optimizer = sgd(model)
    truth = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        hidden = model(batch()[0])
        first, second = hidden.square().mean(), hidden.abs().mean()
        first.backward(retain_graph=True)
        second.backward()
        optimizer.step()
        truth.append((first.item() + second.item(), 2))
    return truth


def list_of_tensors():
    model = network()
    optimizer = sgd(model)
    truth = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        losses = [loss_of(model), loss_of(model)]
        torch.autograd.backward(losses)
        optimizer.step()
        truth.append((sum(loss.item() for loss in losses), 1))
    return truth


def gradient_of_two():
    """``backward(gradient)`` descends that multiple of the loss."""
    model = network()
    optimizer = sgd(model)
    truth = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward(torch.tensor(2.0))
        optimizer.step()
        truth.append((2 * loss.item(), 1))
    return truth


def weighted_list():
    model = network()
    optimizer = sgd(model)
    truth = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        one, other = loss_of(model), loss_of(model)
        torch.autograd.backward([one, other], grad_tensors=[torch.tensor(3.0), None])
        optimizer.step()
        truth.append((3 * one.item() + other.item(), 1))
    return truth


class Gan:
    """A generator and a discriminator, each with its optimizer."""

    def __init__(self):
        self.generator, self.discriminator = nn.Linear(4, 4), nn.Linear(4, 1)
        self.generator_optimizer, self.discriminator_optimizer = sgd(self.generator), sgd(self.discriminator)

    def discriminator_loss(self):
        fake = self.generator(torch.randn(8, 4)).detach()
        return self.discriminator(fake).square().mean()

    def generator_loss(self):
        return (self.discriminator(self.generator(torch.randn(8, 4))) - 1).square().mean()


def gan_alternating():
    gan, truth = Gan(), []
    for _ in range(STEPS):
        gan.discriminator_optimizer.zero_grad()
        one = gan.discriminator_loss()
        one.backward()
        gan.discriminator_optimizer.step()
        gan.generator_optimizer.zero_grad()
        other = gan.generator_loss()
        other.backward()
        gan.generator_optimizer.step()
        truth.append((one.item() + other.item(), 2))
    return truth


def gan_joint_backward():
    gan, truth = Gan(), []
    for _ in range(STEPS):
        gan.discriminator_optimizer.zero_grad()
        gan.generator_optimizer.zero_grad()
        loss = gan.discriminator_loss() + gan.generator_loss()
        loss.backward()
        gan.discriminator_optimizer.step()
        gan.generator_optimizer.step()
        truth.append((loss.item(), 1))
    return truth


def gan_both_backwards_then_both_steps():
    """Each ``zero_grad`` comes before its own backward pass, so the other network's gradients are kept."""
    gan, truth = Gan(), []
    for _ in range(STEPS):
        gan.generator_optimizer.zero_grad()
        one = gan.generator_loss()
        one.backward()
        gan.discriminator_optimizer.zero_grad()
        other = gan.discriminator_loss()
        other.backward()
        gan.discriminator_optimizer.step()
        gan.generator_optimizer.step()
        truth.append((one.item() + other.item(), 2))
    return truth


def gan_with_five_critic_steps():
    """Each critic update is a step; the generator's update belongs to the fifth."""
    gan, truth = Gan(), []
    for _ in range(STEPS):
        for _ in range(5):
            gan.discriminator_optimizer.zero_grad()
            loss = gan.discriminator_loss()
            loss.backward()
            gan.discriminator_optimizer.step()
            truth.append((loss.item(), 1))
        gan.generator_optimizer.zero_grad()
        loss = gan.generator_loss()
        loss.backward()
        gan.generator_optimizer.step()
        truth[-1] = (truth[-1][0] + loss.item(), 2)
    return truth


def gradient_penalty():
    """``autograd.grad`` is not a loss, but the penalty made from it is part of one."""
    model = network()
    optimizer = sgd(model)
    truth = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        x = torch.randn(8, 4, requires_grad=True)
        output = model(x).square().mean()
        (gradient,) = torch.autograd.grad(output, x, create_graph=True)
        loss = output + gradient.square().sum()
        loss.backward()
        optimizer.step()
        truth.append((loss.item(), 1))
    return truth


def checkpointed(*, reentrant):
    def loop():
        model = network()
        optimizer = sgd(model)
        truth = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            x = torch.randn(8, 4, requires_grad=True)
            loss = checkpoint(model, x, use_reentrant=reentrant).square().mean()
            loss.backward()
            optimizer.step()
            truth.append((loss.item(), 1))
        return truth

    return loop


class BackwardInside(torch.autograd.Function):
    """Its backward runs a second graph."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            inner = x.detach().requires_grad_()
            (inner * 2).sum().backward()
        return gradient * inner.grad


def backward_inside_a_function():
    model = network()
    optimizer = sgd(model)
    truth = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = BackwardInside.apply(model(batch()[0])).square().mean()
        loss.backward()
        optimizer.step()
        truth.append((loss.item(), 1))
    return truth


def sharpness_aware():
    """SAM: the gradients of the first backward pass only choose the point of the second."""
    model = network()
    optimizer = sgd(model)
    truth = []
    for _ in range(STEPS):
        data = batch()
        loss_of(model, data).backward()
        with torch.no_grad():
            moves = [0.01 * p.grad for p in model.parameters()]
            torch._foreach_add_(list(model.parameters()), moves)
        optimizer.zero_grad()
        loss = loss_of(model, data)
        loss.backward()
        with torch.no_grad():
            torch._foreach_sub_(list(model.parameters()), moves)
        optimizer.step()
        optimizer.zero_grad()
        truth.append((loss.item(), 1))
    return truth


def sharpness_aware_with_zeros():
    """The first gradients are set to zero instead of None."""
    model = network()
    optimizer = sgd(model)
    truth = []
    for _ in range(STEPS):
        data = batch()
        loss_of(model, data).backward()
        with torch.no_grad():
            moves = [0.01 * p.grad for p in model.parameters()]
            torch._foreach_add_(list(model.parameters()), moves)
        optimizer.zero_grad(set_to_none=False)
        loss = loss_of(model, data)
        loss.backward()
        with torch.no_grad():
            torch._foreach_sub_(list(model.parameters()), moves)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        truth.append((loss.item(), 1))
    return truth


def accumulation_with_clipped_shares():
    """Clipping between two backward passes does not discard the gradients."""
    model = network()
    optimizer = sgd(model)
    truth = []
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=False)
        losses = [loss_of(model) / 2 for _ in range(2)]
        for loss in losses:
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        truth.append((sum(loss.item() for loss in losses), 2))
    return truth


def gan_with_zeros():
    """Both backward passes, each after its network's gradients were set to zero, then both updates."""
    gan, truth = Gan(), []
    for _ in range(STEPS):
        gan.generator_optimizer.zero_grad(set_to_none=False)
        one = gan.generator_loss()
        one.backward()
        gan.discriminator_optimizer.zero_grad(set_to_none=False)
        other = gan.discriminator_loss()
        other.backward()
        gan.discriminator_optimizer.step()
        gan.generator_optimizer.step()
        truth.append((one.item() + other.item(), 2))
    return truth


class Wrapping(torch.optim.Optimizer):
    """An optimizer that wraps another; the hook runs for both."""

    def __init__(self, inner):
        super().__init__(inner.param_groups, {})
        self.inner = inner

    def step(self, closure=None):
        return self.inner.step(closure)


class Inheriting(torch.optim.SGD):
    """A subclass that calls ``super().step()``; the hook runs twice."""

    def step(self, closure=None):
        return super().step(closure)


def made_by(make):
    """The plain loop with ``make(model)``'s optimizer."""

    def loop():
        model = network()
        optimizer = make(model)
        truth = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = loss_of(model)
            loss.backward()
            optimizer.step()
            truth.append((loss.item(), 1))
        return truth

    return loop


def new_optimizer_over_the_same_weights():
    model, truth = network(), []
    for _ in range(STEPS):
        optimizer = sgd(model)
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        truth.append((loss.item(), 1))
    return truth


def swapped_for_another_kind():
    model, truth = network(), []
    for make in (torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop):
        optimizer = make(model.parameters(), lr=0.01)
        for _ in range(STEPS):
            loss = loss_of(model)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            truth.append((loss.item(), 1))
    return truth


def head_first_then_all():
    """Fine-tuning: the second optimizer covers the weights of the first and more."""
    model, truth = network(), []
    for parameters in (model[2].parameters(), model.parameters()):
        optimizer = torch.optim.SGD(parameters, lr=0.01)
        for _ in range(STEPS):
            model.zero_grad()
            loss = loss_of(model)
            loss.backward()
            optimizer.step()
            truth.append((loss.item(), 1))
    return truth


def one_model_after_another():
    truth = []
    for _ in range(3):
        truth += plain()
    return truth


def _update(optimizer, loss, truth):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    truth.append((loss.item(), 1))


def made_first_used_one_after_the_other():
    """A cross-validation whose optimizers are all made at the start."""
    models = [network() for _ in range(3)]
    optimizers, truth = [sgd(model) for model in models], []
    for model, optimizer in zip(models, optimizers, strict=True):
        for _ in range(STEPS):
            _update(optimizer, loss_of(model), truth)
    return truth


def one_layer_after_another():
    """Forward-forward: each layer has a loss and an optimizer of its own, in every epoch."""
    layers = [nn.Linear(4, 4) for _ in range(3)]
    optimizers, truth = [sgd(layer) for layer in layers], []
    for _ in range(2):
        x = batch()[0]
        for layer, optimizer in zip(layers, optimizers, strict=True):
            for _ in range(STEPS):
                _update(optimizer, layer(x).square().mean(), truth)
            x = layer(x).detach()
    return truth


def head_first_then_all_made_at_the_start():
    """Fine-tuning: both optimizers exist from the start, and the second covers the weights of the first and more."""
    model, truth = network(), []
    for optimizer in [torch.optim.SGD(part, lr=0.01) for part in (model[2].parameters(), model.parameters())]:
        for _ in range(STEPS):
            model.zero_grad()
            _update(optimizer, loss_of(model), truth)
    return truth


def optimizer_pairs_one_after_the_other():
    """Two models, each with an optimizer for its weights and one for its biases."""
    models, truth = [network(), network()], []
    pairs = [
        [torch.optim.SGD(list(model.parameters())[first::2], lr=0.01) for first in (0, 1)] for model in models
    ]
    for model, pair in zip(models, pairs, strict=True):
        for _ in range(STEPS):
            model.zero_grad()
            loss = loss_of(model)
            loss.backward()
            for optimizer in pair:
                optimizer.step()
            truth.append((loss.item(), 1))
    return truth


def accumulating_one_after_the_other():
    """Three micro-batches per update, and two models."""
    models = [network(), network()]
    optimizers, truth = [sgd(model) for model in models], []
    for model, optimizer in zip(models, optimizers, strict=True):
        for _ in range(STEPS):
            optimizer.zero_grad()
            losses = [loss_of(model) / 3 for _ in range(3)]
            for loss in losses:
                loss.backward()
            optimizer.step()
            truth.append((sum(loss.item() for loss in losses), 3))
    return truth


def lbfgs_one_after_the_other():
    """Closures are evaluated several times per update; the last one counts."""
    models, truth = [network(), network()], []
    optimizers = [torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=5) for model in models]
    for model, optimizer in zip(models, optimizers, strict=True):
        data, losses = batch(), []

        def evaluate(model=model, optimizer=optimizer, data=data, losses=losses):
            optimizer.zero_grad()
            loss = loss_of(model, data)
            loss.backward()
            losses.append(loss.item())
            return loss

        for _ in range(STEPS):
            optimizer.step(evaluate)
            truth.append((losses[-1], 1))
    return truth


def actor_then_critic():
    """Each network is updated several times per batch of experience."""
    actor, critic = network(), network()
    optimizers, truth = [sgd(actor), sgd(critic)], []
    for _ in range(3):
        for model, optimizer in zip((actor, critic), optimizers, strict=True):
            for _ in range(STEPS):
                _update(optimizer, loss_of(model), truth)
    return truth


def two_generator_updates_per_discriminator():
    """Each update of the generator is a step; the discriminator's belongs to one of them."""
    gan, truth = Gan(), []
    for number in range(STEPS):
        losses = []
        _update(gan.discriminator_optimizer, gan.discriminator_loss(), losses)
        for _ in range(2):
            _update(gan.generator_optimizer, gan.generator_loss(), losses)
        values = [loss for loss, _ in losses]
        if number == 0:
            truth += [(values[0] + values[1], 2), (values[2], 1)]
        else:
            truth[-1] = (truth[-1][0] + values[0], 2)
            truth += [(values[1], 1), (values[2], 1)]
    return truth


def scaled_one_after_the_other():
    """The first update of each model overflows, as at the initial scale."""
    models, scaler = [network(), network()], torch.amp.GradScaler("cpu", init_scale=2.0)
    optimizers, truth = [sgd(model) for model in models], []
    for model, optimizer in zip(models, optimizers, strict=True):
        for number in range(STEPS + 1):
            optimizer.zero_grad()
            loss = loss_of(model) * (float("inf") if number == 0 else 1.0)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            if number:
                truth.append((loss.item(), 1))
    return truth


def step_that_raises():
    """A failed update is no step, and its loss is dropped with the discarded gradients."""

    class Failing(torch.optim.SGD):
        fails = False

        def step(self, closure=None):
            if self.fails:
                raise RuntimeError("no update")
            return super().step(closure)

    model = network()
    optimizer = Failing(model.parameters(), lr=0.01)
    truth = []
    for number in range(2 * STEPS):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.fails = number % 2 == 1
        try:
            optimizer.step()
        except RuntimeError:
            continue
        truth.append((loss.item(), 1))
    return truth


def backward_that_raises():
    model = network()
    optimizer = sgd(model)
    truth = []
    for number in range(2 * STEPS):
        optimizer.zero_grad()
        loss = loss_of(model)
        if number % 2:
            loss.register_hook(_refuse)
            try:
                loss.backward()
            except RuntimeError:
                continue
        loss.backward()
        optimizer.step()
        truth.append((loss.item(), 1))
    return truth


def _refuse(gradient):
    raise RuntimeError("no gradient")


def fused_into_backward():
    """One optimizer per parameter, which steps as soon as its gradient is available."""
    model, truth = network(), []
    optimizers = {p: torch.optim.SGD([p], lr=0.01) for p in model.parameters()}

    def update(parameter):
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(update)
    for _ in range(STEPS):
        loss = loss_of(model)
        loss.backward()
        truth.append((loss.item(), 1))
    return truth


def optimizer_for_each_group():
    """Muon for matrices and AdamW for the rest: one step."""
    model = network()
    matrices = torch.optim.Muon([p for p in model.parameters() if p.ndim == 2], lr=0.01)
    rest = torch.optim.AdamW([p for p in model.parameters() if p.ndim != 2], lr=0.01)
    truth = []
    for _ in range(STEPS):
        loss = loss_of(model)
        loss.backward()
        for optimizer in (matrices, rest):
            optimizer.step()
            optimizer.zero_grad()
        truth.append((loss.item(), 1))
    return truth


def updates_without_backward():
    """Gradients from ``autograd.grad``: every update is a step, and its loss is unknown."""
    model = network()
    optimizer = sgd(model)
    truth = []
    for _ in range(STEPS):
        loss = loss_of(model)
        parameters = list(model.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        optimizer.step()
        truth.append((None, 0))
    return truth


def scaled(*, make=torch.optim.SGD, overflow_at=(), accumulate=1, scaler=torch.amp.GradScaler, **options):
    """Mixed precision; in the steps of ``overflow_at`` the gradients overflow and the update is skipped."""

    def loop():
        model = network()
        optimizer = make(model.parameters(), lr=0.01, **options)
        scaling = scaler("cpu", init_scale=1024.0)
        truth = []
        for number in range(STEPS):
            optimizer.zero_grad()
            total = 0.0
            for _ in range(accumulate):
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = loss_of(model) / accumulate
                scaling.scale(loss).backward()
                total += loss.item()
            if number in overflow_at:
                model[0].weight.grad.fill_(torch.inf)
            scaling.step(optimizer)
            scaling.update()
            if number not in overflow_at:
                truth.append((total, accumulate))
        return truth

    return loop


class OwnScaler(torch.amp.GradScaler):
    """A scaler that overrides ``scale``, like the one for sharded models."""

    def scale(self, outputs):
        if self._scale is None:
            self._lazy_init_scale_growth_tracker(outputs.device)
        return outputs * self._scale


def scaler_that_is_off():
    model = network()
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    truth = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        truth.append((loss.item(), 1))
    return truth


def scaled_then_divided():
    """The scaled loss is divided by the number of micro-batches."""
    model = network()
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    truth = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        losses = [loss_of(model) for _ in range(3)]
        for loss in losses:
            (scaler.scale(loss) / 3).backward()
        scaler.step(optimizer)
        scaler.update()
        truth.append((sum(loss.item() for loss in losses) / 3, 3))
    return truth


def scaled_then_divided_in_place():
    """The tensor that the scaler returned is itself divided."""
    model = network()
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    truth = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        losses = [loss_of(model) for _ in range(3)]
        for loss in losses:
            scaled = scaler.scale(loss)
            scaled /= 3
            scaled.backward()
        scaler.step(optimizer)
        scaler.update()
        truth.append((sum(loss.item() for loss in losses) / 3, 3))
    return truth


def scaled_then_added():
    model = network()
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    truth = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        one, other = loss_of(model), loss_of(model)
        (scaler.scale(one) + 0.5 * scaler.scale(other)).backward()
        scaler.step(optimizer)
        scaler.update()
        truth.append((one.item() + 0.5 * other.item(), 1))
    return truth


def scaled_list():
    model = network()
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    truth = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        losses = [loss_of(model), loss_of(model)]
        torch.autograd.backward(scaler.scale(losses))
        scaler.step(optimizer)
        scaler.update()
        truth.append((sum(loss.item() for loss in losses), 1))
    return truth


def scaled_pair(*, overflow_at):
    """A joint backward pass and two optimizers, one of which overflows at times: the other's update is a step."""

    def loop():
        models = network(), network()
        optimizers = [sgd(model) for model in models]
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        truth = []
        for number in range(STEPS):
            losses = [loss_of(model) for model in models]
            scaler.scale(sum(losses)).backward()
            for which, model in enumerate(models):
                if (number, which) in overflow_at:
                    model[0].weight.grad.fill_(torch.inf)
            for optimizer in optimizers:
                scaler.step(optimizer)
                optimizer.zero_grad()
            scaler.update()
            if not {(number, 0), (number, 1)} <= overflow_at:
                truth.append((sum(loss.item() for loss in losses), 1))
        return truth

    loop.__doc__ = scaled_pair.__doc__
    return loop


LOOPS = {
    "plain": plain,
    "torch.autograd.backward called as a function": function_instead_of_method,
    "closure": closure,
    "lbfgs": lbfgs,
    "accumulation, loss / k": accumulation(lambda loss, k: loss / k),
    "accumulation, loss * (1 / k)": accumulation(lambda loss, k: loss * (1 / k)),
    "accumulation, divided in place": accumulation(divided_in_place),
    "accumulation, undivided": accumulation(lambda loss, k: loss),
    "several losses with a retained graph": several_losses_with_retained_graph,
    "a list of tensors": list_of_tensors,
    "a gradient of two": gradient_of_two,
    "a weighted list": weighted_list,
    "gan, alternating": gan_alternating,
    "gan, joint backward": gan_joint_backward,
    "gan, both backwards, then both steps": gan_both_backwards_then_both_steps,
    "gan, five critic steps": gan_with_five_critic_steps,
    "gradient penalty": gradient_penalty,
    "checkpoint, reentrant": checkpointed(reentrant=True),
    "checkpoint, not reentrant": checkpointed(reentrant=False),
    "backward inside a function": backward_inside_a_function,
    "sharpness-aware": sharpness_aware,
    "sharpness-aware, gradients set to zero": sharpness_aware_with_zeros,
    "accumulation, clipped shares": accumulation_with_clipped_shares,
    "gan, gradients set to zero": gan_with_zeros,
    "optimizer around another": made_by(lambda model: Wrapping(sgd(model))),
    "optimizer calling super().step()": made_by(lambda model: Inheriting(model.parameters(), lr=0.01)),
    "a new optimizer over the same weights": new_optimizer_over_the_same_weights,
    "optimizer swapped for another kind": swapped_for_another_kind,
    "head first, then all": head_first_then_all,
    "one model after another": one_model_after_another,
    "optimizers made first, used one after the other": made_first_used_one_after_the_other,
    "one layer after another": one_layer_after_another,
    "head first, then all, both made at the start": head_first_then_all_made_at_the_start,
    "pairs of optimizers, one after the other": optimizer_pairs_one_after_the_other,
    "accumulation, one model after the other": accumulating_one_after_the_other,
    "lbfgs, one model after the other": lbfgs_one_after_the_other,
    "actor, then critic": actor_then_critic,
    "gan, two generator steps": two_generator_updates_per_discriminator,
    "scaled, one model after the other": scaled_one_after_the_other,
    "a step that raises": step_that_raises,
    "a backward that raises": backward_that_raises,
    "optimizer fused into backward": fused_into_backward,
    "an optimizer for each group": optimizer_for_each_group,
    "updates without a backward": updates_without_backward,
    "scaled": scaled(),
    "scaled, accumulating": scaled(accumulate=3),
    "scaled, overflow": scaled(overflow_at=(0, 2)),
    "scaled, overflow, fused": scaled(make=torch.optim.AdamW, fused=True, overflow_at=(0, 2)),
    "scaled, fused": scaled(make=torch.optim.AdamW, fused=True),
    "scaled pair, the first overflows": scaled_pair(overflow_at={(0, 0), (2, 0)}),
    "scaled pair, the second overflows": scaled_pair(overflow_at={(0, 1), (2, 1)}),
    "scaled pair, one after the other": scaled_pair(overflow_at={(0, 1), (1, 0), (2, 1)}),
    "scaled pair, both overflow": scaled_pair(overflow_at={(1, 0), (1, 1)}),
    "scaled, then divided": scaled_then_divided,
    "scaled, then divided in place": scaled_then_divided_in_place,
    "scaled, then added": scaled_then_added,
    "scaled list": scaled_list,
    "scaled by a scaler's own method": scaled(scaler=OwnScaler),
    "scaler that is off": scaler_that_is_off,
}


def _manual_step(loss=None):
    """Call the function behind ``prof.step(loss=...)``."""
    hook_manager().manual_step(loss)


def update_that_no_hook_sees():
    """``prof.step()`` after the update; the loss is that of the backward pass."""
    model, truth = network(), []
    for _ in range(STEPS):
        loss = loss_of(model)
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(0.01 * parameter.grad)
        model.zero_grad()
        _manual_step()
        truth.append((loss.item(), 1))
    return truth


def loss_that_no_hook_sees():
    """``prof.step(loss=...)`` with a number or a tensor."""
    truth = []
    for number in range(STEPS):
        _manual_step(torch.tensor(1.0 + number))
        truth.append((1.0 + number, 0))
    return truth


def loss_passed_after_an_update():
    """``prof.step(loss=...)`` after the optimizer's update sets the loss of its step."""
    model = network()
    optimizer = sgd(model)
    truth = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model(batch()[0])
        output.backward(torch.ones(8, 1))
        optimizer.step()
        _manual_step(output.sum())
        truth.append((output.sum().item(), 1))
    return truth


def threads_in_turn():
    """Each thread has its own steps."""
    truth = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: truth.extend(plain()))
        thread.start()
        thread.join()
    return truth


MANUAL = {
    "an update that no hook sees": update_that_no_hook_sees,
    "a loop without backward passes or optimizers": loss_that_no_hook_sees,
    "a loss passed to step": loss_passed_after_an_update,
    "several threads": threads_in_turn,
}


def _descend(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(0.01 * parameter.grad)


def by_hand(clear):
    """``p -= lr * p.grad``, with gradients cleared by ``clear``."""

    def loop():
        model, truth = network(), []
        for _ in range(STEPS):
            clear(model)
            loss = loss_of(model)
            loss.backward()
            _descend(model)
            truth.append((loss.item(), 1))
        return truth

    return loop


def _zero_in_place(model):
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.zero_()


def by_hand_accumulating():
    """Three backward passes per update of its own."""
    model, truth = network(), []
    for _ in range(STEPS):
        model.zero_grad()
        losses = [loss_of(model) / 3 for _ in range(3)]
        for loss in losses:
            loss.backward()
        _descend(model)
        truth.append((sum(loss.item() for loss in losses), 3))
    return truth


def by_hand_with_new_tensors():
    """Each update makes new parameters."""
    weight, truth = torch.ones(4, 1, requires_grad=True), []
    for _ in range(STEPS):
        x, y = batch()
        loss = (x @ weight - y).square().mean()
        loss.backward()
        weight = (weight - 0.01 * weight.grad).detach().requires_grad_()
        truth.append((loss.item(), 1))
    return truth


BY_HAND = {
    "an update by hand, gradients set to None": by_hand(nn.Module.zero_grad),
    "an update by hand, gradients set to zero": by_hand(_zero_in_place),
    "an update by hand, accumulation": by_hand_accumulating,
    "an update by hand, new tensors": by_hand_with_new_tensors,
}
"""Loops without an optimizer, whose steps are inferred from backward passes."""
