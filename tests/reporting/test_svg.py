"""The curve as an SVG file."""

from xml.etree import ElementTree as ET

import pytest

from profiler.reporting import render
from profiler.reporting.svg import HEIGHT, WIDTH, Axis, joules_label
from tests.support.scripted_reports import HOSTILE, make, outlook, summary

SVG = "{http://www.w3.org/2000/svg}"


def test_it_is_valid_and_every_point_is_inside():
    root = ET.fromstring(render(make(), ".svg"))
    points = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in root.iter(f"{SVG}circle")]
    assert len(points) == 3
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert {"loss", "energy since the start", "floor, 90 %"} <= set(words)


def test_hostile_names_stay_text():
    known = render(make(summary=summary(name=HOSTILE), outlook=outlook(metric=HOSTILE)), ".svg")
    assert "<script>" not in known
    ET.fromstring(known)


def test_a_run_without_a_forecast_has_its_recorded_points_only():
    root = ET.fromstring(render(make(outlook=None), ".svg"))
    assert len(list(root.iter(f"{SVG}circle"))) == 3
    assert not [path for path in root.iter(f"{SVG}path") if path.get("stroke-dasharray")]


@pytest.mark.parametrize(
    ("low", "high", "is_log", "ticks"),
    [
        (0.9, 110.0, True, [1.0, 10.0, 100.0]),
        (1.0, 6.0, True, [1.0, 2.0, 5.0]),
        (-1.0, 1.0, False, [-0.5, 0.0, 0.5, 1.0]),
    ],
)
def test_ticks_are_round_values_on_the_axis(low, high, is_log, ticks):
    axis = Axis(low, high, 0.0, 100.0, is_log)
    assert axis.ticks == pytest.approx(ticks)
    assert axis.at(low) == 0.0
    assert axis.at(high) == 100.0
    assert axis.at(high * 5) == 100.0


@pytest.mark.parametrize(
    ("joules", "label"),
    [(100.0, "100 J"), (65.0, "65 J"), (75.0, "75 J"), (1250.0, "1.25 kJ"), (0.02, "20 mJ")],
)
def test_neighbouring_ticks_have_labels_of_their_own(joules, label):
    assert joules_label(joules) == label
