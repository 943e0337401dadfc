"""The sampler's thread: every reading arrives in order, some at a time, and what waits is drained."""

import itertools
import threading

import pytest

from profiler.recording.sampler import BATCH, GuardedSensor, Sampler
from profiler.recording.sampling_interval import Pace
from profiler.records import Domain, Provenance, Reading

COUNTER = Domain(name="gpu:0", source="test", provenance=Provenance.COUNTER)
MODELLED = Domain(name="cpu:package-0", source="test", provenance=Provenance.MODELLED)
SMOOTH = Domain(
    name="cpu:package-0", source="test", provenance=Provenance.COUNTER, update_period_seconds=0.001
)
REMEMBERING = Domain(name="gpu:0", source="test", provenance=Provenance.INTEGRATED, buffered_seconds=2.4)
MILLISECOND = 1_000_000


class Counting:
    """A sensor whose readings are numbered, and which tells when it was read so often."""

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


class Ran:
    """A sampler that ran on a clock of its own until the sensor was read often enough."""

    def __init__(self, *, is_full=bool, on_readings=None, tick=MILLISECOND):
        self.sensor = Counting(COUNTER)
        self.batches, self.drains, self.crashes = [], [], []
        self.order = []
        clock = itertools.count(0, tick)
        sampler = Sampler(
            [GuardedSensor(self.sensor, pytest.fail)],
            on_readings=on_readings or self._take,
            has_moved=lambda: True, drain=self._drain, on_crash=self._crash, is_full=is_full,
            pace=Pace(0.001), clock=lambda: next(clock),
        )  # fmt: skip
        sampler.start()
        assert self.sensor.enough.wait(30)
        self.ended = sampler.stop()
        self.cost = sampler.cost

    def _take(self, readings):
        self.batches.append([reading.time_ns for reading in readings])
        self.order.append("readings")

    def _drain(self, now_ns):
        self.drains.append(now_ns)
        self.order.append("drain")

    def _crash(self, error):
        self.crashes.append(error)
        self.sensor.enough.set()


def test_every_reading_arrives_in_order_even_what_waited_at_the_end():
    ran = Ran()
    assert ran.ended
    assert list(itertools.chain(*ran.batches)) == list(range(1, ran.sensor.reads + 1))


def test_readings_are_taken_in_some_at_a_time():
    ran = Ran(tick=1)
    assert len(ran.drains) == 1
    assert [len(batch) for batch in ran.batches[1:-1]] == [BATCH] * (len(ran.batches) - 2)


def test_what_waits_is_drained_twice_a_second_after_the_readings_before_it():
    ran = Ran(tick=20 * MILLISECOND)
    apart = [after - before for before, after in itertools.pairwise(ran.drains)]
    assert apart
    assert all(500 * MILLISECOND <= gap <= 700 * MILLISECOND for gap in apart)
    assert all(ran.order[index - 1] == "readings" for index, what in enumerate(ran.order) if what == "drain")


def test_where_much_waits_it_is_drained_at_once():
    ran = Ran(is_full=lambda: True)
    assert len(ran.drains) >= ran.sensor.reads - 1


def test_a_thread_that_dies_is_heard_of():
    def fail(_):
        raise ZeroDivisionError

    ran = Ran(on_readings=fail)
    assert [type(error) for error in ran.crashes] == [ZeroDivisionError]
    assert ran.ended


def test_the_thread_knows_what_it_costs():
    ran = Ran(tick=20 * MILLISECOND)
    assert ran.cost.samples == ran.sensor.reads
    assert ran.cost.cpu_seconds > 0


@pytest.mark.parametrize(
    ("domains", "rest_ns"),
    [
        ([COUNTER], 0),
        ([SMOOTH], 90 * MILLISECOND),
        ([MODELLED], 220 * MILLISECOND),
        ([REMEMBERING], 220 * MILLISECOND),
        ([MODELLED, SMOOTH], 90 * MILLISECOND),
        ([REMEMBERING, COUNTER], 0),
    ],
)
def test_a_sensor_that_gains_nothing_by_it_is_left_alone_for_a_while(domains, rest_ns):
    sensor = Counting(*domains)
    guarded = GuardedSensor(sensor, pytest.fail)
    guarded.read(0, may_rest=True)
    guarded.read(max(rest_ns - 1, 0), may_rest=True)
    assert sensor.reads == (1 if rest_ns else 2)
    guarded.read(rest_ns, may_rest=True)
    assert sensor.reads == (2 if rest_ns else 3)
    guarded.read(rest_ns)
    assert sensor.reads == (3 if rest_ns else 4)
