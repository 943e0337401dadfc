"""What every sensor must do: inherit ``SensorConformance`` in a test, and pytest runs it all.

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
    """A sensor ready to be tested.

    Attributes:
        sensor: The sensor, opened.
        clock: The clock it reads.
        true_watts: The true mean power of each domain while the test runs, where it is known and constant.
        tolerance: The relative error that the power may show.
        break_source: Makes every further reading fail; None where that cannot be arranged.
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
    """The contract of ``Sensor``. A subclass provides the fixture ``rig``."""

    def test_it_is_a_sensor(self, rig: SensorRig) -> None:
        """The protocol's members exist, and there is something to read."""
        assert isinstance(rig.sensor, Sensor)
        assert rig.sensor.domains

    def test_domains_are_named_once_and_stay(self, rig: SensorRig) -> None:
        """Names are well-formed, unique and fixed for the sensor's life."""
        before = rig.sensor.domains
        names = [domain.name for domain in before]
        assert len(set(names)) == len(names)
        assert all(_NAME.fullmatch(name) for name in names)
        rig.collect(3)
        assert rig.sensor.domains == before

    def test_a_part_and_its_whole_are_never_both_billed(self, rig: SensorRig) -> None:
        """Totals count each joule once."""
        billed = {domain.name for domain in rig.sensor.domains if domain.billed}
        assert not [d.name for d in rig.sensor.domains if d.billed and d.parent in billed]

    def test_each_domain_says_how_well_it_is_known(self, rig: SensorRig) -> None:
        """An error of zero is a claim that no sensor can make; what is estimated says so in words."""
        for domain in rig.sensor.domains:
            assert 0 < domain.gain_uncertainty < 1
            assert domain.source
            assert domain.provenance is not Provenance.MISSING
            assert domain.notes or domain.provenance is not Provenance.MODELLED

    def test_a_read_gives_at_most_one_reading_a_domain(self, rig: SensorRig) -> None:
        """Or all since the last read, of a domain that remembers; none of a domain it did not announce."""
        remembers = {domain.name: domain.buffered_seconds > 0 for domain in rig.sensor.domains}
        for _ in range(3):
            rig.clock.advance(_STEP_SECONDS)
            read = [reading.domain for reading in rig.sensor.read()]
            present = [name for name in read if not remembers[name]]
            assert len(set(present)) == len(present)

    def test_readings_are_stamped_within_the_call(self, rig: SensorRig) -> None:
        """On a clock that stands still, a reading's time is that clock's, or one that its domain remembers."""
        back = {domain.name: round(domain.buffered_seconds * 2e9) for domain in rig.sensor.domains}
        for reading in rig.sensor.read():
            assert 0 <= rig.clock() - reading.time_ns <= back[reading.domain]

    def test_the_readings_of_a_domain_come_in_order_of_time(self, rig: SensorRig) -> None:
        """Each later than the one before, across reads too."""
        times: dict[str, list[int]] = {}
        for reading in rig.collect():
            times.setdefault(reading.domain, []).append(reading.time_ns)
        assert all(a < b for one in times.values() for a, b in itertools.pairwise(one))

    def test_amounts_are_finite_and_not_below_zero(self, rig: SensorRig) -> None:
        """What is unknown is None, never NaN, never negative."""
        for reading in rig.collect():
            amounts = [a for a in (reading.energy_joules, reading.power_watts) if a is not None]
            assert amounts
            assert all(math.isfinite(amount) and amount >= 0 for amount in amounts)

    def test_provenance_says_what_readings_carry(self, rig: SensorRig) -> None:
        """Power alone is ``integrated``; everything else is an energy."""
        kinds = {domain.name: domain.provenance for domain in rig.sensor.domains}
        for reading in rig.collect(5):
            power_only = reading.energy_joules is None
            assert power_only == (kinds[reading.domain] is Provenance.INTEGRATED)

    def test_energy_never_decreases_while_the_source_is_healthy(self, rig: SensorRig) -> None:
        """A decrease is reserved for a source that started again."""
        by_domain: dict[str, list[float]] = {}
        for reading in rig.collect():
            if reading.energy_joules is not None:
                by_domain.setdefault(reading.domain, []).append(reading.energy_joules)
        assert all(a <= b for energies in by_domain.values() for a, b in itertools.pairwise(energies))

    def test_power_and_energy_match_the_truth(self, rig: SensorRig) -> None:
        """Where the true power is known, what is read agrees with it."""
        readings = rig.collect()
        for name, watts in (rig.true_watts or {}).items():
            own = [reading for reading in readings if reading.domain == name]
            assert own, name
            assert _mean_watts(own) == pytest.approx(watts, rel=rig.tolerance)

    def test_reading_starts_no_thread_and_prints_nothing(
        self, rig: SensorRig, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A sensor is a guest in somebody's training."""
        before = set(threading.enumerate())
        rig.collect(3)
        assert set(threading.enumerate()) == before
        assert capfd.readouterr() == ("", "")

    def test_a_broken_source_raises_a_sensor_error_and_nothing_else(self, rig: SensorRig) -> None:
        """However often it is asked."""
        if rig.break_source is None:
            return
        rig.sensor.read()
        rig.break_source()
        for _ in range(3):
            rig.clock.advance(_STEP_SECONDS)
            with pytest.raises(SensorError):
                rig.sensor.read()

    def test_closing_twice_is_safe_and_reading_afterwards_is_refused(self, rig: SensorRig) -> None:
        """A late read of the sampler gets a clear error."""
        rig.sensor.close()
        rig.sensor.close()
        with pytest.raises(SensorError, match="closed"):
            rig.sensor.read()


def _mean_watts(readings: list[Reading]) -> float:
    """Mean power of one domain's readings: from its energy where it has one, else the mean of its powers."""
    first, last = readings[0], readings[-1]
    if first.energy_joules is None or last.energy_joules is None:
        powers = [reading.power_watts for reading in readings if reading.power_watts is not None]
        return sum(powers) / len(powers)
    return (last.energy_joules - first.energy_joules) / ((last.time_ns - first.time_ns) / 1e9)
