"""End times of updates on an asynchronous device: the mapping of clocks, and the events."""

import random
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.torch_hooks.clock_sync import DeviceClock
from profiler.torch_hooks.cuda_events import _MAX_WAITING, DeviceEvents  # to exceed the bound
from profiler.torch_hooks.manager import hook_manager
from tests.support.fake_cuda import SECOND, FakeCuda, FakeFlags
from tests.support.training_loops import STEPS, loss_of, network, sgd

MILLISECOND = SECOND // 1000


@given(
    offset=st.integers(-(10**15), 10**15),
    events=st.lists(
        st.tuples(st.integers(1, 10**9), st.integers(0, 10**8), st.integers(0, 10**8)), min_size=1
    ),
)
@settings(deadline=None)
def test_without_drift_the_error_is_within_the_half_width(offset, events):
    """For any delay of the observation, and any time of the last one before it."""
    clock, device = DeviceClock(), 0
    for between, early, late in events:
        device += between
        host = device + offset
        clock.observe(device, incomplete_ns=host - early, complete_ns=host + late)
        assert abs(clock.host_ns(device) - host) <= clock.half_width_ns + 1


@pytest.mark.slow
@given(seed=st.integers(0, 1000), drift=st.floats(-2e-5, 2e-5), step=st.floats(0.02, 0.6))
@settings(max_examples=40, deadline=None)
def test_under_drift_and_jitter_ten_minutes_stay_within_two_milliseconds(seed, drift, step):
    """Polls every 20 ms on average, at random moments of a step; clocks that drift by 20 ppm."""
    chance = random.Random(seed)
    clock, worst = DeviceClock(), 0
    next_end, time, before = step, 0.0, 0.0
    while time < 600:
        time += chance.uniform(0.01, 0.03) + (0.2 if chance.random() < 0.01 else 0.0)
        while next_end <= time:
            device = round(next_end * (1 + drift) * SECOND)
            clock.observe(device, incomplete_ns=round(before * SECOND), complete_ns=round(time * SECOND))
            if time > 30:
                worst = max(worst, abs(clock.host_ns(device) - round(next_end * SECOND)))
            next_end += step * chance.uniform(0.9, 1.1)
        before = time
    assert worst < 2 * MILLISECOND


def test_observations_older_than_half_a_minute_are_ignored():
    clock = DeviceClock()
    clock.observe(0, incomplete_ns=0, complete_ns=0)
    assert (clock.host_ns(0), clock.half_width_ns) == (0, 0)
    for second in range(1, 40):
        moved = 5 * MILLISECOND
        clock.observe(second * SECOND - moved, incomplete_ns=second * SECOND, complete_ns=second * SECOND)
    assert clock.host_ns(40 * SECOND - moved) == 40 * SECOND


@pytest.fixture
def cuda():
    return FakeCuda()


@pytest.fixture
def device_events(cuda):
    return DeviceEvents(cuda, "cuda:0", FakeFlags(cuda), cuda.clock)


def train(cuda, device_events, *, steps, launch, work, polls=3, chance=None):
    """Run steps whose launch takes the host ``launch`` seconds and whose work takes the device ``work`` seconds.

    The host polls ``polls`` times per step. Return each event id with the true end of its step.
    """
    truth = []
    for _ in range(steps):
        for _ in range(polls):
            cuda.pass_time(launch / polls)
            device_events.poll_events()
        end = cuda.launch(work * (chance.uniform(0.5, 1.5) if chance else 1.0))
        truth.append((device_events.record_event(cuda.now_ns), end))
    return truth


def finish(cuda, device_events):
    cuda.pass_time(10)
    device_events.poll_events()


def errors(device_events, truth):
    return [abs(device_events.poll(event_id) - end) / MILLISECOND for event_id, end in truth]


