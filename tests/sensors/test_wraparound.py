import itertools

from hypothesis import given
from hypothesis import strategies as st

from profiler.sensors.wraparound import WrappingCounter

UNIT_UJ = 61
MODULUS = 2**32 * UNIT_UJ
MAX_RANGE = MODULUS - UNIT_UJ
SECOND = 1_000_000_000


def feed(counter, energies, *, start):
    """Feed true energies in microjoules, one per second; return the resulting energies."""
    return [counter.update((start + e) % MODULUS, i * SECOND) - start for i, e in enumerate(energies)]


@given(
    start=st.integers(0, MODULUS - 1),
    increments=st.lists(st.integers(0, 500_000_000), min_size=1, max_size=60),
)
def test_wraparounds_are_resolved_exactly(start, increments):
    energies = [sum(increments[:i]) for i in range(len(increments) + 1)]
    assert feed(WrappingCounter(MAX_RANGE), energies, start=start) == energies


@given(start=st.integers(0, MODULUS - 1), watts=st.integers(1, 450), seconds=st.integers(30, 100))
def test_a_wraparound_in_a_gap_is_exact_although_the_power_rises(start, watts, seconds):
    counter = WrappingCounter(MAX_RANGE)
    energies = [0, 20_000_000, 40_000_000, 40_000_000 + watts * seconds * 1_000_000]
    shown = [
        counter.update((start + e) % MODULUS, t * SECOND)
        for e, t in zip(energies, (0, 1, 2, 2 + seconds), strict=True)
    ]
    assert shown[-1] == start + energies[-1]
    assert counter.ambiguous_wraps == 0


@given(start=st.integers(0, MODULUS - 1), watts=st.integers(50, 2_000))
def test_several_wraparounds_in_one_gap_are_resolved_at_steady_power(start, watts):
    counter = WrappingCounter(MAX_RANGE)
    steady = [i * watts * 1_000_000 for i in range(5)]
    assert feed(counter, steady, start=start)[-1] == steady[-1]
    gap_seconds = 1_000
    total = (4 + gap_seconds) * watts * 1_000_000
    assert counter.update((start + total) % MODULUS, (4 + gap_seconds) * SECOND) == start + total


@given(
    increments=st.lists(st.integers(0, 150_000_000), min_size=8, max_size=40),
    at=st.integers(1, 6),
    garbage=st.integers(0, MODULUS - 1),
)
def test_one_wrong_value_never_adds_more_than_the_maximum_power(increments, at, garbage):
    counter = WrappingCounter(MAX_RANGE)
    energies = [sum(increments[:i]) for i in range(len(increments) + 1)]
    raws = [5_000_000_000 + e for e in energies]
    raws[at] = garbage
    shown = [counter.update(raw, i * SECOND // 10) for i, raw in enumerate(raws)]
    accepted = [s for s in shown if s is not None]
    # A plausible wrong value is accepted; the true values after it then look like a reset.
    limit = (2_000 * 0.1 * len(raws) + 100) * 1e6
    assert all(s >= 0 for s in accepted)
    assert all(later - earlier <= limit for earlier, later in itertools.pairwise(accepted))
    assert counter.restarts <= 1


def test_a_truncated_value_is_rejected_and_the_next_one_is_exact():
    counter = WrappingCounter(MAX_RANGE)
    assert counter.update(200_000_000_000, 0) == 200_000_000_000
    assert counter.update(20, SECOND // 10) is None
    assert counter.update(200_030_000_000, SECOND // 5) == 200_030_000_000
    assert counter.restarts == 0


def test_a_reset_counter_continues_from_zero():
    counter = WrappingCounter(MAX_RANGE)
    counter.update(200_000_000_000, 0)
    counter.update(200_010_000_000, SECOND // 10)
    again = [counter.update(i * 10_000_000, (2 + i) * SECOND // 10) for i in range(5)]
    assert again == [None, None, 0, 10_000_000, 20_000_000]
    assert counter.restarts == 1


def test_without_a_range_a_decrease_is_a_reset():
    counter = WrappingCounter(None)
    assert counter.update(999_000_000, 0) == 999_000_000
    after = [counter.update(i * 1_000_000, (1 + i) * SECOND) for i in range(4)]
    assert after == [None, None, 0, 1_000_000]


def test_a_gap_with_several_possible_wraparounds_is_ambiguous():
    counter = WrappingCounter(MAX_RANGE)
    counter.update(0, 0)
    assert counter.update(1_000_000, 3_600 * SECOND) == 1_000_000
    assert counter.ambiguous_wraps == 1
