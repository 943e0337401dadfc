"""Error propagation shared by recorder and reader, and the coverage of its intervals."""

import math
import sys
from pathlib import Path

import pytest

from profiler import uncertainty
from profiler.analysis import window_energy
from profiler.storage.reader import by_domain
from tests.support.fixtures import nvml_library

__all__ = ["nvml_library"]

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))


def test_steady_power_between_exact_ticks_has_no_uncertainty():
    assert uncertainty.edge_variance(0.1, [300.0] * 3, 0.0, 0.0) == (0, 0)


@pytest.mark.parametrize("larger", [(0.2, [100, 300], 50, 0.001), (0.1, [0, 400], 50, 0.001),
                                    (0.1, [100, 300], 90, 0.001), (0.1, [100, 300], 50, 0.01)])  # fmt: skip
def test_every_source_of_uncertainty_adds(larger):
    assert sum(uncertainty.edge_variance(*larger)) > sum(
        uncertainty.edge_variance(0.1, [100, 300], 50, 0.001)
    )


def test_energy_is_exact_at_change_points_and_least_certain_between_them():
    places = [n / 1000 for n in range(1001)]
    shares = [uncertainty.bridge_variance_share(place) for place in places]
    assert shares[0] == shares[-1] == 0
    assert max(shares) == shares[500]
    assert sum(shares) / len(shares) == pytest.approx(1, abs=0.002)


def test_errors_of_sensors_are_independent_and_of_estimates_correlated():
    assert uncertainty.gain_variance([(False, 3.0), (False, 4.0)]) == pytest.approx(25)
    assert uncertainty.gain_variance([(True, 3.0), (True, 4.0)]) == pytest.approx(49)


@pytest.fixture(scope="module")
def stage(nvml_library, tmp_path_factory):
    from accuracy_play import Stage

    return Stage(nvml_library, tmp_path_factory.mktemp("stage"))


@pytest.mark.parametrize(("length", "bar"), [(0.0805, 2.5), (0.23, 1.5)])
def test_steps_on_a_slow_counter_stay_within_their_error_bars(stage, length, bar):
    """Check the mean absolute percent error of steps with a sensor that updates every 100 ms, read by pynvml."""
    from accuracy_scenes import SENSORS, equal_steps

    errors = []
    for seed in range(2):
        scene = equal_steps(length, 48, jitter=0.03, seed=seed)
        played = stage.play(
            scene, SENSORS["H100-like"](scene.waveform, phase_seconds=0.037 * seed), seconds=40, seed=seed
        )
        for row in played.steps[1:]:
            truth = played.truth(played.start + row.start_seconds / 1e9, played.start + row.end_seconds / 1e9)
            errors.append(100 * abs(row.total_joules / 1e6 - truth) / truth)
    assert sum(errors) / len(errors) < bar


def test_intervals_of_totals_cover_the_truth(stage):
    from accuracy_scenes import SENSORS, scenes

    errors, hits, rows = [], 0, 0
    for seed in range(3):
        for scene in scenes(14, seed):
            gpu = SENSORS["H100-like"](scene.waveform, phase_seconds=0.031 * seed)
            played = stage.play(scene, gpu, seconds=10, seed=seed)
            truth = played.truth(played.start, played.end)
            meters = played.recorder.meters
            common = meters["gpu:0"].monitor.alias_uncertainty * played.joules
            sigma = math.hypot(played.recorder.edge_joules, common)
            errors.append(100 * abs(played.joules - truth) / truth)
            hits += abs(played.joules - truth) <= uncertainty.Z_90 * sigma + 1e-5 * truth
            rows += 1
    assert sum(errors) / len(errors) < 0.1
    assert hits / rows >= 0.94


def test_the_reader_computes_the_uncertainty_of_the_recorder(stage):
    """Check the intervals of windows from the samples alone; a longer window is relatively more precise."""
    from accuracy_scenes import SENSORS, equal_steps

    scene = equal_steps(0.28, 30, jitter=0.05)
    played = stage.play(scene, SENSORS["H100-like"](scene.waveform), seconds=20, seed=1)
    domains = {"gpu:0": played.recorder.meters["gpu:0"].describe(0)}
    frame, edges, hits, widths = played.frame(), played.edges(), 0, []
    for n in range(40):
        start, end = 0.3 + 0.21 * n, 0.3 + 0.21 * n + 0.5 + 0.27 * n
        found = window_energy.between(by_domain(frame), domains, edges, start, end)
        truth = played.truth(played.start + start, played.start + end)
        assert found.median == pytest.approx(truth, rel=0.2)
        hits += found.low <= truth <= found.high
        widths.append((found.high - found.low) / truth)
    assert hits >= 36
    assert widths[-1] < widths[0]
