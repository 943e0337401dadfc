"""Sampler: order and batches of readings, times of drains."""

import itertools
import math
import threading
import time
from types import SimpleNamespace

import pytest

from profiler import EnergyProfiler
from profiler.errors import SensorError
from profiler.recording.sampler import BATCH, GuardedSensor, Sampler, Timer
from profiler.recording.sampling_interval import SamplingInterval
from profiler.recording.session import Session
from profiler.recording.warning_log import WarningLog
from profiler.records import Domain, Provenance, Reading
from profiler.storage.writer import BackgroundWriter

COUNTER = Domain(name="gpu:0", source="test", provenance=Provenance.COUNTER)
MODELLED = Domain(name="cpu:package-0", source="test", provenance=Provenance.MODELLED)
SMOOTH = Domain(
    name="cpu:package-0", source="test", provenance=Provenance.COUNTER, update_period_seconds=0.001
)
BUFFERED = Domain(name="gpu:0", source="test", provenance=Provenance.INTEGRATED, buffered_seconds=2.4)
MILLISECOND = 1_000_000


class Counting:
    """A sensor with numbered readings that sets an event after a number of reads."""

    def __init__(self, *domains, enough=40):
        self.domains = domains
        self.reads = 0
        self.enough, self._limit = threading.Event(), enough

    def read(self):
        self.reads += 1
        if self.reads >= self._limit:
            self.enough.set()
        return [Reading(domain=domain.name, time_ns=self.reads, energy_joules=1.0) for domain in self.domains]

    def close(self):
        pass


class TickingTimer(Timer):
    """Timer whose clock advances by one tick per reading of the time."""

    def __init__(self, tick):
        super().__init__()
        self._times = itertools.count(0, tick)

    def now_ns(self):
        return next(self._times)


class PipelineStub:
    """Records the readings and drains of a sampler."""

    def __init__(self, *, is_full=False):
        self.meters = self
        self.is_full = is_full
        self.batches, self.order = [], []

    def add(self, readings):
        self.batches.append([reading.time_ns for reading in readings])
        self.order.append("readings")

    def polling_periods(self):
        return []


class FailingPipeline(PipelineStub):
    def add(self, readings):
        raise ZeroDivisionError


class Ran:
    """A sampler that ran on a scripted clock until the sensor was read often enough."""

    def __init__(self, pipeline=None, *, tick=MILLISECOND):
        self.sensor = Counting(COUNTER)
        self.pipeline = pipeline or PipelineStub()
        self.drains, self.errors = [], []
        sampler = Sampler(
            [GuardedSensor(self.sensor, WarningLog(pytest.fail))],
            self.pipeline,
            SamplingInterval(0.001),
            timer=TickingTimer(tick),
        )
        thread = threading.Thread(target=self._record, args=[sampler])
        thread.start()
        assert self.sensor.enough.wait(30)
        self.ended = sampler.stop(thread)
        self.cost = sampler.cost

    def _record(self, sampler):
        try:
            for now_ns in sampler.drain_times():
                self.drains.append(now_ns)
                self.pipeline.order.append("drain")
        except ZeroDivisionError as error:
            self.errors.append(error)
            self.sensor.enough.set()


def test_every_reading_arrives_in_order():
    ran = Ran()
    assert ran.ended
    assert list(itertools.chain(*ran.pipeline.batches)) == list(range(1, ran.sensor.reads + 1))


@pytest.mark.slow
def test_readings_are_handed_over_in_batches():
    ran = Ran(tick=1)
    assert len(ran.drains) == 1
    assert [len(batch) for batch in ran.pipeline.batches[1:-1]] == [BATCH] * (len(ran.pipeline.batches) - 2)


def test_drains_follow_twice_per_second_after_the_readings_before_them():
    ran = Ran(tick=20 * MILLISECOND)
    intervals = [after - before for before, after in itertools.pairwise(ran.drains)]
    assert intervals
    assert all(500 * MILLISECOND <= interval <= 700 * MILLISECOND for interval in intervals)
    order = ran.pipeline.order
    assert all(order[index - 1] == "readings" for index, what in enumerate(order) if what == "drain")


