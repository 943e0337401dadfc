"""Totals accumulated live equal those of the rows in the files."""

import io

import pandas as pd
import pytest

from profiler.storage.schema import SPANS, STEPS, SpanRow
from profiler.storage.totals import Totals


@pytest.mark.parametrize("end_ns", [44_650_049, 44_649_951, 10**18 + 499])
def test_length_has_the_digits_of_the_rows(end_ns):
    row = SpanRow(
        start_seconds=0, end_seconds=end_ns, kind="setup", total_joules=1_000_000, modelled_joules=0,
        cumulative_joules=1_000_000, uncertainty_joules=0.0,
    )  # fmt: skip
    live = Totals()
    live.add_span(row)
    cells = [column.cell(getattr(row, column.name)) for column in SPANS.schema]
    spans = pd.read_csv(io.StringIO(SPANS.header + ",".join(cells)))
    read = Totals.of_tables(pd.read_csv(io.StringIO(STEPS.header)), spans)
    assert live.as_summary_fields(metered=True) == read.as_summary_fields(metered=True)
