"""The table of targets: what it holds, and what may be read between its rows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import load_run
from profiler.emissions import Prices
from profiler.forecasting import fit_curve
from profiler.forecasting.inverse import Inverse
from profiler.records import Verdict
from profiler.reporting import report_of
from profiler.reporting.forecast_section import outlook_of
from profiler.reporting.target_table import table_of
from tests.support.runs import write_run
from tests.support.scripted_reports import TABLE

LOSSES = st.floats(TABLE.losses[-1], TABLE.losses[0])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    report = report_of(load_run(write_run(tmp_path_factory.mktemp("run") / "run")), targets=[1.9, 7.0])
    return report.details.target_table, report.outlook


@pytest.mark.parametrize("row", range(5))
def test_a_row_says_itself(row):
    quote = TABLE.at(TABLE.losses[row])
    assert (quote.joules.low, quote.joules.median, quote.joules.high) == (
        TABLE.low[row],
        TABLE.median[row],
        TABLE.high[row],
    )
    assert (quote.p_unreachable, quote.verdict) == (TABLE.p_unreachable[row], TABLE.verdicts[row])


def test_between_rows_joules_go_by_the_log_and_never_takes_over_early():
    half = TABLE.at((1.85 + 1.7) / 2)
    assert half.joules.median == pytest.approx(math.sqrt(4.85e5 * 2.4e6))
    assert half.p_unreachable == pytest.approx(0.01)
    assert half.verdict is Verdict.REACHABLE
    further = TABLE.at(1.6)
    assert further.joules.low == pytest.approx(1.2e6 * (2e7 / 1.2e6) ** 0.2)
    assert (further.joules.median, further.verdict) == (math.inf, Verdict.UNDETERMINED)


@pytest.mark.parametrize(("loss", "row"), [(9.0, 0), (0.5, -1), (-3.0, -1)])
def test_beyond_its_ends_the_end_holds(loss, row):
    quote = TABLE.at(loss)
    assert (quote.loss, quote.joules.median, quote.verdict) == (loss, TABLE.median[row], TABLE.verdicts[row])


@given(LOSSES, LOSSES)
def test_a_lower_loss_never_costs_less(one, other):
    easier, harder = TABLE.at(max(one, other)), TABLE.at(min(one, other))
    for end in ("low", "median", "high"):
        assert getattr(easier.joules, end) <= getattr(harder.joules, end) * (1 + 1e-12)
    assert easier.p_unreachable <= harder.p_unreachable + 1e-12


@given(st.floats(-1e3, 1e3))
def test_any_number_has_an_answer(loss):
    quote = TABLE.at(loss)
    assert quote.joules.low <= quote.joules.median <= quote.joules.high
    assert 0.0 <= quote.p_unreachable <= 1.0


def test_a_real_table_goes_from_what_was_reached_to_what_never_is(table):
    found, outlook = table
    assert 390 <= len(found.losses) <= 440
    assert found.losses[1] <= outlook.first_loss
    assert list(found.losses) == sorted(set(found.losses), reverse=True)
    assert list(found.median) == sorted(found.median)
    assert {found.verdicts[0], found.verdicts[-1]} == {Verdict.REACHED, Verdict.UNREACHABLE}
    assert found.joules_now == outlook.joules


def test_it_agrees_to_the_last_digit_with_what_is_said_elsewhere(table):
    found, outlook = table
    for target in (*outlook.targets, *outlook.asked):
        quote = found.at(target.loss)
        assert quote.joules.median == target.forecast.median
        assert quote.p_unreachable == target.forecast.p_unreachable
        assert quote.verdict is target.forecast.verdict


def test_an_accuracy_gets_better_upwards():
    joules = [1e3 * k for k in range(1, 400)]
    fit = fit_curve(joules, [0.9 - 2.0 * x**-0.3 for x in joules], goal="max", best=1.0)
    table = table_of(Inverse(fit=fit), outlook_of(fit, (), ()), Prices(), 100.0)
    assert list(table.losses) == sorted(table.losses)
    assert table.at(fit.level + 0.002).joules.median > fit.joules > table.at(fit.level - 0.01).joules.median


def test_what_a_joule_brings_along(table):
    assert table[0].per_joule.seconds == 1 / 400
    assert table[0].per_joule.kwh == 1 / 3.6e6
    assert table[0].per_joule.gco2e is None
