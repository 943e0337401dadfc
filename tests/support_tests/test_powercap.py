import time

import pytest

from profiler.testing.replay import Waveform
from tests.support.powercap import FakePowercap, real_time_powercap


@pytest.fixture
def tree(tmp_path, fake_clock):
    return FakePowercap(tmp_path / "powercap", clock=fake_clock)


def shown(zone):
    return int((zone.folder / "energy_uj").read_text())


def test_the_tree_has_the_layout_of_the_kernel(tree):
    package = tree.add("package-0", 100.0)
    tree.add("core", 50.0, parent=package)
    tree.add("dram", 20.0, parent=package)
    tree.add("package-1", 100.0)
    tree.add("package-0", 100.0, control="intel-rapl-mmio")
    assert sorted(path.name for path in tree.root.iterdir()) == [
        "intel-rapl",
        "intel-rapl-mmio",
        "intel-rapl-mmio:0",
        "intel-rapl:0",
        "intel-rapl:0:0",
        "intel-rapl:0:1",
        "intel-rapl:1",
    ]
    assert (tree.root / "intel-rapl/intel-rapl:0/intel-rapl:0:1/name").read_text() == "dram\n"
    assert (tree.root / "intel-rapl:0/max_energy_range_uj").read_text() == "262143328850\n"


def test_counters_follow_the_clock_and_wrap_around(tree, fake_clock):
    zone = tree.add("package-0", Waveform.square(low=100, high=300, period_seconds=2), start_joules=262_000)
    fake_clock.advance(10)
    assert shown(zone) == pytest.approx((262_000 + 2_000) * 1e6 - 262_143.3e6, rel=0.01)


def test_a_live_tree_follows_the_real_clock(tmp_path):
    tree = real_time_powercap(tmp_path / "powercap")
    zone = tree.add("package-0", 500.0)
    with tree.live():
        before = shown(zone)
        time.sleep(0.1)
        after = shown(zone)
    assert 20e6 < after - before < 500e6
