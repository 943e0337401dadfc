"""The one background thread: reads the sensors on a steady beat and drains what the training thread left."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from profiler._compat import BackgroundCall
from profiler.errors import SensorError
from profiler.recording.counter_monitor import SHORTEST_PERIOD_SECONDS
from profiler.recording.sampling_interval import Pace
from profiler.records import Domain, Provenance, Reading
from profiler.sensors.base import Sensor
from profiler.units import NANOSECONDS_PER_SECOND

_PRE_ROLL_PERIOD_SECONDS = 0.005
_PRE_ROLL_SECONDS = 0.15
_SETTLE_SECONDS = 0.3
DRAIN_SECONDS = 0.5
"""Between two drains: a killed process loses what came since the last, and what its counters had not shown by then."""
BATCH = 8
"""Readings that are taken in together: an idle processor's caches are cold, so that one alone costs as much as five."""
_REMEMBERED_READS = 16
_SMOOTHING = 0.25
_REST_NS = NANOSECONDS_PER_SECOND * 9 // 100
"""Just under the longest default period, whose dither may make it shorter."""
_LONG_REST_NS = NANOSECONDS_PER_SECOND * 22 // 100
_HANG_SECONDS = 2.0
"""A sensor that has not answered for this long hangs: neither the start nor the end of the training waits for it."""

_QUIET_FAILURES = 10
"""After this many failures in a row a sensor is tried once a second instead of on every beat."""


@dataclass(slots=True, kw_only=True)
class Cost:
    """What the thread itself has used."""

    cpu_seconds: float = 0.0
    samples: int = 0
    longest_read_seconds: float = 0.0


def _rest_ns(domain: Domain) -> int:
    """For how long a domain may be left alone: one that remembers what it measured loses nothing by it."""
    if domain.provenance is Provenance.MODELLED or domain.buffered_seconds:
        return _LONG_REST_NS
    stated = domain.update_period_seconds
    return _REST_NS if stated is not None and stated < SHORTEST_PERIOD_SECONDS else 0


class GuardedSensor:
    """A sensor whose failures are counted and reported once, and never raised."""

    def __init__(self, sensor: Sensor, notice: Callable[[str], None]) -> None:
        self._sensor = sensor
        self._notice = notice
        self._failures = 0
        self._retry_ns = 0
        self._rested_ns = 0
        self._rest_ns = min(map(_rest_ns, sensor.domains), default=0)
        self.failed_reads = 0

    def read(self, now_ns: int, *, may_rest: bool = False) -> Sequence[Reading]:
        """Read the sensor; nothing when it fails, which is a gap.

        Args:
            now_ns: The time.
            may_rest: Whether a sensor whose values say no more when they are read often is left alone for a while.
        """
        if now_ns < self._retry_ns or (may_rest and now_ns < self._rested_ns):
            return ()
        self._rested_ns = now_ns + self._rest_ns
        try:
            readings = self._sensor.read()
        except Exception as error:  # noqa: BLE001 - a sensor's fault is a gap in the numbers, not the training's end
            self._fail(error, now_ns)
            return ()
        self._failures = 0
        return readings

    def _fail(self, error: Exception, now_ns: int) -> None:
        self._failures += 1
        self.failed_reads += 1
        if self._failures >= _QUIET_FAILURES:
            self._retry_ns = now_ns + NANOSECONDS_PER_SECOND
        if self.failed_reads == 1:
            names = ", ".join(domain.name for domain in self._sensor.domains)
            what = str(error) if isinstance(error, SensorError) else f"{type(error).__name__}: {error}"
            self._notice(f"reading {names} failed ({what}); such gaps are bridged at the neighbouring power")

    def close(self) -> None:
        """Release the sensor."""
        try:
            self._sensor.close()
        except Exception as error:  # noqa: BLE001 - nothing depends on it any more
            self._notice(f"closing a sensor failed ({type(error).__name__}: {error})")


