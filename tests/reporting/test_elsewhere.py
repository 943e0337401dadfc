"""Prices on other hardware, of scripted runs whose cost per step is known."""

import json
import math

import pytest

from profiler.cli import main
from profiler.emissions import Prices
from profiler.errors import ForecastRefusedError, UsageError
from profiler.records import Verdict
from profiler.reporting.elsewhere import elsewhere_of, render_json, render_text
from tests.support.runs import law, write_run
from tests.support.scripted_tables import SECONDS, WATTS, Script

STEPS = 800


def scripted(path, *, steps=STEPS, seconds=SECONDS, watts=WATTS, loss=law, warm=0, outside=0.0, meta=None):
    script = Script(path, watts=watts)
    script.meta.update(name=path.name, **(meta or {}))
    script.span("setup", 2.0)
    for number in range(1, steps + 1):
        script.step(loss(number), seconds=seconds * (5.0 if number <= warm else 1.0))
        if outside and number % 20 == 0:
            script.span("evaluation", 20 * outside * SECONDS)
    return script.run()


@pytest.fixture
def run(tmp_path):
    return scripted(tmp_path / "old")


def probe(tmp_path, **options):
    """Half of the time and 1.2 times the power: 60 % of the energy."""
    return scripted(
        tmp_path / "new", **{"steps": 120, "seconds": SECONDS / 2, "watts": 1.2 * WATTS} | options
    )


def test_the_cost_per_step_without_the_warm_up(run, tmp_path):
    known = elsewhere_of(run, probe(tmp_path, warm=30))
    assert known.there.joules == pytest.approx(0.6 * SECONDS * WATTS)
    assert known.there.seconds == pytest.approx(SECONDS / 2)
    assert known.there.dropped >= 30
    assert known.there.steps + known.there.dropped == 120
    assert known.joules_ratio.median == pytest.approx(0.6)
    assert known.joules_ratio.low < 0.6 < known.joules_ratio.high
    # Both sensors have an error of 2 %.
    assert math.log(known.joules_ratio.high / 0.6) == pytest.approx(1.645 * 0.02 * math.sqrt(2), rel=0.01)
    assert known.seconds_ratio.median == pytest.approx(0.5)


def test_targets_are_steps_times_the_cost_there(run, tmp_path):
    known = elsewhere_of(run, probe(tmp_path), [2.0, 1.6], prices=Prices(price_per_kwh=0.36))
    rows = {row.loss: row for row in known.targets}
    reached = (3.0 / 0.5) ** 2.5  # the step at which law(step) = 2
    assert rows[2.0].verdict is Verdict.REACHED
    assert rows[2.0].steps.median == pytest.approx(reached, rel=0.05)
    ahead = (3.0 / 0.1) ** 2.5
    assert rows[1.6].steps.low <= ahead <= rows[1.6].steps.high
    for row in rows.values():
        assert row.joules.median == pytest.approx(row.steps.median * 0.6 * SECONDS * WATTS)
        assert row.seconds.median == pytest.approx(row.steps.median * SECONDS / 2)
        assert row.money.median == pytest.approx(row.joules.median * 0.36 / 3.6e6)
        # The interval holds both uncertainties: that of the steps and that of the cost of a step.
        assert row.joules.high / row.joules.median > row.steps.high / row.steps.median
        assert row.joules.low / row.joules.median < row.steps.low / row.steps.median


def test_the_energy_between_steps_is_that_of_the_run(tmp_path):
    run = scripted(tmp_path / "old", outside=0.25)
    known = elsewhere_of(run, probe(tmp_path), [2.0])
    assert known.outside_joules == pytest.approx(0.25, rel=0.03)
    row = next(row for row in known.targets if row.loss == 2.0)
    assert row.joules.median == pytest.approx(
        row.steps.median * 0.6 * SECONDS * WATTS * (1 + known.outside_joules)
    )
    assert row.steps.median == pytest.approx((3.0 / 0.5) ** 2.5, rel=0.05)


