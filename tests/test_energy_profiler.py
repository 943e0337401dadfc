"""EnergyProfiler: its record is right and the training is unaffected, in ordinary and unusual runs."""

import copy
import csv
import functools
import json
import math
import pickle
import shutil
import threading
import time
from contextlib import contextmanager
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from profiler import EnergyProfiler
from profiler.distributed import layout
from profiler.errors import UsageError
from profiler.recording import inbox, sampler
from profiler.records import Provenance, Status
from profiler.storage.writer import RunWriter
from profiler.testing.replay import Waveform
from tests.support.small_training import scripted, train


@pytest.fixture
def recording(tmp_path):
    """Return a context manager that records a loop; sensors are optional."""

    @contextmanager
    def record(**options):
        options.setdefault("sensors", [scripted()])
        with EnergyProfiler(run_dir=tmp_path / "run", **options) as prof:
            yield prof

    return record


def rows(prof, name):
    with (prof.run.path / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def tiles(prof):
    """Return steps and spans in order of time, as text."""
    both = [*rows(prof, "steps"), *rows(prof, "spans")]
    return sorted(both, key=lambda row: (Decimal(row["start_seconds"]), Decimal(row["end_seconds"])))


def check_books(prof):
    """Check the files of a run: no gap, no overlap, and sums that agree to the microjoule."""
    both = tiles(prof)
    assert Decimal(both[0]["start_seconds"]) == 0
    assert all(one["end_seconds"] == other["start_seconds"] for one, other in pairwise(both))
    total = sum((Decimal(row["total_joules"]) for row in both), Decimal(0))
    assert Decimal(both[-1]["cumulative_joules"]) == total
    last = {row["domain"]: Decimal(row["energy_joules"]) for row in rows(prof, "samples")}
    assert sum(last.values()) == total
    totals = prof.run.meta["totals"]
    assert Decimal(str(totals["step_joules"])) + Decimal(str(totals["span_joules"])) == total
    assert totals["window_seconds"] == pytest.approx(float(both[-1]["end_seconds"]), abs=2e-6)
    return both


def train_and_raise(steps, error):
    train(steps)
    raise error


def test_every_step_and_its_loss_is_recorded(recording):
    with recording() as prof:
        losses = train(50)
    assert [float(row["loss"]) for row in rows(prof, "steps")] == losses
    assert [row["step"] for row in rows(prof, "steps")] == [str(n) for n in range(1, 51)]
    assert {row["learning_rate"] for row in rows(prof, "steps")} == {"0.01"}
    assert prof.run.meta["totals"]["steps"] == 50
    check_books(prof)


@pytest.mark.slow
def test_several_domains_and_kinds_add_up(recording):
    sensors = [
        scripted(Waveform.square(low=50.0, high=400.0, period_seconds=0.03), name="gpu:0"),
        scripted(33.3, name="dram:package-0", provenance=Provenance.INTEGRATED),
        scripted(71.7, provenance=Provenance.MODELLED),
    ]
    with recording(sensors=sensors, sample_period_seconds=0.01) as prof:
        train(200, pause=0.001)
    both = check_books(prof)
    modelled = sum(Decimal(row["modelled_joules"]) for row in both)
    for row in rows(prof, "steps"):
        parts = [row[f"{kind}_joules"] for kind in ("gpu", "cpu", "dram")]
        assert sum(map(Decimal, parts)) == Decimal(row["total_joules"])
        assert row["other_joules"] == ""
    assert prof.run.energy_by_domain()["cpu:package-0"] == pytest.approx(float(modelled))


@pytest.mark.slow
@pytest.mark.parametrize("provenance", [Provenance.COUNTER, Provenance.INTEGRATED])
@pytest.mark.parametrize(
    "wave",
    [Waveform.constant(200.0), Waveform(points=((0.0, 50.0), (60.0, 6050.0)))],
    ids=["constant", "ramp"],
)
def test_the_energy_of_a_known_power_is_within_one_percent(recording, wave, provenance):
    """Compare with the exact joules between the edges of the window."""
    origin = time.monotonic_ns()
    sensor = scripted(wave, provenance=provenance, origin_ns=origin)
    with recording(sensors=[sensor], sample_period_seconds=0.01) as prof:
        train(50, pause=0.01)
    start = (prof._session._pipeline.start_ns - origin) / 1e9
    end = start + prof.run.meta["totals"]["window_seconds"]
    assert end - start > 0.5
    assert prof.run.total_joules == pytest.approx(wave.joules(end) - wave.joules(start), rel=0.01)


def test_no_step(recording):
    with recording() as prof:
        pass
    assert [row["kind"] for row in check_books(prof)] == ["setup"]
    assert prof.run.status is Status.COMPLETED


@pytest.mark.parametrize("existing", [(), ("run",), ("run", "notes.txt")])
def test_an_error_before_the_first_step_leaves_no_run(tmp_path, recording, existing):
    """Directories and files that were there before stay."""
    for name, make in zip(existing, (Path.mkdir, Path.touch), strict=False):
        make(tmp_path / "run" if name == "run" else tmp_path / "run" / name)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="theirs"), recording() as prof:
        raise ValueError("theirs")
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(UsageError, match="saw no training"):
        _ = prof.run