class Sampler:
    """Reads the sensors on every beat and drains what waits twice a second, on a daemon thread.

    Args:
        sensors: What to read.
        on_readings: Takes readings, some beats' at a time.
        has_moved: Whether every domain has been seen to change.
        drain: Called with the time now, twice a second.
        is_full: Whether so much waits that the next drain must not.
        on_crash: Called with the error if the thread ends by one.
        periods: How often each sensor renews its value, in seconds, as far as it is known.
        pace: Chooses the time between beats.
        clock: Monotonic nanoseconds.
    """

    def __init__(
        self,
        sensors: Sequence[GuardedSensor],
        *,
        on_readings: Callable[[Sequence[Reading]], None],
        has_moved: Callable[[], bool],
        drain: Callable[[int], None],
        on_crash: Callable[[BaseException], None],
        is_full: Callable[[], bool] = bool,
        periods: Callable[[], Iterable[float | None]] = tuple,
        pace: Pace | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._sensors = sensors
        self._on_readings = on_readings
        self._has_moved = has_moved
        self._drain = drain
        self._on_crash = on_crash
        self._is_full = is_full
        self._periods = periods
        self._pace = pace or Pace()
        self._spent: deque[float] = deque(maxlen=_REMEMBERED_READS)
        self._clock = clock
        self._pending: list[Reading] = []
        # A lock that is held until the end wakes a waiting thread at a third less than an Event.
        self._running = threading.Lock()
        self._running.acquire()
        self._thread: threading.Thread | None = None
        self._hanging: BackgroundCall[None] | None = None
        self._given_up = False
        self.cost = Cost()

    def pre_roll(self) -> None:
        """Read until every domain has moved once, or for 0.15 s: the window then begins at a known energy."""
        self._hanging = self._bounded(self._pre_roll)

    def _pre_roll(self) -> None:
        deadline = self._clock() + int(_PRE_ROLL_SECONDS * NANOSECONDS_PER_SECOND)
        self.beat()
        while not self._has_moved() and self._clock() < deadline:
            time.sleep(_PRE_ROLL_PERIOD_SECONDS)
            self.beat()

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="energy-profiler", daemon=True)
        self._thread.start()

    def stop(self) -> bool:
        """End the thread. Returns False when it does not end in time, because a sensor hangs."""
        if self._running.locked():
            self._running.release()
        if self._thread is not None:
            self._thread.join(_HANG_SECONDS)
            self._given_up = self._thread.is_alive()
        return not self._given_up

    def settle(self, has_settled: Callable[[], bool]) -> bool:
        """Read on for a moment after the window's end, until the counters have shown what they held then.

        Returns False when a sensor hangs.
        """
        self._given_up = self._bounded(lambda: self._settle(has_settled)) is not None
        return not self._given_up

    def _settle(self, has_settled: Callable[[], bool]) -> None:
        deadline = self._clock() + int(_SETTLE_SECONDS * NANOSECONDS_PER_SECOND)
        self.beat()
        while not has_settled() and self._clock() < deadline:
            time.sleep(_PRE_ROLL_PERIOD_SECONDS)
            self.beat()

    def beat(self) -> None:
        """Read every sensor once and hand the readings over."""
        self._read(may_rest=False)
        self._hand_over()

    def _read(self, *, may_rest: bool) -> None:
        """Read every sensor once; with ``may_rest`` those that gain nothing by it only now and then."""
        begun = now = self._clock()
        for sensor in self._sensors:
            self._pending += sensor.read(now, may_rest=may_rest)
            now = self._clock()
        spent = (now - begun) / NANOSECONDS_PER_SECOND
        self._spent.append(spent)
        self.cost.samples += 1
        self.cost.longest_read_seconds = max(self.cost.longest_read_seconds, spent)

    def _hand_over(self) -> None:
        pending, self._pending = self._pending, []
        if not self._given_up:
            self._on_readings(pending)

    @staticmethod
    def _bounded(work: Callable[[], None]) -> BackgroundCall[None] | None:
        """Do ``work``; returns it where it hangs. An error of it is raised here."""
        aside = BackgroundCall(work)
        if not aside.wait(_HANG_SECONDS):
            return aside
        aside.result()
        return None

    def _run(self) -> None:
        try:
            if self._hanging is not None:
                self._hanging.wait()
            self._loop()
        except Exception as error:  # noqa: BLE001 - a thread that dies must be heard of
            self._on_crash(error)

    def _loop(self) -> None:
        processor = _Processor(self.cost)
        due = drain_due = self._clock()
        stopped = False
        while not stopped:
            self._read(may_rest=self._pace.adapts)
            now = self._clock()
            if now >= drain_due or self._is_full():
                processor.beats_end(self.cost.samples)
                self._hand_over()
                if not self._given_up:
                    self._drain(now)
                drain_due = now + int(DRAIN_SECONDS * NANOSECONDS_PER_SECOND)
                processor.drain_ends()
            if len(self._pending) >= BATCH:
                self._hand_over()
            if not self._pending:
                # The shortest of the last reads: the others waited for the training, and cost it nothing.
                self._pace.adapt(self._periods(), min(self._spent), processor.beat_seconds)
            due = max(due + int(self._pace.next_seconds() * NANOSECONDS_PER_SECOND), now)
            stopped = self._running.acquire(timeout=max(due - self._clock(), 0) / NANOSECONDS_PER_SECOND)
        self._hand_over()


class _Processor:
    """Processor time of the thread that makes it, in all and for one beat.

    Attributes:
        beat_seconds: What a beat costs, its waking up included and drains left out.
    """

    __slots__ = ("_beats", "_cost", "_started", "_then", "beat_seconds")

    def __init__(self, cost: Cost) -> None:
        self._cost = cost
        self._started = self._then = time.thread_time()
        self._beats = cost.samples
        self.beat_seconds = 0.0

    def beats_end(self, beats: int) -> None:
        """Before a drain: so many beats were made by now."""
        each = (time.thread_time() - self._then) / max(beats - self._beats, 1)
        self._beats = beats
        self.beat_seconds += (_SMOOTHING if self.beat_seconds else 1.0) * (each - self.beat_seconds)

    def drain_ends(self) -> None:
        """After a drain."""
        self._then = time.thread_time()
        self._cost.cpu_seconds = self._then - self._started
