"""Sampler: reads the sensors at a regular interval and hands the readings to the pipeline."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from profiler._compat import BackgroundCall
from profiler.clock import Clock
from profiler.errors import SensorError
from profiler.recording.counter_monitor import SHORTEST_PERIOD_SECONDS
from profiler.recording.pipeline import Pipeline
from profiler.recording.sampling_interval import SamplingInterval
from profiler.recording.warning_log import WarningLog
from profiler.records import Domain, Provenance, Reading
from profiler.sensors.base import Sensor
from profiler.units import NANOSECONDS_PER_SECOND, format_seconds

_PRE_ROLL_PERIOD_SECONDS = 0.005
_PRE_ROLL_SECONDS = 0.15
_SETTLE_SECONDS, _RECOVER_SECONDS = 0.3, 1.0
"""Longest time after the window in which counters show their energy, and in which a sensor that failed is retried."""
DRAIN_SECONDS = 0.5
"""Time between drains: a killed process loses its steps since the last drain, and energy not yet shown by then."""
BATCH = 8
"""Readings processed together: with the cold caches of an idle processor one alone costs as much as five."""
_REMEMBERED_READS = 16
_SHORTEST_INTERVAL_SECONDS = 0.005
_SMOOTHING = 0.25
_REST_NS = NANOSECONDS_PER_SECOND * 9 // 100
"""Just under the longest default interval, which dither may shorten."""
_LONG_REST_NS = NANOSECONDS_PER_SECOND * 22 // 100
_DELAY_SECONDS = 0.5
"""Delay of a poll from which on the drain waits for the next poll."""
_RETRY_SECONDS = 0.02
_LATE_SECONDS = 0.1
"""Delay from which a poll counts as late."""
_REPORTED_SECONDS = 1.0
"""Delay from which a warning is reported."""
_HANG_SECONDS = 2.0
"""Time after which a sensor that does not return hangs; neither start nor end of the training waits longer."""
_QUIET_FAILURES = 10
"""Successive failures after which a sensor is retried once per second instead of on every poll."""


@dataclass(slots=True, kw_only=True)
class SamplerCost:
    """Cost of the recorder's thread.

    Attributes:
        cpu_seconds: Processor time.
        samples: Number of polls.
        longest_read_seconds: Longest time that reading all sensors took.
        late_samples: Number of polls that were delayed by more than 0.1 s and more than the interval between polls.
        missed_samples: Number of polls that were omitted during such delays.
        delayed_seconds: Sum of such delays.
        longest_delay_seconds: Longest of such delays.
    """

    cpu_seconds: float = 0.0
    samples: int = 0
    longest_read_seconds: float = 0.0
    late_samples: int = 0
    missed_samples: int = 0
    delayed_seconds: float = 0.0
    longest_delay_seconds: float = 0.0

    def add_delay(self, seconds: float, interval_seconds: float) -> None:
        """Count the delay of a poll, if it is long enough to have omitted others."""
        if seconds <= max(_LATE_SECONDS, interval_seconds):
            return
        self.late_samples += 1
        self.missed_samples += int(seconds / max(interval_seconds, _SHORTEST_INTERVAL_SECONDS))
        self.delayed_seconds += seconds
        self.longest_delay_seconds = max(self.longest_delay_seconds, seconds)


class Timer(Clock):
    """Clock and waits of the recorder's thread."""

    def __init__(self) -> None:
        # Held until the end: acquiring it with a timeout wakes a thread at a third less cost than an Event does.
        self._running = threading.Lock()
        self._running.acquire()

    def wait(self, seconds: float) -> bool:
        """Wait for :meth:`stop`, for at most this time. Return whether it was called."""
        return self._running.acquire(timeout=seconds)

    def stop(self) -> None:
        """End the waits of the recorder's thread."""
        if self._running.locked():
            self._running.release()


def _rest_ns(domain: Domain) -> int:
    """Return the time for which a domain need not be read, because its values lose nothing by it."""
    if domain.provenance is Provenance.MODELLED or domain.buffered_seconds:
        return _LONG_REST_NS
    stated = domain.update_period_seconds
    return _REST_NS if stated is not None and stated < SHORTEST_PERIOD_SECONDS else 0


