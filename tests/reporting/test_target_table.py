"""The table of targets, and the rows of the slider."""

from itertools import pairwise

import pytest

from profiler import load_run
from profiler.emissions import Prices
from profiler.forecasting import fit_curve
from profiler.forecasting.inverse import Inverse
from profiler.records import Verdict
from profiler.reporting import report_of
from profiler.reporting.forecast_section import outlook_of
from profiler.reporting.target_table import slider, table_of
from tests.support.runs import write_run
from tests.support.scripted_reports import TABLE, target


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    report = report_of(load_run(write_run(tmp_path_factory.mktemp("run") / "run")), targets=[1.9, 7.0])
    return report.details.headline.target_table, report.outlook


ROWS = slider(TABLE, (target(1.7, 0.1, Verdict.REACHABLE, (1.2e6, 2.4e6, 9e6), 0.02),))


def test_the_slider_starts_at_the_present_level_and_each_row_is_a_finished_answer():
    assert ROWS["labels"] == ["Energy", "Time", "Electricity"]
    assert ROWS["names"] == ["1.700", "1.200", "1.000"]
    assert ROWS["cells"][0][:2] == [("1.9 MJ", "720 kJ to 8.5 MJ"), ("1.3 h", "30 min to 5.9 h")]
    assert ROWS["cells"][1][0] == ("over 20 MJ", "")
    assert ROWS["cells"][2] == [("out of reach", "")] * 3
    assert ROWS["sentences"] == [
        "Within reach; the probability that it is out of reach is 2 %.",
        (
            "Undetermined: the probability that it is out of reach is 60 %. "
            "Reaching it within 10 times the training's energy so far is 18 % likely."
        ),
        "Out of reach: the probability that the floor is higher is 97 %.",
    ]
    assert ROWS["ticks"] == [[0, "10 %"]]


def test_the_mark_in_the_figure_ends_where_numbers_do():
    assert ROWS["marks"] == [(1.2e6, 9e6, 2.4e6), (2e7, 2e19, None), (None, None, None)]


@pytest.mark.parametrize(("loss", "row"), [(9.0, 0), (1.86, 1), (1.72, 2), (0.5, 4), (-3.0, 4)])
def test_any_number_has_a_nearest_row(loss, row):
    assert TABLE.nearest(loss) == row


def test_a_real_table_goes_from_what_was_reached_to_what_never_is(table):
    found, outlook = table
    assert 390 <= len(found.losses) <= 440
    assert found.losses[1] <= outlook.first_loss
    assert list(found.losses) == sorted(set(found.losses), reverse=True)
    assert list(found.median) == sorted(found.median)
    assert {found.verdicts[0], found.verdicts[-1]} == {Verdict.REACHED, Verdict.UNREACHABLE}
    assert found.joules_now == outlook.joules


def test_it_agrees_with_the_forecast_to_the_last_digit(table):
    found, outlook = table
    for known in (*outlook.targets, *outlook.asked):
        row = found.losses.index(known.loss)
        assert found.median[row] == known.forecast.median
        assert found.p_unreachable[row] == known.forecast.p_unreachable
        assert found.p_within[row] == known.forecast.p_within(10.0)
        assert found.verdicts[row] is known.forecast.verdict


def test_a_better_target_is_never_more_likely_within_ten_times_the_energy(table):
    found, _ = table
    interpolation = 0.01
    assert all(worse >= better - interpolation for worse, better in pairwise(found.p_within))
    assert found.p_within[0] == 1.0
    assert found.p_within[-1] <= 1.0 - found.p_unreachable[-1]


@pytest.mark.slow
def test_an_accuracy_gets_better_upwards():
    joules = [1e3 * k for k in range(1, 400)]
    fit = fit_curve(joules, [0.9 - 2.0 * x**-0.3 for x in joules], goal="max", best=1.0)
    table = table_of(Inverse(fit=fit), outlook_of(fit, (), ()), Prices(), 100.0)
    assert list(table.losses) == sorted(table.losses)
    harder, easier = table.nearest(fit.level + 0.002), table.nearest(fit.level - 0.01)
    assert table.median[harder] > fit.joules > table.median[easier]


def test_what_a_joule_brings_along(table):
    assert table[0].per_joule.seconds == 1 / 400
    assert table[0].per_joule.kwh == 1 / 3.6e6
    assert table[0].per_joule.gco2e is None
