"""The text report to the letter, at width 80."""

import math
from dataclasses import replace

import pytest

from profiler import load_run
from profiler.emissions import Prices
from profiler.records import CurveState, Interval, Metered, Provenance, Status, Verdict
from profiler.reporting import report_of
from profiler.reporting.answer import answer_of, confidence_of
from profiler.reporting.records import Action, Best, MetricReport, PlannedEnd, Scenario, Tone
from profiler.reporting.terminal import text_of
from tests.support.runs import write_run
from tests.support.scripted_reports import HOSTILE, domain, outlook, summary, target

FULL = """\
== scripted: completed after 20.6 min, 82 % measured ==
cost    490 kJ (0.14 kWh) in 20.6 min; 82 % measured, ±11 %.
        gpu:0 400 kJ counter, cpu:package-0 90 kJ estimated, 2 % bridged
where   98 % in 10,000 steps (48.0 J and 120 ms per step), 2 % outside steps
worth   The second half of the training's energy lowered the loss by 7 % (from
        2.00 to 1.85).
advice  Stop: loss -1.000 is out of reach. Confidence: medium.
  loss              more energy   90 % interval     out of reach
 2.000  asked       reached       after 210 kJ      0 %
 1.832  1 % lower   35 kJ         15 kJ to 120 kJ   0 %
 1.758  5 % lower   420 kJ        220 kJ to 920 kJ  0 %
 1.665  10 % lower  2.6 MJ        at least 1.0 MJ   6 %
-1.000  asked       out of reach  -                 100 %
! 18 % of the energy is estimated because energy_uj is readable by root alone.
  Remedy: sudo
! 3 points were excluded: 3 not finite.
next    energy-profiler report energy_runs/20260102-030405-a1b2c3 -o report.html
record  energy_runs/20260102-030405-a1b2c3
"""

BARE = """\
== scripted: failed after 0 s, no steps, not measured ==
cost    The energy was not measured: no sensor on this machine can be read; the
        run took 0 s.
where   no steps detected
advice  No optimizer update was detected. In a loop without torch.optim, call
        prof.step(loss=...).
! Run `energy-profiler doctor` to see how to measure energy on this machine.
next    energy-profiler report energy_runs/20260102-030405-a1b2c3 -o report.html
record  energy_runs/20260102-030405-a1b2c3
"""


def test_the_whole_report(report):
    assert text_of(report()) == FULL


def test_a_run_without_steps_or_energy(report):
    nothing = summary(
        status=Status.FAILED, window_seconds=0.0, metered=(), steps=0, step_joules=None, span_joules=None,
        modelled_joules=None,
    )  # fmt: skip
    assert text_of(report(outlook=None, summary=nothing)) == BARE


def lines_of(report):
    return text_of(report).splitlines()


def find(lines, label):
    start = next(number for number, line in enumerate(lines) if line.startswith(label))
    rest = lines[start + 1 :]
    end = next((number for number, line in enumerate(rest) if not line.startswith("   ")), len(rest))
    return " ".join(line.strip() for line in (lines[start].removeprefix(label), *rest[:end]))


def test_a_healthy_measured_run_takes_at_most_15_lines(report):
    measured = summary(metered=summary().metered[:1], modelled_joules=0.0, refusals=())
    lines = lines_of(report(outlook=outlook(asked=(), notes=()), summary=measured))
    assert len(lines) <= 15
    assert not [line for line in lines if line.startswith("!")]


def test_a_meter_of_the_node_is_compared_with_the_counted_parts(report):
    node = replace(summary().metered[-1], domain=domain("node", Provenance.COUNTER, "x", 0.05, billed=False))
    whole = summary(metered=(*summary().metered[:-1], node), modelled_joules=0.0)
    assert "node meter 600 kJ, 1.22 x the parts, some of them estimated" in find(
        lines_of(report(summary=whole)), "cost"
    )
    assert "counted parts" not in text_of(report())


@pytest.mark.parametrize("count", [0, 1, 5])
def test_it_stays_within_80_columns_and_counts_the_hidden_notes(report, count):
    many = summary(metered=summary().metered[:1] * 8, warnings=("a long warning " * 20,) * count)
    lines = lines_of(report(summary=many))
    assert max(map(len, lines)) <= 80
    assert "and 4 more domains" not in lines
    assert any("4 more domains" in line for line in lines)
    hidden = [line for line in lines if "in the HTML report" in line]
    assert hidden == {
        0: [], 1: ["! 2 more notes in the HTML report"], 5: ["! 4 more notes in the HTML report"]
    }[count]  # fmt: skip