def _is_usable(reading: Reading) -> bool:
    """Return whether the values of a reading are finite, and its power is not negative."""
    energy, watts = reading.energy_joules, reading.power_watts
    is_finite = energy is None or math.isfinite(energy)
    return is_finite and (watts is None or 0.0 <= watts < math.inf) and isinstance(reading.time_ns, int)


class GuardedSensor:
    """A sensor whose errors become warnings and are never raised. Unusable readings are dropped.

    Attributes:
        failed_reads: Number of reads that raised.
        is_slow: Whether the last read took more than half a second.
        delayed_seconds: Length of the last read, if it was slow and the one before it was not: of a delay of the
            thread, unless the next read is slow too.
        slow_seconds: Longest of the reads that were slow like the one before; 0 if there were none.
    """

    def __init__(self, sensor: Sensor, warnings: WarningLog) -> None:
        self._sensor = sensor
        self._warnings = warnings
        self._failures = 0
        self._retry_ns = 0
        self._rested_ns = 0
        self._rest_ns = min(map(_rest_ns, sensor.domains), default=0)
        self.failed_reads = 0
        self.is_slow = False
        self.delayed_seconds = self.slow_seconds = 0.0

    @property
    def names(self) -> str:
        """Names of the sensor's domains."""
        return ", ".join(domain.name for domain in self._sensor.domains)

    def time_read(self, seconds: float) -> float:
        """Note how long the last read took. Return the length of a delay of the thread that is over now; 0 for none."""
        was_slow, self.is_slow = self.is_slow, seconds > _DELAY_SECONDS
        if self.is_slow and was_slow:
            self.slow_seconds = max(self.slow_seconds, self.delayed_seconds, seconds)
            self.delayed_seconds = 0.0
        elif self.is_slow:
            self.delayed_seconds = seconds
        else:
            delay, self.delayed_seconds = self.delayed_seconds, 0.0
            return delay
        return 0.0

    @property
    def may_recover(self) -> bool:
        """True if the last reads failed, but too few of them to give up."""
        return 0 < self._failures < _QUIET_FAILURES

    def read(self, now_ns: int, *, may_rest: bool = False) -> Sequence[Reading]:
        """Read the sensor. Return nothing when it fails, which is a gap.

        Args:
            now_ns: The present time.
            may_rest: Whether to skip a sensor that gains nothing by frequent reads and was read recently.
        """
        if now_ns < self._retry_ns or (may_rest and now_ns < self._rested_ns):
            return ()
        self._rested_ns = now_ns + self._rest_ns
        try:
            readings = tuple(self._sensor.read())  # a generator raises only while it is consumed
            usable = tuple(filter(_is_usable, readings))
        except Exception as error:  # noqa: BLE001 - a sensor's fault is a gap in the numbers, not the training's end
            self._fail(error, now_ns)
            return ()
        self._failures = 0
        if len(usable) < len(readings):
            self._warnings.warn(
                f"a reading of {self.names} has an energy or a power that is not a number, or a negative power; such "
                "readings are ignored"
            )
        return usable

    def findings(self) -> Iterator[str]:
        """Yield the sensor's own warnings. Errors in them become warnings too."""
        try:
            yield from getattr(self._sensor, "warnings", ())
        except Exception as error:  # noqa: BLE001 - like errors of a reading
            yield f"the warnings of a sensor cannot be read ({type(error).__name__}: {error})"

    def _fail(self, error: Exception, now_ns: int) -> None:
        self._failures += 1
        self.failed_reads += 1
        if self._failures >= _QUIET_FAILURES:
            self._retry_ns = now_ns + NANOSECONDS_PER_SECOND
        what = str(error) if isinstance(error, SensorError) else f"{type(error).__name__}: {error}"
        self._warnings.warn(
            f"reading {self.names} failed ({what}); such gaps are bridged at the neighbouring power"
        )

    def close(self) -> None:
        """Release the sensor."""
        try:
            self._sensor.close()
        except Exception as error:  # noqa: BLE001 - nothing depends on it any more
            self._warnings.warn(f"closing a sensor failed ({type(error).__name__}: {error})")