def test_full_queue_is_drained_at_once():
    ran = Ran(PipelineStub(is_full=True))
    assert len(ran.drains) >= ran.sensor.reads - 1


def test_error_of_the_pipeline_ends_the_loop():
    ran = Ran(FailingPipeline())
    assert len(ran.errors) == 1
    assert ran.ended


def test_cost_of_the_thread_is_measured():
    ran = Ran(tick=20 * MILLISECOND)
    assert ran.cost.samples == ran.sensor.reads
    assert ran.cost.cpu_seconds > 0


@pytest.mark.parametrize(
    ("domains", "rest_ns"),
    [
        ([COUNTER], 0),
        ([SMOOTH], 90 * MILLISECOND),
        ([MODELLED], 220 * MILLISECOND),
        ([BUFFERED], 220 * MILLISECOND),
        ([MODELLED, SMOOTH], 90 * MILLISECOND),
        ([BUFFERED, COUNTER], 0),
    ],
)
def test_sensor_that_gains_nothing_by_frequent_reads_rests(domains, rest_ns):
    sensor = Counting(*domains)
    guarded = GuardedSensor(sensor, WarningLog(pytest.fail))
    guarded.read(0, may_rest=True)
    guarded.read(max(rest_ns - 1, 0), may_rest=True)
    assert sensor.reads == (1 if rest_ns else 2)
    guarded.read(rest_ns, may_rest=True)
    assert sensor.reads == (2 if rest_ns else 3)
    guarded.read(rest_ns)
    assert sensor.reads == (3 if rest_ns else 4)


def test_failures_of_a_sensor_are_one_warning_with_their_number():
    class Failing(Counting):
        def read(self):
            self.reads += 1
            raise SensorError(f"call {self.reads} failed")

    emitted = []
    log = WarningLog(emitted.append)
    sensor = GuardedSensor(Failing(COUNTER), log)
    for n in range(5):
        assert sensor.read(n) == ()
    assert emitted == [
        "reading gpu:0 failed (call 1 failed); such gaps are bridged at the neighbouring power"
    ]
    (line,) = log.lines
    assert "(call 5 failed)" in line
    assert "[5 times in " in line
    assert sensor.failed_reads == 5


class Recovering(Counting):
    """A sensor whose first reads fail."""

    def __init__(self, failures):
        super().__init__(COUNTER)
        self._failures = failures

    def read(self):
        readings = super().read()
        if self.reads <= self._failures:
            raise SensorError("bus error")
        return readings


class Unsettled(PipelineStub):
    """The meters have settled after a reading."""

    def have_settled(self, _end_ns):
        return any(self.batches)


@pytest.mark.parametrize(
    ("failures", "tick", "is_read"),
    [
        (0, 100 * MILLISECOND, True),
        (3, 100 * MILLISECOND, True),  # beyond the 0.3 s of a sensor that has not failed
        (3, 600 * MILLISECOND, False),  # beyond 1 s
        (1_000, MILLISECOND, False),
    ],
)
def test_sensor_that_has_just_failed_is_retried_after_the_window(failures, tick, is_read):
    sensor, pipeline = Recovering(failures), Unsettled()
    sampler = Sampler(
        [GuardedSensor(sensor, WarningLog(lambda _: None))],
        pipeline,
        SamplingInterval(0.001),
        timer=TickingTimer(tick),
    )
    assert sampler.settle(0)
    assert any(pipeline.batches) is is_read
    assert sensor.reads <= 200


class HeldTimer(TickingTimer):
    """Timer whose clock can jump, as if native code had held the GIL."""

    held_ns = 0

    def now_ns(self):
        return super().now_ns() + self.held_ns