@pytest.mark.parametrize(
    ("here", "there", "fact"),
    [
        ({"config": {"batch_size": 32}}, {"config": {"batch_size": 64}}, "the setting batch_size is 32"),
        (
            {"work": {"tokens": {"per_step": 512}}},
            {"work": {"tokens": {"per_step": 1024}}},
            "tokens per step is 512",
        ),
        ({"work": {"parameters": 1000}}, {"work": {"parameters": 2000}}, "the number of parameters is 1,000"),
        (
            {"work": {"parameters": 1000}},
            {"config": {"parameters": 2000}},
            "the number of parameters is 1,000",
        ),
    ],
)
def test_other_work_is_refused(tmp_path, here, there, fact):
    run = scripted(tmp_path / "old", meta=here)
    with pytest.raises(UsageError, match=fact):
        elsewhere_of(run, probe(tmp_path, meta=there))
    same = elsewhere_of(run, probe(tmp_path, meta=here))
    assert len(same.unchecked) < len(elsewhere_of(run, probe(tmp_path)).unchecked)


def test_other_first_losses_are_refused(run, tmp_path):
    with pytest.raises(UsageError, match="mean loss of the first 20 steps"):
        elsewhere_of(run, probe(tmp_path, loss=lambda step: 1.2 * law(step)))
    assert elsewhere_of(run, probe(tmp_path, loss=lambda step: 1.02 * law(step))).targets


def test_facts_that_nothing_recorded_are_named(run, tmp_path):
    known = elsewhere_of(run, probe(tmp_path))
    assert known.unchecked == ("batch size", "work per step", "number of parameters")
    assert "Not checked, since both did not record it: batch size" in render_text(known)


@pytest.mark.parametrize("steps", [0, 1, 10, 30])
def test_a_short_probe_is_refused(run, tmp_path, steps):
    with pytest.raises(ForecastRefusedError, match=rf"The probe has \d+ of {steps} steps after the warm-up"):
        elsewhere_of(run, probe(tmp_path, steps=steps))


def test_a_curve_without_a_trend_has_no_targets(tmp_path):
    run = scripted(tmp_path / "old", loss=lambda step: law(step) if step < 400 else math.nan)
    known = elsewhere_of(run, probe(tmp_path))
    assert known.targets == ()
    assert "No targets: The loss is not finite" in render_text(known)
    assert known.joules_ratio.median == pytest.approx(0.6)


def test_the_text_and_the_json(run, tmp_path):
    known = elsewhere_of(run, probe(tmp_path), [0.5], prices=Prices(price_per_kwh=0.36, currency="EUR"))
    text = render_text(known)
    assert "60.0 % (57.3 to 62.9) there, its time 50.0 %." in text
    assert "EUR" in text
    assert "out of reach" in text
    plain = json.loads(render_json(known))
    assert plain["joules_ratio"]["median"] == pytest.approx(0.6)
    assert plain["targets"][-1]["joules"] is None


def test_the_command(tmp_path, capsys):
    run, there = (
        str(write_run(tmp_path / name, steps=steps)) for name, steps in (("old", 300), ("new", 100))
    )
    assert main(["report", run, "--on", there, "--target", "1.7"]) == 0
    out = capsys.readouterr().out
    assert "per step on the hardware of new" in out
    assert "1.700" in out
    assert main(["report", run, "--on", run]) == 2
    assert main(["report", run, "--on", there, "-o", str(tmp_path / "r.html")]) == 2


def test_runs_of_one_name_have_the_names_of_their_folders(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    run = scripted(tmp_path / "here" / "w64")
    known = elsewhere_of(run, scripted(tmp_path / "there" / "w64", steps=100, seconds=1.0))
    assert (known.run, known.probe) == ("here/w64", "there/w64")
    assert "its time 4.00 times that here" in render_text(known)


def test_a_price_without_a_finite_median_keeps_its_lower_bound(run, tmp_path):
    known = elsewhere_of(run, probe(tmp_path), [1.51, 1.505, 1.5, 1.49, 1.48])
    rows = [row for row in known.targets if row.steps is not None and math.isinf(row.steps.median)]
    assert rows
    for row in rows:
        assert (
            row.steps.low * 0.5 * 0.6 * SECONDS * WATTS
            < row.joules.low
            < row.steps.low * 0.6 * SECONDS * WATTS
        )
        assert row.joules.high == math.inf
    assert "nan" not in render_text(known)
