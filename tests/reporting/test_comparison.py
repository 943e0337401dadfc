"""Runs side by side, to the letter, at width 80."""

import json
import math
from dataclasses import replace
from random import Random

import pytest

from profiler import load_run
from profiler.errors import ForecastRefusedError, UsageError
from profiler.forecasting.frontier import Milestone, Stretch
from profiler.forecasting.ranking import Ranking
from profiler.records import Interval
from profiler.reporting import comparison_figure, render_comparison
from profiler.reporting.comparison import compare, fit_options
from profiler.reporting.records import Ahead, Comparison, CurveSeries, Difference, Line, Spread
from profiler.reporting.text import compared_energy, ranking
from tests.support.runs import write_run

FULL = """\
! These runs may be of different tasks. The setting data differs: A and B.
small is better at 20.8 kJ: loss 2.36 against 2.41 of a model with a very long
  name (probability 93 %).
a model with a very long name alone reached loss 2.10, with 95.0 kJ (probability
  > 99 %).
The probabilities include a spread of 7 % between seeds, as given.

run                      joules     level     to 3.700     to 2.100
small                   20.8 kJ     2.361    1.19 kJ *  not reached
a model wit… long name   181 kJ     1.968  < 4.52 kJ      95.0 kJ *
short                         -         -            -            -
* the cheapest run to that loss
! short: It has 3 points. It has 3 points. It has 3 points. It has 3 points. It
  has 3 points. It has 3 points.
settings that differ:
  data: small A, a model wit… long name B, short -

the cheapest run by loss:
  4.484 -> 2.361      850 J to 20.7 kJ        small
  2.356 -> 1.968      40.6 kJ to 181 kJ       a model with a very long name

projection of the cheapest [90 %], floor 1.5 (1.3 to 1.6):
  362 kJ    loss 1.85 (1.75 to 1.88)
projection: One run alone is the cheapest. One run alone is the cheapest. One
  run alone is the cheapest. One run alone is the cheapest.
"""


def written(folder, name, steps, *, floor, scale, called=None):
    def loss(step):
        return floor + scale * (200 * step / steps) ** -0.4

    return load_run(write_run(folder / name, steps=steps, loss=loss, meta={"name": called or name}))


@pytest.fixture
def runs(tmp_path):
    return [
        written(tmp_path, "small", 200, floor=2.0, scale=3.0),
        written(tmp_path, "a model with a very long name", 1800, floor=1.5, scale=3.9),
        written(tmp_path, "short", 3, floor=1.5, scale=3.0),
    ]


SCRIPTED = Comparison(
    runs=(
        Line(name="small", path="runs/a", joules=20_800.0, last_loss=2.361, refused=""),
        Line(name="a model with a very long name", path="runs/b", joules=181e3, last_loss=1.968, refused=""),
        Line(name="short", path="runs/c", joules=None, last_loss=None, refused="It has 3 points. " * 6),
    ),
    milestones=(
        Milestone(loss=3.7, joules=(1190.0, 4520.0, None), at_most=(False, True, False), cheapest=0),
        Milestone(loss=2.1, joules=(math.inf, 95e3, None), at_most=(False, False, False), cheapest=1),
    ),
    cheapest=(
        Stretch(run=0, start_joules=850.0, end_joules=20_700.0, first_loss=4.484, last_loss=2.361),
        Stretch(run=1, start_joules=20_800.0, end_joules=20_900.0, first_loss=2.36, last_loss=2.359),
        Stretch(run=1, start_joules=40_600.0, end_joules=181e3, first_loss=2.356, last_loss=1.968),
    ),
    ahead=(Ahead(joules=362e3, loss=Interval(low=1.751, median=1.852, high=1.875)),),
    floor=Interval(low=1.263, median=1.505, high=1.606),
    refused="",
    notes=("One run alone is the cheapest. " * 4,),
    at_energy=Ranking(
        at=20_800.0,
        values=(Interval(low=2.3, median=2.361, high=2.4), Interval(low=2.3, median=2.41, high=2.5), None),
        ratios=(None, None, None),
        best=0,
        second=1,
        probability=0.93,
    ),
    at_level=Ranking(
        at=2.1,
        values=(
            Interval(low=math.inf, median=math.inf, high=math.inf),
            Interval(low=9e4, median=95e3, high=1e5),
            None,
        ),
        ratios=(None, None, None),
        best=1,
        second=0,
        probability=0.9998,
    ),
    spread=Spread(share=0.07),
    flags=("The setting data differs: A and B.",),
    differences=(Difference(name="data", values=("A", "B", None)),),
)


def text_of(comparison):
    return render_comparison(comparison, ".txt")


def json_of(comparison):
    return render_comparison(comparison, ".json")


def test_the_whole_comparison():
    assert text_of(SCRIPTED) == FULL


def test_a_refused_frontier_states_the_reason():
    text = text_of(replace(SCRIPTED, floor=None, ahead=(), notes=(), refused="The curve rises."))
    assert text.endswith("\nno projection: The curve rises.\n")


def test_real_runs_fit_the_width(runs):
    lines = text_of(compare(runs)).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("*" in line for line in lines if line.startswith(("small", "a model")))


