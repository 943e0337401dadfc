"""Assembly of steps from events, including values that are still on their way from a device."""

import math
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.recording.steps import Step, StepAssembler
from profiler.torch_hooks.events import EXPIRED, EventId, Kind, PendingScalar, StepEvent, expand
from profiler.units import NANOSECONDS_PER_SECOND as SECOND

START = 1_000 * SECOND


def event(seconds, kind=Kind.OPEN, loss=None, *, slots=(), backwards=1, rate=0.1, skipped=None, stamp=None):
    end = START + round(seconds * SECOND)
    slots = tuple(map(PendingScalar, slots))
    return StepEvent(
        kind, end, loss, slots, backwards, end - 100, 60, 40, rate, skipped, 5, end - 150, 0, stamp
    )


class Device:
    """Scalars and times that arrive when a test sets them."""

    def __init__(self):
        self.landed = {}

    def poll(self, slot):
        return self.landed.get(int(slot))


@pytest.fixture
def device():
    return Device()


@pytest.fixture
def events():
    return deque()


@pytest.fixture
def assembler(events, device):
    return StepAssembler(events, device, START)


def at(seconds):
    return START + round(seconds * SECOND)


def losses(steps):
    return [step.loss for step in steps]


FIELDS = set(Step.__slots__)


@pytest.mark.parametrize("training", [0, 1])
@pytest.mark.parametrize("before", [[], [event(1, loss=1.0)], [event(0.5), event(1, Kind.JOIN)]])
def test_repeated_update_makes_the_step_of_its_event(device, before, training):
    begun = at(2)
    update = (begun + 90, 0.5, begun, begun + 60, 0.1, training, 2, 20, 15, 5, begun - 30)
    found = [
        StepAssembler(deque([*before, last]), device, START).finished_steps(at(3), final=True)
        for last in (update, expand(update))
    ]
    one, other = ([{name: getattr(step, name) for name in FIELDS} for step in steps] for steps in found)
    assert one == other
    assert (one[-1]["backward_ns"], one[-1]["optimizer_ns"], one[-1]["training"]) == (40, 30, training)


def test_step_is_finished_when_the_next_one_opens(events, assembler):
    events += [event(1, loss=1.0), event(2, loss=2.0)]
    assert losses(assembler.finished_steps(at(2))) == [1.0]
    events.append(event(3, loss=3.0))
    assert losses(assembler.finished_steps(at(3))) == [2.0]
    assert losses(assembler.finished_steps(at(3), final=True)) == [3.0]
    assert assembler.finished_steps(at(4), final=True) == []


def test_joined_updates_are_summed(events, assembler):
    events += [
        event(1, loss=1.0, rate=0.1),
        event(2, Kind.JOIN, 0.5, backwards=3, rate=0.7),
        event(3, Kind.JOIN, backwards=0),
    ]
    (step,) = assembler.finished_steps(at(3), final=True)
    assert (step.loss, step.backwards, step.learning_rate, step.events) == (1.5, 4, 0.1, 3)
    assert (step.end_ns, step.first_backward_ns) == (at(3), at(1) - 100)
    assert (step.backward_ns, step.optimizer_ns) == (180, 120)


@pytest.mark.parametrize(
    ("first", "second", "both"), [(None, 2.0, 2.0), (2.0, None, 2.0), (None, None, None)]
)
def test_unknown_loss_adds_nothing(events, assembler, first, second, both):
    events += [event(1, loss=first), event(2, Kind.JOIN, second)]
    assert losses(assembler.finished_steps(at(2), final=True)) == [both]


def test_amended_loss_replaces_the_loss_only(events, assembler):
    events += [
        event(1, loss=1.0),
        event(2, Kind.AMEND, 9.0, backwards=0),
        event(3, Kind.AMEND, None, backwards=0),
    ]
    (step,) = assembler.finished_steps(at(3), final=True)
    assert (step.loss, step.end_ns) == (9.0, at(1))


@pytest.mark.parametrize("kind", [Kind.JOIN, Kind.AMEND])
def test_event_without_an_open_step_opens_one(events, assembler, kind):
    """The recording began between two updates of a step."""
    events.append(event(1, kind, 1.0))
    assert losses(assembler.finished_steps(at(1), final=True)) == [1.0]


def test_events_from_before_the_window_are_dropped(events, assembler):
    events += [event(-1, loss=1.0), event(1, loss=2.0)]
    assert losses(assembler.finished_steps(at(1), final=True)) == [2.0]


