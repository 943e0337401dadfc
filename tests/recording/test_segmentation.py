"""Steps and spans tile the window without gap or overlap, whatever happens in it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.recording.segmentation import Tiler
from profiler.recording.steps import Step
from profiler.torch_hooks.events import Kind, StepEvent
from profiler.units import NANOSECONDS_PER_SECOND as SECOND


def step(end, first_backward=None, lag=0.0):
    """A step whose update ended at ``end`` seconds, its first backward pass 10 ms before unless said otherwise.

    The device runs ``lag`` seconds behind the host, whose times the others are.
    """
    end_ns = round(end * SECOND)
    began = end_ns - SECOND // 100 if first_backward is None else round(first_backward * SECOND)
    event = StepEvent(Kind.OPEN, end_ns, 1.0, (), 1, began, 10, 10, 0.1, None)
    return Step(event, round(lag * SECOND))


def phase(tiler, seconds, label):
    tiler.phase(round(seconds * SECOND), label)


def shown(tiles):
    """Label, start and end in seconds, and whether it is a step."""
    return [(t.label, t.start_ns / SECOND, t.end_ns / SECOND, t.step is not None) for t in tiles]


@pytest.fixture
def tiler():
    return Tiler(0)


def steady(tiler, count, start=0.0):
    """``count`` steps of a tenth of a second."""
    for n in range(count):
        tiler.step(step(start + (n + 1) / 10))
    return start + count / 10


def test_a_window_without_steps_is_setup(tiler):
    assert shown(tiler.finish(3 * SECOND)) == [("setup", 0, 3, False)]


def test_an_empty_window_has_no_tiles(tiler):
    assert tiler.finish(0) == []


def test_a_step_reaches_back_to_the_one_before(tiler):
    tiles = [*tiler.step(step(0.1)), *tiler.step(step(0.3)), *tiler.finish(SECOND)]
    assert shown(tiles) == [("", 0, 0.1, True), ("", 0.1, 0.3, True), ("teardown", 0.3, 1, False)]


def test_what_comes_before_the_first_step_is_setup(tiler):
    assert shown(tiler.step(step(5, first_backward=4.5))) == [("setup", 0, 4.5, False), ("", 4.5, 5, True)]


def test_a_short_start_belongs_to_the_first_step(tiler):
    assert shown(tiler.step(step(0.9))) == [("", 0, 0.9, True)]


def test_a_wait_between_steps_is_a_stall_except_for_the_usual_lead(tiler):
    end = steady(tiler, 20)
    assert shown(tiler.step(step(end + 5, first_backward=end + 4.99))) == [
        ("stall", end, pytest.approx(end + 4.9), False),
        ("", pytest.approx(end + 4.9), end + 5, True),
    ]


@pytest.mark.parametrize("wait", [0.4, 0.9])
def test_a_wait_of_less_than_a_second_is_none(tiler, wait):
    end = steady(tiler, 20)
    assert len(tiler.step(step(end + wait))) == 1


def test_a_loop_that_is_always_slow_never_stalls(tiler):
    """Two seconds of forward pass are this loop's usual lead."""
    ends = [2.0 * n + 4 for n in range(20)]
    tiles = [tiler.step(step(end, first_backward=end - 0.1)) for end in ends]
    assert shown(tiles[0]) == [("setup", 0, 3.9, False), ("", 3.9, 4, True)]
    assert [len(one) for one in tiles[1:]] == [1] * 19


def test_a_phase_between_steps_is_a_span(tiler):
    end = steady(tiler, 20)
    phase(tiler, end + 0.0001, "evaluation")
    phase(tiler, end + 0.5, "")
    assert shown(tiler.step(step(end + 0.6)))[0] == ("evaluation", end, end + 0.5, False)


def test_what_lies_between_a_step_and_a_phase_is_apart(tiler):
    end = steady(tiler, 3)
    phase(tiler, end + 0.2, "evaluation")
    phase(tiler, end + 0.5, "")
    kinds = [label for label, *_ in shown(tiler.step(step(end + 0.6)))]
    assert kinds == ["stall", "evaluation", ""]


def test_a_phase_around_steps_is_their_label(tiler):
    phase(tiler, 0, "warm-up")
    first = tiler.step(step(0.1))
    phase(tiler, 0.1, "")
    assert shown([*first, *tiler.step(step(0.2))]) == [("warm-up", 0, 0.1, True), ("", 0.1, 0.2, True)]


def test_a_phase_that_begins_inside_a_step_names_it(tiler):
    phase(tiler, 0.095, "update")
    assert shown(tiler.step(step(0.1))) == [("update", 0, 0.1, True)]


def test_a_phase_at_the_end(tiler):
    end = steady(tiler, 3)
    phase(tiler, end + 1, "export")
    assert shown(tiler.finish(round((end + 3) * SECOND))) == [
        ("stall", end, end + 1, False),
        ("export", end + 1, end + 3, False),
    ]


def test_a_phase_too_short_for_a_row_leaves_none(tiler):
    end = steady(tiler, 3)
    phase(tiler, end + 0.0002, "blink")
    phase(tiler, end + 0.0004, "")
    assert shown(tiler.step(step(end + 0.1))) == [("", end, end + 0.1, True)]


