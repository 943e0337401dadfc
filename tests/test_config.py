"""Settings of the training in ``EnergyProfiler(config=...)``: flat, plain, finite, and stored."""

import json
import math

import numpy as np
import pytest
import torch

from profiler import EnergyProfiler
from profiler.config import ProfilerConfig
from profiler.errors import UsageError
from tests.support.small_training import scripted, train


def test_scalars_of_numpy_and_torch_become_numbers():
    config = {"lr": np.float32(0.5), "layers": torch.tensor(3), "name": "mlp", "amp": True, "seed": None}
    plain = {"lr": 0.5, "layers": 3, "name": "mlp", "amp": True, "seed": None}
    assert ProfilerConfig(config=config).config == plain


@pytest.mark.parametrize(
    "config",
    [
        {"lr": math.nan},
        {"lr": math.inf},
        {"layers": [1, 2]},
        {"optimizer": {"name": "sgd"}},
        {"weights": torch.ones(2)},
        {"": 1},
        {3: 1},
        {str(number): number for number in range(1001)},
        [("lr", 0.1)],
    ],
)
def test_other_settings_are_refused(config):
    with pytest.raises(UsageError, match="config"):
        ProfilerConfig(config=config)


def test_settings_and_the_last_levels_are_stored(tmp_path):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted(100.0)], config={"lr": 0.1}) as prof:
        train(30)
        prof.log(val_error=0.5)
        prof.log(val_error=0.25)
    meta = json.loads((tmp_path / "run" / "run.json").read_text())
    assert meta["config"] == {"lr": 0.1}
    assert meta["totals"]["metrics"]["val_error"] == 0.25
    assert math.isfinite(meta["totals"]["metrics"]["loss"])