class Sampler:
    """Polls the sensors at a regular interval and yields twice per second for a drain.

    Args:
        sensors: The sensors.
        pipeline: Receives the readings, several polls at a time.
        interval: Time between polls.
        timer: Clock and waits.

    Attributes:
        cost: Cost of the recorder's thread.
    """

    def __init__(
        self,
        sensors: Sequence[GuardedSensor],
        pipeline: Pipeline,
        interval: SamplingInterval | None = None,
        timer: Timer | None = None,
    ) -> None:
        self._sensors = sensors
        self._pipeline = pipeline
        self._interval = interval or SamplingInterval()
        self._timer = timer or Timer()
        self._clock = self._timer.now_ns
        self._read_seconds: deque[float] = deque(maxlen=_REMEMBERED_READS)
        self._pending: list[Reading] = []
        self._hanging: BackgroundCall[None] | None = None
        self._is_abandoned = False
        self._interval_seconds = 0.0
        self._is_incomplete = False  # after the last poll, a reading of some sensor is still to be had
        self.cost = SamplerCost()

    def pre_roll(self) -> None:
        """Poll until every domain has changed once, for at most 0.15 s: the window then begins at a known energy."""
        self._hanging = self._bounded(self._pre_roll)

    def poll_again(self) -> None:
        """Poll once more, because the window begins later than expected, unless a sensor hangs."""
        if self._hanging is None:
            self._hanging = self._bounded(self.poll)

    def _pre_roll(self) -> None:
        deadline = self._clock() + int(_PRE_ROLL_SECONDS * NANOSECONDS_PER_SECOND)
        self.poll()
        while not self._pipeline.meters.have_moved() and self._clock() < deadline:
            self._timer.sleep(_PRE_ROLL_PERIOD_SECONDS)
            self.poll()

    def stop(self, thread: threading.Thread) -> bool:
        """End the loop of :meth:`drain_times` and the thread that runs it.

        Return False if it does not end in time because a sensor hangs; its later readings are ignored.
        """
        self._timer.stop()
        if thread.is_alive():
            thread.join(_HANG_SECONDS)
        self._is_abandoned = thread.is_alive()
        return not self._is_abandoned

    def settle(self, end_ns: int) -> bool:
        """Poll after the end of the window until the counters have shown their energy at its end.

        It takes at most 0.3 s, or 1 s where a sensor has just failed. Return False when a sensor hangs.
        """
        self._is_abandoned = self._bounded(lambda: self._settle(end_ns)) is not None
        return not self._is_abandoned

    def _settle(self, end_ns: int) -> None:
        begun = self._clock()
        self.poll()
        # Without another reading of a sensor that fails, all its energy since the last one would be an estimate.
        while (is_failing := self._is_incomplete) or not self._pipeline.meters.have_settled(end_ns):
            most_seconds = _RECOVER_SECONDS if is_failing else _SETTLE_SECONDS
            if self._clock() - begun >= most_seconds * NANOSECONDS_PER_SECOND:
                return
            self._timer.sleep(_PRE_ROLL_PERIOD_SECONDS)
            self.poll()

    def poll(self) -> None:
        """Read every sensor once and hand the readings to the pipeline."""
        self._read(may_rest=False)
        self._hand_over()

    def findings(self) -> Iterator[str]:
        """Yield a warning per slow sensor, and one about the longest delays of the polls with their share of energy."""
        for sensor in self._sensors:
            if sensor.slow_seconds:
                yield (
                    f"reading {sensor.names} takes up to {format_seconds(sensor.slow_seconds)}: the energy between two "
                    "reads is divided by time among the steps between them, and that after the last one is estimated. "
                    "Use a faster meter for the energy of steps"
                )
        cost = self.cost
        total, gaps, estimated = self._pipeline.meters.gap_energy()
        if cost.longest_delay_seconds < _REPORTED_SECONDS or not total > 0:
            return
        share = f", in which {100 * min(gaps / total, 1):.0f} % of the energy was used"
        if estimated > 0:
            meaning = "It was estimated from the power before and after, so the intervals are wider"
        else:
            meaning = "The total includes this energy, but its division among those steps is uncertain"
        yield (
            f"the sensors could not be read for up to {format_seconds(cost.longest_delay_seconds)} "
            f"({format_seconds(cost.delayed_seconds)} in all{share}), for instance because the process was stopped, "
            f"native code held the GIL, or the machine was overloaded. {meaning}"
        )

    def drain_times(self) -> Iterator[int]:
        """Poll until :meth:`stop`. Yield the time whenever the pipeline should be drained."""
        if self._hanging is not None:
            self._hanging.wait()
        processor = _ProcessorTime(self.cost)
        due = drain_due = self._clock()
        is_stopped = was_delayed = False
        while not is_stopped:
            begun = self._clock()
            self._read(may_rest=self._interval.adapts and not was_delayed)
            now = self._clock()
            self.cost.add_delay((begun - due) / NANOSECONDS_PER_SECOND, self._interval_seconds)
            # After a delay the drain waits for another reading of every sensor, so that it bridges no energy which the
            # counters are about to show: rows that are too high are not corrected. A second delay alone is no reason to
            # wait, because the sensors themselves may be that slow.
            is_late = now - due > _DELAY_SECONDS * NANOSECONDS_PER_SECOND
            was_delayed = is_delayed = self._is_incomplete if was_delayed else is_late
            if is_delayed:
                due = now + int(_RETRY_SECONDS * NANOSECONDS_PER_SECOND)
                is_stopped = self._timer.wait(_RETRY_SECONDS)
                continue
            if now >= drain_due or self._pipeline.is_full:
                processor.end_polls(self.cost.samples)
                self._hand_over()
                if not self._is_abandoned:
                    yield now
                drain_due = now + int(DRAIN_SECONDS * NANOSECONDS_PER_SECOND)
                processor.end_drain()
            if len(self._pending) >= BATCH:
                self._hand_over()
            if not self._pending:
                # The shortest of the last reads: the others waited for the training, and cost it nothing.
                self._interval.adapt(
                    self._pipeline.meters.polling_periods(), min(self._read_seconds), processor.poll_seconds
                )
            self._interval_seconds = self._interval.next_seconds()
            due = max(due + int(self._interval_seconds * NANOSECONDS_PER_SECOND), now)
            is_stopped = self._timer.wait(max(due - self._clock(), 0) / NANOSECONDS_PER_SECOND)
        self.cost.add_delay((self._clock() - due) / NANOSECONDS_PER_SECOND, self._interval_seconds)
        self._hand_over()

    def _read(self, *, may_rest: bool) -> None:
        """Read every sensor once; with ``may_rest``, skip those that gain nothing by frequent reads."""
        begun = now = self._clock()
        self._is_incomplete = False
        for sensor in self._sensors:
            readings, before, was_slow = sensor.read(now, may_rest=may_rest), now, sensor.is_slow
            now = self._clock()
            delay_seconds = sensor.time_read((now - before) / NANOSECONDS_PER_SECOND)
            self.cost.add_delay(delay_seconds, self._interval_seconds)
            # Readings carry the middle of the read as their time. When the thread was held up in it, that is wrong by
            # up to half its length, so they are dropped; the next ones show the energy. A sensor that always takes so
            # long keeps its readings.
            if not sensor.is_slow or was_slow:
                self._pending += readings
                self._is_incomplete |= sensor.may_recover
            else:
                self._is_incomplete = True
        seconds = (now - begun) / NANOSECONDS_PER_SECOND
        self._read_seconds.append(seconds)
        self.cost.samples += 1
        self.cost.longest_read_seconds = max(self.cost.longest_read_seconds, seconds)

    def _hand_over(self) -> None:
        pending, self._pending = self._pending, []
        if not self._is_abandoned:
            self._pipeline.add(pending)

    @staticmethod
    def _bounded(work: Callable[[], None]) -> BackgroundCall[None] | None:
        """Run ``work`` for a limited time. Return it if it hangs; raise its error."""
        call = BackgroundCall(work)
        if not call.wait(_HANG_SECONDS):
            return call
        call.result()
        return None


class _ProcessorTime:
    """Processor time of the calling thread, in all and per poll.

    Attributes:
        poll_seconds: Processor time per poll, including the wake-up and without drains.
    """

    __slots__ = ("_cost", "_last", "_polls", "_start", "poll_seconds")

    def __init__(self, cost: SamplerCost) -> None:
        self._cost = cost
        self._start = self._last = time.thread_time()
        self._polls = cost.samples
        self.poll_seconds = 0.0

    def end_polls(self, polls: int) -> None:
        """Measure the polls since the last drain; ``polls`` is their number since the start."""
        each = (time.thread_time() - self._last) / max(polls - self._polls, 1)
        self._polls = polls
        self.poll_seconds += (_SMOOTHING if self.poll_seconds else 1.0) * (each - self.poll_seconds)

    def end_drain(self) -> None:
        """Measure a drain."""
        self._last = time.thread_time()
        self._cost.cpu_seconds = self._last - self._start
