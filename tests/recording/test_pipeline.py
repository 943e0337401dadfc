"""The whole pipeline on scripted time: readings and events in, files out."""

import csv
import gc
import os
import shutil
import tracemalloc
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from profiler import load_run
from profiler.distributed.rank import Identity
from profiler.errors import SensorError
from profiler.recording import metadata
from profiler.recording.inbox import LoggedValue
from profiler.recording.meter import SampleLog
from profiler.recording.timeline import Timeline
from profiler.records import Domain, Provenance, Reading, Status
from profiler.storage.writer import RunWriter
from profiler.testing.clock import FakeClock
from profiler.testing.replay import ReplaySensor, ScriptedMeter, Waveform
from profiler.torch_hooks.events import EventId, Kind, PendingScalar, StepEvent
from profiler.units import NANOSECONDS_PER_SECOND as SECOND
from tests.support.pipelines import build_pipeline
from tests.support.runs import write_run

GPU = Domain(name="gpu:0", source="test", provenance=Provenance.COUNTER)
CPU = Domain(name="cpu:package-0", source="test", provenance=Provenance.COUNTER)


class Bench:
    """A pipeline with its files and a manual clock."""

    def __init__(self, path, *meters, devices=("cuda:0",), silent=None):
        self.path = path
        self.clock = FakeClock()
        gaps = ((silent.name, 0.0, 1e9),) if silent else ()
        self.sensor = ReplaySensor(meters, clock=self.clock, gaps=gaps)
        self.failures = []
        self.writer = RunWriter(path, self.failures.append)
        self.writer.open({})
        self.pipeline, self.inbox, self.hooks, self.monitor = build_pipeline(
            self.sensor.domains, self.writer, devices=devices
        )
        self.read()
        self.start = self.clock.now_ns()
        self.pipeline.begin(self.start)

    @property
    def seconds(self):
        return (self.clock.now_ns() - self.start) / SECOND

    def pass_time(self, seconds, beat=0.1):
        """Advance the clock, reading and draining at each interval."""
        for _ in range(round(seconds / beat)):
            self.clock.advance(beat)
            self.read()
            self.pipeline.drain(self.clock.now_ns())

    def read(self):
        with suppress(SensorError):  # the sampler takes it as a gap
            self.pipeline.add(self.sensor.read())

    def step(self, loss=1.0, slots=(), stamp=None):
        """Add an update that ends now."""
        end = self.clock.now_ns()
        event = StepEvent(Kind.OPEN, end, loss, slots, 1, end - 10, 5, 5, 0.1, None, device_end=stamp)
        self.inbox.events.append(event)

    def log(self, value, name="val_error"):
        self.inbox.metrics.append(LoggedValue(time_ns=self.clock.now_ns(), name=name, value=value))

    def finish(self):
        self.end = self.clock.now_ns()
        self.pass_time(0.2)
        self.pipeline.finish(self.end)
        self.writer.close()

    def write_running(self):
        """Write ``run.json`` as it is while the run is recorded."""
        head = metadata.head(name="", started=datetime.now(tz=UTC), identity=Identity(), refusals=())
        body = metadata.body(
            status=Status.RUNNING, domains=self.pipeline.meters.as_dicts(), missing=(), warnings=(), totals=None,
            overhead={}, rows_lost={}, alternating_steps=0, work={},
        )  # fmt: skip
        self.writer.write_meta(head | body)

    def rows(self, name):
        with (self.path / f"{name}.csv").open(newline="") as file:
            return list(csv.DictReader(file))


def constant(domain, watts):
    return ScriptedMeter(domain=domain, waveform=Waveform.constant(watts))


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "run", constant(GPU, 200.0), constant(CPU, 50.0))


def total(rows, column="total_joules"):
    return sum(Decimal(row[column]) for row in rows)


