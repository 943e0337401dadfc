"""Cumulative energy of one domain over time, from its readings. Pure: readings in, joules out.

A hardware counter is a staircase: its value is exact only at the moments at which it changes, and straight lines
between those moments are the best estimate in between (0.7 to 4 % error per step of 80 to 500 ms on a counter with an
update interval of 100 ms, where reading the counter at the edges of the step gives 4 to 40 %).
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

from profiler.records import Reading
from profiler.uncertainty import DRIFT_FACTOR, UNIFORM, Z_90, bridge_variance_share, edge_variance
from profiler.units import NANOSECONDS_PER_SECOND

_STALE_SECONDS = 1.0
"""A counter that has not moved for this long is bridged at its last power until it moves again."""
_GAP_SECONDS, _GAP_RATIO = 0.5, 3
"""Time without a reading that counts as a gap, if it is also so many times longer than the interval before it."""
_BRIDGE_FACTOR = 0.5
"""Standard deviation of energy that bridges a counter, as a share of it."""
_KEPT_POINTS = 8
"""Change points kept before the one that is still needed, for the power around it."""
_RECENT_POINTS = 6


class Segment(NamedTuple):
    """Gain of a counter between two successive change points."""

    start_ns: int
    end_ns: int
    start_joules: float
    end_joules: float
    is_gap: bool

    @property
    def joules(self) -> float:
        """Gain in joules."""
        return self.end_joules - self.start_joules

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return (self.end_ns - self.start_ns) / NANOSECONDS_PER_SECOND

    @property
    def watts(self) -> float:
        """Mean power in watts."""
        return self.joules / self.seconds


class Edge(NamedTuple):
    """Uncertainty of the energy between two change points.

    Attributes:
        start_ns: The first change point.
        end_ns: The second change point.
        around: Mean power in this segment and its neighbours, in watts; empty where only ``fixed`` applies.
        blur_seconds: One standard deviation of the change points' own times.
        fixed: Variance that applies at any place, in square joules.
        hidden_watts: Smallest departure of momentary power from the mean power that applies here.
    """

    start_ns: int
    end_ns: int
    around: tuple[float, ...] = ()
    blur_seconds: float = 0.0
    fixed: float = 0.0
    hidden_watts: float = 0.0

    def variance(self, time_ns: int, hidden_watts: float) -> float:
        """Return the variance of the energy at a moment, in square joules, without the domain's gain error."""
        if not self.around:
            return self.fixed
        always, between = self.variances(hidden_watts)
        place = (time_ns - self.start_ns) / (self.end_ns - self.start_ns)
        return always + between * bridge_variance_share(min(max(place, 0.0), 1.0))

    def variances(self, hidden_watts: float) -> tuple[float, float]:
        """Return the variance that applies at any place, and the one to be multiplied by the place's share."""
        if not self.around:
            return self.fixed, 0.0
        seconds = (self.end_ns - self.start_ns) / NANOSECONDS_PER_SECOND
        hidden = max(hidden_watts, self.hidden_watts)
        always, between = edge_variance(seconds, self.around, hidden, self.blur_seconds)
        return self.fixed + always, between


class _Line(NamedTuple):
    """A straight piece of the timeline, with what its moments have in common.

    Attributes:
        start_ns: Start of the piece: a change point, or a pin.
        end_ns: End of the piece.
        start_joules: Energy at its start.
        joules_per_ns: Slope.
        end_joules: Energy at its end.
        fixed: Variance that applies at any place, in square joules.
        between: Variance between the change points, which :func:`bridge_variance_share` multiplies.
        from_ns: The change point before it.
        length_ns: Time from there to the next change point.
        missed: Variance of the energy that no reading shows up to here.
    """

    start_ns: int
    end_ns: int
    start_joules: float
    joules_per_ns: float
    end_joules: float
    fixed: float
    between: float
    from_ns: int
    length_ns: int
    missed: float


class _SegmentVariances(NamedTuple):
    """Variances of a segment: the parts of :class:`_Line` that are costly to compute."""

    start_ns: int
    end_ns: int
    fixed: float
    between: float
    missed: float


class _Pin(NamedTuple):
    time_ns: int
    joules: float
    variance: float


@dataclass(slots=True, kw_only=True)
class SensorTraits:
    """Properties of a sensor that its uncertainty depends on, as far as they are known.

    Attributes:
        hidden_watts: Departure of momentary power from the mean power between change points.
        is_sampled: Whether the sensor sees power only at times, so that each segment adds uncertainty.
    """

    hidden_watts: float = 0.0
    is_sampled: bool = False


