"""From events to steps: what belongs together is joined, and what is still on its way from a device is awaited."""

import math
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.recording.steps import StepMerger
from profiler.torch_hooks.events import EXPIRED, EventId, Kind, PendingScalar, StepEvent
from profiler.units import NANOSECONDS_PER_SECOND as SECOND

START = 1_000 * SECOND


def event(seconds, kind=Kind.OPEN, loss=None, *, slots=(), backwards=1, rate=0.1, skipped=None, stamp=None):
    end = START + round(seconds * SECOND)
    slots = tuple(map(PendingScalar, slots))
    return StepEvent(
        kind, end, loss, slots, backwards, end - 100, 60, 40, rate, skipped, 5, end - 150, 0, stamp
    )


class Device:
    """Scalars and times that land when they are told to."""

    def __init__(self):
        self.landed = {}

    def __call__(self, slot):
        return self.landed.get(int(slot))


@pytest.fixture
def device():
    return Device()


@pytest.fixture
def events():
    return deque()


@pytest.fixture
def merger(events, device):
    return StepMerger(events, device, START)


def at(seconds):
    return START + round(seconds * SECOND)


def losses(steps):
    return [step.loss for step in steps]


def test_a_step_is_finished_when_the_next_one_opens(events, merger):
    events += [event(1, loss=1.0), event(2, loss=2.0)]
    assert losses(merger.take(at(2))) == [1.0]
    events.append(event(3, loss=3.0))
    assert losses(merger.take(at(3))) == [2.0]
    assert losses(merger.take(at(3), final=True)) == [3.0]
    assert merger.take(at(4), final=True) == []


def test_what_joins_is_summed(events, merger):
    events += [
        event(1, loss=1.0, rate=0.1),
        event(2, Kind.JOIN, 0.5, backwards=3, rate=0.7),
        event(3, Kind.JOIN, backwards=0),
    ]
    (step,) = merger.take(at(3), final=True)
    assert (step.loss, step.backwards, step.learning_rate, step.events) == (1.5, 4, 0.1, 3)
    assert (step.end_ns, step.first_backward_ns) == (at(3), at(1) - 100)
    assert (step.backward_ns, step.optimizer_ns) == (180, 120)


@pytest.mark.parametrize(
    ("first", "second", "both"), [(None, 2.0, 2.0), (2.0, None, 2.0), (None, None, None)]
)
def test_an_unknown_loss_adds_nothing(events, merger, first, second, both):
    events += [event(1, loss=first), event(2, Kind.JOIN, second)]
    assert losses(merger.take(at(2), final=True)) == [both]


def test_an_amended_loss_replaces_and_ends_nothing_later(events, merger):
    events += [
        event(1, loss=1.0),
        event(2, Kind.AMEND, 9.0, backwards=0),
        event(3, Kind.AMEND, None, backwards=0),
    ]
    (step,) = merger.take(at(3), final=True)
    assert (step.loss, step.end_ns) == (9.0, at(1))


@pytest.mark.parametrize("kind", [Kind.JOIN, Kind.AMEND])
def test_what_has_nothing_to_join_is_a_step(events, merger, kind):
    """The recording began between two updates of a step."""
    events.append(event(1, kind, 1.0))
    assert losses(merger.take(at(1), final=True)) == [1.0]


def test_events_from_before_the_window_are_dropped(events, merger):
    events += [event(-1, loss=1.0), event(1, loss=2.0)]
    assert losses(merger.take(at(1), final=True)) == [2.0]


def test_a_step_that_looks_complete_is_finished_early(events, merger):
    """After three steps of two updates, a fourth with two is taken as whole a quarter of a second later."""
    for n in range(4):
        events += [event(n, loss=float(n)), event(n + 0.1, Kind.JOIN)]
    assert losses(merger.take(at(3.2))) == [0.0, 1.0, 2.0]
    assert not merger.is_quiet
    assert losses(merger.take(at(3.4))) == [3.0]
    assert merger.is_quiet