class FailingAfterHold(Counting):
    """A sensor that is held up for five seconds in a read, and fails in the next two."""

    HELD = 700

    def __init__(self, timer):
        super().__init__(COUNTER, enough=self.HELD + 40)
        self._timer = timer

    def read(self):
        readings = super().read()
        if self.reads == self.HELD:
            self._timer.held_ns = 5_000 * MILLISECOND
        if self.HELD < self.reads <= self.HELD + 2:
            raise SensorError("bus error")
        return readings


def test_drain_after_a_delay_waits_for_a_sensor_that_fails():
    timer = HeldTimer(MILLISECOND)
    sensor, pipeline = FailingAfterHold(timer), PipelineStub()
    sampler = Sampler(
        [GuardedSensor(sensor, WarningLog(lambda _: None))], pipeline, SamplingInterval(0.001), timer=timer
    )
    latest = []

    def record():
        latest.extend((now_ns, max(itertools.chain(*pipeline.batches))) for now_ns in sampler.drain_times())

    thread = threading.Thread(target=record)
    thread.start()
    assert sensor.enough.wait(30)
    assert sampler.stop(thread)
    after = [reading for now_ns, reading in latest if now_ns > timer.held_ns]
    assert after
    assert after[0] > sensor.HELD + 2


class Faulty(Counting):
    """A sensor whose second read, or whose warnings, violate the interface."""

    def __init__(self, second=None, warnings=()):
        super().__init__(COUNTER)
        self._second, self._own_warnings = second, warnings

    def read(self):
        readings = super().read()
        return self._second() if self._second is not None and self.reads == 2 else readings

    @property
    def warnings(self):
        return self._own_warnings()


def raising():
    yield from ()
    raise OSError("unplugged")


@pytest.mark.parametrize(
    "second", [lambda: None, raising, lambda: [100.0], lambda: [Reading(domain="gpu:0", time_ns="1")]]
)
def test_read_that_violates_the_interface_is_one_failure(second):
    emitted = []
    sensor = GuardedSensor(Faulty(second), WarningLog(emitted.append))
    assert [len(sensor.read(n)) for n in range(3)] == [1, 0, 1]
    assert len(emitted) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"power_watts": math.nan},
        {"power_watts": math.inf},
        {"power_watts": -1.0},
        {"energy_joules": math.nan},
    ],
)
def test_values_that_cannot_be_counted_are_ignored_with_one_warning(values):
    emitted = []
    readings = [
        Reading(domain="gpu:0", time_ns=1, **values),
        Reading(domain="gpu:0", time_ns=2, power_watts=5.0),
    ]
    sensor = GuardedSensor(
        SimpleNamespace(domains=(COUNTER,), read=lambda: readings), WarningLog(emitted.append)
    )
    assert [reading.time_ns for n in range(3) for reading in sensor.read(n)] == [2, 2, 2]
    (message,) = emitted
    assert "gpu:0" in message


@pytest.mark.parametrize("warnings", [lambda: None, raising])
def test_warnings_of_a_sensor_that_cannot_be_read_are_a_warning(warnings):
    sensor = GuardedSensor(Faulty(warnings=warnings), WarningLog(pytest.fail))
    (message,) = sensor.findings()
    assert "cannot be read" in message


def test_sensors_are_read_again_after_a_slow_disk_delayed_the_start(tmp_path, monkeypatch):
    order, open_files = [], BackgroundWriter.open

    class Noting(Counting):
        def read(self):
            order.append("read")
            return super().read()

    def slow_open(writer, meta):
        open_files(writer, meta)
        time.sleep(0.06)
        order.append("open")

    def begin(session):
        order.append("begin")
        return begin_window(session)

    begin_window = Session.begin
    monkeypatch.setattr(BackgroundWriter, "open", slow_open)
    monkeypatch.setattr(Session, "begin", begin)
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[Noting(COUNTER)]):
        pass
    assert "read" in order[order.index("open") : order.index("begin")]
