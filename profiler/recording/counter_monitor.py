"""What is learnt from one domain's readings as they come in: when values changed, how often, and whether they fit."""

import math
from dataclasses import replace

from profiler.recording.aliasing import LOCKED, Aliasing
from profiler.recording.sampling_detector import Resemblance
from profiler.recording.tick_estimator import TickClock
from profiler.records import Domain, Provenance, Reading
from profiler.sensors.counter_check import CounterCheck
from profiler.uncertainty import UNIFORM
from profiler.units import NANOSECONDS_PER_SECOND, format_seconds

SHORTEST_PERIOD_SECONDS = 0.01
"""Counters that are renewed more often are as good as continuous."""
FASTEST_POWER_SECONDS = 0.02
"""The shortest update period of power readings seen, on Pascal and Volta boards (Yang, Adamek and Armour, SC24)."""
_FRESH_SECONDS = 0.4
"""What a source remembers is asked for this often all the same: rows wait for it."""
_FOLLOWED_SECONDS = 0.25
"""Changes are followed for this long before their beat is taken as known: reads blur short periods at first."""
_STEP_SHARE = 0.05
_UNSEEN_AMPLITUDE = 1.6
"""Amplitude, in mean powers, that steps may have of which always the same part is seen: an on-off load may be
seen at a fifth of its higher power all the time."""
_HIDDEN_SHARE = 0.67
"""The same for a counter that counts at all times, between whose ticks steps always take the same course."""
_UNKNOWN_SHARE = 0.45
"""The same for one that was not followed for long enough to tell."""
_WORTH_SAYING = 0.05
_SAID_AFTER_LOOKS = 32
_COMPARED_SECONDS = 5.0
"""A counter has been seen to lag its power for less than this, and to agree from then on."""


