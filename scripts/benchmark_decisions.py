"""Backtests of the decisions: allocation, size, anneal and factors. Minutes on one core.

    python scripts/benchmark_decisions.py --data FOLDER [--write docs/decisions.md]

FOLDER holds ``training_curves.csv.gz`` (set, run, schedule, x_kind, x, loss, lr) and
``training_curves_with_rates.csv.gz`` (same columns). Only the sets ``gemstones`` (22 models of one data set,
node-seconds as cost, width x depth in the name) and ``mpl_wsd`` (constant rates that are annealed at the end) are used.
Missing files are skipped. Synthetic sweeps need no files.
"""

import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import result_page

from profiler.errors import ForecastRefusedError
from profiler.forecasting import CurveFit, fit_curve
from profiler.forecasting.allocation import allocate
from profiler.forecasting.anneal import anneal_options
from profiler.forecasting.fit import prefix_fit
from profiler.forecasting.size import SizedRun, fit_size

RUNGS = (0.125, 0.25, 0.5)
"""Parts of the budget at which every policy may stop runs."""
SWEEPS, SWEEP_RUNS, SWEEP_POINTS = 24, 16, 300
HELD_OUT = (3, 5, 8)
_FIRST_STEP = 0.02

Policy = Callable[[list[CurveFit], float, float], list[bool]]


def by_forecast(fits: list[CurveFit], share: float, budget: float) -> list[bool]:
    """Return the runs to keep by the advice of the package."""
    try:
        advice = allocate([prefix_fit(fit, share * budget) for fit in fits], budget)
    except ForecastRefusedError:
        return [True] * len(fits)
    return [not one.stop for one in advice]


def by_halving(fits: list[CurveFit], share: float, budget: float) -> list[bool]:
    """Return the better half by the present level (successive halving)."""
    return list(_levels(fits, share * budget) <= np.median(_levels(fits, share * budget)))


def by_median(fits: list[CurveFit], share: float, budget: float) -> list[bool]:
    """Return the runs whose level so far is not worse than the median of the levels of the others (median rule)."""
    levels = _levels(fits, share * budget)
    return [bool(level <= np.median(np.delete(levels, k))) for k, level in enumerate(levels)]


POLICIES: dict[str, Policy] = {
    "this package": by_forecast,
    "successive halving": by_halving,
    "median rule": by_median,
}


def _levels(fits: Sequence[CurveFit], joules: float) -> np.ndarray:
    return np.array([fit.smoothed.log_at(joules) for fit in fits])


def play(fits: list[CurveFit], budget: float, policy: Policy) -> tuple[float, float]:
    """Return the part of the energy that a policy saves, and the log regret of the best run that it kept."""
    final, alive, spent = _levels(fits, budget), list(range(len(fits))), 0.0
    before = 0.0
    for rung in RUNGS:
        spent += (rung - before) * len(alive)
        before = rung
        if len(alive) > 1:
            kept = policy([fits[k] for k in alive], rung, budget)
            alive = [k for k, keep in zip(alive, kept, strict=True) if keep] or alive
    spent += (1.0 - before) * len(alive)
    return 1.0 - spent / len(fits), float(final[alive].min() - final.min())


def report_allocation(folder: Path) -> Iterator[str]:
    """Yield the energy saved and the regret of each policy."""
    yield "### Allocation: energy saved at an equal budget per run, and what it cost\n"
    yield "Runs may be stopped at an eighth, a quarter and half of the budget. Regret is the excess of the best kept"
    yield "level over the best one of all.\n"
    yield "| sweep | policy | energy saved | best run kept | mean regret | worst regret |"
    yield "|---|---|---|---|---|---|"
    table = _gemstones(folder)
    if table is not None:
        fits = [fit_curve(x, y) for x, y, _ in table]
        for budget in (6e5, 1.2e6, 2.4e6, 4.8e6):
            used = [fit for fit in fits if fit.joules >= budget]
            for name, policy in POLICIES.items():
                saved, regret = play(used, budget, policy)
                label = f"gemstones, {len(used)} runs at {budget:.3g} node-seconds"
                yield _policy_row(label, name, [saved], [regret])
    sweeps = [synthetic_sweep(seed) for seed in range(SWEEPS)]
    for name, policy in POLICIES.items():
        results = [play(fits, SWEEP_POINTS, policy) for fits in sweeps]
        saved, regrets = zip(*results, strict=True)
        yield _policy_row(f"{SWEEPS} synthetic sweeps of {SWEEP_RUNS} runs", name, saved, regrets)


def _policy_row(sweep: str, name: str, saved: Sequence[float], regrets: Sequence[float]) -> str:
    kept = np.mean([regret <= 0.0 for regret in regrets])
    mean, worst = (f"{100 * math.expm1(value):.2f} %" for value in (np.mean(regrets), np.max(regrets)))
    return f"| {sweep} | {name} | {100 * np.mean(saved):.0f} % | {100 * kept:.0f} % | {mean} | {worst} |"


def synthetic_sweep(seed: int) -> list[CurveFit]:
    """Return the fits of a sweep of noisy power laws with random floors and exponents, whose curves cross."""
    rng = np.random.default_rng(seed)
    x = np.arange(1.0, SWEEP_POINTS + 1.0)
    fits = []
    for _ in range(SWEEP_RUNS):
        floor, slope, start = rng.uniform(1.0, 2.0), rng.uniform(0.2, 0.7), rng.uniform(2.0, 4.0)
        noise = np.exp(0.01 * rng.standard_normal(x.size))
        fits.append(fit_curve(x, (floor + start * x**-slope) * noise))
    return fits


