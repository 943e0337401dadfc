"""What a reader finds between two moments agrees with the rows that the recorder wrote."""

import tempfile
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.analysis import window_energy
from profiler.recording.meter import Meters
from profiler.recording.pipeline import Inbox, Recorder
from profiler.records import Domain, Provenance, Reading
from profiler.storage.csv_reader import read_table
from profiler.storage.schema import SAMPLES, SPANS, STEPS
from profiler.storage.writer import RunWriter
from profiler.testing.replay import Waveform
from profiler.torch_hooks.events import Kind, StepEvent
from profiler.units import NANOSECONDS_PER_SECOND as SECOND

GPU = Domain(name="gpu:0", source="test", provenance=Provenance.COUNTER, gain_uncertainty=0.05)
CPU = Domain(name="cpu:package-0", source="test", provenance=Provenance.COUNTER, gain_uncertainty=0.02)
PERIODS = {"gpu:0": 0.1, "cpu:package-0": 0.001}


def recorded(path, lengths, wave):
    """Record steps of these lengths in seconds on a slow and a fast counter; returns the tables and the domains."""
    inbox, writer = Inbox(), RunWriter(path, pytest.fail)
    meters = Meters([GPU, CPU])
    recorder = Recorder(
        meters=meters, writer=writer, inbox=inbox, poll=lambda _: None, devices=lambda: ("cuda:0",),
        observe=lambda _: None,
    )  # fmt: skip
    writer.open({})

    def beat(seconds):
        for name, period in PERIODS.items():
            shown = wave.joules(seconds // period * period)
            recorder.read([Reading(domain=name, time_ns=round(seconds * SECOND), energy_joules=shown)])

    beat(0.0)
    recorder.begin(0)
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
        recorder.drain(round(now * SECOND))
    recorder.finish(round(last * SECOND))
    writer.close()
    tables = [read_table(path, table, partial=False)[0] for table in (STEPS, SPANS, SAMPLES)]
    return tables, {name: meters.described(name) for name in PERIODS}


@settings(max_examples=25)
@given(
    lengths=st.lists(st.floats(0.004, 1.5), min_size=1, max_size=30),
    period=st.floats(0.03, 2.0),
    low=st.floats(0.0, 300.0),
)
def test_a_rows_joules_are_the_energy_between_its_ends(lengths, period, low):
    wave = Waveform.square(low=low, high=500.0, period_seconds=period)
    with tempfile.TemporaryDirectory() as folder:
        (steps, spans, samples), domains = recorded(Path(folder), lengths, wave)
    edges = window_energy.row_edges(steps, spans)
    columns = ["start_seconds", "end_seconds", "total_joules"]
    rows = pd.concat([steps[columns], spans[columns]]).itertuples(index=False)
    for start, end, joules in rows:
        found = window_energy.between(samples, domains, edges, start, end)
        assert found.median == pytest.approx(joules, abs=2e-6)
        assert found.low <= found.median <= found.high


@settings(max_examples=15)
@given(cuts=st.lists(st.floats(0, 5), min_size=1, max_size=8))
def test_parts_of_a_window_add_up_and_are_never_negative(cuts):
    wave = Waveform.square(low=50.0, high=500.0, period_seconds=0.23)
    with tempfile.TemporaryDirectory() as folder:
        (steps, spans, samples), domains = recorded(Path(folder), [0.31] * 15, wave)
    edges = window_energy.row_edges(steps, spans)
    moments = sorted([0.0, *cuts, 5.0])
    parts = [window_energy.between(samples, domains, edges, a, b).median for a, b in pairwise(moments)]
    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(window_energy.between(samples, domains, edges, 0.0, 5.0).median)
