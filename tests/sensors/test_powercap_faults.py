"""Faults of the powercap files never add energy."""

import itertools
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.errors import SensorError
from profiler.sensors.environment import Environment
from profiler.sensors.powercap import open_powercap
from profiler.testing.clock import FakeClock
from tests.support.powercap import FakePowercap

WATTS = 200.0
FAULTS = st.sampled_from(["tear", "garble", "vanish", "heal", "restart", "nothing", "long"])


def read_through(faults):
    """Read a package at constant power during faults; return its readings and warnings."""
    clock = FakeClock()
    with tempfile.TemporaryDirectory() as folder:
        tree = FakePowercap(Path(folder) / "powercap", clock=clock)
        zone = tree.add("package-0", WATTS)
        (sensor,) = open_powercap(Environment(environ={}, powercap_root=tree.root, clock=clock)).sensors
        readings = [*sensor.read()]
        for fault in faults:
            act(tree, zone, clock, fault)
            for _ in range(4):
                clock.advance(0.1)
                readings += or_nothing(sensor)
        sensor.close()
    return readings, sensor.warnings


def act(tree, zone, clock, fault):
    if fault == "long":
        clock.advance(30)
    elif fault in ("heal", "restart") or not zone.folder.exists():
        tree.heal(zone)
        if fault == "restart":
            tree.restart(zone)
    elif fault != "nothing":
        {"tear": tree.tear, "garble": tree.garble, "vanish": tree.vanish}[fault](zone)


def or_nothing(sensor):
    try:
        return sensor.read()
    except SensorError:
        return []


@settings(max_examples=60, deadline=None)
@given(st.lists(FAULTS, max_size=12))
def test_no_interval_gains_energy_without_a_warning(faults):
    readings, warnings = read_through(faults)
    if any("wraparounds" in warning for warning in warnings):
        return
    restarts = 0
    for earlier, later in itertools.pairwise(readings):
        gained = later.energy_joules - earlier.energy_joules
        seconds = (later.time_ns - earlier.time_ns) / 1e9
        restarts += gained < 0
        assert gained < 0 or abs(gained - WATTS * seconds) < 0.01 * WATTS * seconds + 0.001
    assert restarts <= faults.count("restart")
    assert all(reading.energy_joules >= 0 for reading in readings)