def test_a_step_that_looks_incomplete_is_awaited(events, merger):
    for n in range(4):
        events += [event(n, loss=float(n)), event(n + 0.1, Kind.JOIN)]
    merger.take(at(9))
    events.append(event(10, loss=10.0))
    assert merger.take(at(19)) == []
    events.append(event(20, Kind.JOIN, 1.0))
    assert losses(merger.take(at(20.1), final=True)) == [11.0]


# -- losses on their way from a device -----------------------------------------------------------------------------


def test_a_loss_on_its_way_is_awaited_and_holds_back_what_follows(events, merger, device):
    events += [event(1, slots=[0]), event(2, loss=2.0), event(3, loss=3.0)]
    assert merger.take(at(4)) == []
    assert not merger.is_quiet
    device.landed[0] = 1.0
    assert losses(merger.take(at(4))) == [1.0, 2.0]


def test_several_losses_of_a_step_are_summed(events, merger, device):
    device.landed.update({0: 1.0, 1: 2.0})
    events.append(event(1, loss=4.0, slots=[0, 1, 0]))
    assert losses(merger.take(at(1), final=True)) == [8.0]


def test_a_loss_that_is_nan_has_arrived(events, merger, device):
    device.landed[0] = math.nan
    events.append(event(1, slots=[0]))
    assert math.isnan(merger.take(at(1), final=True)[0].loss)


@pytest.mark.parametrize("given_up", ["after five seconds", "at the end"])
def test_a_loss_that_does_not_arrive_is_not_measured(events, merger, device, given_up):
    device.landed[1] = 1.0
    events += [event(1, slots=[0, 1], loss=1.0), event(2, loss=2.0)]
    assert merger.take(at(6)) == []
    steps = merger.take(at(6), final=True) if given_up == "at the end" else merger.take(at(6.1))
    assert losses(steps)[0] is None
    assert merger.lost_losses == 1


@pytest.mark.parametrize("others", [{}, {1: 1.0}])
def test_a_loss_that_is_lost_is_not_awaited(events, merger, device, others):
    device.landed |= {0: EXPIRED, 1: 1.0}
    events += [event(1, slots=[0, *others]), event(2, loss=2.0)]
    assert losses(merger.take(at(2))) == [None]
    assert list(merger.findings()) == [], "how many there are is known at the end"
    assert losses(merger.take(at(2), final=True)) == [2.0]
    (said,) = merger.findings()
    assert said.startswith("losses that were not read from their device in time: 1. ")


def test_a_rate_or_a_flag_that_is_lost_leaves_the_step(events, merger, device):
    device.landed |= {0: EXPIRED, 1: EXPIRED}
    events.append(event(1, loss=1.0, rate=PendingScalar(0), skipped=PendingScalar(1)))
    (step,) = merger.take(at(1), final=True)
    assert (step.loss, step.learning_rate) == (1.0, None)
    assert not list(merger.findings())


def test_a_rate_on_its_way_is_awaited(events, merger, device):
    events.append(event(1, loss=1.0, rate=PendingScalar(7)))
    assert merger.take(at(2), final=False) == []
    device.landed[7] = 0.25
    (step,) = merger.take(at(2), final=True)
    assert step.learning_rate == 0.25


def test_a_rate_that_does_not_arrive_is_unknown(events, merger):
    events.append(event(1, loss=1.0, rate=PendingScalar(7)))
    (step,) = merger.take(at(9), final=True)
    assert (step.loss, step.learning_rate) == (1.0, None)


@pytest.mark.parametrize(("flag", "steps"), [(0.0, 3), (1.0, 2)])
def test_a_step_may_turn_out_to_have_been_skipped(events, merger, device, flag, steps):
    events += [event(1, loss=1.0), event(2, loss=2.0, skipped=PendingScalar(3)), event(3, loss=3.0)]
    assert merger.take(at(4)) == []
    device.landed[3] = flag
    assert len(merger.take(at(4), final=True)) == steps


