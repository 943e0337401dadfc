"""The recipes for trackers in docs/recipes.md, run as they are printed, and read by each tracker's own reader."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from profiler.monitoring import sinks
from tests.support.small_training import train

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
STEPS = 25


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    """Call the trackers at every opportunity, as in a long run."""
    monkeypatch.setattr(sinks, "PERIOD_SECONDS", 0.0)


def block(heading, language="python"):
    """Return the first block below a heading."""
    _, _, section = PAGE.partition(f"## {heading}\n")
    return re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)[1]


def run(heading, **names):
    scope = {"train": lambda: train(STEPS), **names}
    exec(compile(block(heading), f"docs/recipes.md: {heading}", "exec"), scope)
    return scope


# -- Weights & Biases --------------------------------------------------------------------------------------------------


def history(folder):
    """Return the rows of an offline run: records of W&B's protocol in the blocks of a LevelDB log."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # its service writes the end of the file
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    data, at, part, rows = path.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # the end of a block is padding
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            record = Record()
            record.ParseFromString(part)
            part = b""
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append({item.key or "/".join(item.nested_key): item.value_json for item in items})
    return rows


@pytest.fixture
def offline(monkeypatch, tmp_path):
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.mark.parametrize("style", ["step=", "no step", "never"])
def test_wandb_keeps_each_value_of_the_user(offline, style):
    import wandb

    logged = []

    def log(step, _loss):
        for name in () if style == "never" else ("first", "second"):
            wandb.run.log({name: step}, **({"step": step} if style == "step=" else {}))
            logged.append((name, str(step)))

    run("Weights & Biases", train=lambda: train(STEPS, pause=0.05, after=log))
    rows = history(offline)
    kept = {(name, value) for row in rows for name, value in row.items()}
    assert set(logged) <= kept
    assert len(logged) == (0 if style == "never" else 2 * STEPS)
    energy = [float(row["energy/total_joules"]) for row in rows if "energy/total_joules" in row]
    assert energy[-1] > 0.0
    assert energy == sorted(energy)
    assert rows[-1]["energy/step"] == str(STEPS)


# -- the others --------------------------------------------------------------------------------------------------------


def test_mlflow_stores_metrics_and_the_report():
    import mlflow

    run("MLflow")
    client = mlflow.MlflowClient("sqlite:///mlflow.db")
    (found,) = client.search_runs(["0"])
    points = client.get_metric_history(found.info.run_id, "energy/total_joules")
    assert points[-1].step == STEPS
    assert points[-1].value > 0.0
    names = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert names == {"energy-report.html", "energy-report.json"}


def test_tensorboard_shows_the_metrics():
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run("TensorBoard")
    events = EventAccumulator("runs/digits").Reload()
    last = events.Scalars("energy/total_joules")[-1]
    assert (last.step, last.value > 0.0) == (STEPS, True)


def test_trackio_stores_the_metrics(monkeypatch, tmp_path):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    run("trackio")
    (one,) = trackio.Api().runs("digits")
    last = SQLiteStorage.get_logs("digits", one.name)[-1]
    assert (last["step"], last["energy/total_joules"] > 0.0) == (STEPS, True)


def test_a_function_receives_the_metrics(capsys):
    run("Several trackers, and any other one")
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{STEPS} ")


def test_accelerate_does_not_move_the_step_of_wandb(offline):
    """``Accelerator.log(values, step=)`` would: the profiler logs to the run of the tracker instead."""
    from accelerate import Accelerator

    from profiler import EnergyProfiler

    accelerator = Accelerator(log_with="wandb", cpu=True)
    accelerator.init_trackers("digits")
    with EnergyProfiler(log_to=accelerator):
        train(STEPS, after=lambda step, loss: [accelerator.log({n: step}, step=step // 5) for n in "ab"])
    accelerator.end_training()
    rows = history(offline)
    assert [row["b"] for row in rows if "b" in row] == ["4", "9", "14", "19", "24", "25"]
    assert float(rows[-1]["energy/total_joules"]) > 0.0


# -- batch systems and notebooks ---------------------------------------------------------------------------------------


def test_the_epilog_prints_the_runs_of_its_job_only(monkeypatch):
    from profiler import EnergyProfiler

    monkeypatch.setenv("ENERGY_PROFILER_JOB", "true")
    for job in ("4711", "4712"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        with EnergyProfiler(name=f"job {job}"):
            train(3)
    script = block("Slurm: the energy of a job in its epilog", "bash")
    script = script.replace("energy-profiler ", f"{sys.executable} -m profiler ")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"job 4712 [\d.]+ J in 3 steps\n", done.stdout)


def test_cells_of_a_notebook():
    _, _, section = PAGE.partition("## Notebooks\n")
    cells = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    scope = {"train": lambda: train(STEPS)}
    for cell in cells:
        exec(compile(cell, "docs/recipes.md: Notebooks", "exec"), scope)
    assert "<" in scope["prof"].run._repr_html_()  # called by notebooks


def test_opentelemetry_prints_the_energy(capfd):
    """In a process of its own, because a provider can be configured once."""
    code = "from tests.support.small_training import train as steps\ntrain = lambda: steps(5)\n"
    command = [sys.executable, "-c", code + block("OpenTelemetry")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '"name": "hw.energy"' in done.stdout
