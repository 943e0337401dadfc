"""Work of a training: declared or counted per step, merged over ranks, unknown where a step lacks it."""

import json
import math
from types import SimpleNamespace

import pytest
import torch

from profiler import EnergyProfiler, load_run
from profiler.errors import UsageError
from profiler.recording.metadata import batch_job
from profiler.records import Work
from profiler.reporting import render, report_of
from profiler.work import WorkCounter, amount_of, merged_work, read_work
from tests.support.small_training import scripted, train


def recorded(tmp_path, after=lambda prof, step: None, steps=40, **keywords):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted(100.0)], **keywords) as prof:
        train(steps, after=lambda step, loss: after(prof, step))
    return load_run(tmp_path / "run")


# -- counting ----------------------------------------------------------------------------------------------------------


def test_declared_work_is_that_of_all_steps():
    section = WorkCounter({"tokens": 512}).section(100, parameters=7)
    assert section == {"parameters": 7, "tokens": {"per_step": 512, "total": 51_200}}
    assert read_work({"work": section}, 100, is_continued=False) == (Work(unit="tokens", total=51_200),)


def test_declared_work_of_a_resumed_run_includes_the_earlier_steps():
    meta = {"work": {"tokens": {"per_step": 10.0, "total": 100.0}}}
    assert read_work(meta, 30, is_continued=True) == (Work(unit="tokens", total=300.0),)


def test_counted_work_of_a_resumed_run_is_unknown():
    meta = {"work": {"tokens": {"counted": 5.0, "calls": 10, "total": 5.0}}}
    (work,) = read_work(meta, 30, is_continued=True)
    assert work.total is None
    assert "resumed" in work.reason


def test_work_that_some_steps_lack_is_unknown():
    counter = WorkCounter({})
    for _ in range(80):
        counter.add("tokens", 10.0)
    section = counter.section(100)
    assert section["tokens"] == {"counted": 800.0, "calls": 80, "total": None}
    (work,) = read_work({"work": section}, 100, is_continued=False)
    assert work.total is None
    assert "80 of 100 steps" in work.reason


def test_a_running_run_has_no_total_yet():
    assert WorkCounter({"tokens": 5}).section(None) == {"tokens": {"per_step": 5}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, 3.0), (torch.tensor(4), 4.0), (True, None), ("5", None), (-1, None), (math.nan, None), (None, None),
     (torch.ones(2), None), (torch.empty(1, device="meta"), None), (1e300, None),
     (SimpleNamespace(is_ready=bool, __float__=float), None)],
)  # fmt: skip
def test_an_amount_is_a_number_in_host_memory(value, expected):
    assert amount_of(value) == expected


@pytest.mark.parametrize(
    "work",
    [{"tokens": 0}, {"tokens": -1}, {"tokens": math.inf}, {"parameters": 5}, {"a b": 1}, {3: 1}, ["tokens"]],
)
def test_other_declarations_are_refused(work):
    with pytest.raises(UsageError, match="work_per_step"):
        EnergyProfiler(work_per_step=work)


# -- merging -----------------------------------------------------------------------------------------------------------


def test_ranks_add_up_what_they_counted_and_share_what_was_declared():
    sections = [
        {
            "parameters": 9,
            "tokens": {"per_step": 64.0, "total": 640.0},
            "samples": {"counted": n, "calls": 10, "total": n},
        }
        for n in (100.0, 120.0)
    ]
    merged = merged_work(sections, attempts=1)
    assert merged["parameters"] == 9
    assert merged["tokens"]["per_step"] == 64.0
    assert merged["samples"]["total"] == 220.0
    assert merged_work(sections, attempts=2)["samples"]["total"] is None


def test_one_rank_without_a_count_makes_the_sum_unknown():
    sections = [{"tokens": {"counted": 5.0, "calls": 3, "total": total}} for total in (5.0, None)]
    assert merged_work(sections, attempts=1)["tokens"]["total"] is None


# -- in a run and its reports ------------------------------------------------------------------------------------------


def test_joules_per_token_are_in_every_report(tmp_path):
    run = recorded(tmp_path, work_per_step={"tokens": 4096})
    report = report_of(run)
    found = json.loads(render(report, ".json"))["work"]
    total = 40 * 4096
    assert found["tokens"]["total"] == total
    assert found["tokens"]["joules_each"]["median"] == pytest.approx(run.total_joules / total)
    assert found["parameters"] == 5
    for extension in (".txt", ".md", ".html"):
        assert "163,840 tokens" in render(report, extension)
        assert "per token" in render(report, extension)