def test_a_host_that_runs_ahead_does_not_shift_the_ends(cuda, device_events):
    """100 ms of work per step, launched in 10 ms: the queue grows to many seconds, and the ends are still right."""
    truth = train(cuda, device_events, steps=100, launch=0.01, work=0.1, polls=4)
    for _ in range(2000):
        cuda.pass_time(0.005)
        device_events.poll_events()
    assert max(errors(device_events, truth)) < 5


@pytest.mark.parametrize(("launch", "work"), [(0.1, 0.02), (0.05, 0.05), (0.03, 0.2)])
def test_ends_are_as_precise_as_the_polling(cuda, device_events, launch, work):
    truth = train(cuda, device_events, steps=300, launch=launch, work=work, chance=random.Random(0))
    for _ in range(round(900 * work / launch)):
        cuda.pass_time(launch / 3)
        device_events.poll_events()
    finish(cuda, device_events)
    assert sorted(errors(device_events, truth))[150] < 1000 * launch / 3


def test_the_recording_time_bounds_the_end_on_a_fast_device(cuda, device_events):
    """The host waits for each step and polls at the end of the next one: a whole step late."""
    truth = []
    for _ in range(50):
        cuda.pass_time(0.2)
        truth.append((device_events.record_event(cuda.now_ns), cuda.launch(0.0)))
    finish(cuda, device_events)
    assert max(errors(device_events, truth)) < 200 / 2 + 1


def test_another_thread_polls_flags_while_the_training_thread_waits(cuda, device_events):
    """The loss is read between backward pass and update, so the training thread waits when the update ends."""
    chance, truth = random.Random(0), []
    for _ in range(300):
        device_events.poll_events()
        waited_for = cuda.launch(0.2)
        while cuda.now_ns < waited_for:
            cuda.pass_time(chance.uniform(0.02, 0.06))
            device_events.poll_flags()
        end = cuda.launch(0.03)
        truth.append((device_events.record_event(cuda.now_ns), end))
    finish(cuda, device_events)
    assert max(errors(device_events, truth)[150:]) < 15


def test_an_hour_of_single_precision_differences_loses_no_millisecond(cuda, device_events):
    truth = train(cuda, device_events, steps=18_000, launch=0.2, work=0.05, polls=1)[-10:]
    finish(cuda, device_events)
    first, last = (device_events.poll(event_id) for event_id, _ in (truth[0], truth[-1]))
    assert last - first == pytest.approx(truth[-1][1] - truth[0][1], abs=0.1 * MILLISECOND)


def test_an_end_is_unknown_until_its_event_is_seen_complete(cuda, device_events):
    cuda.launch(1.0)
    event_id = device_events.record_event(cuda.now_ns)
    assert device_events.poll(event_id) is None
    device_events.poll_events()
    assert device_events.poll(event_id) is None
    cuda.pass_time(2.0)
    assert device_events.poll(event_id) is None, "polling from another thread must not query the device"
    device_events.poll_events()
    assert device_events.poll(event_id) is not None


def test_nothing_is_queried_or_recorded_during_a_capture(cuda, device_events):
    device_events.record_event(cuda.now_ns)
    cuda.pass_time(1.0)
    cuda.is_capturing = True
    device_events.poll_events()
    assert device_events.record_event(cuda.now_ns) is None
    cuda.is_capturing = False
    assert device_events.record_event(cuda.now_ns) is not None


def test_fast_steps_share_events_and_events_are_reused(cuda, device_events):
    found = [event_id for event_id, _ in train(cuda, device_events, steps=1000, launch=0.001, work=0.0005)]
    assert 150 < sum(event_id is not None for event_id in found) <= 200
    assert cuda.made <= 3


def test_the_queue_of_a_stuck_device_is_bounded(cuda, device_events):
    cuda.launch(1e6)
    marked = [device_events.record_event(cuda.now_ns + n * SECOND) for n in range(2 * _MAX_WAITING)]
    assert sum(event_id is not None for event_id in marked) == _MAX_WAITING


class Broken(FakeCuda):
    """A device that raises on every call."""

    def is_current_stream_capturing(self):
        raise RuntimeError("CUDA error: device-side assert triggered")


