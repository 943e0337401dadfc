"""Monitor of one domain's readings: when values change, how often, and whether they are consistent."""

import math
from dataclasses import replace

from profiler.recording.aliasing import LOCKED, Aliasing
from profiler.recording.sampling_detector import SamplingDetector
from profiler.recording.tick_estimator import TickEstimator
from profiler.recording.timeline import SensorTraits
from profiler.records import Domain, Provenance, Reading
from profiler.sensors.counter_check import CounterCheck
from profiler.uncertainty import UNIFORM
from profiler.units import NANOSECONDS_PER_SECOND, format_seconds

SHORTEST_PERIOD_SECONDS = 0.01
"""Counters with a shorter update interval are treated as continuous."""
FASTEST_POWER_SECONDS = 0.02
"""The shortest update interval of power readings seen, on Pascal and Volta boards (Yang, Adamek and Armour, SC24)."""
_FRESH_SECONDS = 0.4
"""Longest polling interval of a sensor with a buffer, because rows wait for its readings."""
_FOLLOWED_SECONDS = 0.25
"""Time after which an observed update interval is used: readings blur short intervals at first."""
_STEP_SHARE = 0.05
_UNSEEN_AMPLITUDE = 1.6
"""Amplitude, in units of mean power, of steps of which the sensor always sees the same part: it may see an on-off
load at a fifth of its higher power all the time."""
_HIDDEN_SHARE = 0.67
"""The same for a counter that integrates continuously and whose ticks lock to the steps."""
_UNKNOWN_SHARE = 0.45
"""The same for a counter that was not monitored for long enough to decide."""
_REPORTED_SHARE = 0.05
_FEWEST_TICKS_REPORTED = 32
_COMPARED_SECONDS = 5.0
"""Shortest comparison of a counter with its power readings. A counter has been seen to lag less than this."""


