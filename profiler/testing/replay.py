"""Sensors without hardware: scripted power in closed form, and recorded readings played back."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Self

from profiler.errors import SensorError, UsageError
from profiler.records import Domain, Provenance, Reading
from profiler.units import NANOSECONDS_PER_SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Waveform:
    """Piecewise-linear power over time, whose energy is known in closed form.

    Outside its points the power is that of the nearest one, unless the wave repeats.

    Attributes:
        points: ``(seconds, watts)`` in order of time. Two points at one time are a jump; at that instant the
            power is the later one's.
        period_seconds: The wave repeats from 0 to this time, for all time; None when it does not.

    Raises:
        UsageError: No points, times out of order, a power below zero or not finite, or a period not above
            zero.
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
            raise UsageError("a waveform's times and powers must be finite, and no power below zero")
        if self.period_seconds is not None and not self.period_seconds > 0:
            raise UsageError(f"a waveform's period must be above zero, not {self.period_seconds}")
        pieces = ((t1 - t0) * (w0 + w1) / 2 for (t0, w0), (t1, w1) in pairwise(self.points))
        object.__setattr__(self, "_seconds", seconds)
        object.__setattr__(self, "_joules", tuple(accumulate(pieces, initial=0.0)))

    @classmethod
    def constant(cls, watts: float) -> Self:
        """The same power at all times, in watts."""
        return cls(points=((0.0, watts),))

    @classmethod
    def square(cls, *, low: float, high: float, period_seconds: float, duty: float = 0.5) -> Self:
        """``high`` watts for the first ``duty`` of each period, then ``low`` watts."""
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
        """Joules from the first point, before which the power is constant."""
        before = max(bisect_right(self._seconds, seconds) - 1, 0)
        t0, w0 = self.points[before]
        return self._joules[before] + (seconds - t0) * (w0 + self._once_watts(seconds)) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedMeter:
    """One scripted domain.

    Attributes:
        domain: What the sensor says of it. Its provenance decides whether readings carry an energy
            (``counter`` and ``modelled``) or power alone (``integrated``); its update period makes the value
            a staircase.
        waveform: Its true power.
        gain: What is read over what is true.
    """

    domain: Domain
    waveform: Waveform
    gain: float = 1.0

    def reading(self, time_ns: int, origin_ns: int) -> Reading:
        """Return what the meter shows at a time."""
        seconds = (time_ns - origin_ns) / NANOSECONDS_PER_SECOND
        period = self.domain.update_period_seconds
        shown = math.floor(seconds / period + 1e-9) * period if period else seconds
        energy = None
        if self.domain.provenance is not Provenance.INTEGRATED:
            energy = self.gain * self.waveform.joules(shown)
        power = self.gain * self.waveform.watts(shown)
        return Reading(domain=self.domain.name, time_ns=time_ns, energy_joules=energy, power_watts=power)


class ReplaySensor:
    """Plays scripted power, with faults on request.

    Args:
        meters: The scripted domains.
        clock: Monotonic nanoseconds. Scripts begin when the sensor is made, or at ``origin_ns``.
        origin_ns: The script's time 0, in nanoseconds of the clock.
        gaps: ``(domain, start_seconds, end_seconds)``: readings that fail, in script time. While every domain
            fails, ``read`` raises.
    """

    def __init__(
        self,
        meters: Sequence[ScriptedMeter],
        *,
        clock: Callable[[], int],
        origin_ns: int | None = None,
        gaps: Sequence[tuple[str, float, float]] = (),
    ) -> None:
        self._meters = tuple(meters)
        self._clock = clock
        self._origin_ns = clock() if origin_ns is None else origin_ns
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
        now = self._clock()
        readings = [m.reading(now, self._origin_ns) for m in self._meters if not self._in_gap(m, now)]
        if not readings:
            raise SensorError("no replayed domain can be read")
        return readings

    def close(self) -> None:
        """End the replay."""
        self._closed = True

    def _in_gap(self, meter: ScriptedMeter, now: int) -> bool:
        seconds = (now - self._origin_ns) / NANOSECONDS_PER_SECOND
        return any(name == meter.domain.name and start <= seconds < end for name, start, end in self._gaps)


class RecordedSensor:
    """Plays recorded readings back at their own pace: what a bug report's samples showed, shown again.

    Each read gives, for each domain, the newest recorded reading that is not in the future; its time is the
    time of the read.

    Args:
        domains: The recorded domains.
        readings: The recorded readings, in any order.
        clock: Monotonic nanoseconds. The first recorded reading is shown when the sensor is made.
    """

    def __init__(
        self, domains: Sequence[Domain], readings: Sequence[Reading], *, clock: Callable[[], int]
    ) -> None:
        if not readings:
            raise UsageError("there is no recorded reading to play back")
        self._domains = tuple(domains)
        ordered = sorted(readings, key=lambda reading: reading.time_ns)
        self._by_domain = {d.name: [r for r in ordered if r.domain == d.name] for d in domains}
        self._times = {name: [r.time_ns for r in records] for name, records in self._by_domain.items()}
        self._shift_ns = ordered[0].time_ns - clock()
        self._clock = clock
        self._closed = False

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The recorded domains."""
        return self._domains

    def read(self) -> Sequence[Reading]:
        """Return the newest recorded reading of each domain.

        Raises:
            SensorError: The sensor is closed, or nothing was recorded yet at this time.
        """
        if self._closed:
            raise SensorError("the recorded sensor is closed")
        now = self._clock()
        readings = [r for d in self._domains if (r := self._newest(d.name, now)) is not None]
        if not readings:
            raise SensorError("nothing was recorded up to this time")
        return readings

    def close(self) -> None:
        """End the replay."""
        self._closed = True

    def _newest(self, name: str, now: int) -> Reading | None:
        index = bisect_right(self._times[name], now + self._shift_ns)
        if index == 0:
            return None
        record = self._by_domain[name][index - 1]
        return Reading(
            domain=name, time_ns=now, energy_joules=record.energy_joules, power_watts=record.power_watts
        )
