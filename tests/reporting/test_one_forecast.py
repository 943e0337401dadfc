"""One run has one forecast: every command, page and view prices a target alike."""

import json
import re

import pytest

from profiler.budget import Budget
from profiler.cli import main
from profiler.emissions import Prices
from profiler.monitoring import metrics, status_line
from profiler.monitoring.earlier_gains import EarlierGains
from profiler.monitoring.live_forecast import forecast_run
from profiler.records import Progress
from profiler.reporting import exit_block, text
from tests.analysis.test_earlier_runs import earlier, unfinished
from tests.monitoring.test_live_plan import bins_of

REACHED, BUDGET = 2.0, 60_000.0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run before its planned anneal, beside two earlier runs that show the gain of the anneal."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        earlier(folder, f"before-{seed}", 0.12, seed)
    return unfinished(folder)


@pytest.fixture
def printed(capsys):
    def of(*arguments):
        assert main([str(argument) for argument in arguments]) == 0
        return capsys.readouterr().out

    return of


@pytest.fixture(scope="module")
def target(run):
    """The next target of the report, and its price."""
    fit = run.fit()
    loss = float(f"{0.95 * fit.level:.3e}")
    forecast = fit.joules_at(loss)
    assert forecast != run.fit(earlier_runs=False).joules_at(loss), "earlier runs change the price"
    return loss, forecast, forecast.median - fit.joules


def test_report_page_and_block_have_the_price_of_the_fit(run, target, printed, tmp_path):
    loss, forecast, more = target
    row = re.compile(rf"^{text.level(loss)} +5 % lower +{re.escape(text.joules(more, 2))} ", re.MULTILINE)
    block = exit_block(run.summary(), bins_of(run), run.learning_rate)
    assert printed("report", run.path).strip() == block.strip()
    assert row.search(block)
    known = json.loads(printed("report", run.path, "--json"))
    (found,) = [one for one in known["outlook"]["targets"] if one["change"] == 0.05]
    assert (found["loss"], found["forecast"]["median"]) == (loss, forecast.median)
    at = known["target_table"]["losses"].index(loss)
    assert known["target_table"]["median"][at] == forecast.median
    page = run.report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.joules(more, 2) in page


def test_live_views_have_the_price_of_the_report(run, target):
    loss, forecast, more = target
    live = forecast_run(bins_of(run), run.learning_rate, Budget(), earlier=EarlierGains(run.path))
    assert (live.target, live.forecast) == (loss, forecast)
    summary = run.summary()
    now = Progress(
        seconds=summary.window_seconds,
        steps=summary.steps,
        step_joules=summary.step_joules,
        total_joules=summary.total_joules + 5_000.0,  # used after the last step
        modelled_joules=0.0,
        watts={},
    )
    step = run.learning_rate.last.joules
    line = status_line.format_status(now, now, level=None, forecast=live, step_end_joules=step)
    assert f"loss {text.level(loss)} needs {text.joules(more, 2)} more" in line
    values = metrics.flatten(
        now, now, level=None, forecast=live, budget=Budget(), prices=Prices(), step_end_joules=step
    )
    # The fit ends in the middle of the last step.
    assert values["forecast/more_joules"] == pytest.approx(more, abs=100.0)
    assert values["forecast/p_unreachable"] == forecast.p_unreachable


def test_watch_has_the_advice_of_the_report(run, printed):
    advice = printed("watch", run.path, "--once").split(". ", 1)[1].strip()
    report = " ".join(printed("report", run.path).split())
    assert advice.startswith("Go on: the planned run ends at loss")
    assert f"advice {advice}" in report


def test_comparison_has_the_price_of_a_reached_level(run, printed):
    other = run.path.parent / "before-1"
    known = json.loads(printed("compare", run.path, other, "--target", REACHED, "--json"))
    price = known["milestones"][0]["joules"][0]
    assert price == run.fit().joules_at(REACHED).median
    report = printed("report", run.path, "--target", REACHED)
    assert re.search(rf"{text.level(REACHED)} +asked +reached +after {text.joules(price)} ", report)


def test_allocation_has_the_level_of_the_fit(run, printed):
    known = json.loads(printed("allocate", run.path.parent, "--budget", f"{BUDGET} J", "--json"))
    (line,) = [one for one in known["runs"] if one["path"] == str(run.path)]
    fit = run.fit()
    # No run trains beyond its plan.
    expected = fit.loss_at(min(BUDGET, fit.planned_joules))
    assert line["level_now"] == run.fit().level
    assert (line["level"]["low"], line["level"]["median"], line["level"]["high"]) == (
        expected.low,
        expected.median,
        expected.high,
    )
    assert expected != run.fit(earlier_runs=False).loss_at(BUDGET)


def test_last_of_the_trainings_has_the_fit_of_the_run(run, target):
    loss, forecast, _ = target
    assert run.fits()[-1].joules_at(loss) == forecast
