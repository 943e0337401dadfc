import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.forecasting import CurveBins, Dropped
from profiler.forecasting.curve import FineBins, bin_arrays, from_stream

POINT = st.tuples(
    st.one_of(st.floats(1e-9, 1e30), st.sampled_from([0.0, -1.0, math.nan, math.inf, 5.0, 10.0, 2.5])),
    st.one_of(st.floats(1e-12, 1e12), st.sampled_from([0.0, -2.0, math.nan, -math.inf])),
    st.sampled_from([0.0, 1.0, 1.0, 3.0, 1024.0]),
)


def stream(points):
    bins = CurveBins()
    for point in points:
        bins.add(*point)
    return bins


def same(one: FineBins, other: FineBins):
    arrays = [(getattr(one, k), getattr(other, k)) for k in ("joules", "values", "weights")]
    counted = [
        (fine.last_joules, fine.points, fine.dropped, fine.disordered, fine.repeated) for fine in (one, other)
    ]
    return all(np.array_equal(a, b) for a, b in arrays) and counted[0] == counted[1]


@given(st.lists(POINT, max_size=60))
def test_streaming_and_arrays_agree_bit_for_bit(points):
    columns = np.array(points, dtype=float).reshape(-1, 3).T
    assert same(from_stream(stream(points)), bin_arrays(*columns))


@given(st.lists(st.lists(POINT, max_size=20), max_size=5), st.booleans())
def test_columns_of_points_agree_with_single_points(batches, is_usual):
    if is_usual:  # the common case, which takes a shorter path: positive values at increasing joules
        batches = [
            [
                (1.0 + 20 * k + n, abs(value) + 1e-9, weight or 1.0)
                for n, (_, value, weight) in enumerate(batch)
            ]
            for k, batch in enumerate(batches)
        ]
        batches = [[point for point in batch if math.isfinite(point[1])] for batch in batches]
    columns = CurveBins()
    for batch in batches:
        columns.extend(*(list(column) for column in zip(*batch, strict=True)) if batch else ([], [], []))
    points = stream([point for batch in batches for point in batch])
    assert repr(columns.facts) == repr(points.facts)
    for name in (
        "bins",
        "points",
        "disordered",
        "repeated",
        "anchor",
        "first_joules",
        "last_joules",
        "dropped",
    ):
        assert getattr(columns, name) == getattr(points, name)


def test_long_streams_agree_bit_for_bit_and_stay_small():
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.uniform(0.5, 1.5, 50_000))
    y = 3.0 * x**-0.1 * np.exp(0.1 * rng.standard_normal(x.size))
    bins = stream(zip(x.tolist(), y.tolist(), strict=True))
    assert same(from_stream(bins), bin_arrays(x, y))
    assert len(bins.bins) < 1100


@given(st.lists(st.tuples(st.floats(1.0, 1e6), st.floats(0.1, 10.0)), min_size=1, max_size=40), st.randoms())
def test_order_changes_only_the_anchor(points, random):
    shuffled = points[1:]
    random.shuffle(shuffled)
    one, other = (from_stream(stream(part)) for part in (points, [points[0], *shuffled]))
    assert np.allclose(one.values, other.values, rtol=1e-12)
    assert np.array_equal(one.weights, other.weights)


def test_averaging_blocks_upstream_does_not_shift_the_level():
    steps = [(1000.0, 3.0), *((1000.0 + 0.5 * k, 2.0 + (k % 4)) for k in range(8))]
    blocks = [(1000.0, 3.0), (1001.75, 3.5, 8.0)]
    assert from_stream(stream(steps)).values == pytest.approx(from_stream(stream(blocks)).values)


def test_dropped_points_are_counted_by_reason():
    bins = stream(
        [(1.0, math.nan), (math.inf, 1.0), (0.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 0.0), (1.0, 1.0)]
    )
    assert bins.dropped == Dropped(nonfinite=2, nonpositive_joules=2, nonpositive_values=1)
    assert (bins.points, bins.dropped.total) == (2, 5)


def test_zeros_lower_the_mean_of_their_bin_or_of_the_next_one():
    fine = from_stream(stream([(1.0, 0.0), (2.0, 1.0), (3.0, 0.0), (3.0, 2.0), (4.0, 0.0), (5.0, 0.0)]))
    assert fine.values.tolist() == [0.5, 1.0]
    assert fine.joules.tolist() == [1.5, 3.0]
    assert (fine.points, fine.dropped.nonpositive_values) == (4, 2)


def test_no_points():
    assert from_stream(CurveBins()).points == bin_arrays([], []).points == 0


def test_the_streaming_part_imports_no_numpy(environment):
    code = (
        "import sys; from profiler.forecasting import CurveBins; CurveBins(); print('numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "False"
