"""A small training run and a scripted meter, for tests and for the scripts that they run in other processes."""

import time

import torch

from profiler.records import Domain, Provenance
from profiler.testing.replay import ReplaySensor, ScriptedMeter, Waveform

torch.set_num_threads(1)


def scripted(watts=100.0, *, name="cpu:package-0", provenance=Provenance.COUNTER, **options):
    """A sensor of one domain whose power is ``watts``, or a waveform."""
    wave = watts if isinstance(watts, Waveform) else Waveform.constant(watts)
    domain = Domain(name=name, source="scripted", provenance=provenance)
    return ReplaySensor([ScriptedMeter(domain=domain, waveform=wave)], **options)


def train(steps, *, pause=0.0, after=lambda step, loss: None):
    """Train for some steps; returns their losses. ``after(step, loss)`` is called behind each."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss = model(torch.randn(8, 4)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        after(step, losses[-1])
        if pause:
            time.sleep(pause)
    return losses