def test_steps_and_spans_count_the_energy_of_their_time(bench):
    bench.pass_time(2)
    for loss in (3.0, 2.0, 1.0):
        bench.pass_time(0.5)
        bench.step(loss)
    bench.pass_time(1)
    bench.finish()
    steps, spans = bench.rows("steps"), bench.rows("spans")
    assert [row["loss"] for row in steps] == ["3.0", "2.0", "1.0"]
    assert [row["kind"] for row in spans] == ["setup", "teardown"]
    assert [float(row["gpu_joules"]) for row in steps[1:]] == pytest.approx([100, 100])
    assert [float(row["cpu_joules"]) for row in steps[1:]] == pytest.approx([25, 25])
    assert float(total(steps) + total(spans)) == pytest.approx(250 * bench.seconds, rel=0.1)
    assert steps[-1]["step"] == "3"
    assert Decimal(spans[-1]["cumulative_joules"]) == total(steps) + total(spans)
    assert bench.pipeline.totals.steps == 3


WAVES = {
    "square": Waveform.square(low=100.0, high=500.0, period_seconds=2.5),
    "ramp": Waveform(points=((0.0, 50.0), (20.0, 450.0))),
    "pulse": Waveform(points=((0.0, 50.0), (3.3, 50.0), (3.3, 900.0), (4.7, 900.0), (4.7, 50.0))),
}


@pytest.mark.parametrize(
    ("provenance", "period", "tolerance"),
    [
        (Provenance.COUNTER, None, 0.01),
        (Provenance.COUNTER, 0.1, 0.01),
        (Provenance.COUNTER, 0.5, 0.01),
        (Provenance.INTEGRATED, None, 0.03),  # what power did between two readings is not known
        (Provenance.INTEGRATED, 0.1, 0.03),
    ],
)
@pytest.mark.parametrize("wave", WAVES.values(), ids=WAVES.keys())
def test_energy_of_a_known_power_is_right(tmp_path, wave, provenance, period, tolerance):
    """Twenty and a half seconds, read ten times per second; true joules in closed form."""
    meter = Domain(name="gpu:0", source="test", provenance=provenance, update_period_seconds=period)
    bench = Bench(tmp_path / "run", ScriptedMeter(domain=meter, waveform=wave))
    origin = bench.start
    for _ in range(40):
        bench.pass_time(0.5)
        bench.step()
    bench.pass_time(0.5)
    bench.finish()
    truth = wave.joules((bench.end - origin) / SECOND)
    assert float(total([*bench.rows("steps"), *bench.rows("spans")])) == pytest.approx(truth, rel=tolerance)


def test_row_waits_until_every_meter_has_passed_it(tmp_path):
    """A counter with an update interval of half a second shows a step's energy only after its next update."""
    slow = Domain(name="gpu:0", source="test", provenance=Provenance.COUNTER, update_period_seconds=0.5)
    bench = Bench(tmp_path / "run", constant(slow, 200.0), constant(CPU, 50.0))
    bench.pass_time(0.7)
    bench.step()
    bench.pass_time(0.05, beat=0.05)
    bench.step()
    bench.pass_time(0.15, beat=0.05)
    assert bench.rows("steps") == []
    bench.pass_time(0.4)
    assert len(bench.rows("steps")) == 1


def test_failing_meter_delays_rows_by_a_second(tmp_path):
    bench = Bench(tmp_path / "run", constant(GPU, 200.0), constant(CPU, 50.0))
    bench.sensor._gaps = (("gpu:0", 1.0, 60.0),)
    for _ in range(40):
        bench.pass_time(0.1)
        bench.step()
    bench.finish()
    (gpu,) = [m.timeline for m in bench.pipeline.meters if m.domain.name == "gpu:0"]
    assert gpu.bridged_seconds == pytest.approx(3, abs=0.5)
    assert float(total(bench.rows("steps"), "gpu_joules")) == pytest.approx(800, rel=0.02)


