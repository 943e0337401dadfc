"""Energy that a reader computes between two moments agrees with the recorded rows."""

import json
import tempfile
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler import load_run
from profiler.analysis import window_energy
from profiler.distributed.rank import Identity
from profiler.recording import metadata
from profiler.records import BoardState, Domain, Provenance, Reading, Status
from profiler.storage.csv_reader import read_table
from profiler.storage.reader import by_domain
from profiler.storage.schema import SAMPLES, SPANS, STEPS
from profiler.storage.writer import RunWriter
from profiler.testing.clock import FakeClock
from profiler.testing.replay import ReplaySensor, ScriptedMeter, Waveform
from profiler.torch_hooks.events import Kind, StepEvent
from profiler.uncertainty import Z_90
from profiler.units import NANOSECONDS_PER_SECOND as SECOND
from tests.support.pipelines import build_pipeline
from tests.support.rank_jobs import rewrite
from tests.support.runs import write_run

GPU = Domain(name="gpu:0", source="test", provenance=Provenance.COUNTER, gain_uncertainty=0.05)
CPU = Domain(name="cpu:package-0", source="test", provenance=Provenance.COUNTER, gain_uncertainty=0.02)
PERIODS = {"gpu:0": 0.1, "cpu:package-0": 0.001}


def recorded(path, lengths, wave):
    """Record steps of these lengths in seconds on a slow and a fast counter. Return the tables and the domains."""
    writer = RunWriter(path, pytest.fail)
    pipeline, inbox, *_ = build_pipeline([GPU, CPU], writer)
    writer.open({})

    def beat(seconds):
        for name, period in PERIODS.items():
            shown = wave.joules(seconds // period * period)
            pipeline.add([Reading(domain=name, time_ns=round(seconds * SECOND), energy_joules=shown)])

    beat(0.0)
    pipeline.begin(0)
    now, ends = 0.0, list(lengths)
    due = ends.pop(0)
    last = sum(lengths) + 0.35
    while now < last:
        now += 0.07
        while due is not None and due <= now:
            end = round(due * SECOND)
            inbox.events.append(StepEvent(Kind.OPEN, end, 1.0, (), 1, end, 0, 0, 0.1, None))
            due = due + ends.pop(0) if ends else None
        beat(now)
        pipeline.drain(round(now * SECOND))
    pipeline.finish(round(last * SECOND))
    writer.close()
    tables = [read_table(path, table, partial=False)[0] for table in (STEPS, SPANS, SAMPLES)]
    return tables, {name: pipeline.meters[name].describe(0) for name in PERIODS}


@pytest.mark.slow
@settings(max_examples=25)
@given(
    lengths=st.lists(st.floats(0.004, 1.5), min_size=1, max_size=30),
    period=st.floats(0.03, 2.0),
    low=st.floats(0.0, 300.0),
)
def test_joules_of_a_row_are_the_energy_between_its_ends(lengths, period, low):
    wave = Waveform.square(low=low, high=500.0, period_seconds=period)
    with tempfile.TemporaryDirectory() as folder:
        (steps, spans, samples), domains = recorded(Path(folder), lengths, wave)
    edges = window_energy.row_edges(steps, spans)
    columns = ["start_seconds", "end_seconds", "total_joules"]
    rows = pd.concat([steps[columns], spans[columns]]).itertuples(index=False)
    for start, end, joules in rows:
        found = window_energy.between(by_domain(samples), domains, edges, start, end)
        assert found.median == pytest.approx(joules, abs=2e-6)
        assert found.low <= found.median <= found.high


@pytest.mark.slow
@settings(max_examples=15)
@given(cuts=st.lists(st.floats(0, 5), min_size=1, max_size=8))
def test_parts_of_a_window_add_up_and_are_never_negative(cuts):
    wave = Waveform.square(low=50.0, high=500.0, period_seconds=0.23)
    with tempfile.TemporaryDirectory() as folder:
        (steps, spans, samples), domains = recorded(Path(folder), [0.31] * 15, wave)
    edges = window_energy.row_edges(steps, spans)
    moments = sorted([0.0, *cuts, 5.0])
    parts = [
        window_energy.between(by_domain(samples), domains, edges, a, b).median for a, b in pairwise(moments)
    ]
    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(
        window_energy.between(by_domain(samples), domains, edges, 0.0, 5.0).median
    )


def test_interval_of_a_window_has_the_share_of_its_rows_in_what_no_sample_shows(tmp_path):
    """As of a gap in the readings, whose energy was estimated, or of the time after the last one."""
    path = write_run(tmp_path / "run", steps=40)
    meta = json.loads((path / "run.json").read_text())
    meta["totals"]["edge_joules"] = 3_000.0
    (path / "run.json").write_text(json.dumps(meta))
    rewrite(
        path / "steps.csv", lambda row: {"uncertainty_joules": "2500"} if int(row["step"]) in (20, 21) else {}
    )
    run = load_run(path)
    seconds = run.window_seconds
    starts = run.steps["start_seconds"]

    def width(start, end):
        found = run.energy(start, end)
        return (found.high - found.median) / Z_90

    assert width(0, seconds) >= 2_900
    assert width(starts[19], starts[21]) >= 2_900
    assert width(0, starts[19]) < 900


def test_interval_of_a_killed_run_has_the_uncertainty_of_its_start(tmp_path):
    """A window that begins in a gap of the readings is uncertain by the unknown energy before and after its start."""
    clock, wave = FakeClock(), Waveform.square(low=100.0, high=400.0, period_seconds=1.2)
    sensor = ReplaySensor([ScriptedMeter(domain=GPU, waveform=wave)], clock=clock)
    path, origin = tmp_path / "run", clock.now_ns()
    writer = RunWriter(path, pytest.fail)
    pipeline, inbox, *_ = build_pipeline([GPU], writer)
    writer.open({})
    pipeline.add(sensor.read())
    clock.advance(0.5)
    start = clock.now_ns()
    pipeline.begin(start)
    clock.advance(0.8)
    for _ in range(60):
        clock.advance(0.1)
        end = clock.now_ns()
        pipeline.add(sensor.read())
        inbox.events.append(StepEvent(Kind.OPEN, end, 1.0, (), 1, end - 10, 5, 5, 0.1, None))
        pipeline.drain(end)
    head = metadata.head(name="", started=datetime.now(tz=UTC), identity=Identity(), refusals=())
    writer.write_meta(head | metadata.body(
        status=Status.INTERRUPTED, domains=pipeline.meters.as_dicts(), missing=(), warnings=(), totals=None,
        overhead={}, rows_lost={}, alternating_steps=0, work={},
    ))  # fmt: skip
    run = load_run(path)
    begun = (start - origin) / SECOND
    truth = wave.joules(begun + run.window_seconds) - wave.joules(begun)
    assert abs(run.total_joules - truth) > 20
    assert abs(run.total_joules - truth) < Z_90 * run.summary().edge_joules < 0.2 * truth


def test_states_of_a_board_are_in_the_rows_after_their_reading(tmp_path):
    """The state of each second is written once; the time at a reduced clock is that since the first reading."""
    writer = RunWriter(tmp_path / "run", pytest.fail)
    pipeline, *_ = build_pipeline([GPU], writer)
    writer.open({})
    for tenth in range(31):
        state = BoardState(
            limit_watts=300.0 + tenth,
            sm_mhz=1_500,
            throttle="sw_power_cap",
            throttled_seconds={"power": 7 + tenth / 20},
        )
        pipeline.add(
            [
                Reading(
                    domain="gpu:0",
                    time_ns=tenth * SECOND // 10,
                    energy_joules=30.0 * tenth,
                    state=None if tenth % 10 else state,
                )
            ]
        )
        if not tenth:
            pipeline.begin(0)
    pipeline.drain(3 * SECOND)
    writer.close()
    samples = read_table(tmp_path / "run", SAMPLES, partial=False)[0]
    read = samples[samples["limit_watts"].notna()]
    assert list(read["limit_watts"]) == [300.0, 310.0, 320.0, 330.0]
    assert set(read["throttle"]) == {"sw_power_cap"}
    assert set(samples["throttle"]) == {"sw_power_cap", ""}
    assert pipeline.meters["gpu:0"].throttled_seconds == {"power": pytest.approx(1.5)}
