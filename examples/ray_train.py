"""A profiled Ray Train job: ``python examples/ray_train.py --workers 2``.

Needs ``pip install "ray[train]"``. It contains no code special to Ray: workers receive rank and world size in the same
environment variables as with torchrun, and the profilers in the workers find each other.
"""

import argparse
import time
from pathlib import Path

import torch

from profiler import EnergyProfiler, load_run


def train(config):
    from ray.train.torch import prepare_model

    torch.manual_seed(0)
    model = prepare_model(
        torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with EnergyProfiler(name="ray", run_dir=config["run_dir"]):
        for _ in range(config["steps"]):
            inputs = torch.randn(64, 16)
            loss = (model(inputs) - inputs.sum(dim=1, keepdim=True).tanh()).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--run-dir", type=Path, default=Path(f"energy_runs/ray-{int(time.time())}"))
    parser.add_argument("--gpu", action="store_true", help="a GPU for each worker")
    options = parser.parse_args()

    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    run_dir = options.run_dir.absolute()
    trainer = TorchTrainer(
        train,
        train_loop_config={"steps": options.steps, "run_dir": str(run_dir)},
        scaling_config=ScalingConfig(num_workers=options.workers, use_gpu=options.gpu),
    )
    trainer.fit()
    run = load_run(run_dir)
    print(run.ranks[["rank", "joules"]])
    print(f"{run.total_joules:.1f} J in all -> {run.path}")


if __name__ == "__main__":
    main()
