"""Headers are frozen, since any reader depends on them, and cells are read back."""

import csv
import io
import math
from dataclasses import fields
from decimal import Decimal
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from profiler.storage.schema import METRICS, SAMPLES, SPANS, STEPS, MetricRow, SpanRow, StepRow
from tests.support.pipelines import rows_of

HEADERS = {
    STEPS: "step,step_count,start_seconds,end_seconds,loss,nonfinite_count,backwards,learning_rate,gpu_joules,"
    "cpu_joules,dram_joules,other_joules,total_joules,modelled_joules,cumulative_joules,uncertainty_joules,"
    "data_seconds,forward_seconds,backward_seconds,optimizer_seconds,phase,training\n",
    SPANS: "start_seconds,end_seconds,kind,total_joules,modelled_joules,cumulative_joules,uncertainty_joules,"
    "overlapping\n",
    SAMPLES: "time_seconds,domain,power_watts,energy_joules,provenance,limit_watts,sm_mhz,throttle\n",
    METRICS: "time_seconds,step,cumulative_joules,name,value\n",
}


TEXT = st.sampled_from(["", "warm-up", "100 % done", 'a, "b"'])
CELLS = {
    int: st.sampled_from([0, 1, 10**9, 10**15, 10**18, -5]),
    float: st.sampled_from([0.0, 0.1, 1e-30, math.nan, math.inf]),
    str: TEXT,
}


@given(
    st.data(),
    st.lists(st.sampled_from(["same", "different", "some empty", "empty"]), min_size=22, max_size=22),
    st.integers(1, 5),
)
def test_columns_are_formatted_as_rows_are(data, kinds, count):
    columns = {}
    for field, kind in zip(fields(StepRow), kinds, strict=True):
        of_type = CELLS[next(one for one in (*get_args(field.type), field.type) if one in CELLS)]
        if kind == "same" or not get_args(field.type):
            columns[field.name] = [data.draw(of_type)] * count
        elif kind == "empty":
            columns[field.name] = [None] * count
        else:
            cells = of_type if kind == "different" else st.none() | of_type
            columns[field.name] = data.draw(st.lists(cells, min_size=count, max_size=count))
    assert STEPS.lines(columns) == [STEPS.line(row) for row in rows_of(columns)]


def test_headers_are_frozen():
    assert {table: table.header for table in HEADERS} == HEADERS


@given(value=st.floats(), joules=st.integers(0, 10**18), time=st.integers(0, 10**18))
def test_numbers_are_read_back_from_their_line(value, joules, time):
    row = MetricRow(time_seconds=time, step=7, cumulative_joules=joules, name="x", value=value)
    seconds, step, energy, name, number = next(csv.reader(io.StringIO(METRICS.line(row))))
    assert abs(Decimal(seconds) - Decimal(time) / 10**9) <= Decimal("0.0000005")
    assert Decimal(energy) == Decimal(joules) / 10**6
    assert (step, name) == ("7", "x")
    assert repr(float(number)) == repr(value)


@given(name=st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_words_are_read_back_and_are_never_formulas(name):
    row = MetricRow(time_seconds=0, step=0, cumulative_joules=None, name=name, value=0.0)
    cell = next(csv.reader(io.StringIO(METRICS.line(row))))[3]
    assert not cell.startswith(("=", "+", "-", "@"))
    plain = "".join(c if c.isprintable() else " " for c in name)
    assert cell in (plain, "'" + plain)


@given(kind=st.text())
def test_any_text_stays_on_its_line(kind):
    row = SpanRow(
        start_seconds=0, end_seconds=1, kind=kind, total_joules=None, modelled_joules=None, cumulative_joules=None,
        uncertainty_joules=None,
    )  # fmt: skip
    assert len(SPANS.line(row).splitlines()) == 1
    assert SPANS.line(row).endswith("\n")
