"""Totals of the real recorder while the GPU's energy counter is frozen, jumps or restarts."""

import sys
from pathlib import Path

import pytest

from tests.support.fixtures import nvml_library

__all__ = ["nvml_library"]

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))


@pytest.fixture(scope="module")
def stage(nvml_library, tmp_path_factory):
    from accuracy_play import Stage

    return Stage(nvml_library, tmp_path_factory.mktemp("stage"))


@pytest.mark.parametrize("scene", ["constant", "training, 280 ms per step"])
@pytest.mark.parametrize(
    ("fault", "tolerance"),
    [
        ({"frozen": ((0.1, 6.0),)}, 0.03),
        ({"frozen": ((0.1, 2.5),)}, 0.03),
        ({"frozen": ((0.1, 600.0),)}, 0.03),
        ({"frozen": ((8.0, 12.5),)}, 0.01),
        ({"frozen": ((8.0, 600.0),)}, 0.02),
        ({"resets": (6.0, 9.0)}, 0.02),
    ],
    ids=[
        "before the start, jump",
        "before the start, early jump",
        "always",
        "4.5 s",
        "until the end",
        "resets",
    ],
)
def test_totals_with_a_faulty_counter(stage, scene, fault, tolerance):
    """The waveform starts 1 to 2 s before the recording; the gain alone allows 8 %."""
    from accuracy_scenes import SENSORS, scenes

    chosen = next(one for one in scenes(20, 0) if one.name == scene)
    for seed in range(2):
        gpu = SENSORS["H100-like"](chosen.waveform, phase_seconds=0.03 * seed, **fault)
        played = stage.play(chosen, gpu, seconds=14, seed=seed)
        truth = played.truth(played.start, played.end)
        assert played.joules == pytest.approx(truth, rel=tolerance)
