"""Conformance tests of sensors: a test class that inherits from ``SensorConformance`` runs them all.

::

    class TestMySensor(SensorConformance):
        @pytest.fixture
        def rig(self, fake_clock):
            return SensorRig(sensor=MySensor(clock=fake_clock), clock=fake_clock)
"""

import itertools
import math
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from profiler.errors import SensorError
from profiler.records import Provenance, Reading
from profiler.sensors.base import Sensor
from profiler.testing.clock import FakeClock

_NAME = re.compile(r"[a-z]+(:[a-z0-9-]+)?")
_STEPS = 40
_STEP_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorRig:
    """A sensor to be tested.

    Attributes:
        sensor: The open sensor.
        clock: The clock that it reads.
        true_watts: True mean power of each domain during the test, if it is known and constant.
        tolerance: Permitted relative error of the power.
        break_source: Makes every further reading fail; None if that cannot be arranged.
    """

    sensor: Sensor
    clock: FakeClock
    true_watts: dict[str, float] | None = None
    tolerance: float = 0.01
    break_source: Callable[[], None] | None = None

    def collect(self, steps: int = _STEPS) -> list[Reading]:
        """Read ``steps`` times, a tenth of a second apart."""
        readings: list[Reading] = []
        for _ in range(steps):
            self.clock.advance(_STEP_SECONDS)
            readings += self.sensor.read()
        return readings


class SensorConformance:
    """Contract of ``Sensor``. A subclass provides the fixture ``rig``."""

    def test_implements_the_protocol(self, rig: SensorRig) -> None:
        """All members of the protocol exist, and there is at least one domain."""
        assert isinstance(rig.sensor, Sensor)
        assert rig.sensor.domains

    def test_domain_names_are_valid_unique_and_constant(self, rig: SensorRig) -> None:
        """Names are well-formed and unique, and domains never change."""
        before = rig.sensor.domains
        names = [domain.name for domain in before]
        assert len(set(names)) == len(names)
        assert all(_NAME.fullmatch(name) for name in names)
        rig.collect(3)
        assert rig.sensor.domains == before

    def test_a_domain_and_its_parent_are_not_both_counted(self, rig: SensorRig) -> None:
        """Totals count each joule once."""
        billed = {domain.name for domain in rig.sensor.domains if domain.billed}
        assert not [d.name for d in rig.sensor.domains if d.billed and d.parent in billed]

    def test_every_domain_states_its_uncertainty(self, rig: SensorRig) -> None:
        """No sensor is exact, and an estimated domain has a note."""
        for domain in rig.sensor.domains:
            assert 0 < domain.gain_uncertainty < 1
            assert domain.source
            assert domain.provenance is not Provenance.MISSING
            assert domain.notes or domain.provenance is not Provenance.MODELLED

    def test_a_read_returns_at_most_one_reading_per_domain(self, rig: SensorRig) -> None:
        """A domain that buffers its readings may return several."""
        buffers = {domain.name: domain.buffered_seconds > 0 for domain in rig.sensor.domains}
        for _ in range(3):
            rig.clock.advance(_STEP_SECONDS)
            read = [reading.domain for reading in rig.sensor.read()]
            unbuffered = [name for name in read if not buffers[name]]
            assert len(set(unbuffered)) == len(unbuffered)

    def test_reading_times_lie_within_the_call(self, rig: SensorRig) -> None:
        """While the clock stands still, a reading has its time, or an earlier one within the buffered span."""
        back = {domain.name: round(domain.buffered_seconds * 2e9) for domain in rig.sensor.domains}
        for reading in rig.sensor.read():
            assert 0 <= rig.clock.now_ns() - reading.time_ns <= back[reading.domain]

    def test_reading_times_of_a_domain_increase(self, rig: SensorRig) -> None:
        """Times increase strictly, also from one read to the next."""
        times: dict[str, list[int]] = {}
        for reading in rig.collect():
            times.setdefault(reading.domain, []).append(reading.time_ns)
        assert all(a < b for one in times.values() for a, b in itertools.pairwise(one))

    def test_values_are_finite_and_not_negative(self, rig: SensorRig) -> None:
        """An unknown value is None."""
        for reading in rig.collect():
            amounts = [a for a in (reading.energy_joules, reading.power_watts) if a is not None]
            assert amounts
            assert all(math.isfinite(amount) and amount >= 0 for amount in amounts)

    def test_only_integrated_domains_lack_an_energy(self, rig: SensorRig) -> None:
        """Readings of all other provenances have an energy."""
        kinds = {domain.name: domain.provenance for domain in rig.sensor.domains}
        for reading in rig.collect(5):
            power_only = reading.energy_joules is None
            assert power_only == (kinds[reading.domain] is Provenance.INTEGRATED)

    def test_energy_does_not_decrease_while_the_source_is_healthy(self, rig: SensorRig) -> None:
        """A decrease is reserved for a counter reset."""
        by_domain: dict[str, list[float]] = {}
        for reading in rig.collect():
            if reading.energy_joules is not None:
                by_domain.setdefault(reading.domain, []).append(reading.energy_joules)
        assert all(a <= b for energies in by_domain.values() for a, b in itertools.pairwise(energies))

    def test_mean_power_matches_the_true_power(self, rig: SensorRig) -> None:
        """The mean power is within the tolerance if the true power is known."""
        readings = rig.collect()
        for name, watts in (rig.true_watts or {}).items():
            own = [reading for reading in readings if reading.domain == name]
            assert own, name
            assert _mean_watts(own) == pytest.approx(watts, rel=rig.tolerance)

    def test_reading_starts_no_thread_and_writes_no_output(
        self, rig: SensorRig, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A sensor must not interfere with the training process."""
        before = set(threading.enumerate())
        rig.collect(3)
        assert set(threading.enumerate()) == before
        assert capfd.readouterr() == ("", "")

    def test_a_broken_source_raises_sensor_error_on_every_read(self, rig: SensorRig) -> None:
        """No other exception is raised."""
        if rig.break_source is None:
            return
        rig.sensor.read()
        rig.break_source()
        for _ in range(3):
            rig.clock.advance(_STEP_SECONDS)
            with pytest.raises(SensorError):
                rig.sensor.read()

    def test_close_may_be_called_twice_and_later_reads_raise(self, rig: SensorRig) -> None:
        """The error names the closed sensor."""
        rig.sensor.close()
        rig.sensor.close()
        with pytest.raises(SensorError, match="closed"):
            rig.sensor.read()


def _mean_watts(readings: list[Reading]) -> float:
    """Return the mean power of one domain's readings, from its energy if it has one."""
    first, last = readings[0], readings[-1]
    if first.energy_joules is None or last.energy_joules is None:
        powers = [reading.power_watts for reading in readings if reading.power_watts is not None]
        return sum(powers) / len(powers)
    return (last.energy_joules - first.energy_joules) / ((last.time_ns - first.time_ns) / 1e9)
