"""A sensor without hardware: scripted power whose energy is known in closed form."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Self

from profiler.clock import MONOTONIC, Clock
from profiler.errors import SensorError, UsageError
from profiler.records import Domain, Provenance, Reading
from profiler.units import NANOSECONDS_PER_SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Waveform:
    """Piecewise-linear power over time, whose energy is known in closed form.

    Before the first and after the last point, the power is constant, unless the waveform repeats.

    Attributes:
        points: ``(seconds, watts)`` in order of time. Two points at the same time are a jump; at that instant the later
            one applies.
        period_seconds: The section from 0 to this time repeats forever; None for a waveform that does not repeat.

    Raises:
        UsageError: No points, times out of order, a power that is negative or not finite, or a period that is not
            positive.
    """

    points: tuple[tuple[float, float], ...]
    period_seconds: float | None = None
    _seconds: tuple[float, ...] = field(init=False, repr=False, compare=False)
    _joules: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        seconds = tuple(t for t, _ in self.points)
        if not seconds or any(later < earlier for earlier, later in pairwise(seconds)):
            raise UsageError("a waveform needs at least one point, in order of time")
        if not all(math.isfinite(t) and math.isfinite(w) and w >= 0 for t, w in self.points):
            raise UsageError("times and powers of a waveform must be finite, and no power negative")
        if self.period_seconds is not None and not self.period_seconds > 0:
            raise UsageError(f"the period of a waveform must be positive, not {self.period_seconds}")
        pieces = ((t1 - t0) * (w0 + w1) / 2 for (t0, w0), (t1, w1) in pairwise(self.points))
        object.__setattr__(self, "_seconds", seconds)
        object.__setattr__(self, "_joules", tuple(accumulate(pieces, initial=0.0)))

    @classmethod
    def constant(cls, watts: float) -> Self:
        """Return constant power, in watts."""
        return cls(points=((0.0, watts),))

    @classmethod
    def square(cls, *, low: float, high: float, period_seconds: float, duty: float = 0.5) -> Self:
        """Return a square wave: ``high`` watts for the first ``duty`` of each period, then ``low`` watts."""
        edge = duty * period_seconds
        points = ((0.0, high), (edge, high), (edge, low), (period_seconds, low))
        return cls(points=points, period_seconds=period_seconds)

    def watts(self, seconds: float) -> float:
        """Return the power at a time, in watts."""
        return self._once_watts(seconds % self.period_seconds if self.period_seconds else seconds)

    def joules(self, seconds: float) -> float:
        """Return the energy from time 0 to ``seconds``, in joules; negative before time 0."""
        start = self._once_joules(0.0)
        if not self.period_seconds:
            return self._once_joules(seconds) - start
        cycles, rest = divmod(seconds, self.period_seconds)
        return cycles * (self._once_joules(self.period_seconds) - start) + self._once_joules(rest) - start

    def _once_watts(self, seconds: float) -> float:
        after = bisect_right(self._seconds, seconds)
        if after in (0, len(self.points)):
            return self.points[max(after - 1, 0)][1]
        (t0, w0), (t1, w1) = self.points[after - 1], self.points[after]
        return w0 + (w1 - w0) * (seconds - t0) / (t1 - t0)

    def _once_joules(self, seconds: float) -> float:
        """Return joules since the first point."""
        before = max(bisect_right(self._seconds, seconds) - 1, 0)
        t0, w0 = self.points[before]
        return self._joules[before] + (seconds - t0) * (w0 + self._once_watts(seconds)) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedMeter:
    """One scripted domain.

    Attributes:
        domain: The domain. Its provenance determines whether readings have an energy (``counter`` and ``modelled``) or
            only power (``integrated``); its update period, if any, turns the value into a staircase.
        waveform: True power.
        gain: Ratio of the reading to the true value.
    """

    domain: Domain
    waveform: Waveform
    gain: float = 1.0

    def reading(self, time_ns: int, origin_ns: int) -> Reading:
        """Return the reading at a time."""
        seconds = (time_ns - origin_ns) / NANOSECONDS_PER_SECOND
        period = self.domain.update_period_seconds
        shown = math.floor(seconds / period + 1e-9) * period if period else seconds
        energy = None
        if self.domain.provenance is not Provenance.INTEGRATED:
            energy = self.gain * self.waveform.joules(shown)
        power = self.gain * self.waveform.watts(shown)
        return Reading(domain=self.domain.name, time_ns=time_ns, energy_joules=energy, power_watts=power)


class ReplaySensor:
    """Returns readings of scripted power, with optional gaps.

    Args:
        meters: The scripted domains.
        clock: Clock of the readings.
        origin_ns: Time 0 of the scripts in nanoseconds of the clock; by default, the creation of the sensor.
        gaps: ``(domain, start_seconds, end_seconds)`` in script time, during which the domain cannot be read. While no
            domain can be read, ``read`` raises.
    """

    def __init__(
        self,
        meters: Sequence[ScriptedMeter],
        *,
        clock: Clock = MONOTONIC,
        origin_ns: int | None = None,
        gaps: Sequence[tuple[str, float, float]] = (),
    ) -> None:
        self._meters = tuple(meters)
        self._clock = clock
        self._origin_ns = clock.now_ns() if origin_ns is None else origin_ns
        self._gaps = tuple(gaps)
        self._closed = False

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The scripted domains."""
        return tuple(meter.domain for meter in self._meters)

    def read(self) -> Sequence[Reading]:
        """Read every domain that is not in a gap.

        Raises:
            SensorError: The sensor is closed, or every domain is in a gap.
        """
        if self._closed:
            raise SensorError("the replayed sensor is closed")
        now = self._clock.now_ns()
        readings = [m.reading(now, self._origin_ns) for m in self._meters if not self._in_gap(m, now)]
        if not readings:
            raise SensorError("no replayed domain can be read")
        return readings

    def close(self) -> None:
        """Refuse further reads."""
        self._closed = True

    def _in_gap(self, meter: ScriptedMeter, now: int) -> bool:
        seconds = (now - self._origin_ns) / NANOSECONDS_PER_SECOND
        return any(name == meter.domain.name and start <= seconds < end for name, start, end in self._gaps)
