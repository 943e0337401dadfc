"""Watches freshly opened sensors for a moment, so that their domains say what no interface tells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from profiler.records import Domain, Provenance, Reading
from profiler.sensors.base import Found, Noticing, Sensor
from profiler.sensors.counter_check import CounterWatch
from profiler.units import NANOSECONDS_PER_SECOND

POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedSensor:
    """A sensor whose domains say more than it knew when it was opened."""

    sensor: Sensor
    domains: tuple[Domain, ...]

    @property
    def notices(self) -> tuple[str, ...]:
        """What the sensor remembers."""
        return self.sensor.notices if isinstance(self.sensor, Noticing) else ()

    def read(self) -> Sequence[Reading]:
        """Read the sensor.

        Raises:
            SensorError: As the sensor does.
        """
        return self.sensor.read()

    def close(self) -> None:
        """Close the sensor."""
        self.sensor.close()


def observe(
    sensor: Sensor, *, seconds: float, clock: Callable[[], int], sleep: Callable[[float], object]
) -> dict[str, CounterWatch]:
    """Read a sensor closely for a while.

    Args:
        sensor: The sensor.
        seconds: How long.
        clock: Monotonic nanoseconds.
        sleep: Waits for so many seconds.

    Returns:
        What was seen of each domain.
    """
    watches = {domain.name: CounterWatch() for domain in sensor.domains}
    end = clock() + round(seconds * NANOSECONDS_PER_SECOND)
    while clock() < end:
        for reading in _read(sensor):
            watches[reading.domain].add(reading)
        sleep(POLL_SECONDS)
    return watches


def describe(
    found: Found, *, seconds: float, clock: Callable[[], int], sleep: Callable[[float], object]
) -> Found:
    """Watch each sensor of which something is unknown, and put what is seen into its domains.

    Args:
        found: What discovery found.
        seconds: How long to watch each.
        clock: Monotonic nanoseconds.
        sleep: Waits for so many seconds.

    Returns:
        The same, with the update period of each measured domain and with notes on counters that stand still or
        disagree with their power.
    """
    sensors = tuple(_described(s, seconds, clock, sleep) if _is_worth_it(s) else s for s in found.sensors)
    return replace(found, sensors=sensors)


def _described(
    sensor: Sensor, seconds: float, clock: Callable[[], int], sleep: Callable[[float], object]
) -> DescribedSensor:
    watches = observe(sensor, seconds=seconds, clock=clock, sleep=sleep)
    domains = tuple(_refined(domain, watches[domain.name]) for domain in sensor.domains)
    return DescribedSensor(sensor=sensor, domains=domains)


def _refined(domain: Domain, watch: CounterWatch) -> Domain:
    period = domain.update_period_seconds or watch.update_period_seconds
    return replace(domain, update_period_seconds=period, notes=(*domain.notes, *watch.findings()))


def _is_worth_it(sensor: Sensor) -> bool:
    return any(
        d.update_period_seconds is None and d.provenance is not Provenance.MODELLED for d in sensor.domains
    )


def _read(sensor: Sensor) -> Sequence[Reading]:
    try:
        return sensor.read()
    except Exception:  # noqa: BLE001 - the sampler will meet the fault again, and reports it
        return ()