def test_complete_step_is_finished_early(events, assembler):
    """After three steps of two updates, a fourth with two counts as complete a quarter of a second later."""
    for n in range(4):
        events += [event(n, loss=float(n)), event(n + 0.1, Kind.JOIN)]
    assert losses(assembler.finished_steps(at(3.2))) == [0.0, 1.0, 2.0]
    assert not assembler.is_quiet
    assert losses(assembler.finished_steps(at(3.4))) == [3.0]
    assert assembler.is_quiet


def test_incomplete_step_is_awaited(events, assembler):
    for n in range(4):
        events += [event(n, loss=float(n)), event(n + 0.1, Kind.JOIN)]
    assembler.finished_steps(at(9))
    events.append(event(10, loss=10.0))
    assert assembler.finished_steps(at(19)) == []
    events.append(event(20, Kind.JOIN, 1.0))
    assert losses(assembler.finished_steps(at(20.1), final=True)) == [11.0]


def test_an_update_that_follows_others_shares_their_step(events, assembler):
    events += [
        event(1, loss=1.0),
        event(2, Kind.FOLLOW, 0.5),
        event(3, Kind.JOIN, backwards=0),
        event(4, loss=4.0),
    ]
    one, other = assembler.finished_steps(at(4), final=True)
    assert (one.loss, one.end_ns, one.backwards, one.turns, one.events) == (1.5, at(3), 2, 2, 3)
    assert other.loss == 4.0


def test_a_split_makes_what_followed_a_step_of_its_own(events, assembler):
    events += [
        event(1, loss=1.0),
        event(2, Kind.FOLLOW, 2.0),
        event(2.5, Kind.JOIN, backwards=0),
        event(3, Kind.SPLIT, 3.0)._replace(training=1),
    ]
    steps = assembler.finished_steps(at(3), final=True)
    assert [(step.loss, step.end_ns, step.training, step.turns) for step in steps] == [
        (1.0, at(1), 0, 1),
        (2.0, at(2.5), 1, 1),
        (3.0, at(3), 1, 1),
    ]
    assert assembler.alternating_steps == 0


def test_a_skipped_split_still_separates_the_steps_before_it(events, assembler, device):
    device.landed[0] = 1.0
    skipped = event(3, Kind.SPLIT, 3.0, skipped=PendingScalar(0))
    events += [event(1, loss=1.0), event(2, Kind.FOLLOW, 2.0), skipped, event(4, loss=4.0)]
    assert losses(assembler.finished_steps(at(4), final=True)) == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("last", [Kind.OPEN, Kind.SPLIT])
def test_a_loss_passed_after_an_update_that_follows_replaces_the_loss(events, assembler, last):
    events += [
        event(1, loss=1.0),
        event(2, Kind.FOLLOW, 2.0),
        event(2, Kind.AMEND, 9.0, backwards=0),
        event(3, last, 3.0),
    ]
    found = losses(assembler.finished_steps(at(3), final=True))
    assert found == ([1.0, 9.0, 3.0] if last is Kind.SPLIT else [9.0, 3.0])


def test_a_step_that_another_optimizer_may_share_is_not_closed_early_before_it_is_known_to(events, assembler):
    events += [event(n, loss=float(n)) for n in range(5)]
    assert losses(assembler.finished_steps(at(4.1))) == [0.0, 1.0, 2.0, 3.0]
    events.append(event(4.2, Kind.FOLLOW, 5.0))
    assert assembler.finished_steps(at(9)) == []
    events.append(event(9, Kind.SPLIT, 6.0))
    assert losses(assembler.finished_steps(at(9), final=True)) == [4.0, 5.0, 6.0]


def test_the_first_step_of_the_next_training_is_kept_after_a_pause(events, assembler):
    """The step before it was closed early, so that it can be shared no more."""
    events += [event(n, loss=float(n)) for n in range(4)]
    assert losses(assembler.finished_steps(at(4))) == [0.0, 1.0, 2.0, 3.0]
    events += [event(5, Kind.FOLLOW, 5.0), event(6, Kind.SPLIT, 6.0)._replace(training=1)]
    steps = assembler.finished_steps(at(6), final=True)
    assert [(step.loss, step.training) for step in steps] == [(5.0, 1), (6.0, 1)]


# -- losses on their way from a device -----------------------------------------------------------------------------