class CounterMonitor:
    """Monitors the readings of one domain.

    Attributes:
        check: Basic statistics of the readings.
        sampling: Comparison of the counter's gains with the power readings.
        aliasing: Phases of the sensor's ticks in the steps.
        traits: Properties of the sensor, as of the last :meth:`refresh`.
        blur_ns: Width of the interval in which the last value appeared.
    """

    __slots__ = (
        "_change",
        "_domain",
        "_findings",
        "_has_begun",
        "_last_step_ns",
        "_ticks",
        "_value",
        "_was_unchanged",
        "aliasing",
        "blur_ns",
        "check",
        "sampling",
        "traits",
    )

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._value: float | None = None
        self._was_unchanged = self._has_begun = False
        self._change: tuple[int, float] | None = None
        self._last_step_ns = 0
        self._ticks = TickEstimator()
        self.check = CounterCheck()
        self.sampling = SamplingDetector()
        self.aliasing = Aliasing()
        self.traits = SensorTraits(is_sampled=self._is_power)
        self.blur_ns = 0
        self._findings: dict[str, str] = {}

    @property
    def period_seconds(self) -> float | None:
        """Update interval, as stated by the sensor or as observed; None while unknown."""
        followed = None if self._is_power else self._ticks.period_seconds
        return self._domain.update_period_seconds or followed or self.check.update_period_seconds

    @property
    def _is_power(self) -> bool:
        return self._domain.provenance is Provenance.INTEGRATED

    @property
    def _tick_seconds(self) -> float | None:
        """Period that changes are multiples of; a power reading may stay the same for several ticks."""
        if self._is_power:
            return self._domain.update_period_seconds or FASTEST_POWER_SECONDS
        return self.period_seconds

    @property
    def polling_period_seconds(self) -> float | None:
        """Update interval for the choice of the sampling interval; None until it is known well enough."""
        if self._domain.buffered_seconds:
            return min(self._domain.buffered_seconds / 4, _FRESH_SECONDS)
        if self._is_power:
            return self._tick_seconds
        return self.period_seconds if self._is_smooth or self._ticks.is_reliable else None

    @property
    def has_begun(self) -> bool:
        """True if a change at a known time was seen, after a reading that did not show it."""
        return self._is_smooth or self._domain.provenance is not Provenance.COUNTER or self._has_begun

    @property
    def _is_stated(self) -> bool:
        return self._domain.update_period_seconds is not None

    @property
    def _is_smooth(self) -> bool:
        return (self._domain.update_period_seconds or math.inf) < SHORTEST_PERIOD_SECONDS

    @property
    def shortest_step_ns(self) -> float:
        """Shortest step whose power profile matters; shorter steps are too many per gain of the counter."""
        period = self.period_seconds
        if not period or period < SHORTEST_PERIOD_SECONDS:
            return math.inf
        return _STEP_SHARE * period * NANOSECONDS_PER_SECOND

    @property
    def is_sampled(self) -> bool | None:
        """True if the sensor sees power only at times; None while unknown."""
        return True if self._domain.provenance is Provenance.INTEGRATED else self.sampling.is_sampled

    def add(self, reading: Reading) -> int:
        """Add the next reading. Return when its value appeared, or the reading's own time if that is unknown."""
        self.check.add(reading)
        if self._domain.buffered_seconds:
            return self._add_buffered(reading)
        energy = reading.energy_joules
        value = reading.power_watts if energy is None else energy
        if value == self._value:
            # Equal readings are evidence too: the tick lies after this time.
            self._was_unchanged = True
            self._ticks.unchanged_at(reading.time_ns)
            return reading.time_ns
        has_reset = energy is not None and self._value is not None and energy < self._value
        self._value = value
        changed_ns = reading.time_ns if has_reset else self._changed_at(reading.time_ns)
        self._has_begun |= self._was_unchanged
        self._was_unchanged = False
        self._compare(None if has_reset else energy, changed_ns, reading)
        return changed_ns

    def _add_buffered(self, reading: Reading) -> int:
        """Add a reading that carries the time of its measurement."""
        self._ticks.set_tick(reading.time_ns, (self._tick_seconds or 0.0) * NANOSECONDS_PER_SECOND)
        self.sampling.add(reading.power_watts or 0.0, None)
        return reading.time_ns

    def _changed_at(self, time_ns: int) -> int:
        period = self._tick_seconds
        is_known = (
            self._ticks.has_period or self._is_power or self.check.seconds_followed >= _FOLLOWED_SECONDS
        )
        if period is not None and period >= SHORTEST_PERIOD_SECONDS and (is_known or self._is_stated):
            self._ticks.set_nominal_period(period * NANOSECONDS_PER_SECOND)
        elif not self._was_unchanged or self._is_smooth:
            # Values that differ in each reading do not bound the time of a change better than the reading does.
            self._ticks.unchanged_at(time_ns)
            return time_ns
        changed_ns = self._ticks.changed_at(time_ns)
        self.blur_ns = self._ticks.width_ns
        return changed_ns

    def _compare(self, energy: float | None, changed_ns: int, reading: Reading) -> None:
        if energy is None:
            self._change = None
            if reading.power_watts is not None and reading.energy_joules is None:
                self.sampling.add(reading.power_watts, None)
            return
        if self._change is not None:
            before_ns, joules = self._change
            # A gain over several updates is a mean over more power than the reading beside it shows.
            seconds = self._ticks.interval_seconds(before_ns, changed_ns)
            if seconds is not None:
                self.sampling.add((energy - joules) / seconds, reading.power_watts)
        self._change = changed_ns, energy

    def add_step(self, start_ns: int, end_ns: int) -> None:
        """Add a step, to find which part of it the sensor samples."""
        if self._ticks.has_period:
            self._last_step_ns = end_ns - start_ns
            self.aliasing.add(start_ns, end_ns, self._ticks.tick_ns, self._ticks.period_ns)

    @property
    def alias_uncertainty(self) -> float:
        """Relative standard deviation of the run's energy through aliasing; 0 for a counter that integrates."""
        sampled = self.is_sampled
        if sampled is False:
            return 0.0
        is_locked = self.aliasing.concentration > LOCKED
        # Locked ticks see the same power each time, so the observed amplitude does not show the rest of the step.
        unseen = _UNSEEN_AMPLITUDE if is_locked and self._is_coarse else 0.0
        return self.aliasing.share * max(self.sampling.amplitude if sampled else 0.0, unseen)

    @property
    def hidden_watts(self) -> float:
        """Departure of momentary power from the counter's mean; assumed while unknown or where ticks are locked."""
        locked = self.aliasing.concentration if self._is_coarse else 0.0
        level = max(self.sampling.level, self.check.mean_watts)
        assumed = max(_HIDDEN_SHARE * locked, _UNKNOWN_SHARE * self.sampling.ignorance)
        return max(self.sampling.hidden_watts, assumed * level)

    @property
    def _is_coarse(self) -> bool:
        """True if there is about one tick per step or fewer, so that all may see the same part."""
        return self._last_step_ns < 2 * self._ticks.period_ns

    def refresh(self) -> None:
        """Update the traits, which are read too often to be computed each time."""
        self.traits.hidden_watts = self.hidden_watts
        self.traits.is_sampled = self.is_sampled is True

    def findings(self) -> tuple[str, ...]:
        """Return warnings about this domain's joules, each with the numbers with which it first appeared."""
        found = {
            "disagrees": self._disagreement(),
            "stands": self.check.standstill(),
            "locked": self._aliased(),
        }
        for kind, sentences in found.items():
            if sentences and kind not in self._findings:
                self._findings[kind] = f"{self._domain.name}: {sentences[0]}"
        return tuple(self._findings.values())

    def _disagreement(self) -> tuple[str, ...]:
        seen = self.check.comparison
        if seen is None or seen.seconds < _COMPARED_SECONDS or self.aliasing.strongest > LOCKED:
            return ()  # power readings that always see the same part of a step do not show its energy
        return self.check.disagreement()

    def _aliased(self) -> tuple[str, ...]:
        few = self.aliasing.ticks < _FEWEST_TICKS_REPORTED
        if few or self.alias_uncertainty < _REPORTED_SHARE or self.aliasing.strongest < LOCKED:
            return ()
        period = format_seconds(self.period_seconds or 0.0)
        step = format_seconds(self._last_step_ns / NANOSECONDS_PER_SECOND)
        sentence = (
            f"Sampling every {period} is aliased with the step period of {step}; the bias does not average out, so "
            "the interval is widened. Change the length of a step, by the batch size for example, and compare."
        )
        return (sentence,)

    def describe(self, drift_watts: float) -> Domain:
        """Return the domain with the observed properties of its sensor."""
        aliased = math.hypot(self._domain.gain_uncertainty, self.alias_uncertainty)
        return replace(
            self._domain, update_period_seconds=self.period_seconds, gain_uncertainty=aliased,
            edge_watts=self.hidden_watts, blur_seconds=UNIFORM * self.blur_ns / NANOSECONDS_PER_SECOND,
            drift_watts=drift_watts,
        )  # fmt: skip
