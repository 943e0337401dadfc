"""Segmentation of the window into steps and spans without gap or overlap."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.recording.segmentation import Segmenter
from profiler.recording.steps import Step
from profiler.torch_hooks.events import Kind, StepEvent
from profiler.units import NANOSECONDS_PER_SECOND as SECOND


def step(end, first_backward=None, lag=0.0):
    """Return a step whose update ended at ``end`` seconds; its first backward pass is 10 ms before by default.

    The device runs ``lag`` seconds behind the host, whose times the others are.
    """
    end_ns = round(end * SECOND)
    began = end_ns - SECOND // 100 if first_backward is None else round(first_backward * SECOND)
    event = StepEvent(Kind.OPEN, end_ns, 1.0, (), 1, began, 10, 10, 0.1, None)
    return Step(event, round(lag * SECOND))


def phase(segmenter, seconds, label):
    segmenter.add_phase(round(seconds * SECOND), label)


def shown(tiles):
    """Return label, start and end in seconds, and whether the tile is a step."""
    return [(t.label, t.start_ns / SECOND, t.end_ns / SECOND, t.step is not None) for t in tiles]


@pytest.fixture
def segmenter():
    return Segmenter(0)


def steady(segmenter, count, start=0.0):
    """Add ``count`` steps of a tenth of a second."""
    for n in range(count):
        segmenter.add_step(step(start + (n + 1) / 10))
    return start + count / 10


def test_window_without_steps_is_setup(segmenter):
    assert shown(segmenter.finish(3 * SECOND)) == [("setup", 0, 3, False)]


def test_empty_window_has_no_tiles(segmenter):
    assert segmenter.finish(0) == []


def test_step_begins_at_the_end_of_the_previous_one(segmenter):
    tiles = [*segmenter.add_step(step(0.1)), *segmenter.add_step(step(0.3)), *segmenter.finish(SECOND)]
    assert shown(tiles) == [("", 0, 0.1, True), ("", 0.1, 0.3, True), ("teardown", 0.3, 1, False)]


def test_time_before_the_first_step_is_setup(segmenter):
    assert shown(segmenter.add_step(step(5, first_backward=4.5))) == [
        ("setup", 0, 4.5, False),
        ("", 4.5, 5, True),
    ]


def test_short_start_belongs_to_the_first_step(segmenter):
    assert shown(segmenter.add_step(step(0.9))) == [("", 0, 0.9, True)]


def test_wait_between_steps_is_a_stall_except_for_the_usual_lead(segmenter):
    end = steady(segmenter, 20)
    assert shown(segmenter.add_step(step(end + 5, first_backward=end + 4.99))) == [
        ("stall", end, pytest.approx(end + 4.9), False),
        ("", pytest.approx(end + 4.9), end + 5, True),
    ]


@pytest.mark.parametrize("wait", [0.4, 0.9])
def test_wait_of_less_than_a_second_is_no_stall(segmenter, wait):
    end = steady(segmenter, 20)
    assert len(segmenter.add_step(step(end + wait))) == 1


def test_loop_with_long_leads_never_stalls(segmenter):
    """Two seconds of forward pass are this loop's usual lead."""
    ends = [2.0 * n + 4 for n in range(20)]
    tiles = [segmenter.add_step(step(end, first_backward=end - 0.1)) for end in ends]
    assert shown(tiles[0]) == [("setup", 0, 3.9, False), ("", 3.9, 4, True)]
    assert [len(one) for one in tiles[1:]] == [1] * 19


def test_phase_between_steps_is_a_span(segmenter):
    end = steady(segmenter, 20)
    phase(segmenter, end + 0.0001, "evaluation")
    phase(segmenter, end + 0.5, "")
    assert shown(segmenter.add_step(step(end + 0.6)))[0] == ("evaluation", end, end + 0.5, False)


def test_time_between_a_step_and_a_phase_is_a_span_of_its_own(segmenter):
    end = steady(segmenter, 3)
    phase(segmenter, end + 0.2, "evaluation")
    phase(segmenter, end + 0.5, "")
    kinds = [label for label, *_ in shown(segmenter.add_step(step(end + 0.6)))]
    assert kinds == ["stall", "evaluation", ""]


def test_phase_around_steps_is_their_label(segmenter):
    phase(segmenter, 0, "warm-up")
    first = segmenter.add_step(step(0.1))
    phase(segmenter, 0.1, "")
    assert shown([*first, *segmenter.add_step(step(0.2))]) == [
        ("warm-up", 0, 0.1, True),
        ("", 0.1, 0.2, True),
    ]


def test_phase_that_begins_inside_a_step_names_it(segmenter):
    phase(segmenter, 0.095, "update")
    assert shown(segmenter.add_step(step(0.1))) == [("update", 0, 0.1, True)]


def test_phase_at_the_end(segmenter):
    end = steady(segmenter, 3)
    phase(segmenter, end + 1, "export")
    assert shown(segmenter.finish(round((end + 3) * SECOND))) == [
        ("stall", end, end + 1, False),
        ("export", end + 1, end + 3, False),
    ]