@pytest.mark.slow
def test_json_holds_every_number_and_no_infinity(runs):
    comparison = compare(runs[:2])
    found = json.loads(json_of(comparison))
    assert [run["joules"] for run in found["runs"]] == [20_800.0, 180_800.0]
    assert found["milestones"][0]["joules"] == list(comparison.milestones[0].joules)
    assert found["cheapest"][0]["run"] == 0
    assert found["ahead"][0]["loss"]["low"] < found["ahead"][0]["loss"]["high"]
    assert "Infinity" not in json_of(compare(runs))


def test_runs_of_one_name_have_the_names_of_their_directories(tmp_path):
    twins = [written(tmp_path, f"run-{k}", 200 * k, floor=2.0, scale=3.0, called="twin") for k in (1, 2)]
    assert [line.name for line in compare(twins).runs] == ["run-1", "run-2"]


def test_one_run_is_refused(runs):
    with pytest.raises(ForecastRefusedError, match="two runs"):
        compare(runs[:1])


def noisy(folder, name, seed, *, floor=1.5, config=None, metrics=()):
    random = Random(seed)

    def loss(step):
        return (floor + 3.0 * step**-0.4) * math.exp(random.gauss(0.0, 0.03))

    meta = {"name": name, "config": config or {}}
    return load_run(write_run(folder / name, steps=300, loss=loss, meta=meta, metrics=metrics))


def test_the_better_run_is_the_one_with_the_lower_curve(tmp_path):
    runs = [noisy(tmp_path, "worse", 1, floor=1.7), noisy(tmp_path, "better", 2, floor=1.5)]
    found = compare(runs)
    assert [ranking.best for ranking in (found.at_energy, found.at_level)] == [1, 1]
    assert min(ranking.probability for ranking in (found.at_energy, found.at_level)) > 0.95
    ratio = found.at_level.ratios[1]
    assert ratio.low < ratio.median < 1.0


def test_a_diverged_run_is_not_extended_beyond_its_last_finite_loss(tmp_path):
    def loss(step):
        return math.nan if step > 200 else 1.5 + 3.0 * step**-0.4

    diverged = load_run(write_run(tmp_path / "diverged", steps=300, loss=loss, meta={"name": "diverged"}))
    found = compare([diverged, noisy(tmp_path, "whole", 2)]).at_energy
    assert found.at < 0.7 * diverged.total_joules
    assert found.values[0].median == pytest.approx(1.5 + 3.0 * 200**-0.4, rel=0.02)


def test_a_spread_between_seeds_lowers_the_probability(tmp_path):
    runs = [noisy(tmp_path, "worse", 1, floor=1.6), noisy(tmp_path, "better", 2)]
    without, given = compare(runs), compare(runs, seed_spread=0.3)
    assert 0.5 <= given.at_level.probability < without.at_level.probability
    assert "as given" in text_of(given)
    assert "not their seeds" in " ".join(text_of(without).split())


def test_repeats_give_the_spread(tmp_path):
    runs = [
        noisy(tmp_path, "a1", 1, config={"lr": 0.1, "seed": 1}),
        noisy(tmp_path, "a2", 2, floor=1.55, config={"lr": 0.1, "seed": 2}),
        noisy(tmp_path, "b", 3, floor=1.7, config={"lr": 0.2, "seed": 1}),
    ]
    found = compare(runs)
    assert found.spread.repeats == 2
    assert 0.01 < found.spread.share < 1.0
    assert {row.name for row in found.differences} == {"lr", "seed"}


def test_equal_runs_are_a_coin_toss(tmp_path):
    same = [noisy(tmp_path, name, 1) for name in ("one", "two")]
    assert compare(same).at_energy.probability == pytest.approx(0.5, abs=0.05)


UNLIKE = {
    "first levels": ({}, {}, 20.0, "begin far apart"),
    "the dataset": ({"dataset": "a"}, {"dataset": "b"}, 1.5, "dataset differs: a and b"),
    "nothing": ({"dataset": "a"}, {"dataset": "a"}, 1.6, None),
}


@pytest.mark.parametrize(("first", "second", "floor", "flag"), UNLIKE.values(), ids=UNLIKE)
def test_different_tasks_are_flagged(tmp_path, first, second, floor, flag):
    def high(step):
        return floor * 5.0 * step**-0.8

    runs = [noisy(tmp_path, "one", 1, config=first)]
    runs.append(
        noisy(tmp_path, "two", 2, config=second, floor=floor)
        if floor < 2.0
        else load_run(write_run(tmp_path / "two", steps=300, loss=high))
    )
    flags = compare(runs).flags
    assert (flag in flags[0]) if flag else not flags


def test_metrics_that_rise_are_compared_upwards(tmp_path):
    def accuracy(rate):
        return [(step, "val_acc", 1.0 - 0.8 * step**-rate) for step in range(10, 301, 10)]

    runs = [noisy(tmp_path, name, 1, metrics=accuracy(rate)) for name, rate in (("slow", 0.2), ("fast", 0.4))]
    found = compare(runs, levels=[0.7])
    assert (found.metric, found.goal) == ("val_acc", "max")
    assert found.at_level.best == found.at_energy.best == 1
    assert found.milestones[0].joules[1] < found.milestones[0].joules[0]
    assert found.runs[1].last_loss > 0.85


