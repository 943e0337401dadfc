"""The best size of synthetic runs that follow a known law."""

import math

import numpy as np
import pytest

from profiler.errors import ForecastRefusedError, UsageError
from profiler.forecasting.size import SizedRun, fit_size

FLOOR, OF_SIZE, OF_WORK, A, B, COST, POWER = 1.7, 400.0, 410.0, 0.34, 0.28, 6e-10, 1.1


def law(parameters, work):
    return FLOOR + OF_SIZE * parameters**-A + OF_WORK * work**-B


def sized(parameters, work, noise=0.0):
    done = np.geomspace(work / 200.0, work, 80)
    losses = law(parameters, done) * math.exp(noise)
    return SizedRun(parameters=parameters, joules=done * COST * parameters**POWER, losses=losses, work=work)


def sweep(noise=0.0, count=9, most=5e8):
    rng = np.random.default_rng(0)
    sizes, works = np.geomspace(1e7, most, count), np.geomspace(5e8, 2e10, count)
    return [sized(n, d, noise * rng.standard_normal()) for n, d in zip(sizes, works, strict=True)]


def truth(joules):
    sizes = np.geomspace(1e6, 1e11, 4000)
    losses = law(sizes, joules / (COST * sizes**POWER))
    best = int(losses.argmin())
    return float(sizes[best]), float(losses[best])


@pytest.mark.parametrize("joules", [1e8, 1e9, 1e10])
@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_the_best_size_and_its_loss(joules, noise):
    size, loss = truth(joules)
    found = fit_size(sweep(noise)).best(joules)
    assert found.parameters.median == pytest.approx(size, rel=0.25)
    assert found.loss.low <= loss <= found.loss.high
    assert found.loss.median == pytest.approx(loss, rel=0.01)
    assert found.work.median == pytest.approx(joules / (COST * found.parameters.median**POWER), rel=0.05)
    assert not found.is_edge


def test_the_largest_runs_are_predicted_from_the_others():
    runs = sweep(0.003)
    fit = fit_size(runs[:-3])
    for run in runs[-3:]:
        found = fit.loss_at(run.parameters, float(run.joules[-1]))
        assert found.low <= run.losses[-1] <= found.high


def test_the_interval_widens_beyond_the_runs():
    fit = fit_size(sweep(0.003))
    near, far = (fit.best(joules).loss for joules in (1e9, 1e12))
    assert far.high / far.low > near.high / near.low


def test_the_best_run_of_a_size_counts():
    runs = sweep()
    worse = [sized(run.parameters, run.work, 0.2) for run in runs[:4]]
    assert fit_size([*runs, *worse]).coefficients[0] == pytest.approx(fit_size(runs).coefficients[0])


def test_a_size_at_the_end_of_the_range_is_marked():
    assert fit_size(sweep(most=1e8)).best(1e13).is_edge


@pytest.mark.parametrize(("count", "most"), [(0, 5e8), (1, 5e8), (4, 5e8), (9, 3e7)])
def test_too_few_sizes_are_refused(count, most):
    with pytest.raises(ForecastRefusedError, match="needs 5 over a range of 4"):
        fit_size(sweep(count=count, most=most))


def test_an_energy_below_that_of_any_run_is_refused():
    with pytest.raises(ForecastRefusedError, match="train no size"):
        fit_size(sweep()).best(1.0)


def test_invalid_budgets():
    with pytest.raises(UsageError, match="budget"):
        fit_size(sweep()).best(-1.0)
