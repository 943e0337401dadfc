"""torch.compile neither traces a hook nor breaks, recompiles or warns because of one."""

import warnings

import pytest
import torch

from tests.support.training_loops import STEPS, batch, network

dynamo = pytest.importorskip("torch._dynamo")
BREAKS, STATS = dynamo.utils.counters["graph_break"], dynamo.utils.counters["stats"]


def compiled_model(backend):
    """The model alone is compiled."""
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    forward = torch.compile(model, backend=backend)

    def train(x, y):
        loss = torch.nn.functional.mse_loss(forward(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return train


def compiled_update(backend):
    """The update is compiled, as in torch's own recipe."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    @torch.compile(backend=backend)
    def update():
        optimizer.step()

    def train(x, y):
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        update()
        optimizer.zero_grad()
        return loss

    return train


def compiled_step(backend):
    """Everything is compiled: forward, backward and update."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    @torch.compile(backend=backend)
    def train(x, y):
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return train


LOOPS = [compiled_model, compiled_update, compiled_step]


def run(train):
    """Return the truth, the numbers of graph breaks and graphs, and the warnings."""
    torch.manual_seed(0)
    BREAKS.clear()
    STATS.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        truth = [(train(*batch()).item(), 1) for _ in range(STEPS)]
    return truth, sum(BREAKS.values()), STATS["unique_graphs"], {str(warning.message) for warning in caught}


def fresh(loop, backend):
    dynamo.reset()
    torch.manual_seed(0)
    return loop(backend)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("loop", LOOPS)
def test_compiled_while_recording(record, loop, backend):
    truth, breaks, graphs, warned = run(fresh(loop, backend))
    with record() as recording:
        recorded = run(fresh(loop, backend))
    assert recorded[:3] == (truth, breaks, graphs)
    assert recorded[3] <= warned
    assert recording.truth == [(pytest.approx(loss, rel=1e-6), n) for loss, n in truth]


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
def test_compiled_before_recording(record, loop):
    """The first recording may recompile the callers of the hooks; later ones reuse the compiled code."""
    train = fresh(loop, "eager")
    run(train)
    for attempt in ("first", "second"):
        with record() as recording:
            truth, breaks, graphs, warned = run(train)
        assert recording.truth == [(pytest.approx(loss, rel=1e-6), n) for loss, n in truth]
        assert not warned
        assert attempt == "first" or (breaks, graphs) == (0, 0)