def test_loss_on_its_way_delays_later_steps(events, assembler, device):
    events += [event(1, slots=[0]), event(2, loss=2.0), event(3, loss=3.0)]
    assert assembler.finished_steps(at(4)) == []
    assert not assembler.is_quiet
    device.landed[0] = 1.0
    assert losses(assembler.finished_steps(at(4))) == [1.0, 2.0]


def test_several_losses_of_a_step_are_summed(events, assembler, device):
    device.landed.update({0: 1.0, 1: 2.0})
    events.append(event(1, loss=4.0, slots=[0, 1, 0]))
    assert losses(assembler.finished_steps(at(1), final=True)) == [8.0]


def test_steps_of_several_optimizers_with_backward_passes_are_counted(events, assembler):
    """An update without a backward pass of its own, as of a second group of parameters, takes no turn."""
    events += [event(1), event(1.1, Kind.JOIN), event(2), event(2.1, Kind.JOIN, backwards=0), event(3)]
    assembler.finished_steps(at(4), final=True)
    assert assembler.alternating_steps == 1


def test_update_with_an_earlier_backward_pass_of_its_own_takes_a_turn(events, assembler):
    events += [event(1, backwards=2), event(1.1, Kind.TURN, backwards=0), event(2)]
    (step, _) = assembler.finished_steps(at(4), final=True)
    assert step.backwards == 2
    assert assembler.alternating_steps == 1


def test_first_update_of_the_next_training_takes_no_turn(events, assembler):
    events += [event(1), event(1.1, Kind.JOIN), event(2)._replace(training=1)]
    steps = assembler.finished_steps(at(4), final=True)
    assert [step.training for step in steps] == [0, 1]
    assert assembler.alternating_steps == 0


def test_nan_loss_has_arrived(events, assembler, device):
    device.landed[0] = math.nan
    events.append(event(1, slots=[0]))
    assert math.isnan(assembler.finished_steps(at(1), final=True)[0].loss)


@pytest.mark.parametrize("given_up", ["after five seconds", "at the end"])
def test_loss_that_does_not_arrive_is_not_measured(events, assembler, device, given_up):
    device.landed[1] = 1.0
    events += [event(1, slots=[0, 1], loss=1.0), event(2, loss=2.0)]
    assert assembler.finished_steps(at(6)) == []
    steps = (
        assembler.finished_steps(at(6), final=True)
        if given_up == "at the end"
        else assembler.finished_steps(at(6.1))
    )
    assert losses(steps)[0] is None
    assert assembler.lost_losses == 1


@pytest.mark.parametrize("others", [{}, {1: 1.0}])
def test_lost_loss_is_not_awaited(events, assembler, device, others):
    device.landed |= {0: EXPIRED, 1: 1.0}
    events += [event(1, slots=[0, *others]), event(2, loss=2.0)]
    assert losses(assembler.finished_steps(at(2))) == [None]
    assert list(assembler.findings()) == [], "how many there are is known at the end"
    assert losses(assembler.finished_steps(at(2), final=True)) == [2.0]
    (warning,) = assembler.findings()
    assert warning.startswith("1 losses were not read from their device in time")


def test_step_is_kept_without_a_lost_rate_or_flag(events, assembler, device):
    device.landed |= {0: EXPIRED, 1: EXPIRED}
    events.append(event(1, loss=1.0, rate=PendingScalar(0), skipped=PendingScalar(1)))
    (step,) = assembler.finished_steps(at(1), final=True)
    assert (step.loss, step.learning_rate) == (1.0, None)
    assert not list(assembler.findings())


def test_learning_rate_on_its_way_is_awaited(events, assembler, device):
    events.append(event(1, loss=1.0, rate=PendingScalar(7)))
    assert assembler.finished_steps(at(2), final=False) == []
    device.landed[7] = 0.25
    (step,) = assembler.finished_steps(at(2), final=True)
    assert step.learning_rate == 0.25


def test_learning_rate_that_does_not_arrive_is_unknown(events, assembler):
    events.append(event(1, loss=1.0, rate=PendingScalar(7)))
    (step,) = assembler.finished_steps(at(9), final=True)
    assert (step.loss, step.learning_rate) == (1.0, None)


