"""From a bare ``with`` to a forecast, and every printed number recomputed from the CSV files."""

import csv
import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import torch

from profiler import EnergyProfiler, load_run
from profiler.cli import main
from profiler.records import CurveState, Domain, Provenance, Status
from profiler.reporting import render, report_of
from profiler.reporting.text import curve_state
from profiler.testing.replay import ReplaySensor, ScriptedMeter, Waveform

EXAMPLES = Path(__file__).parent.parent / "examples"


def meters():
    wave = Waveform.square(low=100.0, high=400.0, period_seconds=0.7)
    gpu = Domain(
        name="gpu:0", source="scripted counter", provenance=Provenance.COUNTER, gain_uncertainty=0.05
    )
    cpu = Domain(
        name="cpu:package-0", source="scripted", provenance=Provenance.MODELLED, gain_uncertainty=0.3
    )
    return ReplaySensor(
        [
            ScriptedMeter(domain=gpu, waveform=wave),
            ScriptedMeter(domain=cpu, waveform=Waveform.constant(50.0)),
        ]
    )


def train(steps, rate=lambda done: 0.002):
    torch.manual_seed(0)
    model = torch.nn.Linear(16, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002)
    truth = torch.randn(16, 1)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate((step + 1) / steps)
        inputs = torch.randn(64, 16)
        loss = (model(inputs) - inputs @ truth).square().mean() + 0.3
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.fixture
def recorded(tmp_path, capsys):
    """Return a run and the text printed while it was recorded."""
    with EnergyProfiler(name="small", run_dir=tmp_path / "run", sensors=[meters()]) as prof:
        train(3000)
    return prof.run, capsys.readouterr().err


def test_the_block_at_exit_is_the_report_of_the_directory(recorded):
    run, printed = recorded
    first, _, block = printed.partition("\n== ")
    block = "== " + block
    assert first.startswith("energy-profiler: recording gpu:0 (counter), cpu:package-0 (estimated) -> ")
    # The tables, which the waste needs, are not read at the end of a training.
    assert block == render(replace(report_of(run), waste=()), ".txt")
    # Up to three warnings are shown whole, and a loaded machine adds its own.
    assert len(block.splitlines()) <= 25
    # Under load the steps per second vary, and the energy of the points with them.
    state = run.fit().state
    assert state in {CurveState.FLAT, CurveState.TOO_EARLY, CurveState.IMPROVING}
    assert (curve_state(state, "loss") in block) == (state is not CurveState.IMPROVING)


@pytest.mark.slow
@pytest.mark.parametrize("last_rate", [0.0002, 0.0])
def test_the_block_of_a_falling_learning_rate_is_the_report_of_the_directory(tmp_path, capsys, last_rate):
    with EnergyProfiler(name="falling", run_dir=tmp_path / "run", sensors=[meters()]) as prof:
        train(3000, lambda done: last_rate + (0.002 - last_rate) * (1 - done))
    block = "== " + capsys.readouterr().err.partition("\n== ")[2]
    assert block == render(replace(report_of(prof.run), waste=()), ".txt")
    # Up to three warnings are shown whole, and a loaded machine adds its own.
    assert len(block.splitlines()) <= 25


def test_the_block_of_a_diverged_run_names_the_steps_of_the_report(tmp_path, capsys):
    with EnergyProfiler(name="diverged", run_dir=tmp_path / "run", sensors=[meters()]) as prof:
        train(600, lambda done: 0.002 if done < 0.7 else 100.0)
    block = "== " + capsys.readouterr().err.partition("\n== ")[2]
    assert block == render(report_of(prof.run), ".txt")
    first = next(row["step"] for row in rows_of(prof.run.path / "steps.csv") if row["nonfinite_count"] != "0")
    assert f"not finite from step {first} " in " ".join(block.split())


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_printed_joule_can_be_recomputed_from_the_csv_files(recorded):
    run, _ = recorded
    steps, spans, samples = (rows_of(run.path / name) for name in ("steps.csv", "spans.csv", "samples.csv"))
    attributed = sum(Decimal(row["total_joules"]) for row in (*steps, *spans))
    last = {row["domain"]: Decimal(row["energy_joules"]) for row in samples}
    assert attributed == sum(last.values())
    assert float(attributed) == run.total_joules == round(sum(run.energy_by_domain().values()), 6)
    report = json.loads(render(report_of(run), ".json"))
    assert report["energy"]["median"] == float(attributed)
    assert report["summary"]["steps"] == 3000 == sum(int(row["step_count"]) for row in steps)
    modelled = sum(Decimal(row["modelled_joules"]) for row in (*steps, *spans))
    assert modelled == last["cpu:package-0"]


def test_the_forecast_uses_the_losses_and_joules_in_the_files(recorded):
    run, _ = recorded
    fit = run.fit()
    rows = rows_of(run.path / "steps.csv")
    assert fit.joules == pytest.approx(float(rows[-1]["cumulative_joules"]), rel=0.01)
    recent = [float(row["loss"]) for row in rows[-200:]]
    assert min(recent) * 0.98 < fit.level < max(recent) * 1.02
    assert fit.joules_at(loss=fit.first_level * 0.99).verdict.value == "reached"
    assert fit.joules_at(loss=-1).certain


def example(name, *arguments):
    return [sys.executable, str(EXAMPLES / name), *arguments]


@pytest.mark.slow
def test_the_character_model_trains_under_the_profiler():
    done = subprocess.run(
        example("train_char_lm.py", "--steps", "8"), capture_output=True, text=True, check=True
    )
    run = load_run(done.stdout.splitlines()[-1])
    assert run.status is Status.COMPLETED
    assert run.steps["step_count"].sum() == 8
    assert run.steps["loss"].between(2.0, 6.0).all()
    assert re.search(r"== char-lm: completed after", done.stderr)


def wait_for_steps(file, count):
    deadline = time.monotonic() + 60
    while len(file.read_text().splitlines()) <= count:
        assert time.monotonic() < deadline, "no steps were written"
        time.sleep(0.05)


@pytest.mark.slow
def test_the_character_model_can_be_reported_after_a_kill(capsys):
    with subprocess.Popen(
        example("train_char_lm.py", "--steps", "100000"), stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            path = Path(process.stderr.readline().split(" -> ")[1].strip())
            wait_for_steps(path / "steps.csv", 10)
        finally:
            process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert main(["report", str(path)]) == 0
    assert re.search(r"== char-lm: (running|interrupted) after", capsys.readouterr().out)
    run = load_run(path)
    steps, spans = run.steps, run.spans
    assert len(steps) >= 9
    assert steps["cumulative_joules"].iloc[-1] == pytest.approx(
        steps["total_joules"].sum() + spans["total_joules"].sum()
    )


@pytest.mark.slow
def test_the_digits_example_forecasts_a_logged_metric():
    done = subprocess.run(example("train_digits.py"), capture_output=True, text=True, check=True)
    *printed, path = done.stdout.splitlines()
    run = load_run(path)
    assert len(run.metrics) == 60
    assert run.metrics["name"].unique().tolist() == ["val_error"]
    assert printed
    assert printed[0].startswith("Validation error now")


@pytest.mark.slow
def test_each_example_of_a_curve_without_a_forecast_has_its_state(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(example("curve_states.py"), capture_output=True, text=True, check=True)
    found = dict(re.findall(r"^([a-z-]+): ([a-z_]+)\. ", done.stdout, re.MULTILINE))
    assert found == {"converged": "flat", "raised-rate": "diverged", "policy": "not_a_progress_measure"}