def test_one_step(recording):
    with recording() as prof:
        losses = train(1)
    assert [float(row["loss"]) for row in rows(prof, "steps")] == losses
    check_books(prof)


def test_steps_without_a_loss(recording, capsys):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with recording() as prof:
        for _ in range(3):
            (weight * 2).backward(torch.ones(3))
            optimizer.step()
    assert [row["loss"] for row in rows(prof, "steps")] == ["", "", ""]
    assert capsys.readouterr().err.count("several elements") == 2, "once as a warning, once in the report"
    check_books(prof)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, -2.5, 0.0, 1e-45])
def test_any_float_is_a_loss(recording, loss):
    with recording() as prof:
        for _ in range(3):
            prof.step(loss=loss)
    written = [row["loss"] for row in rows(prof, "steps")]
    assert written == [repr(loss)] * 3
    assert [row["nonfinite_count"] for row in rows(prof, "steps")] == [str(int(not math.isfinite(loss)))] * 3
    check_books(prof)


def test_phases_are_spans_between_steps_and_labels_of_steps(recording):
    with recording() as prof:
        train(5)
        with prof.phase("evaluation"):
            time.sleep(0.01)
        with prof.phase("fine-tuning"):
            train(5)
        train(5)
    assert [row["phase"] for row in rows(prof, "steps")] == [""] * 5 + ["fine-tuning"] * 5 + [""] * 5
    (evaluation,) = [row for row in rows(prof, "spans") if row["kind"] == "evaluation"]
    assert Decimal(evaluation["end_seconds"]) - Decimal(evaluation["start_seconds"]) >= Decimal("0.01")
    check_books(prof)


def test_phases_nest_and_end_with_an_exception(recording):
    with recording() as prof:
        with pytest.raises(ZeroDivisionError), prof.phase("outer"), prof.phase("inner"):
            train_and_raise(2, ZeroDivisionError())
        train(2)
    assert [row["phase"] for row in rows(prof, "steps")] == ["inner", "inner", "", ""]


@pytest.mark.slow
def test_a_stall_between_steps_is_a_span(recording):
    with recording() as prof:
        train(20, pause=0.01)
        time.sleep(1.2)
        train(20, pause=0.01)
    (stall,) = [row for row in rows(prof, "spans") if row["kind"] == "stall"]
    assert 1.0 < float(stall["total_joules"]) / 100 < 1.3
    assert all(float(row["end_seconds"]) - float(row["start_seconds"]) < 1 for row in rows(prof, "steps"))
    check_books(prof)


def test_logged_values_have_their_step_and_joules(recording):
    with recording() as prof:
        prof.log(start=1)
        train(10, after=lambda step, loss: prof.log(val_error=1 / step) if step % 5 == 0 else None)
        prof.log(end=torch.tensor(2.5), also=math.nan)
    logged = rows(prof, "metrics")
    assert [(row["name"], row["step"], row["value"]) for row in logged] == [
        ("start", "0", "1.0"),
        ("val_error", "5", "0.2"),
        ("val_error", "10", "0.1"),
        ("end", "10", "2.5"),
        ("also", "10", "nan"),
    ]
    for row in logged:
        assert float(row["cumulative_joules"]) == pytest.approx(100 * float(row["time_seconds"]), abs=0.05)


def test_a_logged_value_that_is_not_a_number_is_reported_once_and_ignored(recording, capsys):
    with recording() as prof:
        for _ in range(3):
            prof.log(error="much")
        prof.log(error=0.5)
    assert [row["value"] for row in rows(prof, "metrics")] == ["0.5"]
    assert sum("not a number" in warning for warning in prof.run.warnings) == 1


def test_value_without_a_name_is_ignored_with_a_warning(recording):
    with recording() as prof:
        prof.log(5)
        prof.log({"val_error": 1.0}, val_error=0.5)
        train(2)
    assert [(row["name"], row["value"]) for row in rows(prof, "metrics")] == [("val_error", "0.5")]
    assert sum("value without a name" in warning for warning in prof.run.warnings) == 1


