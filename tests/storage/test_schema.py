"""Headers are frozen, since any reader depends on them, and cells are read back."""

import csv
import io
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from profiler.storage.schema import METRICS, SAMPLES, SPANS, STEPS, MetricRow, SpanRow

HEADERS = {
    STEPS: "step,step_count,start_seconds,end_seconds,loss,nonfinite_count,backwards,learning_rate,gpu_joules,"
    "cpu_joules,dram_joules,other_joules,total_joules,modelled_joules,cumulative_joules,uncertainty_joules,"
    "data_seconds,forward_seconds,backward_seconds,optimizer_seconds,phase,training\n",
    SPANS: "start_seconds,end_seconds,kind,total_joules,modelled_joules,cumulative_joules,uncertainty_joules\n",
    SAMPLES: "time_seconds,domain,power_watts,energy_joules,provenance,limit_watts,sm_mhz,throttle\n",
    METRICS: "time_seconds,step,cumulative_joules,name,value\n",
}


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
