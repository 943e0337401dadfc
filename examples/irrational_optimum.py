"""Train a network whose best weights are irrational, in three number formats, and forecast the cost of a lower error.

Deciding whether a network can be trained to a given error is as hard as deciding whether polynomial equations have a
real solution (Abrahamsen, Kleist and Miltzow, Training Neural Networks is ER-complete, NeurIPS 2021). In this small
instance all data are zeros and ones, an error of zero exists, and every set of weights that has it contains the golden
ratio. In exact arithmetic each decade of error would cost the same energy without end; in a finite number format that
ends at a floor, and below it no amount of energy is enough.
"""

import argparse
import math
import time

import torch

from profiler import CurveFit, EnergyProfiler, Run, fit_curve
from profiler.forecasting import Priors
from profiler.records import Domain, Provenance
from profiler.testing.replay import ReplaySensor, ScriptedMeter, Waveform
from profiler.units import format_joules

INPUTS = ("a", "b", "e", "f", "g1", "g2", "g3", "g4")
DATA = (
    ("e", (1, 1)),
    ("a g3", (1, 0)),
    ("b g1", (0, 1)),
    ("a f g2", (0, 0)),
    ("b f g4", (1, 0)),
    ("", (0, 0)),
)
"""Active inputs and the outputs (c, d) that they shall give."""
INTO_HIDDEN = torch.eye(4).repeat_interleave(2, dim=1)
"""Which inputs (columns) lead to the hidden units h, r, p and q (rows)."""
INTO_OUTPUT = torch.tensor([[1, 1], [1, 1], [1, 0], [0, 1]])
"""Which hidden units (rows) lead to the outputs c and d."""
STEPS = {torch.float64: 6000, torch.float32: 4000, torch.bfloat16: 2500}
EARLY = 500
"""Steps after which the cost of a lower error is predicted."""
PACE_SECONDS = 0.002
"""Time between the starts of two steps: the network is so small that a meter would hardly see one, nor two alike."""
EXACT = Priors(bare_floor=0.99)
"""What is known beforehand: an error of zero exists, so that only the number format can end the descent."""


def train(dtype: torch.dtype, steps: int) -> None:
    """Descend by plain gradient descent from a fixed start."""
    torch.manual_seed(3)
    x = torch.tensor([[float(name in active.split()) for name in INPUTS] for active, _ in DATA], dtype=dtype)
    y = torch.tensor([outputs for _, outputs in DATA], dtype=dtype)
    masks = INTO_HIDDEN.to(dtype), INTO_OUTPUT.to(dtype)
    weights = [(0.5 * torch.randn(m.shape, dtype=torch.float64)).to(dtype) * m for m in masks]
    first, second = (weight.requires_grad_() for weight in weights)
    optimizer = torch.optim.SGD([first, second], lr=0.1)
    began = time.monotonic()
    for step in range(steps):
        outputs = x @ (first * masks[0]).T @ (second * masks[1])
        loss = (outputs - y).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        time.sleep(max(began + (step + 1) * PACE_SECONDS - time.monotonic(), 0.0))


def early_fit(run: Run) -> CurveFit:
    """Fit what was known after the first steps."""
    joules, losses, _ = run.curve()
    return fit_curve(joules[:EARLY].to_numpy(), losses[:EARLY].to_numpy(), priors=EXACT)


def words(joules: float) -> str:
    """Write an amount of energy that may be infinite."""
    return format_joules(joules) if math.isfinite(joules) else "no finite energy"


def tell_price(run: Run) -> None:
    """Predict, early in the run, what three more decades of error cost, and look up what they did cost."""
    fit = early_fit(run)
    geometric = 1.0 - fit.families["power law"]
    target = fit.level / 1000
    forecast = fit.joules_at(target)
    each = (forecast.median - fit.joules) / 3
    print(
        f"  after {EARLY} steps: exponential families {geometric:.0%}, {format_joules(each)} a decade of error"
    )
    ends = f"[{words(forecast.low)}, {words(forecast.high)}]"
    print(f"  error {target:.2e} predicted {forecast.verdict.value}: {words(forecast.median)} {ends}")
    there = run.steps[run.steps["loss"] <= target]
    if there.empty:
        print("  never reached")
        return
    paid = float(there["cumulative_joules"].iloc[0])
    within = "within" if forecast.low <= paid <= forecast.high else "outside"
    print(f"  reached at {format_joules(paid)}: {within} the interval")


def print_floor(run: Run) -> None:
    """Print the forecast, from the whole run alone, of an error below the floor of the number format."""
    fit = run.fit()
    target = fit.level / 10
    forecast = fit.joules_at(target)
    print(f"  at the end: error {fit.level:.2e}, floor {fit.floor.median:.2e}")
    print(f"  error {target:.2e}: {forecast.verdict.value}, P(never) {forecast.p_unreachable:.4%}")


def main() -> None:
    """Train in each number format and print the results of the fits."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--watts", type=float, help="pretend this constant power instead of measuring")
    watts = options.parse_args().watts
    torch.set_num_threads(1)
    train(torch.float64, steps=1)  # what torch loads at the first step is no part of any run
    for dtype, steps in STEPS.items():
        name = str(dtype).removeprefix("torch.")
        with EnergyProfiler(name=name, sensors=None if watts is None else [pretended(watts)]) as prof:
            train(dtype, steps)
        print(f"{name}: {steps} steps, {format_joules(prof.run.total_joules or 0.0)}")
        if dtype is not torch.bfloat16:
            tell_price(prof.run)
        print_floor(prof.run)
        print(f"  {prof.run.path}")


def pretended(watts: float) -> ReplaySensor:
    """Return a meter that shows a constant power."""
    domain = Domain(name="cpu:package-0", source="pretended", provenance=Provenance.COUNTER)
    return ReplaySensor([ScriptedMeter(domain=domain, waveform=Waveform.constant(watts))])


if __name__ == "__main__":
    main()
