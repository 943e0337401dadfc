"""The figures: plotly accepts them, and they hold what the report says."""

import json
import re
from dataclasses import replace

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs_version

from profiler.analysis.downsample import DomainPower, Power, Series
from profiler.reporting import figures
from profiler.reporting.figures import SCRIPT_NAME, Clock, figures_of, script
from profiler.reporting.records import Chart, Details, MetricReport
from tests.support.scripted_reports import CURVE, DETAILS, make, outlook

FULL = make()
DRAWN = figures_of(FULL)


def test_a_run_with_everything_has_every_figure():
    assert list(DRAWN) == ["curve-0", "where", "power", "step-joules", "learning-rate"]


def test_a_run_with_nothing_has_none():
    assert figures_of(make(outlook=None, details=Details())) == {}


def test_a_constant_learning_rate_is_not_drawn():
    constant = replace(DETAILS, learning_rate=Series(x=(0.0, 10.0), y=(0.1, 0.1)))
    assert "learning-rate" not in figures_of(make(details=constant))


def test_a_curve_without_a_forecast_is_drawn_as_it_was_recorded():
    drawn = figures_of(make(outlook=None))["curve-0"]
    assert [one["name"] for one in drawn["data"]] == ["recorded"]
    assert go.Figure(drawn).to_dict()["data"]


def test_every_metric_with_a_forecast_has_a_curve():
    other = MetricReport(name="acc", goal="max", outlook=outlook(metric="acc"), state=None, refused="")
    both = replace(DETAILS, curves=(CURVE, replace(CURVE, name="acc")))
    drawn = figures_of(make(others=(other,), details=both))
    assert drawn["curve-1"]["layout"]["yaxis"]["title"]["text"] == "acc"


def test_the_curve_has_direct_labels_and_no_legend():
    layout = DRAWN["curve-0"]["layout"]
    assert [one["text"] for one in layout["annotations"]] == ["recorded", "forecast, 90 %", "floor, 90 %"]
    assert layout["showlegend"] is False
    assert trace("curve-0", "fit")["hovertemplate"].startswith("loss %{y")


def test_the_bar_and_the_list_below_it_state_the_same_share_of_a_hatched_piece():
    pieces = tuple(replace(piece, later_joules=piece.joules / 4) for piece in DETAILS.devices)
    report = make(details=replace(DETAILS, devices=pieces))
    labels = [bar["text"] for bar in figures_of(report)["where"]["data"] if bar["text"]]
    assert labels == ["gpu:0 training steps 80 %", "cpu:package-0 training steps 18 %"]


def test_the_pieces_of_the_bar_add_up_to_the_total():
    bars = DRAWN["where"]["data"]
    assert sum(bar["x"][0] for bar in bars) == 490e3
    assert [bar["text"] for bar in bars] == [
        "gpu:0 training steps 80 %",
        "",
        "cpu:package-0 training steps 18 %",
    ]


def test_the_part_after_the_best_level_is_hatched_and_not_added():
    pieces = (replace(DETAILS.devices[0], later_joules=1e5), *DETAILS.devices[1:])
    bars = figures_of(make(details=replace(DETAILS, devices=pieces)))["where"]["data"]
    hatched = [bar for bar in bars if "pattern" in bar["marker"]]
    assert [bar["x"][0] for bar in hatched] == [100e3]
    assert sum(bar["x"][0] for bar in bars) == 490e3


@pytest.mark.parametrize("name", DRAWN)
def test_plotly_knows_every_property(name):
    assert go.Figure(DRAWN[name]).to_dict()["data"]


@pytest.mark.parametrize("name", DRAWN)
def test_every_number_can_be_drawn(name):
    json.dumps(DRAWN[name], allow_nan=False)


def trace(figure, name):
    return next(one for one in DRAWN[figure]["data"] if one["name"] == name and one.get("showlegend", True))


def test_the_law_is_solid_as_far_as_it_was_measured_and_dashed_beyond():
    assert trace("curve-0", "fit")["x"] == [1e4, 4.85e5]
    assert trace("curve-0", "forecast")["x"] == [4.85e5, 4.85e6]
    assert trace("curve-0", "forecast")["line"]["dash"] == "dash"
    assert trace("curve-0", "forecast, 90 %")["y"] == [3.1, 1.86, 1.8]
    assert trace("curve-0", "floor, 90 %")["y"] == [1.31, 1.31]


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


def test_the_script_is_a_version_of_plotly_that_the_properties_are_checked_with():
    version = re.search(r"plotly-basic-([\d.]+).min.js", SCRIPT_NAME)[1]
    assert f"plotly.js (basic - minified) v{version}" in script()[:200]
    assert version.partition(".")[0] == get_plotlyjs_version().partition(".")[0]
    assert not {trace["type"] for figure in DRAWN.values() for trace in figure["data"]} - {"scatter", "bar"}


def test_a_device_has_the_same_colour_in_every_figure():
    areas = {one["name"]: one["fillcolor"] for one in DRAWN["power"]["data"] if "stackgroup" in one}
    bars = {one["name"].partition(" ")[0]: one["marker"]["color"] for one in DRAWN["where"]["data"]}
    shared = areas.keys() & bars.keys()
    assert shared
    assert {name: areas[name] for name in shared} == {name: bars[name] for name in shared}


def test_names_in_figures_are_short_lines_of_text():
    name = "\u202eevil\x1b[31m <b>" + 60 * "n"
    axis = figures.metric(
        None,
        Chart(seen=Series(x=(1.0, 2.0), y=(3.0, 2.0)), joules=(), losses=(), law_joules=(), law=()),
        name,
    )
    title = axis["layout"]["yaxis"]["title"]["text"]
    assert title.startswith(" evil [31m &lt;b&gt;n")
    assert title.isprintable()
    assert len(title) < 50
