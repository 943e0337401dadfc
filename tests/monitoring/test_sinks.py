"""Destinations of metrics: every kind of tracker, slow and failing ones, and the end of a run."""

import json
import random
import threading
from types import SimpleNamespace

import pytest

from profiler import EnergyProfiler
from profiler.errors import UsageError
from profiler.monitoring import sinks as module
from profiler.monitoring.sinks import PERIOD_SECONDS, SHAPES, STEP_KEY, Sinks
from profiler.testing import FakeClock
from tests.support.small_training import scripted, train

# -- one tracker of each shape, which keeps (values, step) -------------------------------------------------------------


class Tracker:
    """Tracker with ``log_metrics``, which takes files."""

    def __init__(self):
        self.rows, self.files = [], []

    def log_metrics(self, values, step=None):
        self.rows.append((values, step))

    def log_artifact(self, path):
        self.files.append(path)


class LogTracker:
    def __init__(self):
        self.rows = []

    def log(self, values, step=None):
        self.rows.append((values, step))


class WandBRun:
    """Run with the steps of Weights & Biases: a call without ``step=`` completes a row, a lower step is dropped."""

    def __init__(self):
        self.step, self.open, self.done, self.dropped, self.axes = 0, {}, [], [], {}

    def define_metric(self, name, step_metric=None):
        self.axes[name] = step_metric

    def log(self, values, step=None, commit=None):
        if step is not None and step < self.step:
            self.dropped.append(values)
            return
        if step is not None and step > self.step:
            self._complete(step)
        self.open |= values
        if commit or (step is None and commit is None):
            self._complete(self.step + 1)

    def _complete(self, step):
        self.done, self.open, self.step = [*self.done, self.open], {}, step

    @property
    def rows(self):
        every = [row for row in [*self.done, self.open] if STEP_KEY in row]
        return [({k: v for k, v in row.items() if k != STEP_KEY}, row[STEP_KEY]) for row in every]


class MLflowModule(Tracker):
    def __init__(self):
        super().__init__()
        self.run = SimpleNamespace(info=SimpleNamespace(run_id="r1"))

    def active_run(self):
        return self.run

    def log_metrics(self, values, step=None, run_id=None):
        assert run_id is not None, "would begin a run of its own"
        super().log_metrics(values, step)

    def log_artifact(self, path, run_id=None):
        super().log_artifact(path)


class Writer:
    def __init__(self):
        self.scalars, self.flushed = {}, 0

    def add_scalar(self, tag, value, step):
        self.scalars.setdefault(step, {})[tag] = value

    def flush(self):
        self.flushed += 1

    @property
    def rows(self):
        return [(values, step) for step, values in self.scalars.items()]


class Accelerator:
    def __init__(self):
        self.member = LogTracker()
        self.trackers = [self.member]

    def log(self, values, step=None):
        raise AssertionError("would set the step of every tracker")

    @property
    def rows(self):
        return self.member.rows


class Function:
    def __init__(self):
        self.rows = []

    def __call__(self, values, step):
        self.rows.append((values, step))


TRACKERS = [Tracker, LogTracker, WandBRun, MLflowModule, Writer, Accelerator, Function]


def started(target):
    """Return the sinks, their clock, and the warnings that their calls return."""
    clock, warnings = FakeClock(), []
    sinks = Sinks(target, clock)
    sinks.send = collected(sinks.send, warnings)
    sinks.finish = collected(sinks.finish, warnings)
    return sinks, clock, warnings


def collected(method, warnings):
    return lambda *args: warnings.extend(method(*args))


def test_every_row_of_the_table_has_a_tracker_here():
    def shape_of(tracker):
        return next(shape for names, shape in SHAPES if all(hasattr(tracker, name) for name in names))

    assert {shape_of(tracker()) for tracker in TRACKERS} == {shape for _, shape in SHAPES}