@pytest.mark.parametrize(("flag", "steps"), [(0.0, 3), (1.0, 2)])
def test_skipped_update_is_no_step(events, assembler, device, flag, steps):
    events += [event(1, loss=1.0), event(2, loss=2.0, skipped=PendingScalar(3)), event(3, loss=3.0)]
    assert assembler.finished_steps(at(4)) == []
    device.landed[3] = flag
    assert len(assembler.finished_steps(at(4), final=True)) == steps


def test_step_is_kept_if_its_flag_does_not_arrive(events, assembler):
    events.append(event(1, loss=1.0, skipped=PendingScalar(3)))
    assert losses(assembler.finished_steps(at(9), final=True)) == [1.0]


# -- ends on a device that runs behind the host --------------------------------------------------------------------


def test_step_ends_when_the_device_ends_it(events, assembler, device):
    events.append(event(1, loss=1.0, stamp=EventId(3)))
    assert assembler.finished_steps(at(2)) == []
    device.landed[3] = at(1.5)
    (step,) = assembler.finished_steps(at(2), final=True)
    assert (step.end_ns, step.host_end_ns) == (at(1.5), at(1))
    assert (step.first_backward_ns, step.ready_ns) == (at(1.5) - 100, at(1.5) - 150)


def test_steps_without_a_stamp_keep_the_last_lag(events, assembler, device):
    device.landed[0] = at(1.5)
    events += [event(1, stamp=EventId(0)), event(1.1), event(1.2)]
    assert [step.end_ns for step in assembler.finished_steps(at(9), final=True)] == [
        at(1.5),
        at(1.6),
        at(1.7),
    ]


@pytest.mark.parametrize("lag", [-0.2, 0.0])
def test_device_is_never_ahead_of_the_host(events, assembler, device, lag):
    device.landed[0] = at(1 + lag)
    events.append(event(1, stamp=EventId(0)))
    assert assembler.finished_steps(at(2), final=True)[0].end_ns == at(1)


def test_stamp_that_does_not_arrive_keeps_the_last_lag(events, assembler, device):
    device.landed[0] = at(1.5)
    events += [event(1, stamp=EventId(0)), event(2, stamp=EventId(1)), event(3)]
    assert [step.end_ns for step in assembler.finished_steps(at(7.5))] == [at(1.5), at(2.5)]


def test_no_step_ends_after_the_recording(events, assembler, device):
    device.landed[0] = at(9)
    events.append(event(1, stamp=EventId(0)))
    assert assembler.finished_steps(at(2), final=True)[0].end_ns == at(2)


def test_joined_updates_lag_too(events, assembler, device):
    device.landed.update({0: at(1.5), 1: at(2.25)})
    events += [event(1, stamp=EventId(0)), event(2, Kind.JOIN, stamp=EventId(1))]
    (step,) = assembler.finished_steps(at(3), final=True)
    assert (step.end_ns, step.host_end_ns, step.data_ns) == (at(2.25), at(2), 10)
    assert step.inner_forward_ns == 50, "from the second batch to the second backward pass"


def test_evaluations_are_queued(events, assembler):
    events += [event(1), event(2, Kind.EVALUATE), event(3, Kind.TRAIN), event(4)]
    assert len(assembler.finished_steps(at(5), final=True)) == 2
    assert list(assembler.evaluations) == [(at(2), True), (at(3), False)]


# -- in general ----------------------------------------------------------------------------------------------------


def steps_of(updates):
    count, follows = 0, False
    for kind in updates:
        if kind in (Kind.OPEN, Kind.SPLIT):
            count += 1 + (kind is Kind.SPLIT and follows)
            follows = False
        elif count == 0:
            count = 1
        else:
            follows |= kind is Kind.FOLLOW
    return count


@given(
    kinds=st.lists(st.sampled_from(list(Kind)), max_size=60),
    drains=st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_number_of_steps_does_not_depend_on_the_drains(kinds, drains):
    """Times are close together, so that nothing is finished early."""
    events = deque()
    assembler = StepAssembler(events, Device(), START)
    steps = []
    for n, (kind, drain) in enumerate(zip(kinds, drains, strict=False)):
        events.append(event(n / 1000, kind, 1.0))
        if drain:
            steps += assembler.finished_steps(at(n / 1000))
    steps += assembler.finished_steps(at(1), final=True)
    updates = [kind for kind in kinds if kind not in (Kind.EVALUATE, Kind.TRAIN)]
    assert len(assembler.evaluations) == len(kinds) - len(updates)
    assert len(steps) == steps_of(updates)
    assert [step.end_ns for step in steps] == sorted(step.end_ns for step in steps)