def test_a_diverged_run_names_the_step_and_has_no_price(report):
    reason = "The metric is not finite from 290 kJ on; 40 % of the energy was spent after that."
    diverged = outlook(
        state=CurveState.DIVERGED, state_reason=reason, diverged_step=1803,
        best=Best(level=1.31, joules=2.9e5, step=1803, share_after=0.4),
        targets=(), asked=(), floor=None, ahead=None, perfection=None, backtest=(), notes=(),
    )  # fmt: skip
    lines = lines_of(report(outlook=diverged))
    assert lines[0] == "== scripted: completed after 20.6 min, loss DIVERGED after step 1,803 =="
    assert find(lines, "worth") == reason
    assert find(lines, "advice").startswith(
        "Stop: restart from a checkpoint before the loss stopped being finite. Check the data"
    )
    assert not [line for line in lines if "more energy" in line or "Confidence" in line]


def test_a_flat_run_is_advised_to_stop(report):
    flat = outlook(
        state=CurveState.FLAT, state_reason="The loss has not moved for 62 % of the energy.",
        targets=(target(1.832, 0.01, Verdict.UNREACHABLE, (math.inf,) * 3, 0.99),), asked=(), floor=None,
        ahead=None, perfection=None, backtest=(), notes=(),
    )  # fmt: skip
    lines = lines_of(report(outlook=flat))
    assert "loss flat" in lines[0]
    assert "has not moved for 62 % of the energy" in find(lines, "worth")
    assert find(lines, "advice").startswith("Stop, or change the learning rate")


def test_a_reached_target_is_the_advice_for_a_flat_run(report):
    flat = outlook(
        state=CurveState.FLAT, asked=(target(2.0, None, Verdict.REACHED, (2e5, 2.1e5, 2.2e5), 0.0),)
    )
    assert find(lines_of(report(outlook=flat)), "advice") == "Stop: loss 2.000 is reached."


def test_a_perfect_metric_is_no_reason_to_change_the_learning_rate(tmp_path):
    run = load_run(write_run(tmp_path / "run", steps=60, loss=lambda k: max(3.0 - 0.1 * k, 0.0)))
    lines = text_of(report_of(run)).splitlines()
    assert find(lines, "advice") == "Stop: the loss is at its best possible value."


def test_too_early_says_what_is_needed(report):
    lines = lines_of(report(outlook=None))
    assert "too early to forecast" in lines[0]
    assert find(lines, "advice") == (
        "Too early to advise. A forecast needs 6 points and the curve has 3. Train longer."
    )


def test_an_interval_that_excludes_nothing_reads_unknown(report):
    nan = math.nan
    open_end = target(1.758, 0.05, Verdict.UNDETERMINED, (485e3, nan, math.inf), nan)
    lines = lines_of(report(outlook=outlook(targets=(open_end,), asked=())))
    assert next(line for line in lines if "5 % lower" in line).split() == (
        ["1.758", "5", "%", "lower", "unknown", "-", "unknown"]
    )
    assert find(lines, "advice").startswith("Too early to advise")
    assert "nan" not in text_of(report(outlook=outlook(targets=(open_end,), asked=()))).lower()


def test_a_missing_device_is_named(report):
    lines = lines_of(report(summary=summary(missing=("mps",))))
    assert "incomplete" in lines[0]
    assert "! The energy of mps is missing" in "\n".join(lines)


PRICES = Prices(pue=1.5, grid_gco2e_per_kwh=380.0, grid_source="France 2023", price_per_kwh=0.25)


def test_carbon_and_money_appear_where_they_are_known(report):
    cost = find(lines_of(report(prices=PRICES)), "cost")
    assert cost.startswith(
        "490 kJ (0.14 kWh, 0.20 kWh at the meter (PUE 1.5), 78 gCO2e, price 0.051) in 20.6 min"
    )
    assert "CO2" not in text_of(report())


def test_hostile_names_stay_on_their_line(report):
    text = text_of(report(summary=summary(name=HOSTILE)))
    assert text.count("\n") == FULL.count("\n")
    odd = Metered(domain=domain(HOSTILE, Provenance.COUNTER, HOSTILE), joules=1.0)
    text = text_of(report(summary=summary(metered=(odd, *summary().metered[1:]))))
    assert HOSTILE.replace("\n", " ") in text.replace("\n        ", " ")
    assert all(line.isprintable() for line in text.splitlines())