def test_device_without_a_meter_is_missing(tmp_path):
    bench = Bench(tmp_path / "run", constant(CPU, 50.0))
    bench.step()
    bench.finish()
    assert bench.pipeline.selection.missing == ("gpu:0",)
    assert bench.rows("steps")[0]["gpu_joules"] == ""


def test_steps_are_recorded_without_any_meter(tmp_path):
    bench = Bench(tmp_path / "run")
    for _ in range(5):
        bench.pass_time(1)
        bench.step()
    bench.finish()
    assert [row["total_joules"] for row in bench.rows("steps")] == [""] * 5
    assert bench.pipeline.meters.metered() == ()


# -- metrics -------------------------------------------------------------------------------------------------------


def test_metric_has_its_step_and_joules(bench):
    for n in range(1, 6):
        bench.pass_time(0.4)
        bench.step()
        bench.log(n / 10)
    bench.finish()
    rows = bench.rows("metrics")
    assert [(row["name"], row["value"], row["step"]) for row in rows] == [
        ("val_error", str(n / 10), str(n)) for n in range(1, 6)
    ]
    for row in rows:
        assert float(row["cumulative_joules"]) == pytest.approx(250 * float(row["time_seconds"]), rel=0.01)


def test_metric_before_the_first_step_is_at_step_zero(bench):
    bench.log(0.5)
    bench.pass_time(5)
    bench.step()
    bench.finish()
    (row,) = bench.rows("metrics")
    assert (row["step"], row["cumulative_joules"]) == ("0", "0.000000")


@pytest.mark.parametrize("length", [0.3, 3.0, 8.0])
def test_metric_of_a_slow_loop_has_the_right_step(bench, length):
    """A value logged after step n is at step n, however late the next step comes."""
    for n in range(1, 6):
        bench.pass_time(length)
        bench.step()
        bench.pass_time(0.1)
        bench.log(n / 10)
    bench.pass_time(length)
    bench.finish()
    assert [row["step"] for row in bench.rows("metrics")] == ["1", "2", "3", "4", "5"]


def test_metric_is_written_soon_even_if_no_step_follows(bench):
    for _ in range(5):
        bench.pass_time(0.4)
        bench.step()
    bench.log(0.5)
    bench.pass_time(3)
    assert [row["step"] for row in bench.rows("metrics")] == ["5"]


def test_metric_on_its_way_from_a_device_is_awaited(bench):
    bench.pass_time(1)
    bench.step()
    bench.log(PendingScalar(7))
    bench.pass_time(1)
    bench.hooks.arrived[7] = 0.25
    bench.pass_time(2)
    bench.finish()
    assert [row["value"] for row in bench.rows("metrics")] == ["0.25"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e300, 0.1 + 0.2])
def test_metric_is_written_exactly(bench, value):
    bench.log(value)
    bench.finish()
    assert bench.rows("metrics")[0]["value"] == repr(value)


def test_metric_logged_while_the_device_lags_is_at_the_last_step_of_the_host(bench):
    """The device lags by 0.3 s, during which each value is logged."""
    for n in range(1, 6):
        bench.pass_time(1)
        bench.hooks.arrived[n] = bench.clock.now_ns() + 3 * SECOND // 10
        bench.step(stamp=EventId(n))
        bench.pass_time(0.1)
        bench.log(n / 10)
    bench.pass_time(1)
    bench.finish()
    assert [row["step"] for row in bench.rows("metrics")] == ["1", "2", "3", "4", "5"]
    ends = [float(row["end_seconds"]) for row in bench.rows("steps")]
    assert ends == pytest.approx([1.3, 2.4, 3.5, 4.6, 5.7])


# -- evaluations ---------------------------------------------------------------------------------------------------