@pytest.mark.parametrize("kind", TRACKERS)
def test_each_kind_receives_values_and_step(kind):
    target = kind()
    sinks, clock, warnings = started(target)
    clock.advance(PERIOD_SECONDS)
    sinks.send({"energy/total_joules": 5.0, "loss/level": 1.0}, 7)
    sinks.finish({"energy/total_joules": 9.0}, 8, [])
    values, step = target.rows[-1]
    assert (values["energy/total_joules"], step) == (9.0, 8)
    if kind is not WandBRun:  # its open row keeps the latest values only
        assert target.rows[0] == ({"energy/total_joules": 5.0, "loss/level": 1.0}, 7)
    assert warnings == []


def test_several_destinations_get_values_of_their_own():
    def spoil(values, step):
        values.clear()

    after = Function()
    sinks, clock, _ = started([spoil, after])
    clock.advance(PERIOD_SECONDS)
    sinks.send({"a": 1.0}, 1)
    assert after.rows == [({"a": 1.0}, 1)]


@pytest.mark.parametrize("target", ["wandb", 3, [None], object(), Tracker])
def test_other_objects_are_refused(target):
    with pytest.raises(UsageError, match="log_to"):
        EnergyProfiler(log_to=target)


# -- Weights & Biases never drops a value of the user -----------------------------------------------------------------


def users(run, sinks, clock, style):
    """Train five steps, with the profiler between the two calls of the user; return the user's values."""
    logged = []
    for step in range(5):
        for name in ("first", "second"):
            if style == "step=":
                run.log({name: step}, step=step)
            elif style == "no step":
                run.log({name: step})
            logged += [(name, step)] if style != "never" else []
            clock.advance(PERIOD_SECONDS)
            sinks.send({"energy/total_joules": 10.0 * step}, step)
    sinks.finish({"energy/total_joules": 50.0}, 5, [])
    if style == "step=":
        run.log({"after": 1}, step=4)
        logged.append(("after", 1))
    return logged


@pytest.mark.parametrize("style", ["step=", "no step", "never"])
def test_values_of_the_user_are_kept(style):
    run = WandBRun()
    sinks, clock, _ = started(run)
    logged = users(run, sinks, clock, style)
    assert run.dropped == []
    kept = [(name, value) for row in [*run.done, run.open] for name, value in row.items()]
    assert set(logged) <= set(kept)
    assert run.rows[-1][0]["energy/total_joules"] == 50.0
    assert run.axes == {"energy/total_joules": STEP_KEY}


# -- schedule, failures -----------------------------------------------------------------------------------------------


def test_no_call_comes_earlier_than_ten_seconds_after_the_last():
    target = Function()
    sinks, clock, _ = started(target)
    for second in range(35):
        assert sinks.is_due == (second in (10, 20, 30))
        sinks.send({"a": 1.0}, second)
        clock.advance(1.0)
    assert [step for _, step in target.rows] == [10, 20, 30]


@pytest.mark.parametrize(("seconds", "expected"), [(0.9, [10, 20, 31]), (5.0, [10])])
def test_a_slow_destination_is_called_once_a_minute(seconds, expected):
    steps = []

    def slow(values, step):
        steps.append(step)
        clock.advance(seconds)

    sinks, clock, warnings = started(slow)
    begun = clock.seconds
    while clock.seconds < begun + 40:
        sinks.send({"a": 1.0}, int(clock.seconds - begun))
        clock.advance(1.0)
    assert steps == expected
    assert warnings == []
    assert sinks.seconds == pytest.approx(len(expected) * seconds)
    assert sinks.calls == len(expected)


def test_a_destination_that_blocks_for_long_is_dropped():
    sinks, clock, warnings = started(lambda values, step: clock.advance(11.0))
    for _ in range(3):
        clock.advance(100.0)
        sinks.send({"a": 1.0}, 1)
    sinks.finish({"a": 1.0}, 1, [])
    assert sinks.calls == 1
    assert warnings == [
        "log_to=<lambda> blocked the training for 11.0 s and gets no further values; the record of the run is complete"
    ]