class Intake:
    """Follows the readings of one domain.

    Attributes:
        watch: What is known of the sensor by now.
        seen: How its counter and its power go together.
        aliasing: Where in the steps its looks fall.
        blur_ns: The interval in which the last value is known to have appeared.
    """

    __slots__ = (
        "_appeared",
        "_domain",
        "_has_begun",
        "_last_step_ns",
        "_said",
        "_shown",
        "_stood",
        "_ticks",
        "aliasing",
        "blur_ns",
        "seen",
        "watch",
    )

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._shown: float | None = None
        self._stood = self._has_begun = False
        self._appeared: tuple[int, float] | None = None
        self._last_step_ns = 0
        self._ticks = TickClock()
        self.watch = CounterCheck()
        self.seen = Resemblance()
        self.aliasing = Aliasing()
        self.blur_ns = 0
        self._said: dict[str, str] = {}

    @property
    def period_seconds(self) -> float | None:
        """How often the value is renewed, as stated or as seen; None while unknown."""
        followed = None if self._is_power else self._ticks.period_seconds
        return self._domain.update_period_seconds or followed or self.watch.update_period_seconds

    @property
    def _is_power(self) -> bool:
        return self._domain.provenance is Provenance.INTEGRATED

    @property
    def _beat_seconds(self) -> float | None:
        """The period that changes are multiples of: power may stay what it was for several of them."""
        if self._is_power:
            return self._domain.update_period_seconds or FASTEST_POWER_SECONDS
        return self.period_seconds

    @property
    def paced_seconds(self) -> float | None:
        """How often the value is renewed, once that was followed for long enough to read more rarely."""
        if self._domain.buffered_seconds:
            return min(self._domain.buffered_seconds / 4, _FRESH_SECONDS)
        if self._is_power:
            return self._beat_seconds
        return self.period_seconds if self._is_smooth or self._ticks.is_sure else None

    @property
    def has_begun(self) -> bool:
        """Whether a change has been seen whose time is known: one of a value that had stood still before."""
        return self._is_smooth or self._domain.provenance is not Provenance.COUNTER or self._has_begun

    @property
    def _is_stated(self) -> bool:
        return self._domain.update_period_seconds is not None

    @property
    def _is_smooth(self) -> bool:
        return (self._domain.update_period_seconds or math.inf) < SHORTEST_PERIOD_SECONDS

    @property
    def shortest_step_ns(self) -> float:
        """Steps shorter than this are too many in one gain of the counter for their course to matter."""
        period = self.period_seconds
        if not period or period < SHORTEST_PERIOD_SECONDS:
            return math.inf
        return _STEP_SHARE * period * NANOSECONDS_PER_SECOND

    @property
    def is_sampled(self) -> bool | None:
        """Whether the sensor sees power only at times; None while that is not known."""
        return True if self._domain.provenance is Provenance.INTEGRATED else self.seen.is_sampled

    def time_of(self, reading: Reading) -> int:
        """Take the next reading; returns when its value appeared, which is the reading's own time if nobody knows."""
        self.watch.add(reading)
        if self._domain.buffered_seconds:
            return self._remembered(reading)
        energy = reading.energy_joules
        value = reading.power_watts if energy is None else energy
        if value == self._shown:
            self._stood = True
            self._ticks.held(reading.time_ns)
            return reading.time_ns
        restarted = energy is not None and self._shown is not None and energy < self._shown
        self._shown = value
        appeared = reading.time_ns if restarted else self._changed(reading.time_ns)
        self._has_begun |= self._stood
        self._stood = False
        self._compare(None if restarted else energy, appeared, reading)
        return appeared

    def _remembered(self, reading: Reading) -> int:
        """Take a reading that says itself when it was made."""
        self._ticks.sighted(reading.time_ns, (self._beat_seconds or 0.0) * NANOSECONDS_PER_SECOND)
        self.seen.add(reading.power_watts or 0.0, None)
        return reading.time_ns

    def _changed(self, time_ns: int) -> int:
        period = self._beat_seconds
        is_known = self._ticks.knows or self._is_power or self.watch.seconds_followed >= _FOLLOWED_SECONDS
        if period is not None and period >= SHORTEST_PERIOD_SECONDS and (is_known or self._is_stated):
            self._ticks.learn(period * NANOSECONDS_PER_SECOND)
        elif not self._stood or self._is_smooth:
            self._ticks.held(time_ns)
            return time_ns
        appeared = self._ticks.changed(time_ns)
        self.blur_ns = self._ticks.width_ns
        return appeared

    def _compare(self, energy: float | None, appeared: int, reading: Reading) -> None:
        if energy is None:
            self._appeared = None
            if reading.power_watts is not None and reading.energy_joules is None:
                self.seen.add(reading.power_watts, None)
            return
        if self._appeared is not None:
            before, joules = self._appeared
            seconds = self._ticks.seconds_between(before, appeared)
            if seconds is not None:
                self.seen.add((energy - joules) / seconds, reading.power_watts)
        self._appeared = appeared, energy

    def step(self, start_ns: int, end_ns: int) -> None:
        """Take a step in: where in it does the sensor look?"""
        if self._ticks.knows:
            self._last_step_ns = end_ns - start_ns
            self.aliasing.add(start_ns, end_ns, self._ticks.line_ns, self._ticks.period_ns)

    @property
    def alias_uncertainty(self) -> float:
        """Relative standard deviation of the run's energy because looks lock to steps; 0 for a counter of all time."""
        sampled = self.is_sampled
        if sampled is False:
            return 0.0
        is_locked = self.aliasing.concentration > LOCKED
        unseen = _UNSEEN_AMPLITUDE if is_locked and self._is_coarse else 0.0
        return self.aliasing.share * max(self.seen.amplitude if sampled else 0.0, unseen)

    @property
    def hidden_watts(self) -> float:
        """By how much momentary power departs from the counter's mean; assumed while unknown, or where ticks lock."""
        locked = self.aliasing.concentration if self._is_coarse else 0.0
        level = max(self.seen.level, self.watch.mean_watts)
        return max(
            self.seen.hidden_watts, max(_HIDDEN_SHARE * locked, _UNKNOWN_SHARE * self.seen.unknown) * level
        )

    @property
    def _is_coarse(self) -> bool:
        """Whether there is about one look a step, or fewer, so that all may see the same."""
        return self._last_step_ns < 2 * self._ticks.period_ns

    def findings(self) -> tuple[str, ...]:
        """What a reader must know to trust the joules, as sentences, each with the numbers it was first found with."""
        found = {"disagrees": self._disagreement(), "stands": self.watch.standstill(), "locked": self._lock()}
        for kind, sentences in found.items():
            if sentences and kind not in self._said:
                self._said[kind] = f"{self._domain.name}: {sentences[0]}"
        return tuple(self._said.values())

    def _disagreement(self) -> tuple[str, ...]:
        seen = self.watch.comparison
        if seen is None or seen.seconds < _COMPARED_SECONDS or self.aliasing.strongest > LOCKED:
            return ()  # power readings that always see the same part of a step say nothing of its energy
        return self.watch.disagreement()

    def _lock(self) -> tuple[str, ...]:
        few = self.aliasing.looks < _SAID_AFTER_LOOKS
        if few or self.alias_uncertainty < _WORTH_SAYING or self.aliasing.strongest < LOCKED:
            return ()
        period = format_seconds(self.period_seconds or 0.0)
        step = format_seconds(self._last_step_ns / NANOSECONDS_PER_SECOND)
        what = f"Its sensor, renewed every {period}, keeps in step with steps of {step}: it may always see one part"
        remedy = "Change the length of a step a little, by the batch size say, and compare."
        return (f"{what} of them, which nothing averages out, so the interval is widened. {remedy}",)

    def described(self, drift_watts: float) -> Domain:
        """Return the domain with what was learnt of it."""
        aliased = math.hypot(self._domain.gain_uncertainty, self.alias_uncertainty)
        return replace(
            self._domain, update_period_seconds=self.period_seconds, gain_uncertainty=aliased,
            edge_watts=self.hidden_watts, blur_seconds=UNIFORM * self.blur_ns / NANOSECONDS_PER_SECOND,
            drift_watts=drift_watts,
        )  # fmt: skip
