"""The figures: plotly accepts them, and they hold what the report says."""

import json

import plotly.graph_objects as go
import pytest

from profiler.analysis.downsample import DomainPower, Power
from profiler.reporting import figures
from profiler.reporting.details import Details
from profiler.reporting.figures import Clock, figures_of
from tests.support.scripted_reports import DETAILS, outlook

DRAWN = figures_of(outlook(), DETAILS)


def test_a_run_with_everything_has_every_figure():
    assert list(DRAWN) == ["curve", "power", "step-joules", "where", "learning-rate"]


def test_a_run_with_nothing_has_none():
    assert figures_of(None, Details()) == {}


def test_a_curve_without_a_forecast_is_drawn_as_it_was_recorded():
    drawn = figures_of(None, DETAILS)["curve"]
    assert [one["name"] for one in drawn["data"]] == ["recorded"]
    assert go.Figure(drawn).to_dict()["data"]


@pytest.mark.parametrize("name", DRAWN)
def test_plotly_knows_every_property(name):
    assert go.Figure(DRAWN[name]).to_dict()["data"]


@pytest.mark.parametrize("name", DRAWN)
def test_every_number_can_be_drawn(name):
    json.dumps(DRAWN[name], allow_nan=False)


def trace(figure, name):
    return next(one for one in DRAWN[figure]["data"] if one["name"] == name and one.get("showlegend", True))


def test_the_law_is_solid_as_far_as_it_was_measured_and_dashed_beyond():
    assert trace("curve", "fit")["x"] == [1e4, 4.85e5]
    assert trace("curve", "extrapolated")["x"] == [4.85e5, 4.85e6]
    assert trace("curve", "extrapolated")["line"]["dash"] == "dash"
    assert trace("curve", "90 % band")["y"] == [3.1, 1.86, 1.8]
    assert trace("curve", "floor, 90 %")["y"] == [1.31, 1.31]


def test_power_is_stacked_over_a_lane_of_what_the_time_was_spent_on():
    assert trace("power", "gpu:0")["stackgroup"] == "power"
    assert trace("power", "gpu:0")["y"] == [300.0, 348.0, 348.0]
    assert trace("power", "setup")["yaxis"] == "y2"
    assert trace("power", "lowest and highest")["y"] == [250.0, 310.0, 300.0, 390.0]


def test_extremes_that_cannot_be_seen_are_not_drawn():
    flat = Power(
        seconds=(0.0, 1.0), domains=(DomainPower(domain="psys", watts=(9.0,)),), low=(9.0,), high=(9.0,)
    )
    assert [one["name"] for one in figures.power(flat, ())["data"]] == ["psys"]


def test_names_are_text_and_no_markup():
    marked = Power(
        seconds=(0.0, 1.0), domains=(DomainPower(domain="<b>x", watts=(1.0,)),), low=(1.0,), high=(1.0,)
    )
    assert figures.power(marked, ())["data"][0]["name"] == "&lt;b&gt;x"


@pytest.mark.parametrize(
    ("seconds", "unit", "length"),
    [
        (3.0, "s", 1.0),
        (239.0, "s", 1.0),
        (240.0, "minutes", 60.0),
        (20_000.0, "hours", 3600.0),
        (4e8, "years", 31_557_600),
    ],
)
def test_time_is_told_in_a_unit_of_its_length(seconds, unit, length):
    clock = Clock(seconds)
    assert (clock.unit, clock.times([length])) == (unit, [1.0])