def test_a_flag_that_does_not_arrive_leaves_the_step(events, merger):
    events.append(event(1, loss=1.0, skipped=PendingScalar(3)))
    assert losses(merger.take(at(9), final=True)) == [1.0]


# -- ends on a device that runs behind the host --------------------------------------------------------------------


def test_a_step_ends_when_the_device_is_done(events, merger, device):
    events.append(event(1, loss=1.0, stamp=EventId(3)))
    assert merger.take(at(2)) == []
    device.landed[3] = at(1.5)
    (step,) = merger.take(at(2), final=True)
    assert (step.end_ns, step.host_end_ns) == (at(1.5), at(1))
    assert (step.first_backward_ns, step.ready_ns) == (at(1.5) - 100, at(1.5) - 150)


def test_steps_without_a_stamp_lag_as_the_last_one_did(events, merger, device):
    device.landed[0] = at(1.5)
    events += [event(1, stamp=EventId(0)), event(1.1), event(1.2)]
    assert [step.end_ns for step in merger.take(at(9), final=True)] == [at(1.5), at(1.6), at(1.7)]


@pytest.mark.parametrize("lag", [-0.2, 0.0])
def test_a_device_is_never_ahead_of_the_host(events, merger, device, lag):
    device.landed[0] = at(1 + lag)
    events.append(event(1, stamp=EventId(0)))
    assert merger.take(at(2), final=True)[0].end_ns == at(1)


def test_a_stamp_that_does_not_arrive_leaves_the_lag_as_it_was(events, merger, device):
    device.landed[0] = at(1.5)
    events += [event(1, stamp=EventId(0)), event(2, stamp=EventId(1)), event(3)]
    assert [step.end_ns for step in merger.take(at(7.5))] == [at(1.5), at(2.5)]


def test_no_step_lasts_longer_than_the_recording(events, merger, device):
    device.landed[0] = at(9)
    events.append(event(1, stamp=EventId(0)))
    assert merger.take(at(2), final=True)[0].end_ns == at(2)


def test_what_joins_lags_too(events, merger, device):
    device.landed.update({0: at(1.5), 1: at(2.25)})
    events += [event(1, stamp=EventId(0)), event(2, Kind.JOIN, stamp=EventId(1))]
    (step,) = merger.take(at(3), final=True)
    assert (step.end_ns, step.host_end_ns, step.data_ns) == (at(2.25), at(2), 10)
    assert step.inner_forward_ns == 50, "from the second batch to the second backward pass"


def test_evaluations_are_handed_on(events, merger):
    events += [event(1), event(2, Kind.EVALUATE), event(3, Kind.TRAIN), event(4)]
    assert len(merger.take(at(5), final=True)) == 2
    assert list(merger.evaluations) == [(at(2), True), (at(3), False)]


# -- in general ----------------------------------------------------------------------------------------------------


@given(
    kinds=st.lists(st.sampled_from(list(Kind)), max_size=60),
    drains=st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_every_open_event_is_one_step_however_often_it_is_drained(kinds, drains):
    """Times are close together, so that nothing is finished early."""
    events = deque()
    merger = StepMerger(events, Device(), START)
    steps = []
    for n, (kind, drain) in enumerate(zip(kinds, drains, strict=False)):
        events.append(event(n / 1000, kind, 1.0))
        if drain:
            steps += merger.take(at(n / 1000))
    steps += merger.take(at(1), final=True)
    updates = [kind for kind in kinds if kind <= Kind.AMEND]
    stray = bool(updates) and updates[0] is not Kind.OPEN
    assert len(merger.evaluations) == len(kinds) - len(updates)
    assert len(steps) == kinds.count(Kind.OPEN) + stray
    assert [step.end_ns for step in steps] == sorted(step.end_ns for step in steps)