def test_annealing_is_advised_where_it_halves_the_price(report):
    held = Scenario(name="held", target=target(1.758, 0.05, Verdict.REACHABLE, (1e6, 3.1e6, 9e6), 0.0))
    annealed = Scenario(name="annealed", target=target(1.758, 0.05, Verdict.REACHABLE, (5e5, 6e5, 8e5), 0.0))
    advice = find(lines_of(report(outlook=outlook(scenarios=(held, annealed), asked=()))), "advice")
    assert advice.startswith("Anneal the learning rate now: loss 1.758 with the rate annealed: 120 kJ more")


def test_a_planned_end_is_the_advice(report):
    end = PlannedEnd(joules=3.4e6, loss=Interval(low=1.7, median=1.75, high=1.8))
    advice = find(lines_of(report(outlook=outlook(planned_end=end, asked=()))), "advice")
    assert advice.startswith("Go on: the planned run ends at loss 1.75 (1.70 to 1.80) after 2.92 MJ more.")


def test_reached_targets_end_the_training(report):
    reached = outlook(asked=(target(2.0, None, Verdict.REACHED, (2e5, 2.1e5, 2.2e5), 0.0),))
    assert find(lines_of(report(outlook=reached)), "advice") == "Stop: loss 2.000 is reached."


def test_every_other_metric_is_named_or_counted(report):
    others = [
        MetricReport(name=f"metric {k}", goal=None, outlook=None, state=None, refused="?", last=0.5)
        for k in range(6)
    ]
    also = find(lines_of(report(others=others)), "also")
    assert also == (
        "metric 0 0.500, metric 1 0.500, metric 2 0.500, metric 3 0.500, 2 more metrics (select with --metric)"
    )


def test_a_guess_is_no_advice(report):
    fits, misses = outlook().backtest
    guess = outlook(asked=(), backtest=(misses, replace(misses, share=0.25), fits))
    assert "needs about" not in " ".join(answer_of(report(outlook=guess)).worth)
    advice = find(lines_of(report(outlook=guess)), "advice")
    assert advice == "Too early to advise. Only 1 of 3 forecasts made earlier in this run held."


def with_chance(chance, *, high=math.inf):
    """Return the target that decides the advice, with its chance within four times the energy."""
    row = target(1.758, 0.05, Verdict.REACHABLE, (485e3, 0.9e6, high), 0.06)
    return replace(row, forecast=replace(row.forecast, reach=((1.0, 0.0), (4.0, chance), (10.0, 0.94))))


@pytest.mark.parametrize(
    ("chance", "advice"),
    [
        (
            0.82,
            "Go on: a 5 % better loss is 82 % likely within 4 times the training's energy so far. Confidence: medium.",
        ),
        (
            0.10,
            (
                "Stop: a 5 % better loss is only 10 % likely within 4 times the training's energy so far. "
                "Confidence: medium."
            ),
        ),
    ],
)
def test_advice_without_a_price_has_the_chance(report, chance, advice):
    found = outlook(targets=(with_chance(chance),), asked=(), backtest=outlook().backtest[:1])
    assert find(lines_of(report(outlook=found)), "advice") == advice


def test_weak_evidence_continues_a_likely_improvement_and_stops_nothing(report):
    wide = Interval(low=1.2, median=1.72, high=2.2)
    for chance, action in ((0.9, "go_on"), (0.1, "too_early")):
        weak = outlook(targets=(with_chance(chance),), asked=(), backtest=(), ahead=wide)
        assert answer_of(report(outlook=weak)).action == action


@pytest.mark.parametrize(
    ("points", "is_planned", "word"),
    [(6, True, "low"), (9, True, "low"), (10, True, "high"), (10, False, "medium")],
)
def test_few_points_have_low_confidence_and_an_unknown_end_no_high_one(report, points, is_planned, word):
    narrow = Interval(low=1.70, median=1.72, high=1.74)
    end = PlannedEnd(joules=3.4e6, loss=narrow) if is_planned else None
    found = outlook(targets=(with_chance(0.9),), asked=(), ahead=narrow, points=points, planned_end=end)
    assert confidence_of(replace(found, backtest=outlook().backtest[:1])) == word