_NO_LINE = _Line(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 1, 0.0)


_NO_VARIANCES = _SegmentVariances(0, 0, 0.0, 0.0, 0.0)


class Timeline:
    """Change points of one domain: times in monotonic nanoseconds, joules since the first of them.

    Args:
        traits: Properties of the sensor, updated by their owner.
        drift_factor: Size of the energy missed between samples, as in :mod:`profiler.uncertainty`.

    Attributes:
        bridged_joules: Energy that no reading covers, estimated at the neighbouring power.
        bridged_seconds: Time that no reading covers.
        gap_joules: Energy used in gaps between readings, measured or estimated.
        resets: Number of times the counter decreased, as after a driver reload.
    """

    def __init__(self, traits: SensorTraits | None = None, *, drift_factor: float = DRIFT_FACTOR) -> None:
        self.traits = traits or SensorTraits()
        self._drift_factor = drift_factor
        self._times: list[int] = []
        self._joules: list[float] = []
        self._bridged: list[bool] = []
        self._blurs: list[float] = []
        self._drifts: list[float] = []
        self._gaps: list[bool] = []
        self._gap_variances: list[float] = []
        self._read_ns: int | None = None
        self._interval_ns = 0
        self._is_after_gap = False
        self._largest_watts = 0.0
        self._shown_ns = 0
        self._blur = 0.0
        self._watts = 0.0
        self._raw: float | None = None
        self._starts_roughly = False
        self._power: float | None = None
        self._overestimate = 0.0
        self._line = _NO_LINE
        self._variances = _NO_VARIANCES
        self._pins: list[_Pin] = []
        self.bridged_joules = 0.0
        self.bridged_seconds = 0.0
        self.gap_joules = 0.0
        self.resets = 0

    @property
    def latest_ns(self) -> int | None:
        """The last change point; None before the first."""
        return self._times[-1] if self._times else None

    @property
    def first_ns(self) -> int | None:
        """The first change point still held; None before the first."""
        return self._times[0] if self._times else None

    @property
    def points(self) -> int:
        """Number of change points held."""
        return len(self._times)

    def add(self, reading: Reading, changed_ns: int | None = None, blur_ns: int = 0) -> bool:
        """Add a reading. Return whether the energy has moved since the last one.

        A reading that is not finite, or not later than the last change point, is ignored: a counter shows its gain in
        the next reading.

        Args:
            reading: The reading.
            changed_ns: Time at which its value appeared, if known better than the time of the reading.
            blur_ns: Width of the interval in which that time lies.
        """
        is_energy = reading.energy_joules is not None
        value = reading.energy_joules if is_energy else reading.power_watts
        is_late = bool(self._times) and reading.time_ns <= self._times[-1]
        if value is None or not math.isfinite(value) or is_late:
            return False
        gap_ns = 0 if self._read_ns is None else reading.time_ns - self._read_ns
        is_long = gap_ns > _GAP_SECONDS * NANOSECONDS_PER_SECOND
        self._is_after_gap |= is_long and gap_ns > _GAP_RATIO * self._interval_ns > 0
        self._read_ns, self._interval_ns = reading.time_ns, gap_ns
        self._blur = UNIFORM * blur_ns / NANOSECONDS_PER_SECOND
        time_ns = reading.time_ns if changed_ns is None else changed_ns
        # An estimated time of change may fall behind the last point; the reading's own time is then the only safe one.
        if self._times and time_ns <= self._times[-1]:
            time_ns = reading.time_ns
        return self._add_energy(time_ns, value) if is_energy else self._add_power(time_ns, value)

    def _add_energy(self, time_ns: int, raw: float) -> bool:
        if self._raw is None:
            self._raw = raw
            self._starts_roughly = not self._times
            return self._append(time_ns, self._joules[-1] if self._joules else 0.0)
        if raw == self._raw:
            return False
        moved, self._raw = raw - self._raw, raw
        if moved < 0:
            self.resets += 1
            before = self._joules[-1] - self._overestimate
            self.bridge_to(time_ns)
            # No later gain contains what was used before the reset, so this estimate is final.
            self._add_gap_variance((_BRIDGE_FACTOR * (self._joules[-1] - before)) ** 2)
            self._overestimate = 0.0
            return True
        # Bridged energy is already in rows, so the gain that covers the same time only counts beyond it.
        counted = min(moved, self._overestimate)
        self._overestimate -= counted
        self._shown_ns = time_ns
        is_gap, self._is_after_gap = self._is_after_gap, False
        if is_gap:
            self.gap_joules += moved - counted
        return self._append(time_ns, self._joules[-1] + (moved - counted), is_gap=is_gap)

    def _add_power(self, time_ns: int, watts: float) -> bool:
        before, self._power = self._power, watts
        self._largest_watts = max(self._largest_watts, watts)
        is_irregular, self._is_after_gap = self._is_after_gap, False
        if before is None or not self._times:
            return self._append(time_ns, self._joules[-1] if self._joules else 0.0)
        seconds = (time_ns - self._times[-1]) / NANOSECONDS_PER_SECOND
        # Trapezoidal rule: power readings are samples, not means.
        joules = seconds * (before + watts) / 2
        is_gap = seconds > _STALE_SECONDS
        if is_gap:
            self._count_bridge(joules, seconds)
        self._append(time_ns, self._joules[-1] + joules, bridged=is_gap)
        if is_irregular:
            # Any power from none to the largest seen may have been drawn meanwhile, and no later reading shows it.
            self.gap_joules += joules
            mean = joules / seconds
            self._add_gap_variance((seconds * max(mean, self._largest_watts - mean) / Z_90) ** 2)
        return True

    def _append(self, time_ns: int, joules: float, *, bridged: bool = False, is_gap: bool = False) -> bool:
        if self._times and time_ns <= self._times[-1]:
            return False
        self._variances = _NO_VARIANCES
        self._add_drift(time_ns, joules)
        is_power = len(self._times) > 1 or not self._starts_roughly  # see _edge
        if self._times and is_power and not bridged:
            self._largest_watts = max(self._largest_watts, self._watts)
        self._blurs.append(self._blur)
        self._times.append(time_ns)
        self._joules.append(joules)
        self._bridged.append(bridged)
        self._gaps.append(is_gap)
        self._gap_variances.append(self._gap_variances[-1] if self._gap_variances else 0.0)
        return True

    def _add_gap_variance(self, variance: float) -> None:
        """Add the variance of energy that no reading will ever show to all moments from the last point on."""
        self._gap_variances[-1] += variance

    def _add_drift(self, time_ns: int, joules: float) -> None:
        """Add the variance of the energy missed since the last point, if power is seen only at times."""
        if not self._times:
            self._drifts.append(0.0)
            return
        seconds = (time_ns - self._times[-1]) / NANOSECONDS_PER_SECOND
        # The change of power from one interval to the next shows the order of what happens unseen within one.
        before, self._watts = self._watts, (joules - self._joules[-1]) / seconds
        missed = (
            self._drift_factor * seconds * (self._watts - before)
            if self.traits.is_sampled and before
            else 0.0
        )
        self._drifts.append(self._drifts[-1] + missed**2)

    def drift_at(self, time_ns: int) -> float:
        """Return the variance, in square joules, of the energy missed between samples up to ``time_ns``."""
        after = bisect_right(self._times, time_ns)
        return self._drifts[after - 1] if after else 0.0

    @property
    def unconfirmed_sigma(self) -> float:
        """Standard deviation of the bridged energy that the counter has not shown yet, in joules.

        The power may have been anything up to the largest that was seen before.
        """
        if not self._overestimate:
            return 0.0
        seconds = (self._times[-1] - self._shown_ns) / NANOSECONDS_PER_SECOND
        most = seconds * self._largest_watts
        return max(self._overestimate, (most - self._overestimate) / Z_90)

    def _count_bridge(self, joules: float, seconds: float) -> None:
        self.bridged_joules += joules
        self.bridged_seconds += seconds

    def bridge_to(self, time_ns: int) -> None:
        """Extend the timeline to ``time_ns`` at the neighbouring power, where no reading covers it.

        The counter's later gain includes the bridged energy, which is then not counted again.
        """
        if not self._times or time_ns <= self._times[-1]:
            return
        seconds = (time_ns - self._times[-1]) / NANOSECONDS_PER_SECOND
        joules = seconds * self.recent_watts()
        # A power sensor never shows the bridged energy later, so only a counter's bridge is a debt.
        if self._raw is not None:
            self._overestimate += joules
        self._count_bridge(joules, seconds)
        self._append(time_ns, self._joules[-1] + joules, bridged=True)

    def recent_watts(self) -> float:
        """Return the mean power over the last few change points; 0 before there are two."""
        if self._power is not None:
            return self._power
        first = max(len(self._times) - _RECENT_POINTS, 0)
        if len(self._times) - first < 2:  # noqa: PLR2004 - power takes two points
            return 0.0
        seconds = (self._times[-1] - self._times[first]) / NANOSECONDS_PER_SECOND
        return (self._joules[-1] - self._joules[first]) / seconds

    def is_stale(self, now_ns: int) -> bool:
        """Return whether the energy has not moved for so long that rows stop waiting for it."""
        return bool(self._times) and now_ns - self._times[-1] > _STALE_SECONDS * NANOSECONDS_PER_SECOND

    def at(self, time_ns: int) -> tuple[float, float, float]:
        """Return the cumulative joules at ``time_ns`` with two variances in square joules, without the gain error.

        The first is that of the energy at this moment, the second that of the energy that no reading up to here shows.
        The joules are constant outside the change points and non-decreasing in ``time_ns``.
        """
        # Successive moments mostly lie on the same straight piece, so the last one is cached.
        start_ns, end_ns, joules, slope, end_joules, fixed, between, from_ns, length_ns, missed = self._line
        if not start_ns <= time_ns < end_ns:
            found = self._find(time_ns)
            if found is None:
                return self._outside(time_ns)
            self._line = found
            start_ns, _, joules, slope, end_joules, fixed, between, from_ns, length_ns, missed = found
        if between:
            place = (time_ns - from_ns) / length_ns
            fixed += between * 6.0 * place * (1.0 - place)
        reached = joules + (time_ns - start_ns) * slope
        return (min(end_joules, reached)), fixed, missed

    def along(self, times: Sequence[int]) -> tuple[list[float], list[float], list[float]]:
        """Return the results of :meth:`at` for ascending times, as three columns."""
        joules: list[float] = []
        fixed: list[float] = []
        missed: list[float] = []
        first, count = 0, len(times)
        while first < count:
            moment = self.at(times[first])
            start_ns, end_ns, start, slope, end_joules, _, between, from_ns, length_ns, _ = self._line
            # All moments on one straight piece differ only in their place on it.
            last = bisect_left(times, end_ns, first) if start_ns <= times[first] < end_ns else first + 1
            joules.append(moment[0])
            fixed.append(moment[1])
            rest = times[first + 1 : last]
            if rest:
                joules += [
                    reached if (reached := start + (time_ns - start_ns) * slope) < end_joules else end_joules
                    for time_ns in rest
                ]
                always = self._line.fixed
                if between:
                    scale = 6.0 * between
                    places = [(time_ns - from_ns) / length_ns for time_ns in rest]
                    fixed += [always + scale * place * (1.0 - place) for place in places]
                else:
                    fixed += [always] * len(rest)
            missed += [moment[2]] * (last - first)
            first = last
        return joules, fixed, missed

    def edge(self, time_ns: int) -> Edge:
        """Return the uncertainty of the energy around a moment."""
        after = bisect_right(self._times, time_ns)
        last = len(self._times) - 1
        return self._edge(min(max(after, 1), last)) if last > 0 else Edge(time_ns, time_ns)

    def segment(self, time_ns: int) -> Segment | None:
        """Return the segment that contains ``time_ns``; None outside the change points."""
        after = bisect_right(self._times, time_ns)
        return self._segment(after) if 0 < after < len(self._times) else None

    def segments(self, start_ns: int, end_ns: int) -> Iterator[Segment]:
        """Yield the segments that begin at or after ``start_ns`` and end by ``end_ns``."""
        for after in range(bisect_left(self._times, start_ns) + 1, bisect_right(self._times, end_ns)):
            yield self._segment(after)

    def _segment(self, after: int) -> Segment:
        times, joules = self._times, self._joules
        is_gap = self._bridged[after] or self._gaps[after]
        return Segment(times[after - 1], times[after], joules[after - 1], joules[after], is_gap)

    def pin(self, time_ns: int, joules: float, variance: float) -> None:
        """Fix the energy at a moment after the last pin, clamped between the values known before and after it."""
        segment = self.segment(time_ns)
        if segment is None or (self._pins and time_ns <= self._pins[-1].time_ns):
            return
        least = max(segment.start_joules, self._pins[-1].joules if self._pins else 0.0)
        blur = self._blurs[bisect_right(self._times, time_ns)] * segment.watts
        self._pins.append(_Pin(time_ns, min(max(joules, least), segment.end_joules), variance + blur**2))
        self._line = _NO_LINE

    def joules_at(self, time_ns: int) -> float:
        """Return the cumulative joules at ``time_ns``."""
        return self.at(time_ns)[0]

    def sigma_at(self, time_ns: int) -> float:
        """Return the standard deviation of the energy at ``time_ns`` in joules, without the gain error."""
        return math.sqrt(self.at(time_ns)[1])

    def _find(self, time_ns: int) -> _Line | None:
        after = bisect_right(self._times, time_ns)
        if after in (0, len(self._times)):
            return None
        start, end = self._times[after - 1], self._times[after]
        joules, end_joules = self._joules[after - 1], self._joules[after]
        segment = self._variances
        if segment.end_ns != end or segment.start_ns != start:
            segment = self._variances = self._segment_variances(after)
        fixed, between = segment.fixed, segment.between
        from_ns, length_ns = start, end - start
        if self._pins and self._pins[-1].time_ns > start:
            place = bisect_right(self._pins, time_ns, key=itemgetter(0))
            if place < len(self._pins) and self._pins[place].time_ns < end:
                end, end_joules, _ = self._pins[place]
            if place and self._pins[place - 1].time_ns > start:
                start, joules, fixed = self._pins[place - 1]
                between = 0.0
        slope = (end_joules - joules) / (end - start)
        return _Line(
            start, end, joules, slope, end_joules, fixed, between, from_ns, length_ns, segment.missed
        )

    def _segment_variances(self, after: int) -> "_SegmentVariances":
        edge = self._edge(after)
        fixed, between = edge.variances(self.traits.hidden_watts)
        missed = self._missed_variance(after - 1)
        return _SegmentVariances(edge.start_ns, edge.end_ns, fixed, between, missed)

    def _missed_variance(self, point: int) -> float:
        return self._gap_variances[point] + (self._drifts[point] if self.traits.is_sampled else 0.0)

    def _outside(self, time_ns: int) -> tuple[float, float, float]:
        if not self._times:
            return 0.0, 0.0, 0.0
        first, hidden_watts = self._times[0], self.traits.hidden_watts
        if time_ns < first:
            return self._joules[0], self.edge(time_ns).variance(first, hidden_watts), 0.0
        variance = self.edge(time_ns).variance(self._times[-1], hidden_watts)
        return self._joules[-1], variance, self._missed_variance(-1)

    def _edge(self, after: int) -> Edge:
        """Return the uncertainty between the change points ``after - 1`` and ``after``."""
        start, end = self._times[after - 1], self._times[after]
        if self._bridged[after]:
            variance = (_BRIDGE_FACTOR * (self._joules[after] - self._joules[after - 1])) ** 2
            return Edge(start, end, fixed=variance)
        if self._gaps[after]:
            # The counter's gain is exact, but its course over the gap is unknown.
            watts = (self._joules[after] - self._joules[after - 1]) / self._seconds(after)
            blur = max(self._blurs[after - 1], self._blurs[after])
            return Edge(start, end, (watts,), blur, hidden_watts=watts)
        # The first value of a counter had been there for an unknown time, so the gain after it is no power.
        first = 2 if self._starts_roughly and after > 1 else 1
        around = range(max(after - 1, first), min(after + 2, len(self._times)))
        around_watts = tuple((self._joules[i] - self._joules[i - 1]) / self._seconds(i) for i in around)
        return Edge(start, end, around_watts, max(self._blurs[after - 1], self._blurs[after]))

    def _seconds(self, segment: int) -> float:
        return (self._times[segment] - self._times[segment - 1]) / NANOSECONDS_PER_SECOND

    def prune(self, before_ns: int) -> None:
        """Drop the change points that moments after ``before_ns`` do not need, except a few neighbours."""
        self._line, self._variances = _NO_LINE, _NO_VARIANCES  # the traits may have changed
        keep = max(bisect_left(self._times, before_ns) - _KEPT_POINTS, 0)
        self._starts_roughly &= not keep
        columns = (self._times, self._joules, self._bridged, self._blurs, self._drifts, self._gaps)
        for column in (*columns, self._gap_variances):
            del column[:keep]
        if self._pins and self._pins[0].time_ns < self._times[0]:
            self._pins = [pin for pin in self._pins if pin.time_ns >= self._times[0]]