def with_device_events(cuda):
    """Give the calling thread's detector the events that an optimizer of CUDA parameters would."""
    hooks = hook_manager()
    detector = hooks.detectors.current()
    detector.use_device_events(DeviceEvents(cuda, "cuda:0", FakeFlags(cuda), cuda.clock))
    return hooks, detector


def test_steps_of_a_loop_end_when_the_device_is_done(record, cuda, monkeypatch):
    """The loop trains on the CPU; each update represents 50 ms of work of the device."""
    monkeypatch.setattr(hook_manager().context, "now", cuda.clock)
    model = network()
    optimizer = sgd(model)
    ends = []
    with record() as recording:
        _, detector = with_device_events(cuda)
        for _ in range(20):
            cuda.pass_time(0.01)
            loss_of(model).backward()
            ends.append(cuda.launch(0.05))
            optimizer.step()
        for _ in range(1000):
            cuda.pass_time(0.001)
            detector.poll_events()
    assert [step.end_ns for step in recording.steps] == pytest.approx(ends, abs=SECOND // 100)
    assert [step.host_end_ns for step in recording.steps] == [
        1_000 * SECOND + (n + 1) * SECOND // 100 for n in range(20)
    ]


def test_a_broken_device_does_not_stop_the_training(record):
    model = network()
    optimizer = sgd(model)
    truth = []
    with record() as recording:
        hooks, detector = with_device_events(Broken())
        for _ in range(STEPS):
            loss = loss_of(model)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            truth.append((pytest.approx(loss.item()), 1))
        assert not detector.has_device_events
        assert hooks.failure is None
    assert recording.truth == truth
    assert ["device's own times" in reason for reason in recording.warnings] == [True]


def test_polling_a_broken_device_drops_its_events(record):
    with record() as recording:
        hooks, detector = with_device_events(Broken())
        hooks.context.device_events._waiting.append(None)
        detector.poll_events()
        assert not detector.has_device_events
        assert detector.record_event(0) is None
        hooks.poll_flags()
        assert hooks.context.device_events is None
    assert recording.warnings


def test_an_update_inside_a_capture_warns_and_is_no_step(record, cuda):
    """It runs at each replay of the graph, which no hook sees."""
    model = network()
    optimizer = sgd(model)
    with record() as recording:
        with_device_events(cuda)
        loss_of(model).backward()
        optimizer.step()
        cuda.is_capturing = True
        for _ in range(2):
            loss_of(model).backward()
            optimizer.step()
        cuda.is_capturing = False
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
    assert len(recording.steps) == 2
    assert recording.truth[-1] == (pytest.approx(loss.item()), 1)
    assert ["after each replay" in reason for reason in recording.warnings] == [True]


def test_only_the_training_thread_queries_events(record, cuda):
    """The detector of another thread has no device events."""
    with record():
        hooks, _ = with_device_events(cuda)
        seen = []
        thread = threading.Thread(target=lambda: seen.append(hooks.detectors.current().has_device_events))
        thread.start()
        thread.join()
    assert seen == [False]


def test_an_optimizer_of_cuda_parameters_gets_device_events(record, monkeypatch):
    """The parameters are stubs with the device's name."""
    optimizer = sgd(network())
    with record() as recording:
        hooks = hook_manager()
        cuda = FakeCuda()
        monkeypatch.setattr(hooks.context, "cuda", cuda)
        monkeypatch.setattr(hooks.scalars, "flags", lambda device: FakeFlags(cuda))
        optimizer.param_groups[0]["params"] = [_OnCuda()]
        optimizer.step = lambda: None
        detector = hooks.detectors.current()
        detector.on_optimizer_step(optimizer, hooks.context.now())
        assert detector.has_device_events
        assert hooks.context.device_events is not None
        assert hooks.devices == ("cuda:0",)
    assert len(recording.steps) == 1


class _OnCuda:
    device = torch.device("cuda", 0)
    grad = None