def test_an_open_interval_has_the_probability_within_ten_times_the_energy(report):
    row = target(1.665, 0.10, Verdict.REACHABLE, (1.5e6, 3.1e6, math.inf), 0.06)
    row = replace(row, forecast=replace(row.forecast, reach=((1.0, 0.0), (2.0, 0.2), (10.0, 0.83))))
    lines = lines_of(report(outlook=outlook(targets=(row,), asked=())))
    assert any("at least 1.0 MJ; 83 % within 10x" in line for line in lines)


def test_a_wide_table_keeps_its_header_within_80_columns(report):
    row = target(2.904e-12, 0.10, Verdict.REACHABLE, (1.5e6, 3.1e6, math.inf), 0.06)
    row = replace(row, forecast=replace(row.forecast, reach=((1.0, 0.0), (2.0, 0.2), (10.0, 0.83))))
    known = replace(outlook(targets=(row,), asked=()), metric="a_validation_loss_with_a_long_name")
    header = next(line for line in lines_of(report(outlook=known)) if "90 % interval" in line)
    assert header.endswith("out of reach")
    assert len(header) <= 80


PLANNED = PlannedEnd(joules=3.4e6, loss=Interval(low=1.7, median=1.75, high=1.8))
OVERFITTED = Best(level=0.39, joules=2e4, step=85, share_after=0.88)


def validation(name, state, best=OVERFITTED, **changes):
    """Return a validation metric with a state of its own."""
    known = outlook(metric=name, state=state, best=best, **changes)
    return MetricReport(name=name, goal="min", outlook=known, state=state, refused="", last=0.87)


@pytest.mark.parametrize(
    ("others", "is_overfitted"),
    [
        ([CurveState.RISING], True),
        ([CurveState.DIVERGED, CurveState.TOO_EARLY], True),
        ([CurveState.RISING, CurveState.IMPROVING], False),
        ([CurveState.FLAT], False),
    ],
)
def test_a_run_that_overfits_is_not_advised_to_continue(report, others, is_overfitted):
    metrics = [validation(f"val_{k}", state) for k, state in enumerate(others)]
    answer = answer_of(report(others=metrics, outlook=outlook(planned_end=PLANNED, asked=())))
    assert (answer.action is Action.STOP) is is_overfitted
    assert (
        answer.advice.startswith("Stop, the model overfits: the best val_0, 0.390 at step 85,")
        is is_overfitted
    )
    assert (answer.confidence is None) is is_overfitted
    assert (answer.tone is Tone.GOOD) is not is_overfitted


def test_a_validation_metric_that_is_not_finite_is_no_overfitting(report):
    metrics = [validation("val_loss", CurveState.DIVERGED, diverged_step=900)]
    assert (
        answer_of(report(others=metrics, outlook=outlook(planned_end=PLANNED, asked=()))).action
        is Action.GO_ON
    )


def test_other_metrics_are_named_with_their_state(report):
    metrics = [validation("val_loss", CurveState.DIVERGED), validation("val_error", CurveState.TOO_EARLY)]
    also = find(lines_of(report(others=metrics)), "also")
    assert also.startswith(
        "val_loss 0.870 (far from its best), val_error 0.870 (too early to forecast) (select"
    )


def test_an_anneal_of_a_constant_loss_has_an_interval(tmp_path):
    """Its level has no error, which is no reason for a warning."""
    anneals = report_of(load_run(write_run(tmp_path / "run", loss=lambda _: 1.0))).details.anneals
    assert [one.loss.median for one in anneals] == pytest.approx([1.0] * len(anneals))
    assert all(one.loss.low <= one.loss.median <= one.loss.high for one in anneals)
    assert {one.name for one in anneals} >= {"now", "held"}


def test_the_scope_of_several_trainings_is_named(report):
    several = find(lines_of(report(summary=summary(trainings=4))), "scope")
    assert several.startswith("The cost is that of 4 trainings in one process")
    assert not any(line.startswith("scope") for line in lines_of(report()))


def test_long_name_of_a_metric_leaves_the_lines_readable(report):
    name = "validation/" + 8 * "perplexity_of_the_held_out_part_"
    lines = text_of(report(outlook=outlook(metric=name))).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("…" in line for line in lines) >= 2
    assert not any(name[40:100] in line for line in lines)