def test_detected_evaluation_is_a_span(bench):
    def detect(kind):
        bench.inbox.events.append(StepEvent(kind, bench.clock.now_ns(), None, (), 0, 0, 0, 0, None, None))

    for _ in range(5):
        bench.pass_time(0.5)
        bench.step()
    detect(Kind.EVALUATE)
    bench.pass_time(30)
    assert [row["kind"] for row in bench.rows("spans")][-1] == "evaluation", "written before it ends"
    detect(Kind.TRAIN)
    bench.pass_time(0.5)
    bench.step()
    bench.finish()
    spans = [row for row in bench.rows("spans") if row["kind"] == "evaluation"]
    assert float(total(spans)) == pytest.approx(30 * 250)
    assert float(bench.rows("steps")[-1]["total_joules"]) == pytest.approx(125)


# -- samples -------------------------------------------------------------------------------------------------------


def test_samples_are_energies_since_the_start_of_the_window(bench):
    bench.pass_time(3)
    bench.finish()
    rows = [row for row in bench.rows("samples") if row["domain"] == "gpu:0"]
    assert (rows[0]["time_seconds"], rows[0]["energy_joules"], rows[0]["power_watts"]) == (
        "0.000000",
        "0.000000",
        "",
    )
    for row in rows[1:]:
        assert float(row["energy_joules"]) == pytest.approx(200 * float(row["time_seconds"]), rel=1e-6)
        assert float(row["power_watts"]) == pytest.approx(200)
    (metered,) = [one for one in bench.pipeline.meters.metered() if one.domain.name == "gpu:0"]
    assert metered.joules == float(rows[-1]["energy_joules"])