def _gemstones(folder: Path) -> list[tuple[np.ndarray, np.ndarray, float]] | None:
    """Return node-seconds, losses and parameters (12 x depth x width^2, without embeddings) of each run."""
    path = folder / "training_curves.csv.gz"
    if not path.exists():
        return None
    table = pd.read_csv(path)
    found = []
    for name, rows in table[table["set"] == "gemstones"].groupby("run"):
        width, depth = map(int, re.search(r"(\d+)x(\d+)", str(name)).groups())  # type: ignore[union-attr]
        ordered = rows.sort_values("x", kind="stable")
        found.append((ordered.x.to_numpy(), ordered.loss.to_numpy(), 12.0 * depth * width**2))
    return sorted(found, key=lambda run: run[2])


def report_size(folder: Path) -> Iterator[str]:
    """Yield the prediction of the largest models from the smaller ones, and of the best size."""
    table = _gemstones(folder)
    if table is None:
        return
    yield "\n### Size: the largest models predicted from the smaller ones (gemstones)\n"
    yield "Parameters are 12 x depth x width^2 from the run's name, cost is node-seconds, work is the steps, which are"
    yield "the same for all runs. Sizes up to twice the largest are considered; * marks a size at that end.\n"
    yield "| largest runs held out | sizes of the others | largest beyond them | median error of the loss | in 90 % |"
    rows = [
        SizedRun(parameters=n, joules=x, losses=np.exp(_smoothed(x, y)), work=float(x.size))
        for x, y, n in table
    ]
    lines = ["|---|---|---|---|---|"]
    for held in HELD_OUT:
        fit, largest = fit_size(rows[:-held]), rows[-held:]
        predicted = [fit.loss_at(run.parameters, float(run.joules[-1])) for run in largest]
        measured = [float(run.losses[-1]) for run in largest]
        errors = [abs(math.log(p.median / m)) for p, m in zip(predicted, measured, strict=True)]
        inside = sum(p.low <= m <= p.high for p, m in zip(predicted, measured, strict=True))
        beyond = f"{largest[-1].parameters / fit.sizes[-1]:.1f} x"
        span = f"{fit.sizes[0] / 1e6:.0f} M to {fit.sizes[-1] / 1e6:.0f} M"
        lines.append(f"| {held} | {span} | {beyond} | {100 * np.median(errors):.1f} % | {inside} of {held} |")
    yield from lines
    yield ""
    yield "| node-seconds | best measured size (loss) | best fitted size, 90 % (loss) |"
    yield "|---|---|---|"
    fit = fit_size(rows)
    for cost in (6e5, 1.2e6, 2.4e6, 4.8e6):
        used = [run for run in rows if run.joules[-1] >= cost >= run.joules[0]]
        levels = [float(np.interp(cost, run.joules, run.losses)) for run in used]
        best, found = int(np.argmin(levels)), fit.best(cost)
        low, median, high = (
            end / 1e6 for end in (found.parameters.low, found.parameters.median, found.parameters.high)
        )
        yield (
            f"| {cost:.3g} | {used[best].parameters / 1e6:.0f} M ({levels[best]:.3f}) | {median:.0f} M"
            f"{'*' if found.is_edge else ''}, {low:.0f} to {high:.0f} ({found.loss.median:.3f}, "
            f"{found.loss.low:.3f} to {found.loss.high:.3f}) |"
        )


def _smoothed(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    smoothed = fit_curve(x, y).smoothed
    return np.array([smoothed.log_at(float(at)) for at in x])


def report_anneal(folder: Path) -> Iterator[str]:
    """Yield forecasts of the end of an anneal, made at its start."""
    path = folder / "training_curves_with_rates.csv.gz"
    if not path.exists():
        return
    table = pd.read_csv(path)
    yield "\n### Anneal: the end of an anneal, forecast at its start (mpl_wsd)\n"
    yield "| run | anneal, share of the energy before it | forecast, 90 % | measured | held instead |"
    yield "|---|---|---|---|---|"
    for name, rows in table[table["set"] == "mpl_wsd"].groupby("run"):
        ordered = rows.sort_values("x", kind="stable")
        x, y, rate = (ordered[column].to_numpy() for column in ("x", "loss", "lr"))
        last = int(np.flatnonzero(rate >= rate.max() * 0.999)[-1])
        if last < 20 or x[-1] <= x[last] * (1.0 + _FIRST_STEP):
            continue
        length = x[-1] / x[last] - 1.0
        fit = fit_curve(x[: last + 1], y[: last + 1])
        options = anneal_options(fit, budget_joules=float(x[-1]), is_constant=True, length=length)
        if not options:
            yield f"| {name} | {100 * length:.0f} % | none: {fit.state_reason} | {y[-3:].mean():.3f} | - |"
            continue
        now, _, held = options
        yield (
            f"| {name} | {100 * length:.0f} % | {now.loss.median:.3f} ({now.loss.low:.3f} to {now.loss.high:.3f}) | "
            f"{y[-3:].mean():.3f} | {held.loss.median:.3f} |"
        )


def sections(folder: Path) -> Iterator[str]:
    """Yield the report, line by line."""
    for report in (report_allocation, report_size, report_anneal):
        yield from report(folder)


if __name__ == "__main__":
    sys.exit(result_page.main(__file__, (__doc__ or "").splitlines()[0], sections))