def test_an_exception_propagates_unchanged(recording):
    error = ValueError("theirs")
    with pytest.raises(ValueError, match="theirs") as caught, recording() as prof:
        train_and_raise(20, error)
    assert caught.value is error
    assert error.__context__ is None
    assert prof.run.status is Status.FAILED
    assert len(rows(prof, "steps")) == 20
    check_books(prof)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), Status.INTERRUPTED),
        (SystemExit(), Status.COMPLETED),
        (SystemExit(0), Status.COMPLETED),
        (SystemExit(3), Status.FAILED),
        (SystemExit("no"), Status.FAILED),
        (GeneratorExit(), Status.FAILED),
    ],
    ids=repr,
)
def test_the_status_follows_from_how_the_block_ends(recording, error, status):
    with pytest.raises(type(error)), recording() as prof:
        train_and_raise(2, error)
    assert prof.run.status is status


def test_start_and_stop_equal_the_with_statement(tmp_path):
    prof = EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()])
    assert prof.start() is prof
    train(3)
    prof.stop()
    prof.stop()
    train(3)
    assert len(rows(prof, "steps")) == 3
    assert prof.run.status is Status.COMPLETED


def test_starting_twice_is_refused_without_effect(recording):
    with recording() as prof:
        with pytest.raises(UsageError, match="already recording"):
            prof.start()
        train(3)
    assert len(rows(prof, "steps")) == 3


def test_before_the_start_there_is_no_run(tmp_path):
    prof = EnergyProfiler(run_dir=tmp_path / "run")
    prof.step(loss=1.0)
    prof.log(a=1)
    with prof.phase("evaluation"):
        pass
    prof.stop()
    with pytest.raises(UsageError, match="nothing was recorded"):
        _ = prof.run
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("live", [False, True])
def test_the_record_is_complete_where_no_thread_can_start(recording, monkeypatch, capsys, live):
    """Some Python versions are in this state during shutdown."""

    def refuse(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with recording(live=live) as prof:
        losses = train(20)
        monkeypatch.setattr(threading.Thread, "start", refuse)
    assert [float(row["loss"]) for row in rows(prof, "steps")] == losses
    assert prof.run.warnings == ()
    assert prof.run.total_joules > 0
    check_books(prof)


def test_failures_at_the_end_are_contained(tmp_path, capsys):
    """Failures at the end do not reach the loop, and nothing is left open."""
    closed = []
    sensor = scripted()
    prof = EnergyProfiler(run_dir=tmp_path / "run", sensors=[sensor])
    with prof:
        train(5)
        session = prof._session
        session._head["odd"] = math.nan  # which run.json cannot hold
        session._close_sensors = lambda: closed.append("sensors") or 1 / 0
        session._writer.close = functools.partial(
            lambda close: (close(), closed.append("writer")), session._writer.close
        )
        session._pipeline.meters.have_settled = lambda end_ns: 1 / 0
    assert closed == ["sensors", "writer"]
    assert len((tmp_path / "run" / "steps.csv").read_text().splitlines()) == 6
    printed = capsys.readouterr().err
    assert "the last readings failed (ZeroDivisionError" in printed
    assert "ending the record failed (ValueError" in printed


def test_a_profiler_can_be_reused(tmp_path):
    sensor = scripted()
    prof = EnergyProfiler(run_dir=tmp_path / "run", sensors=[sensor])
    for steps in (3, 5):
        with prof:
            train(steps)
        assert len(rows(prof, "steps")) == steps
        check_books(prof)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run-2"]


@pytest.mark.parametrize("made", [False, True], ids=["new", "there already"])
def test_two_runs_that_start_together_get_different_directories(tmp_path, made):
    """Both choose a directory before either writes."""
    if made:
        (tmp_path / "run").mkdir()
    profilers = [EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) for _ in range(3)]
    paths = [
        prof._open_session().path for prof in profilers
    ]  # the moment between the choice and the first write
    assert [path.name for path in paths] == ["run", "run-2", "run-3"]


@pytest.mark.parametrize("where", ["file", "file/run", "link"])
def test_the_training_continues_where_no_directory_can_be_created(tmp_path, capsys, where):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "at all")
    with EnergyProfiler(run_dir=tmp_path / where, sensors=[scripted()]) as prof:
        assert len(train(3)) == 3
    assert "cannot write the run directory" in capsys.readouterr().err
    assert prof._session.summary().steps == 3