def test_phase_too_short_for_a_row_has_none(segmenter):
    end = steady(segmenter, 3)
    phase(segmenter, end + 0.0002, "blink")
    phase(segmenter, end + 0.0004, "")
    assert shown(segmenter.add_step(step(end + 0.1))) == [("", end, end + 0.1, True)]


# -- detected evaluations ------------------------------------------------------------------------------------------


def evaluation(segmenter, start, end=None):
    segmenter.add_evaluation(round(start * SECOND), begins=True)
    if end is not None:
        segmenter.add_evaluation(round(end * SECOND), begins=False)


def test_evaluation_between_steps_is_a_span(segmenter):
    end = steady(segmenter, 20)
    evaluation(segmenter, end, end + 3)
    assert shown(segmenter.add_step(step(end + 3.1))) == [
        ("evaluation", end, end + 3, False),
        ("", end + 3, end + 3.1, True),
    ]


def test_long_evaluation_is_written_before_it_ends(segmenter):
    end = steady(segmenter, 20)
    evaluation(segmenter, end)
    assert shown(segmenter.idle(round((end + 11) * SECOND))) == [("evaluation", end, end + 11, False)]
    segmenter.add_evaluation(round((end + 12) * SECOND), begins=False)
    assert shown(segmenter.add_step(step(end + 12.1)))[0] == ("evaluation", end + 11, end + 12, False)


def test_last_evaluation_extends_to_the_end(segmenter):
    end = steady(segmenter, 20)
    evaluation(segmenter, end)
    assert shown(segmenter.finish(5 * SECOND)) == [("evaluation", end, 5, False)]


def test_phase_of_the_user_takes_precedence_over_a_detected_one(segmenter):
    end = steady(segmenter, 20)
    evaluation(segmenter, end + 0.5, end + 2)
    phase(segmenter, end, "test set")
    phase(segmenter, end + 3, "")
    assert shown(segmenter.add_step(step(end + 3.1)))[:-1] == [("test set", end, end + 3, False)]


# -- a device that runs behind the host ----------------------------------------------------------------------------


def test_steps_end_when_the_device_ends_them(segmenter):
    """The host launches a step in 10 ms that takes the device 100 ms."""
    tiles = [segmenter.add_step(step(n / 100, lag=n * 0.09))[0] for n in range(1, 11)]
    assert [(tile.start_ns, tile.end_ns) for tile in tiles] == [
        (n * SECOND // 10, (n + 1) * SECOND // 10) for n in range(10)
    ]


def test_phase_begins_after_the_step_that_is_still_on_the_device(segmenter):
    """On the host the evaluation begins before the last step ends on the device, but does not include that step."""
    for n in range(1, 11):
        segmenter.add_step(step(n / 10, lag=0.05))
    phase(segmenter, 1.11, "evaluation")
    last = segmenter.add_step(step(1.1, lag=0.05))
    assert shown(last) == [("", 1.05, 1.15, True)]
    phase(segmenter, 2.0, "")
    assert shown(segmenter.add_step(step(2.1, lag=0.05))) == [
        ("evaluation", 1.15, 2.0, False),
        ("", 2.0, 2.15, True),
    ]


def test_long_time_without_steps_is_written_before_it_ends(segmenter):
    end = steady(segmenter, 5)
    now = round((end + 11) * SECOND)
    assert segmenter.idle(now - 2 * SECOND) == []
    assert shown(segmenter.idle(now)) == [("stall", end, end + 11, False)]
    assert segmenter.idle(now + SECOND) == []


def test_long_time_without_steps_is_relative_to_the_usual_step(segmenter):
    for n in range(1, 6):
        segmenter.add_step(step(10.0 * n, first_backward=10.0 * n - 9))
    assert segmenter.idle(90 * SECOND) == []
    assert segmenter.idle(101 * SECOND)


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
    """Including steps of two threads that arrive out of order."""
    start = 5 * SECOND
    segmenter, tiles, steps, now = Segmenter(start), [], 0, start
    for kind, delta, extra in happenings:
        now += delta
        time = max(now - round(delta / 2), start) if jumble else now
        if kind == "step":
            began = time - round(extra * delta)
            tiles += segmenter.add_step(Step(StepEvent(Kind.OPEN, time, 1.0, (), 1, began, 0, 0, None, None)))
            steps += 1
        elif kind == "phase":
            segmenter.add_phase(time, extra)
        else:
            tiles += segmenter.idle(now)
    end = now + 1
    tiles += segmenter.finish(end)
    assert tiles[0].start_ns == start
    assert tiles[-1].end_ns == end
    assert all(one.end_ns == other.start_ns for one, other in pairwise(tiles))
    assert all(tile.end_ns > tile.start_ns or tile.step is not None for tile in tiles)
    assert sum(tile.step is not None for tile in tiles) == steps
    assert all(tile.label or tile.step is not None for tile in tiles), "every span has a kind"
