"""Laws that lead to the same future are taken together, and no answer moves."""

import math

import numpy as np
import pytest

from profiler.forecasting import fit_curve
from profiler.forecasting.models import Laws
from profiler.forecasting.predictive import Predictive
from profiler.forecasting.scenarios import futures, weigh

ENDS = (0.05, 0.5, 0.95)


def laws(**columns):
    count = len(next(iter(columns.values())))
    plain = {
        "bend": 0.0,
        "slope": 0.4,
        "share": 0.3,
        "gain": 0.1,
        "start": -2.0,
        "mass": 1 / count,
        "location": 0.0,
    }
    known = {name: np.full(count, value) for name, value in plain.items()}
    return Laws(
        **known | {"scale": np.full(count, 0.01)} | {name: np.array(x) for name, x in columns.items()}
    )


def test_where_a_law_begins_does_not_matter_to_its_future_but_its_level_now_does():
    merged = laws(start=[-3.0, -1.0, -1.0], location=[0.0, 0.2, 0.0], share=[0.3, 0.3, 0.5]).merged(
        gains=False
    )
    assert merged.mass == pytest.approx([2 / 3, 1 / 3])
    assert merged.location == pytest.approx([0.1, 0.0])
    assert merged.scale == pytest.approx([math.hypot(0.01, 0.1), 0.01])


def test_what_annealing_gains_matters_only_where_some_lies_ahead():
    posterior = laws(gain=[0.1, 0.2])
    assert posterior.merged(gains=False).mass.size == 2
    assert posterior.merged(gains=True).gain == pytest.approx([0.15])


@pytest.mark.parametrize("rated", [False, True])
def test_no_quantile_moves_by_more_than_a_part_in_a_thousand(noisy_curve, rated):
    joules, values = noisy_curve
    rate = {"learning_rate": 1e-3 * (1.0 - 0.6 * joules / joules[-1])} if rated else {}
    fit = fit_curve(joules, values, **rate)
    known = fit.past.known
    whole = weigh(fit.curve, known).laws
    for future in futures(whole, known, fit.joules).values():
        plain = Predictive(laws=whole, misses=future.misses, path=future.path)
        assert future.laws.mass.size < 0.7 * whole.mass.size
        assert future.laws.mass.sum() == pytest.approx(1.0)
        for log_ratio in (0.1, 2.3, 20.0, math.inf):
            for p in ENDS:
                assert future.log_quantile(log_ratio, p) == pytest.approx(
                    plain.log_quantile(log_ratio, p), abs=1e-3
                )
        level = math.log(fit.level) - 0.1
        assert future.p_never(level) == pytest.approx(plain.p_never(level), abs=2e-3)