@pytest.mark.parametrize("fails", ["before it has a place", "in the midst"])
def test_a_rank_whose_start_fails_leaves_nothing_behind(tmp_path, monkeypatch, capsys, fails):
    node = tmp_path / "node"
    node.mkdir()
    monkeypatch.setattr(layout, "node_directory", lambda: node)
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    options = {"run_dir": tmp_path / "run", "sensors": [scripted()]}
    if fails == "in the midst":
        monkeypatch.setattr(RunWriter, "open", lambda *_: 1 / 0)
    else:
        options["resume"] = node
    with EnergyProfiler(**options) as prof:
        assert len(train(3)) == 3
    assert not prof.is_recording
    assert capsys.readouterr().err.count("cannot record") == 1
    assert list(node.iterdir()) == []


def test_a_replaced_stderr_has_no_effect(recording, monkeypatch):
    monkeypatch.setattr("sys.stderr", SimpleNamespace(encoding="no-such-code", write=len))
    with recording() as prof:
        train(3)
    assert len(rows(prof, "steps")) == 3


def test_the_queue_behind_a_hanging_sensor_is_bounded(recording, monkeypatch, capsys):
    """Memory must not grow with the steps while a sensor hangs."""
    monkeypatch.setattr(sampler, "_HANG_SECONDS", 0.1)
    monkeypatch.setattr(inbox, "_CAPACITY", 30)
    hangs, hung, ended = threading.Event(), threading.Event(), threading.Event()
    sensor = Failing(fails=lambda _: hangs.is_set() and (hung.set() or ended.wait()))
    with recording(sensors=[sensor]) as prof:
        train(10)
        hangs.set()
        hung.wait()
        losses = train(200)
        assert len(prof._session._inbox.events) == 30
    ended.set()
    prof._session._thread.join()
    written = [float(row["loss"]) for row in rows(prof, "steps")]
    assert written[-10:] == losses[-10:]
    assert any("are lost" in warning for warning in prof.run.warnings)


def test_a_name_is_text(tmp_path):
    with pytest.raises(UsageError, match="name must be text"):
        EnergyProfiler(name=tmp_path)


def test_each_call_of_a_decorated_function_is_a_run(tmp_path):
    @EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()])
    def work(steps):
        """Docstring of the function."""
        return train(steps)

    assert len(work(3)) == 3
    assert len(work(4)) == 4
    assert work.__doc__ == "Docstring of the function."
    for name, steps in (("run", 3), ("run-2", 4)):
        text = (tmp_path / name / "steps.csv").read_text().splitlines()
        assert len(text) == 1 + steps
        assert json.loads((tmp_path / name / "run.json").read_text())["totals"]["span_joules"] > 0


def test_a_function_whose_call_ends_before_its_work_is_not_decorated():
    def generator():
        yield

    async def coroutine():
        pass

    for function in (generator, coroutine):
        with pytest.raises(UsageError, match="with EnergyProfiler"):
            EnergyProfiler()(function)


@pytest.mark.parametrize(("given", "level", "is_warned"), [(2.0, 2.0, False), (None, None, True)])
def test_a_logged_loss_is_not_the_loss_of_the_steps(tmp_path, given, level, is_warned):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        for _ in range(5):
            prof.step(loss=given)
            prof.log(loss=7.0, accuracy=0.5)
    totals = json.loads((tmp_path / "run" / "run.json").read_text())["totals"]
    assert totals["metrics"].get("loss") == level
    assert totals["metrics"]["accuracy"] == 0.5
    assert any("values logged as 'loss'" in line for line in prof.run.warnings) is is_warned


def test_a_removed_run_directory_is_not_named_as_the_record(tmp_path, capsys):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        prof.step(loss=1.0)
        (tmp_path / "run").rename(tmp_path / "gone")  # at once: the writer may be writing into it
        shutil.rmtree(tmp_path / "gone", ignore_errors=True)
    err = " ".join(capsys.readouterr().err.split())
    assert "the run directory was removed during the run" in err
    assert "still 'running'" not in err
    assert "energy-profiler report" not in err.partition("completed")[2]


def test_a_stopped_profiler_adds_no_steps_to_a_later_recording(tmp_path):
    with EnergyProfiler(run_dir=tmp_path / "first", sensors=[scripted()]) as first:
        first.step(loss=1.0)
    with EnergyProfiler(run_dir=tmp_path / "second", sensors=[scripted()]) as second:
        second.step(loss=2.0)
        first.step(loss=3.0)
    assert [float(row["loss"]) for row in rows(second, "steps")] == [2.0]


