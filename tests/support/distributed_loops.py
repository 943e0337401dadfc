"""Loops of several processes, which return their own losses. Run as a script on gloo, one process per rank."""

import json
import sys
import warnings
from pathlib import Path

import torch
from torch import distributed, nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

from tests.support.step_recording import recorded
from tests.support.training_loops import STEPS, loss_of, network


def step_through(model, optimizer):
    truth = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        truth.append((loss.item(), 1))
    return truth


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def data_parallel():
    model = DistributedDataParallel(network())
    return step_through(model, sgd(model))


def data_parallel_accumulating():
    """Two micro-batches, the first under ``no_sync``."""
    model = DistributedDataParallel(network())
    optimizer = sgd(model)
    truth = []
    for _ in range(STEPS):
        with model.no_sync():
            first = loss_of(model) / 2
            first.backward()
        second = loss_of(model) / 2
        second.backward()
        optimizer.step()
        optimizer.zero_grad()
        truth.append((first.item() + second.item(), 2))
    return truth


def sharded_optimizer():
    """The inner optimizer steps too, and does not count twice."""
    model = DistributedDataParallel(network())
    return step_through(model, ZeroRedundancyOptimizer(model.parameters(), torch.optim.Adam, lr=0.01))


def fully_sharded():
    model = FullyShardedDataParallel(network(), device_id=torch.device("cpu"))
    return step_through(model, sgd(model))


def fully_sharded_2():
    model = network()
    for layer in model:
        fully_shard(layer)
    fully_shard(model)
    return step_through(model, sgd(model))


def fully_sharded_2_accumulating():
    """Gradients are reduced with the second micro-batch only."""
    model = nn.Sequential(network())
    fully_shard(model)
    optimizer = sgd(model)
    truth = []
    for _ in range(STEPS):
        losses = [loss_of(model) / 2 for _ in range(2)]
        for number, loss in enumerate(losses):
            model.set_requires_gradient_sync(number == 1)
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        truth.append((sum(loss.item() for loss in losses), 2))
    return truth


LOOPS = {
    "DistributedDataParallel": data_parallel,
    "DistributedDataParallel, accumulating": data_parallel_accumulating,
    "ZeroRedundancyOptimizer": sharded_optimizer,
    "FSDP": fully_sharded,
    "FSDP2": fully_sharded_2,
    "FSDP2, accumulating": fully_sharded_2_accumulating,
}


def main(rank, world_size, folder):
    warnings.simplefilter("ignore")
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=int(rank), world_size=int(world_size)
    )
    found = {}
    for name, loop in LOOPS.items():
        torch.manual_seed(int(rank))
        with recorded() as recording:
            truth = loop()
        found[name] = {
            "seen": recording.truth, "truth": truth, "warnings": sorted(recording.warnings)
        }  # fmt: skip
    Path(folder, f"rank-{rank}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