def test_samples_are_thinned_to_one_per_second_after_ten_minutes():
    timeline, rows = Timeline(), []
    timeline.add(Reading(domain="gpu:0", time_ns=0, energy_joules=0.0))
    log = SampleLog(GPU, timeline, 0, window_ns=0)
    for n in range(1, 8001):
        timeline.add(Reading(domain="gpu:0", time_ns=n * SECOND // 10, energy_joules=float(n)))
        rows.append(log.at(n * SECOND // 10))
    assert None not in rows[:6000]
    later = [row for row in rows[6000:] if row is not None]
    assert len(later) == 200
    assert later[-1].energy_joules == 8000 * 1_000_000
    assert log.at(800 * SECOND) is None
    timeline.add(Reading(domain="gpu:0", time_ns=800 * SECOND + 1, energy_joules=8001.0))
    assert log.at(800 * SECOND + 1) is None
    assert log.at(800 * SECOND + 1, always=True).energy_joules == 8001 * 1_000_000


def test_meter_with_a_late_first_reading_counts_from_then_on(tmp_path):
    late = Domain(name="dram:package-0", source="test", provenance=Provenance.COUNTER)
    bench = Bench(
        tmp_path / "run", constant(GPU, 200.0), constant(CPU, 50.0), constant(late, 10.0), silent=late
    )
    for _ in range(5):
        bench.pass_time(1)
        bench.step()
    bench.sensor._gaps = ()
    for _ in range(5):
        bench.pass_time(1)
        bench.step()
    bench.finish()
    steps, spans = bench.rows("steps"), bench.rows("spans")
    assert [row["dram_joules"] for row in steps[:3]] == ["", "", ""]
    assert [float(row["dram_joules"]) for row in steps[-3:]] == pytest.approx([10, 10, 10])
    assert total(steps) + total(spans) == Decimal(steps[-1]["cumulative_joules"])


# -- killed runs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0.23, 0.11, 0.041])
@pytest.mark.parametrize("tail", [0.0, 0.3, 0.77])
def test_domains_of_a_killed_run_add_up_to_its_total(tmp_path, step, tail):
    wave = Waveform.square(low=100.0, high=500.0, period_seconds=step)
    slow = Domain(name="gpu:0", source="test", provenance=Provenance.COUNTER, update_period_seconds=0.1)
    bench = Bench(tmp_path / "run", ScriptedMeter(domain=slow, waveform=wave), constant(CPU, 50.0))
    for _ in range(100):
        bench.pass_time(step, beat=step / 4)
        bench.step()
    bench.pass_time(tail, beat=0.07)
    bench.write_running()
    run = load_run(bench.path)
    assert run.total_joules > 0
    assert sum(run.energy_by_domain().values()) == pytest.approx(run.total_joules, abs=1e-7)
    truth = wave.joules((bench.start - 1_000_000_000) / SECOND + run.summary().window_seconds)
    assert run.energy_by_domain()["gpu:0"] == pytest.approx(truth, rel=0.03)


def test_books_balance_wherever_a_kill_cuts_the_record_off(tmp_path, monkeypatch):
    """Each write of the last flushes is followed by a kill: the files are read as they are then."""
    slow = Domain(name="gpu:0", source="test", provenance=Provenance.COUNTER, update_period_seconds=0.1)
    wave = Waveform.square(low=100.0, high=500.0, period_seconds=1.7)
    bench = Bench(tmp_path / "run", ScriptedMeter(domain=slow, waveform=wave), constant(CPU, 50.0))
    write, copies = os.write, []

    def write_and_copy(descriptor, data):
        written = write(descriptor, data)
        copies.append(shutil.copytree(bench.path, tmp_path / f"killed-{len(copies)}"))
        return written

    for number in range(120):
        for _ in range(10 if number % 30 == 17 else 1):
            bench.clock.advance(0.13)
            bench.read()
        bench.step()
        if number % 5 == 0:
            bench.pipeline.drain(bench.clock.now_ns())
        if number == 90:
            bench.write_running()
            monkeypatch.setattr(os, "write", write_and_copy)
    bench.finish()
    monkeypatch.undo()
    assert len(copies) > 12
    for copy in copies:
        run = load_run(copy)
        in_rows = run.steps["total_joules"].sum() + run.spans["total_joules"].sum()
        assert run.total_joules == pytest.approx(in_rows, abs=1e-6)
        assert sum(run.energy_by_domain().values()) == pytest.approx(run.total_joules, abs=1e-6)
        assert run.energy_by_domain()["cpu:package-0"] == pytest.approx(50 * run.window_seconds, rel=0.15)
        last = [rows["time_seconds"].max() for rows in run.samples_by_domain.values()]
        assert min(last) >= run.window_seconds - 1e-6, "the samples of each row are written before it"


def test_domains_of_a_killed_run_are_scaled_to_estimated_rows(tmp_path):
    """Rows are estimated while a sensor cannot be read; the sample after the gap shows another energy."""
    path = write_run(tmp_path / "run", steps=9, meta={"status": "running", "totals": None})
    lines = (path / "samples.csv").read_text().splitlines(keepends=True)
    half = [line for line in lines if not line.startswith(tuple(f"{second}" for second in range(3, 10)))]
    (path / "samples.csv").write_text("".join(half))
    os.utime(path / "samples.csv", (0, 0))
    for file in path.iterdir():
        os.utime(file, (0, 0))
    run = load_run(path)
    assert run.status is Status.INTERRUPTED
    assert sum(run.energy_by_domain().values()) == pytest.approx(run.total_joules, abs=1e-6)
    for category, name in (("gpu", "gpu:0"), ("cpu", "cpu:package-0")):
        assert run.energy_by_domain()[name] >= run.steps[f"{category}_joules"].sum()
    assert any("are scaled to those of rows" in warning for warning in run.warnings)


# -- memory --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_memory_stays_constant_over_hundreds_of_thousands_of_steps(bench):
    def train(seconds):
        for _ in range(seconds * 2):
            now = bench.clock.now_ns()
            for n in range(2000):
                end = now + n * 200_000
                bench.inbox.events.append(StepEvent(Kind.OPEN, end, 1.0, (), 1, end - 10, 5, 5, 0.1, None))
            bench.monitor.rows.clear()
            bench.pass_time(0.5, beat=0.25)

    train(15)
    tracemalloc.start()
    try:
        train(5)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        train(50)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert bench.pipeline.totals.steps > 270_000
    assert after - before < 50_000, "bytes"
