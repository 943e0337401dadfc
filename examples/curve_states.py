"""Train three models whose loss curves support no forecast, and print the report of each.

They are a regression that has converged, a classifier whose learning rate is raised too far, and a policy whose loss
does not measure progress. Needs torch. About ten seconds on one core.
"""

import torch
from torch import nn
from torch.nn import functional

from profiler import EnergyProfiler
from profiler.reporting import render, report_of

STEPS = 3000
RAISED_AT, RAISED_TO = 2000, 80.0
"""Step at which the learning rate of the classifier is raised, and its new value."""
ARMS = 10
"""Actions of the policy; each has a reward of its own, and noise."""


def train_regression() -> None:
    """Fit a linear model by full-batch gradient descent, far beyond its optimum."""
    x = torch.randn(200, 5)
    y = x @ torch.randn(5, 1) + 0.3 * torch.randn(200, 1)
    model = nn.Linear(5, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(STEPS):
        loss = functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def train_with_raised_rate() -> None:
    """Train a classifier, and raise its learning rate until the loss diverges."""
    centres = torch.randn(10, 32)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for step in range(STEPS):
        if step == RAISED_AT:
            optimizer.param_groups[0]["lr"] = RAISED_TO
        labels = torch.randint(10, (64,))
        loss = functional.cross_entropy(model(centres[labels] + torch.randn(64, 32)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def train_policy() -> None:
    """Train a policy by REINFORCE: its loss is a product of returns of both signs and log probabilities."""
    rewards = torch.randn(ARMS)
    logits = torch.zeros(ARMS, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.01)
    baseline = 0.0
    for _ in range(STEPS):
        policy = torch.distributions.Categorical(logits=logits)
        actions = policy.sample((16,))
        gained = rewards[actions] + torch.randn(16)
        loss = -((gained - baseline) * policy.log_prob(actions)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        baseline += 0.05 * (float(gained.mean()) - baseline)


def main() -> None:
    """Record each training, and print its report."""
    # The first optimizer of a process imports torch's compiler, which takes longer than trainings as short as these.
    torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    for name, train in (
        ("converged", train_regression),
        ("raised-rate", train_with_raised_rate),
        ("policy", train_policy),
    ):
        torch.manual_seed(0)
        with EnergyProfiler(name=name) as prof:
            train()
        fit = prof.run.fit()
        print(render(report_of(prof.run), ".txt"))
        print(f"{name}: {fit.state}. {fit.state_reason}\n")


if __name__ == "__main__":
    main()