@pytest.mark.slow
@pytest.mark.parametrize("inside_first", [True, False])
def test_nested_profilers_each_record_their_own_time(tmp_path, inside_first):
    outer, inner = (
        EnergyProfiler(run_dir=tmp_path / name, sensors=[scripted()]) for name in ("outer", "inner")
    )
    outer.start()
    train(2)
    inner.start()
    train(3)
    first, second = (inner, outer) if inside_first else (outer, inner)
    first.stop()
    train(4)
    second.stop()
    steps = {"inner": len(rows(inner, "steps")), "outer": len(rows(outer, "steps"))}
    assert steps == ({"inner": 3, "outer": 9} if inside_first else {"inner": 7, "outer": 5})


@pytest.mark.slow
def test_a_run_can_be_read_while_it_records(recording):
    with recording() as prof:
        train(30, pause=0.02)
        assert prof.run.status is Status.RUNNING
        assert len(prof.run.steps) > 0
    assert prof.run.status is Status.COMPLETED


def test_a_directory_with_a_run_is_not_overwritten(tmp_path):
    for _ in range(3):
        with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]):
            train(1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run-2", "run-3"]


def test_a_directory_with_a_file_of_a_reserved_name_is_not_used(tmp_path):
    """A user's own ``metrics.csv`` is not modified."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.csv").write_text("theirs\n")
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        train(1)
    assert (tmp_path / "run" / "metrics.csv").read_text() == "theirs\n"
    assert prof.run.path == tmp_path / "run-2"


def test_other_files_in_the_directory_are_kept(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.pt").write_text("theirs")
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        train(1)
    assert prof.run.path == tmp_path / "run"


def test_a_read_only_directory_costs_one_warning_and_no_joule(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with EnergyProfiler(run_dir=tmp_path / "file" / "run", sensors=[scripted()]) as prof:
        losses = train(20, pause=0.005)
    printed = capsys.readouterr().err
    assert len(losses) == 20
    assert sum(line.startswith("energy-profiler: cannot write") for line in printed.splitlines()) == 1
    summary = prof._session.summary()
    assert summary.steps == 20
    assert summary.total_joules == pytest.approx(100 * summary.window_seconds, rel=0.05)


class Failing:
    """A sensor whose reads fail as scripted."""

    def __init__(self, *, fails):
        self._sensor = scripted()
        self._fails = fails
        self.reads = 0

    @property
    def domains(self):
        return self._sensor.domains

    def read(self):
        self.reads += 1
        if self._fails(self.reads):
            raise RuntimeError("broken")
        return self._sensor.read()

    def close(self):
        raise RuntimeError("broken too")


@pytest.mark.slow
def test_a_sensor_that_sometimes_fails_leaves_gaps_and_one_warning(recording, capsys):
    sensor = Failing(fails=lambda n: n % 3 == 0)
    with recording(sensors=[sensor], sample_period_seconds=0.01) as prof:
        train(30, pause=0.01)
    assert capsys.readouterr().err.count("reading cpu:package-0 failed (RuntimeError: broken)") <= 2
    assert sum("broken)" in warning for warning in prof.run.warnings) >= 1
    assert sensor.reads > 10
    assert prof.run.total_joules == pytest.approx(100 * float(tiles(prof)[-1]["end_seconds"]), rel=0.05)


def test_steps_are_recorded_when_the_sensor_always_fails(recording):
    with recording(sensors=[Failing(fails=lambda n: True)], sample_period_seconds=0.01) as prof:
        losses = train(30)
    assert [float(row["loss"]) for row in rows(prof, "steps")] == losses
    assert {row["total_joules"] for row in rows(prof, "steps")} == {""}
    assert prof.run.total_joules is None


def test_a_sensor_without_a_number_does_not_affect_the_others(recording):
    class Nonsense(Failing):
        def read(self):
            (reading,) = self._sensor.read()
            return [type(reading)(domain="cpu:package-0", time_ns=reading.time_ns, energy_joules=math.nan)]

    sensors = [Nonsense(fails=None), scripted(50.0, name="gpu:0")]
    with recording(sensors=sensors) as prof:
        train(30)
    assert len(rows(prof, "steps")) == 30
    assert prof.run.total_joules > 0


def test_a_domain_that_cannot_be_described_costs_one_line(tmp_path, capsys):
    class Undescribed(Failing):
        @property
        def domains(self):
            raise RuntimeError("no domains")

    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[Undescribed(fails=None)]):
        losses = train(3)
    assert len(losses) == 3
    assert capsys.readouterr().err == (
        "energy-profiler: cannot record (RuntimeError: no domains). Training continues without a record\n"
    )


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_profiler_states_why_it_cannot_be_copied(copied):
    with pytest.raises(TypeError, match="records this process"):
        copied(EnergyProfiler())
