"""Numbers of a training, bit-identical with and without a recording."""

import random

import pytest
import torch
from torch import nn

from tests.support.training_loops import LOOPS, loss_of, network


def state_after(loop):
    random.seed(1)
    torch.manual_seed(1)
    truth = loop()
    return truth, torch.get_rng_state().tolist(), random.getstate()


@pytest.mark.parametrize(
    "name", ["plain", "lbfgs", "gan, alternating", "sharpness-aware", "scaled, overflow"]
)
def test_losses_and_random_numbers(record, name):
    undisturbed = state_after(LOOPS[name])
    with record():
        recorded = state_after(LOOPS[name])
    assert recorded == undisturbed


def weights_after(compiled=None):
    torch.manual_seed(1)
    model = nn.Sequential(network(), nn.Dropout(0.5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    for _ in range(5):
        optimizer.zero_grad()
        loss_of(model).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    moments = [value for state in optimizer.state.values() for value in state.values()]
    return [*model.state_dict().values(), *moments]


def test_weights_and_the_optimizers_state(record):
    undisturbed = weights_after()
    with record():
        recorded = weights_after()
    assert all(torch.equal(one, other) for one, other in zip(recorded, undisturbed, strict=True))


def test_backward_returns_none_and_leaves_the_loss_unchanged(record):
    """The loss can be used after its backward pass."""
    with record():
        scaler = torch.amp.GradScaler("cpu")
        weight = nn.Parameter(torch.ones(()))
        loss = weight * 2
        scaled = scaler.scale(loss)
        assert type(scaled) is torch.Tensor
        assert scaled.backward() is None
        assert weight.grad == 2 * scaler.get_scale()
        assert loss.grad_fn is not None


@pytest.mark.parametrize(
    "arguments", [([None, None, False], "inputs"), ([None, None, False, None], "position")]
)
def test_backward_takes_all_arguments_of_torch(record, arguments):
    first, inputs = arguments
    one, other = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))
    with record() as recording:
        optimizer = torch.optim.SGD([one, other], lr=0.1)
        loss = one * other * 3
        if inputs == "inputs":
            torch.autograd.backward(loss, *first, inputs=[one])
        else:
            torch.autograd.backward(loss, *first, [one])
        optimizer.step()
    assert (one.grad, other.grad) == (3, None)
    assert recording.truth == [(3.0, 1)]


def test_an_error_in_backward_is_raised_unchanged(record):
    class OwnError(Exception):
        pass

    def refuse(gradient):
        raise OwnError

    weight = nn.Parameter(torch.ones(()))
    loss = weight * 2
    loss.register_hook(refuse)
    with record(), pytest.raises(OwnError):
        loss.backward()
    with record(), pytest.raises(RuntimeError, match="scalar outputs"):
        torch.ones(3, requires_grad=True).backward()
    with record(), pytest.raises(RuntimeError, match="does not require grad"):
        torch.ones(()).backward()


def test_signature_and_name_are_kept(record):
    before = torch.autograd.backward
    with record():
        assert torch.autograd.backward.__wrapped__ is before
        assert torch.autograd.backward.__name__ == "backward"
        assert torch.autograd.backward.__doc__ == before.__doc__
