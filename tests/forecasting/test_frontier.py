"""Frontier of several runs of one task: envelope, cheapest run and extrapolation."""

import math
from itertools import pairwise

import numpy as np
import pytest

from profiler.errors import ForecastRefusedError
from profiler.forecasting import fit_curve, fit_frontier
from profiler.forecasting.frontier import trace

FLOOR, SIZES = 1.7, (100.0, 400.0, 1_600.0)


def law(size, joules):
    """Loss of a model of a size; a step costs joules in proportion to the size."""
    return FLOOR + 6.0 * size**-0.34 + 60.0 * (1000.0 * joules / size) ** -0.28


def trained(size, seed=0):
    joules = 1e4 * size * np.arange(1, 2001) / 2000
    return joules, law(size, joules) * np.exp(0.005 * np.random.default_rng(seed).standard_normal(2000))


@pytest.fixture(scope="module")
def frontier():
    return fit_frontier([trained(size, seed) for seed, size in enumerate(SIZES)])


def test_each_run_is_cheapest_where_its_size_is_best(frontier):
    stretches = frontier.envelope.stretches
    assert [one.run for one in stretches] == [0, 1, 2]
    for before, after in pairwise(stretches):
        assert before.end_joules < after.start_joules < 1.1 * before.end_joules
        smaller, larger = (law(SIZES[one.run], after.start_joules) for one in (before, after))
        assert smaller == pytest.approx(larger, rel=0.02)


def test_the_envelope_falls_and_lies_under_every_run(frontier):
    envelope = frontier.envelope
    assert np.all(np.diff(envelope.joules) > 0)
    assert np.all(np.diff(envelope.losses) < 0)
    best = np.min([law(size, envelope.joules) for size in SIZES], axis=0)
    assert np.all(envelope.losses < best * 1.02)


@pytest.mark.parametrize("joules", [5e7, 1.5e8])
def test_frontier_extrapolates_the_best_size(frontier, joules):
    best = law(np.geomspace(10.0, 1e7, 2000), joules).min()
    expected = frontier.loss_at(joules)
    assert expected.low < best < expected.high
    assert frontier.joules_at(expected.median).median == pytest.approx(joules, rel=1e-6)


def test_milestone_gives_the_energy_of_each_run(frontier):
    loss = 3.5
    paid = frontier.envelope.milestone(loss)
    true = [
        math.nan,
        *(1e-3 * n * (60.0 / (loss - FLOOR - 6.0 * n**-0.34)) ** (1 / 0.28) for n in SIZES[1:]),
    ]
    assert paid.joules[0] == math.inf
    assert paid.joules[1:] == pytest.approx(true[1:], rel=0.1)
    assert paid.cheapest == 1
    assert frontier.envelope.milestone(0.1).cheapest is None
    start = frontier.envelope.milestone(1e6)
    assert start.at_most == (True, True, True)
    assert start.joules == tuple(math.exp(fit.smoothed.log_joules[0]) for fit in frontier.envelope.fits)


def test_runs_fits_and_arrays_are_accepted(frontier):
    class Recorded:
        def fit(self):
            return fit_curve(*trained(SIZES[1], 1))

    mixed = fit_frontier([trained(SIZES[0], 0), Recorded(), fit_curve(*trained(SIZES[2], 2))])
    assert mixed.loss_at(1.5e8) == frontier.loss_at(1.5e8)


def test_the_unit_of_energy_does_not_matter(frontier):
    kilo = fit_frontier([(x / 1e3, y) for x, y in (trained(size, seed) for seed, size in enumerate(SIZES))])
    assert kilo.loss_at(1.5e5).median == pytest.approx(frontier.loss_at(1.5e8).median, rel=1e-6)


def test_single_run_at_the_end_is_reported():
    joules, losses = trained(100.0)
    notes = fit_frontier([(joules, losses), (10 * joules, losses - 2.0)]).notes
    assert any("upper bound" in note for note in notes)


def test_run_without_a_curve_is_excluded_with_the_reason():
    envelope = trace([trained(100.0), ([1.0, 2.0], [3.0, 2.0]), trained(1_000.0)])
    assert envelope.fits[1] is None
    assert "6 points" in envelope.refused[1]
    assert {one.run for one in envelope.stretches} == {0, 2}
    assert envelope.milestone(4.6).joules[1] is None


@pytest.mark.parametrize(
    ("runs", "code"),
    [
        ([], "too_few_runs"),
        ([trained(100.0)], "too_few_runs"),
        ([trained(100.0), ([1.0], [2.0])], "too_few_runs"),
        ([trained(100.0), (trained(100.0)[0], trained(100.0)[1] / 20)], "no_common_range"),
    ],
    ids=["none", "one", "one usable", "apart"],
)
def test_incomparable_runs_are_refused(runs, code):
    with pytest.raises(ForecastRefusedError) as caught:
        fit_frontier(runs)
    assert caught.value.code == code
    assert caught.value.remedy
