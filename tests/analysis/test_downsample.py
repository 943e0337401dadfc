"""Thinning for drawing: no extreme is lost, and no joule."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.analysis.downsample import Stretch, band, power_of, stretches, thinned
from profiler.storage.reader import by_domain

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300)


@given(VALUES, st.integers(1, 20))
def test_thinning_keeps_ends_and_extremes_in_order(values, pieces):
    x, y = np.arange(len(values), dtype=float), np.array(values)
    kept = thinned(x, y, pieces=pieces)
    assert len(kept.x) <= 4 * pieces or len(kept.x) == len(values) <= 4 * pieces
    assert (kept.x[0], kept.x[-1]) == (0.0, len(values) - 1)
    assert (min(kept.y), max(kept.y)) == (min(values), max(values))
    assert list(kept.x) == sorted(set(kept.x))
    assert all(values[int(at)] == value for at, value in zip(kept.x, kept.y, strict=True))


def test_thinning_ignores_non_finite_values():
    kept = thinned(np.array([1.0, 2.0, 3.0]), np.array([np.nan, 5.0, np.inf]))
    assert (kept.x, kept.y) == ((2.0,), (5.0,))


def test_points_at_one_place_are_thinned_to_their_extremes():
    kept = thinned(np.ones(100), np.arange(100.0), pieces=10)
    assert (min(kept.y), max(kept.y)) == (0.0, 99.0)


@given(VALUES, st.integers(1, 20), st.randoms())
def test_band_preserves_sum_and_extremes(values, pieces, chance):
    weights = np.array([chance.choice([1.0, 2.0, 64.0]) for _ in values])
    x, y = np.cumsum(weights), np.array(values)
    found = band(x, y, weights, pieces)
    assert len(found.x) <= pieces
    assert (min(found.low), max(found.high)) == (min(values), max(values))
    margin = 1e-9 * max(abs(y)) + 1e-12
    parts = zip(found.low, found.mean, found.high, strict=True)
    assert all(low - margin <= mean <= high + margin for low, mean, high in parts)


def test_band_of_no_points_is_empty():
    assert band(np.array([1.0]), np.array([np.nan]), np.array([1.0])).x == ()


def samples(*rows):
    return by_domain(pd.DataFrame(rows, columns=["time_seconds", "domain", "energy_joules"]))


@given(
    st.lists(st.floats(0, 1e4), min_size=2, max_size=1500),
    st.lists(st.floats(0, 1e4), min_size=2, max_size=50),
)
def test_power_integrates_to_the_energy(first, second):
    one = [(0.1 * k, "gpu:0", energy) for k, energy in enumerate(np.cumsum(first))]
    two = [(0.7 * k, "cpu:package-0", energy) for k, energy in enumerate(np.cumsum(second))]
    power = power_of(samples(*one, *two), ["gpu:0", "cpu:package-0"])
    lengths = np.diff(power.seconds)
    areas = [float(np.dot(lengths, domain.watts)) for domain in power.domains]
    assert areas == pytest.approx([one[-1][2] - one[0][2], two[-1][2] - two[0][2]], rel=1e-6, abs=1e-6)
    assert len(lengths) <= 600
    total = np.sum([domain.watts for domain in power.domains], axis=0)
    assert np.all(np.array(power.low) <= total + 1e-6)
    assert np.all(total <= np.array(power.high) + 1e-6)


def test_short_burst_is_preserved():
    seconds = np.arange(0.0, 6000.0, 0.5)
    watts = np.where((seconds > 3000) & (seconds <= 3000.5), 700.0, 100.0)
    rows = [(t, "gpu:0", e) for t, e in zip(seconds, np.cumsum(watts * 0.5), strict=True)]
    power = power_of(samples(*rows), ["gpu:0"])
    assert max(power.domains[0].watts) < 200.0
    assert max(power.high) == pytest.approx(700.0)


def test_power_needs_two_readings():
    assert power_of(samples((0.0, "gpu:0", 0.0)), ["gpu:0"]) is None
    assert power_of(samples(), ["gpu:0"]) is None


def tables(steps, spans):
    columns = ["start_seconds", "end_seconds"]
    return pd.DataFrame(steps, columns=[*columns, "phase"]), pd.DataFrame(spans, columns=[*columns, "kind"])


def test_stretches_are_long_enough_to_be_visible():
    steps = [
        (10.0, 500.0, "warm-up"),
        (500.0, 900.0, "warm-up"),
        (900.0, 990.0, ""),
        (991.0, 1000.0, "warm-up"),
    ]
    found = stretches(*tables(steps, [(0.0, 10.0, "setup"), (990.0, 991.0, "stall")]))
    assert found == (
        Stretch(kind="setup", start_seconds=0.0, end_seconds=10.0),
        Stretch(kind="warm-up", start_seconds=10.0, end_seconds=900.0),
        Stretch(kind="warm-up", start_seconds=991.0, end_seconds=1000.0),
    )


def test_number_of_stretches_is_limited():
    spans = [(float(k), k + 0.9, "evaluation") for k in range(300)]
    assert len(stretches(*tables([], spans))) == 200
    assert stretches(*tables([], [])) == ()
