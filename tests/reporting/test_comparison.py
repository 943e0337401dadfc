"""Runs side by side, to the letter, at width 80."""

import json
import math
from dataclasses import replace

import pytest

from profiler import load_run
from profiler.errors import ForecastRefusedError
from profiler.forecasting.frontier import Milestone, Stretch
from profiler.records import Interval
from profiler.reporting.comparison import Ahead, Comparison, Line, compare, render_json, render_text
from tests.support.runs import write_run

FULL = """\
run                      joules last loss     to 3.700     to 2.100
small                   20.8 kJ     2.361    1.19 kJ *  not reached
a model wit… long name   181 kJ     1.968  < 4.52 kJ      95.0 kJ *
short                         -         -            -            -
* the cheapest run to that loss
! short: It has 3 points. It has 3 points. It has 3 points. It has 3 points. It
  has 3 points. It has 3 points.

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
)


def test_the_whole_comparison():
    assert render_text(SCRIPTED) == FULL


def test_a_refused_frontier_says_why():
    text = render_text(replace(SCRIPTED, floor=None, ahead=(), notes=(), refused="The curve rises."))
    assert text.endswith("\nno frontier: The curve rises.\n")


def test_real_runs_fit_the_width(runs):
    lines = render_text(compare(runs)).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("*" in line for line in lines[1:3])


@pytest.mark.slow
def test_json_holds_every_number_and_no_infinity(runs):
    comparison = compare(runs[:2])
    found = json.loads(render_json(comparison))
    assert [run["joules"] for run in found["runs"]] == [20_800.0, 180_800.0]
    assert found["milestones"][0]["joules"] == list(comparison.milestones[0].joules)
    assert found["cheapest"][0]["run"] == 0
    assert found["ahead"][0]["loss"]["low"] < found["ahead"][0]["loss"]["high"]
    assert "Infinity" not in render_json(compare(runs))


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    twins = [written(tmp_path, f"run-{k}", 200 * k, floor=2.0, scale=3.0, called="twin") for k in (1, 2)]
    assert [line.name for line in compare(twins).runs] == ["run-1", "run-2"]


def test_what_cannot_be_compared_is_refused(runs):
    with pytest.raises(ForecastRefusedError, match="two runs"):
        compare(runs[:1])