def test_work_of_each_step_adds_up(tmp_path):
    run = recorded(tmp_path, lambda prof, step: prof.step(tokens=step))
    assert run.summary().work == (Work(unit="tokens", total=sum(range(1, 41))),)
    assert len(run.steps) == 40


def test_unknown_work_of_one_step_is_not_zero(tmp_path, capfd):
    run = recorded(tmp_path, lambda prof, step: prof.step(tokens="many" if step == 3 else 8))
    text = render(report_of(run), ".txt")
    assert "39 of 40 steps" in text.replace("\n        ", " ")
    assert json.loads(render(report_of(run), ".json"))["work"]["tokens"]["joules_each"] is None
    assert "prof.step(tokens=...) got str" in capfd.readouterr().err


class Hostile:
    """An object of the training that cannot be converted."""

    def __float__(self):
        raise LookupError("no number here")


def test_hostile_amounts_leave_the_training_and_the_record_intact(tmp_path):
    amounts = {"tokens": 1e308, "images": Hostile(), "parameters": 5, "a b": 1}
    run = recorded(tmp_path, lambda prof, step: prof.step(**amounts))
    assert run.meta["status"] == "completed"
    assert len(run.steps) == 40
    assert run.summary().work == ()
    assert "parameters" in " ".join(run.warnings)


def test_one_unknown_amount_among_several_per_step_makes_the_total_unknown(tmp_path):
    def count(prof, step):
        for part in range(4):
            prof.add_work(tokens=None if step == part == 3 else 8)

    (work,) = recorded(tmp_path, count).summary().work
    assert work.total is None
    assert "was not a number" in work.reason


def test_hardware_is_stored(tmp_path):
    meta = recorded(tmp_path, steps=3).meta
    assert meta["hardware"]["memory_bytes"] > 0
    assert "batch_job" not in meta


def test_the_batch_job_is_stored_on_request_only(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert "4711" not in json.dumps(recorded(tmp_path, steps=3).meta)
    assert recorded(tmp_path / "2", steps=3, job=True).meta["batch_job"] == {"slurm_job_id": "4711"}


def test_a_pod_is_named_in_kubernetes_only():
    assert batch_job({"HOSTNAME": "pod-1"}) == {}
    assert batch_job({"HOSTNAME": "pod-1", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == {
        "kubernetes_pod": "pod-1"
    }


def test_a_parameter_without_a_shape_leaves_the_steps_recorded(tmp_path):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted(100.0)]):
        weights, lazy = torch.nn.Parameter(torch.ones(8)), torch.nn.parameter.UninitializedParameter()
        optimizer = torch.optim.SGD([weights, lazy], lr=0.1)
        for _ in range(3):
            weights.square().sum().backward()
            optimizer.step()
    summary = load_run(tmp_path / "run").summary()
    assert (summary.steps, summary.parameters) == (3, None)


def test_parameters_that_are_parts_of_sharded_ones_are_not_counted(tmp_path):
    class FlatParameter(torch.nn.Parameter):
        pass

    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted(100.0)]):
        weights = FlatParameter(torch.ones(8))
        optimizer = torch.optim.SGD([weights], lr=0.1)
        for _ in range(3):
            weights.square().sum().backward()
            optimizer.step()
    assert load_run(tmp_path / "run").summary().parameters is None


def test_work_after_the_end_is_not_counted(tmp_path):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted(100.0)]) as prof:
        train(3, after=lambda step, loss: prof.step(tokens=8))
    prof.step(tokens=8)
    # The session's own count is stored where run.json is written again after the end.
    assert prof.run.summary().work == prof._session.summary().work == (Work(unit="tokens", total=24.0),)


def test_trained_convolutions_are_recorded_and_change_the_forecast(tmp_path):
    run = recorded(tmp_path)
    assert "convolutional" not in run.meta
    with EnergyProfiler(run_dir=tmp_path / "images", sensors=[scripted(100.0)]):
        model = torch.nn.Conv2d(1, 1, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(40):
            model(torch.ones(1, 1, 3, 3)).square().mean().backward()
            optimizer.step()
    images = load_run(tmp_path / "images")
    assert images.meta["convolutional"] is True
    assert images.summary().convolutional
    assert images.fit().priors.anneal_gain > run.fit().priors.anneal_gain
