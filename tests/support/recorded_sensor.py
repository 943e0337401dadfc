"""A sensor that replays recorded readings."""

from bisect import bisect_right
from collections.abc import Sequence

from profiler.clock import Clock
from profiler.errors import SensorError, UsageError
from profiler.records import Domain, Reading


class RecordedSensor:
    """Replays recorded readings at their original pace, such as the samples of a bug report.

    Each read returns, for each domain, the newest recorded reading that is not in the future, with the time of the
    read.

    Args:
        domains: The recorded domains.
        readings: The recorded readings, in any order.
        clock: Clock of the readings. The first recorded reading is due when the sensor is created.
    """

    def __init__(self, domains: Sequence[Domain], readings: Sequence[Reading], *, clock: Clock) -> None:
        if not readings:
            raise UsageError("there is no recorded reading to replay")
        self._domains = tuple(domains)
        ordered = sorted(readings, key=lambda reading: reading.time_ns)
        self._by_domain = {d.name: [r for r in ordered if r.domain == d.name] for d in domains}
        self._times = {name: [r.time_ns for r in records] for name, records in self._by_domain.items()}
        self._shift_ns = ordered[0].time_ns - clock.now_ns()
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
        now = self._clock.now_ns()
        readings = [r for d in self._domains if (r := self._newest(d.name, now)) is not None]
        if not readings:
            raise SensorError("nothing was recorded up to this time")
        return readings

    def close(self) -> None:
        """Refuse further reads."""
        self._closed = True

    def _newest(self, name: str, now: int) -> Reading | None:
        index = bisect_right(self._times[name], now + self._shift_ns)
        if index == 0:
            return None
        record = self._by_domain[name][index - 1]
        return Reading(
            domain=name, time_ns=now, energy_joules=record.energy_joules, power_watts=record.power_watts
        )
