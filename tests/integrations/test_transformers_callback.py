"""transformers callback in real trainings of a model with random weights."""

import copy
import pickle
import time

import pytest
import torch
import transformers

from profiler import EnergyProfiler
from profiler.integrations.transformers import EnergyProfilerCallback
from profiler.records import Status
from tests.support.small_training import scripted, train

transformers.logging.set_verbosity_error()


class Slow(transformers.TrainerCallback):
    """Callback that waits for the sensors."""

    def on_step_end(self, args, state, control, **kwargs):
        time.sleep(0.05)


class Reporter(transformers.TrainerCallback):
    """Reporter at the place of TensorBoard's callback, among the first."""

    def __init__(self):
        self.seen = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.seen.append(dict(logs))


class FailsAt(transformers.TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise ZeroDivisionError("theirs")


@pytest.fixture
def trainer_of(tmp_path):
    config = transformers.GPT2Config(n_layer=1, n_head=1, n_embd=8, n_positions=16, vocab_size=32)
    tokens = torch.randint(0, 32, (64, 8), generator=torch.Generator().manual_seed(0))
    rows = [{"input_ids": row, "labels": row} for row in tokens]

    def make(*callbacks, **options):
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path / "out"), use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True,
            per_device_train_batch_size=4, **{"max_steps": 20, "logging_steps": 5} | options,
        )  # fmt: skip
        model = transformers.GPT2LMHeadModel(config)
        return transformers.Trainer(
            model=model, args=arguments, train_dataset=rows, eval_dataset=rows[:8], callbacks=list(callbacks)
        )

    return make


@pytest.fixture
def callback(tmp_path):
    return EnergyProfilerCallback(run_dir=tmp_path / "run", sensors=[scripted()])


@pytest.mark.slow
def test_training_is_a_run(trainer_of, callback):
    trainer = trainer_of(callback, gradient_accumulation_steps=2)
    trainer.train()
    run = callback.profiler.run
    assert run.status is Status.COMPLETED
    assert len(run.steps) == 20
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    recorded = run.steps["loss"].to_numpy().reshape(4, 5).mean(axis=1)
    assert recorded == pytest.approx(logged, rel=1e-3)


class StopsAt(transformers.TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop |= state.global_step == self.step


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "total"), [({}, 20), ({"total_steps": 30}, 30), ({"planned_learning_rate": 5e-5}, None)]
)
def test_plan_has_the_length_of_the_trainer(trainer_of, tmp_path, options, total):
    """A cosine to a tenth of the peak has no end of its own."""
    callback = EnergyProfilerCallback(run_dir=tmp_path / "run", sensors=[scripted()], **options)
    scheduler = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}}
    trainer_of(callback, StopsAt(12), **scheduler).train()
    run = callback.profiler.run
    assert (run.meta.get("total_steps"), len(run.steps)) == (total, 12)
    if not options:
        assert run.meta["learning_rate_plan"]["knots"][-1] == [20, pytest.approx(5e-6, rel=0.3)]


@pytest.mark.slow
def test_metrics_are_in_the_logs_of_the_trainer(trainer_of, callback, capsys):
    trainer = trainer_of(callback, Slow(), eval_strategy="steps", eval_steps=10)
    trainer.train()
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    joules = [entry["energy/total_joules"] for entry in steps if "energy/total_joules" in entry]
    assert len(joules) >= 1
    assert joules == sorted(joules)
    evaluations = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert evaluations
    assert not any("energy/total_joules" in entry for entry in evaluations)
    recorded = callback.profiler.run.metrics
    assert set(recorded["name"]) == {"eval_loss"}
    assert list(recorded["value"]) == [entry["eval_loss"] for entry in evaluations]
    assert "energy/total_joules" in capsys.readouterr().out


@pytest.mark.slow
def test_attach_puts_it_before_the_reporters(trainer_of, tmp_path):
    reporter = Reporter()
    trainer = trainer_of(reporter, Slow())
    attached = EnergyProfilerCallback(run_dir=tmp_path / "run", sensors=[scripted()]).attach(trainer)
    trainer.train()
    assert len(attached.profiler.run.steps) == 20
    assert sum("energy/total_joules" in logs for logs in reporter.seen) >= 1


@pytest.mark.slow
def test_training_ends_on_its_budget(trainer_of, tmp_path):
    spender = EnergyProfilerCallback(run_dir=tmp_path / "run", sensors=[scripted()], energy_budget=20.0)
    trainer = trainer_of(spender, Slow(), max_steps=2000)
    trainer.train()
    assert 0 < trainer.state.global_step < 200
    assert len(spender.profiler.run.steps) == trainer.state.global_step
    assert spender.profiler.run.status is Status.COMPLETED


@pytest.mark.slow
def test_joules_are_counted_once_inside_a_recording(trainer_of, tmp_path):
    joined = EnergyProfilerCallback()
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        train(3)
        trainer_of(joined).train()
        assert prof.is_recording
    assert joined.profiler is prof
    assert len(prof.run.steps) == 3 + 20
    assert len(list(tmp_path.glob("**/run.json"))) == 1


@pytest.mark.slow
def test_failed_training_ends_before_the_next(trainer_of, callback):
    with pytest.raises(ZeroDivisionError, match="theirs"):
        trainer_of(callback, FailsAt(7)).train()
    first = callback.profiler
    assert first.is_recording
    trainer_of(callback).train()
    assert first.run.status is Status.FAILED
    assert len(first.run.steps) == 7
    assert len(callback.profiler.run.steps) == 20


def test_callback_can_be_pickled(callback):
    copied = pickle.loads(pickle.dumps(EnergyProfilerCallback(name="one")))
    assert copied.profiler is None
    assert copy.deepcopy(callback).profiler is None


@pytest.mark.slow
def test_settings_and_tokens_are_stored(trainer_of, callback):
    trainer_of(callback, seed=7, include_num_input_tokens_seen=True, hub_token="hf_0123456789abcdef").train()
    run = callback.profiler.run
    assert (run.meta["config"]["seed"], run.meta["config"]["per_device_train_batch_size"]) == (7, 4)
    assert "hf_" not in (run.path / "run.json").read_text()
    (work,) = run.summary().work
    assert (work.unit, work.total) == ("tokens", 20 * 4 * 8)