# -- evaluations that were noticed ---------------------------------------------------------------------------------


def evaluation(tiler, start, end=None):
    tiler.evaluation(round(start * SECOND), begins=True)
    if end is not None:
        tiler.evaluation(round(end * SECOND), begins=False)


def test_an_evaluation_between_steps_is_a_span(tiler):
    end = steady(tiler, 20)
    evaluation(tiler, end, end + 3)
    assert shown(tiler.step(step(end + 3.1))) == [
        ("evaluation", end, end + 3, False),
        ("", end + 3, end + 3.1, True),
    ]


def test_an_evaluation_that_goes_on_is_written_as_one_before_it_ends(tiler):
    end = steady(tiler, 20)
    evaluation(tiler, end)
    assert shown(tiler.idle(round((end + 11) * SECOND))) == [("evaluation", end, end + 11, False)]
    tiler.evaluation(round((end + 12) * SECOND), begins=False)
    assert shown(tiler.step(step(end + 12.1)))[0] == ("evaluation", end + 11, end + 12, False)


def test_the_last_evaluation_reaches_to_the_end(tiler):
    end = steady(tiler, 20)
    evaluation(tiler, end)
    assert shown(tiler.finish(5 * SECOND)) == [("evaluation", end, 5, False)]


def test_a_phase_that_the_user_named_goes_before_what_was_noticed(tiler):
    end = steady(tiler, 20)
    evaluation(tiler, end + 0.5, end + 2)
    phase(tiler, end, "test set")
    phase(tiler, end + 3, "")
    assert shown(tiler.step(step(end + 3.1)))[:-1] == [("test set", end, end + 3, False)]


# -- a device that runs behind the host ----------------------------------------------------------------------------


def test_steps_last_until_the_device_is_done_with_them(tiler):
    """The host launches a step in 10 ms that the device works on for 100."""
    tiles = [tiler.step(step(n / 100, lag=n * 0.09))[0] for n in range(1, 11)]
    assert [(tile.start_ns, tile.end_ns) for tile in tiles] == [
        (n * SECOND // 10, (n + 1) * SECOND // 10) for n in range(10)
    ]


def test_a_phase_begins_after_the_step_that_the_device_still_works_on(tiler):
    """For the host the evaluation began before the last step's end on the device; that step is still none of it."""
    for n in range(1, 11):
        tiler.step(step(n / 10, lag=0.05))
    phase(tiler, 1.11, "evaluation")
    last = tiler.step(step(1.1, lag=0.05))
    assert shown(last) == [("", 1.05, 1.15, True)]
    phase(tiler, 2.0, "")
    assert shown(tiler.step(step(2.1, lag=0.05))) == [
        ("evaluation", 1.15, 2.0, False),
        ("", 2.0, 2.15, True),
    ]


def test_a_long_silence_is_written_before_it_ends(tiler):
    end = steady(tiler, 5)
    now = round((end + 11) * SECOND)
    assert tiler.idle(now - 2 * SECOND) == []
    assert shown(tiler.idle(now)) == [("stall", end, end + 11, False)]
    assert tiler.idle(now + SECOND) == []


def test_a_silence_is_long_by_the_loops_own_measure(tiler):
    for n in range(1, 6):
        tiler.step(step(10.0 * n, first_backward=10.0 * n - 9))
    assert tiler.idle(90 * SECOND) == []
    assert tiler.idle(101 * SECOND)


TIMES = st.integers(0, 20 * SECOND)
HAPPENINGS = st.lists(
    st.one_of(
        st.tuples(st.just("step"), TIMES, st.floats(0, 1)),
        st.tuples(st.just("phase"), TIMES, st.sampled_from(["", "evaluation", "warm-up"])),
        st.tuples(st.just("idle"), TIMES, st.just(0)),
    ),
    max_size=60,
)


@given(happenings=HAPPENINGS, jumble=st.booleans())
def test_tiles_cover_the_window_exactly(happenings, jumble):
    """Also when two threads train, whose steps do not come in order."""
    start = 5 * SECOND
    tiler, tiles, steps, now = Tiler(start), [], 0, start
    for kind, delta, extra in happenings:
        now += delta
        time = max(now - round(delta / 2), start) if jumble else now
        if kind == "step":
            began = time - round(extra * delta)
            tiles += tiler.step(Step(StepEvent(Kind.OPEN, time, 1.0, (), 1, began, 0, 0, None, None)))
            steps += 1
        elif kind == "phase":
            tiler.phase(time, extra)
        else:
            tiles += tiler.idle(now)
    end = now + 1
    tiles += tiler.finish(end)
    assert tiles[0].start_ns == start
    assert tiles[-1].end_ns == end
    assert all(one.end_ns == other.start_ns for one, other in pairwise(tiles))
    assert all(tile.end_ns > tile.start_ns or tile.step is not None for tile in tiles)
    assert sum(tile.step is not None for tile in tiles) == steps
    assert all(tile.label or tile.step is not None for tile in tiles), "every span has a kind"
