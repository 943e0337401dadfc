"""Merging grid nodes with the same future changes no answer."""

import math

import numpy as np
import pytest

from profiler.forecasting import fit_curve
from profiler.forecasting.posterior import Nodes, infer
from profiler.forecasting.predictive import Predictive, predictives
from profiler.forecasting.priors import Priors

ENDS = (0.05, 0.5, 0.95)


def nodes(**columns):
    count = len(next(iter(columns.values())))
    plain = {
        "slope": 0.4,
        "share": 0.3,
        "gain": 0.1,
        "start": -2.0,
        "mass": 1 / count,
        "location": 0.0,
        "scale": 0.01,
    }
    known = {name: np.full(count, value) for name, value in plain.items()}
    return Nodes(
        model=np.zeros(count, dtype=np.int64), **known | {name: np.array(x) for name, x in columns.items()}
    )


def test_nodes_that_differ_in_their_start_are_merged_with_the_spread_of_their_levels():
    merged = nodes(start=[-3.0, -1.0, -1.0], location=[0.0, 0.2, 0.0], share=[0.3, 0.3, 0.5]).merged(
        gains=False
    )
    assert merged.mass == pytest.approx([2 / 3, 1 / 3])
    assert merged.location == pytest.approx([0.1, 0.0])
    assert merged.scale == pytest.approx([math.hypot(0.01, 0.1), 0.01])


def test_nodes_that_differ_in_anneal_gain_are_merged_only_on_request():
    posterior = nodes(gain=[0.1, 0.2])
    assert posterior.merged(gains=False).mass.size == 2
    assert posterior.merged(gains=True).gain == pytest.approx([0.15])


@pytest.mark.parametrize("rated", [False, True])
def test_merging_moves_no_quantile_by_more_than_two_parts_in_a_thousand(noisy_curve, rated):
    joules, values = noisy_curve
    rate = {"learning_rate": 1e-3 * (1.0 - 0.6 * joules / joules[-1])} if rated else {}
    fit = fit_curve(joules, values, **rate)
    context = fit.history.context
    whole = infer(fit.curve, context).nodes
    for one in predictives(whole, context, fit.joules).values():
        plain = Predictive(nodes=whole, error=one.error, path=one.path)
        assert one.nodes.mass.size < 0.7 * whole.mass.size
        assert one.nodes.mass.sum() == pytest.approx(1.0)
        for log_ratio in (0.1, 2.3, 20.0, math.inf):
            for p in ENDS:
                assert one.log_quantile(log_ratio, p) == pytest.approx(
                    plain.log_quantile(log_ratio, p), abs=2e-3
                )
        level = math.log(fit.level) - 0.1
        assert one.p_unreachable(level) == pytest.approx(plain.p_unreachable(level), abs=2e-3)


def test_one_start_counts_the_prior_once():
    joules = 10.0 * np.arange(1, 41)
    noise = np.cumsum(np.random.default_rng(1).normal(0.0, 0.003, 40))
    values = (1.0 + 2.0 * (joules / joules[0]) ** -0.3) * np.exp(noise)
    # Late starts of almost no probability change nothing but the way of the computation.
    one, many = (fit_curve(joules, values, priors=Priors(late_start=late)).log_now for late in (0.0, 1e-12))
    assert one == pytest.approx(many, rel=1e-9)