@pytest.mark.parametrize("order", [1, -1])
def test_a_run_without_a_finite_value_leaves_the_best_value_of_the_others(tmp_path, order):
    """The best possible accuracy is 1, not 100."""
    good = [(step, "val_acc", 0.9 - 0.6 * step**-0.4) for step in range(10, 301, 10)]
    logged = {"bad": [(step, "val_acc", math.nan) for step, *_ in good], "good": good, "other": good}
    runs = [noisy(tmp_path, name, 1, metrics=metrics) for name, metrics in logged.items()]
    assert fit_options(runs[::order], "val_acc", "max") == {"goal": "max", "best": 1.0}


def test_a_diverged_run_is_marked(tmp_path):
    diverged = write_run(
        tmp_path / "wild", steps=300, loss=lambda n: math.nan if n > 200 else 3.0 / n, meta={"name": "wild"}
    )
    good = noisy(tmp_path, "good", 1)
    shown = " ".join(render_comparison(compare([good, load_run(diverged)]), ".txt").split())
    assert "! wild: Its loss diverged; it is compared up to its last finite value." in shown


def test_the_metric_is_one_that_every_run_logged(tmp_path, runs):
    validation = [(step, "val_loss", 2.0 - step / 300) for step in range(10, 301, 10)]
    both, second = (noisy(tmp_path, name, 1, metrics=validation) for name in ("first", "second"))
    assert compare([both, second]).metric == "val_loss"
    assert compare([both, runs[0]]).metric == "loss"
    assert compare([both, second, load_run(write_run(tmp_path / "none", steps=0))]).metric == "val_loss"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"metric": "val"}, "no metric 'val'"), ({"seed_spread": 2.0}, "between 0 and 100 %")],
)
def test_invalid_arguments(runs, options, message):
    with pytest.raises(UsageError, match=message):
        compare(runs[:2], **options)


def test_a_run_without_steps_is_named(tmp_path, runs):
    empty = load_run(write_run(tmp_path / "empty", steps=0, meta={"name": "empty"}))
    assert "No optimizer update" in compare([*runs[:2], empty]).runs[2].refused
    with pytest.raises(ForecastRefusedError, match="empty: No optimizer update"):
        compare([runs[0], empty])


def test_the_page_draws_every_curve_and_repeats_the_text(runs):
    page = render_comparison(replace(SCRIPTED, frontier=None), ".html")
    assert "small is better at 20.8 kJ" in page
    known = compare(runs[:2])
    drawn = comparison_figure.curves(known)["data"]
    assert [one["name"] for one in drawn if one.get("showlegend", True)][-2:] == [
        line.name for line in known.runs
    ]
    assert isinstance(known.frontier, CurveSeries)


@pytest.mark.parametrize(
    ("shares", "sentence"),
    [
        ((1.0, 0.96), ""),
        ((0.0, 0.0), "The energy of these runs is not measured: it is estimated from time and load."),
        ((1.0, 0.0), "Energy is partly estimated: b estimated."),
        ((0.9, 0.0), "Energy is partly estimated: a 90 % measured and b estimated."),
        ((None, 1.0), ""),
    ],
)
def test_estimated_energy_is_marked(shares, sentence):
    lines = [
        Line(name=name, path="", joules=1.0, last_loss=1.0, refused="", measured_share=share)
        for name, share in zip("ab", shares, strict=True)
    ]
    assert compared_energy(lines) == sentence


def test_the_mark_of_estimated_energy_is_in_text_and_page():
    lines = tuple(replace(line, measured_share=0.0) for line in SCRIPTED.runs)
    for extension in (".txt", ".html"):
        known = render_comparison(replace(SCRIPTED, runs=lines), extension)
        assert "The energy of these runs is not measured" in known


def test_each_run_without_a_curve_has_its_reason(tmp_path):
    without = [
        load_run(write_run(tmp_path / "signs", loss=math.sin, meta={"name": "signs"})),
        load_run(write_run(tmp_path / "empty", steps=0, meta={"name": "empty"})),
    ]
    with pytest.raises(
        ForecastRefusedError, match=r"of the 2 given, none has one\. signs: .* empty: No optimizer update"
    ):
        compare(without)


@pytest.mark.parametrize(("kind", "shown"), [
    ("energy", "a and b are about equal at 30.0 J: loss 20.0 against 21.0 of b"),
    ("level", "a and b need about equal energy to loss 30.0: 20.0 J against 21.0 J of b"),
])  # fmt: skip
def test_runs_without_a_clear_order_are_called_equal(kind, shown):
    values = tuple(Interval(low=0.9 * one, median=one, high=1.1 * one) for one in (20.0, 21.0))
    known = Ranking(at=30.0, values=values, ratios=(None, None), best=0, second=1, probability=0.53)
    assert ranking(kind, known, ("a", "b"), "loss") == f"{shown} (probability 53 % that a is ahead)."