def test_a_destination_that_raises_is_dropped_and_the_others_go_on():
    def broken(values, step):
        raise ConnectionError("no route")

    good = Function()
    sinks, clock, warnings = started([broken, good])
    for step in (1, 2):
        clock.advance(PERIOD_SECONDS)
        sinks.send({"a": 1.0}, step)
    assert [step for _, step in good.rows] == [1, 2]
    assert warnings == [
        "log_to=broken failed (ConnectionError: no route) and gets no further values; the record of the run is complete"
    ]


def test_random_numbers_of_the_training_do_not_change():
    random.seed(1)
    expected = random.random()
    random.seed(1)
    sinks, clock, _ = started(lambda values, step: random.random())
    clock.advance(PERIOD_SECONDS)
    sinks.send({"a": 1.0}, 1)
    assert random.random() == expected


def test_mlflow_waits_for_a_run_instead_of_beginning_one():
    target = MLflowModule()
    run, target.run = target.run, None
    sinks, clock, warnings = started(target)
    for target.run in (None, run, None):
        clock.advance(PERIOD_SECONDS)
        sinks.send({"a": 1.0}, 1)
    assert len(target.rows) == 2  # during the run, and after it to the same one
    assert warnings == []


def test_mlflow_without_a_run_is_a_warning_at_the_end():
    target = MLflowModule()
    target.run = None
    sinks, _, warnings = started(target)
    sinks.finish({"a": 1.0}, 1, [])
    assert "no MLflow run was active" in warnings[0]


# -- in a run ---------------------------------------------------------------------------------------------------------


def test_a_short_run_logs_its_final_values_and_attaches_its_report(tmp_path):
    target = Tracker()
    kept = {}
    target.log_artifact = lambda path: kept.update({path.rpartition("/")[2]: open(path).read()})  # noqa: PTH123, SIM115
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted(100.0)], log_to=target) as prof:
        train(30)
    ((values, step),) = target.rows
    assert step == 30
    assert values["energy/total_joules"] == pytest.approx(prof.run.total_joules)
    assert json.loads(kept["energy-report.json"])["summary"]["name"] == "run"
    assert "<html" in kept["energy-report.html"]
    overhead = json.loads((tmp_path / "run" / "run.json").read_text())["overhead"]
    assert overhead["log_calls"] == 1
    assert overhead["log_seconds"] > 0.0


def test_calls_come_between_steps_on_the_training_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PERIOD_SECONDS", 0.0)
    threads, steps = set(), []

    def target(values, step):
        threads.add(threading.get_ident())
        steps.append(step)

    def enough(step, loss):
        if len(steps) >= 2:
            raise StopIteration

    prof = EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted(100.0)], log_to=target)
    with pytest.raises(StopIteration), prof:
        train(2000, pause=0.01, after=enough)
    assert threads == {threading.get_ident()}
    assert len(steps) >= 3  # the last one at the end


def test_the_text_of_a_failure_is_in_the_record_and_the_training_continues(tmp_path, capfd):
    def broken(values, step):
        raise ConnectionError("no route to the tracker")

    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted(100.0)], log_to=broken):
        losses = train(5)
    assert len(losses) == 5
    assert "no route to the tracker" in capfd.readouterr().err
    warnings = json.loads((tmp_path / "run" / "run.json").read_text())["warnings"]
    assert any("no route to the tracker" in line for line in warnings)


def test_a_missing_temporary_folder_costs_the_attached_report_only(tmp_path, monkeypatch, capfd):
    def fail(*_, **__):
        raise FileNotFoundError("no usable temporary folder")

    monkeypatch.setattr("tempfile.TemporaryDirectory", fail)
    target = Tracker()
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted(100.0)], log_to=target):
        train(5)
    assert len(target.rows) == 1
    assert target.files == []
    assert "no report is attached to the tracker (FileNotFoundError" in capfd.readouterr().err
