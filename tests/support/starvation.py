"""Recording on a fake clock with times in which no Python code runs: a held GIL, or a stopped process."""

from dataclasses import dataclass, field, replace

from profiler.recording.sampler import GuardedSensor, Sampler
from profiler.recording.warning_log import WarningLog
from profiler.storage.schema import SAMPLES, SPANS, STEPS
from profiler.testing.clock import FakeClock
from profiler.testing.replay import ReplaySensor, ScriptedMeter
from profiler.torch_hooks.events import Kind, StepEvent
from profiler.units import NANOSECONDS_PER_SECOND as SECOND
from tests.support.pipelines import build_pipeline, rows_of


class RowStore:
    """Writer that keeps rows in memory."""

    def __init__(self):
        self.rows = {table.filename: [] for table in (STEPS, SPANS, SAMPLES)}

    def append(self, table, row):
        self.rows[table.filename].append(row)

    def append_columns(self, table, columns):
        self.rows[table.filename] += rows_of(columns)

    def flush(self):
        """Do nothing."""

    def when_written(self, action):
        action()


class HeldTimer:
    """Timer on a fake clock that jumps over the hold and stops the sampler at the end of the window.

    Args:
        clock: The clock.
        train: Called after each wait, to add the steps that ended meanwhile.
    """

    def __init__(self, clock, train):
        self.clock, self.train = clock, train
        self.hold = (0, 0)
        self.stop_ns = 0

    def now_ns(self):
        return self.clock.now_ns()

    def sleep(self, seconds):
        self._advance_to(self.clock.now_ns() + round(seconds * SECOND))

    def wait(self, seconds):
        self._advance_to(
            min(self.clock.now_ns() + round(seconds * SECOND), max(self.stop_ns, self.clock.now_ns()))
        )
        return self.clock.now_ns() >= self.stop_ns

    def _advance_to(self, time_ns):
        start, end = self.hold
        late = end if start <= time_ns < end else time_ns
        self.clock.advance((late - self.clock.now_ns()) / SECOND)
        self.train(self.clock.now_ns())

    def stop(self):
        """Do nothing: the end is scripted."""


@dataclass
class Outcome:
    """A recording beside the truth; energies in joules."""

    true_joules: float
    joules: float
    sigma: float
    steps: list
    warnings: list
    cost: object
    start_ns: int
    resume_ns: int
    true_between: object = field(repr=False)

    def true_step_joules(self, row):
        return self.true_between(self.start_ns + row.start_seconds, self.start_ns + row.end_seconds)


def record_with_hold(domain, waveform, *, hold, left, before=6.3, step=0.1, slow_read=False, trains=False):
    """Record steps with a hold of ``hold`` seconds in one of them, then ``left`` seconds until the end.

    With ``slow_read`` the hold begins while a sensor returns from its read instead of while the thread waits. With
    ``trains`` it affects only the sampler, and steps go on.
    """
    clock = FakeClock()
    sensor = ReplaySensor([ScriptedMeter(domain=domain, waveform=waveform)], clock=clock)
    origin_ns = clock.now_ns()
    store, log = RowStore(), WarningLog(lambda _: None)
    pipeline, inbox, *_ = build_pipeline([domain], store)
    ends = []

    def train(now_ns):
        while ends and ends[0] <= now_ns:
            end = ends.pop(0)
            inbox.events.append(StepEvent(Kind.OPEN, end, 1.0, (), 1, end - 10, 5, 5, 0.1, None))

    timer = HeldTimer(clock, train)
    guarded = SlowSensor(sensor, timer) if slow_read else sensor
    sampler = Sampler([GuardedSensor(guarded, log)], pipeline, timer=timer)
    sampler.pre_roll()
    start_ns = clock.now_ns()
    pipeline.begin(start_ns)
    hold_ns = start_ns + round(before * SECOND)
    resume_ns = hold_ns + round(hold * SECOND)
    end_ns = resume_ns + round(left * SECOND)
    now = start_ns
    while (now := now + round(step * SECOND)) <= end_ns:
        if trains or not hold_ns <= now < resume_ns:
            ends.append(now)
    timer.hold, timer.stop_ns = (hold_ns, resume_ns), end_ns
    for now_ns in sampler.drain_times():
        pipeline.drain(now_ns)
    clock.advance(max(end_ns - clock.now_ns(), 0) / SECOND)
    train(end_ns)
    pipeline.meters.close(end_ns)
    sampler.settle(end_ns)
    pipeline.finish(end_ns)

    def true_between(start, end):
        return waveform.joules((end - origin_ns) / SECOND) - waveform.joules((start - origin_ns) / SECOND)

    totals = pipeline.totals
    return Outcome(
        true_joules=true_between(start_ns, end_ns),
        joules=(totals.step_microjoules + totals.span_microjoules) / 1e6,
        sigma=pipeline.edge_joules,
        steps=store.rows[STEPS.filename],
        warnings=list(sampler.findings()),
        cost=sampler.cost,
        start_ns=start_ns,
        resume_ns=resume_ns,
        true_between=true_between,
    )


class SlowSensor:
    """Sensor whose value is read before the hold and returned after it, stamped with the middle of the read."""

    def __init__(self, sensor, timer):
        self._sensor, self._timer = sensor, timer
        self.domains = sensor.domains
        self._is_done = False

    def read(self):
        readings = self._sensor.read()
        start, end = self._timer.hold
        now = self._timer.now_ns()
        if not self._is_done and start and start - SECOND // 10 <= now < start:
            self._is_done = True
            self._timer.clock.advance((end - now) / SECOND)
            self._timer.train(end)
            readings = [_at(reading, (now + end) // 2) for reading in readings]
        return readings

    def close(self):
        self._sensor.close()


def _at(reading, time_ns):
    return replace(reading, time_ns=time_ns)
