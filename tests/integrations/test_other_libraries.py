"""Loops of libraries other than torch, which call ``prof.step`` after each update."""

import runpy
from pathlib import Path

import pytest

from profiler import load_run
from tests.support.fixtures import run_python  # noqa: F401 - a fixture

EXAMPLES = Path(__file__).parents[2] / "examples"

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # an import of it fails as where it is not installed

from profiler import EnergyProfiler

for part in (1, 2):
    with EnergyProfiler(run_dir=f"{sys.argv[1]}-{part}") as prof:
        for step in range(5):
            with prof.phase("fit"):
                prof.step(loss=1.0 / (step + 1))
        prof.log(score=0.5)
"""


@pytest.mark.slow
def test_recording_does_not_need_torch(tmp_path, run_python):  # noqa: F811 - the fixture
    done = run_python(f"import sys; sys.argv.append({str(tmp_path / 'run')!r})\n{WITHOUT_TORCH}")
    assert "cannot" not in done.stderr
    for part in (1, 2):
        run = load_run(tmp_path / f"run-{part}")
        assert list(run.steps["loss"]) == pytest.approx([1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
        assert run.metrics["value"].item() == 0.5
        assert run.meta["warnings"] == []


@pytest.mark.parametrize(
    ("library", "example", "steps"),
    [("sklearn", "train_sklearn.py", 740), ("jax", "train_jax.py", 500)],
)
@pytest.mark.slow
def test_example_records_every_step_and_loss(library, example, steps, capsys):
    pytest.importorskip(library)
    runpy.run_path(str(EXAMPLES / example), run_name="__main__")
    run = load_run(capsys.readouterr().out.splitlines()[-1])
    assert run.steps["step_count"].sum() == steps
    assert run.steps["loss"].notna().all()
    assert run.steps["loss"].iloc[-1] < run.steps["loss"].iloc[0]
    assert run.status == "completed"
