"""The JSON holds what its page of documentation says, and nothing else."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.emissions import Prices
from profiler.records import Interval, Verdict
from profiler.reporting import render
from profiler.reporting.forecast_section import PlannedEnd, Scenario
from profiler.reporting.json import _lines
from tests.support.scripted_reports import TABLE, outlook, summary, target

PAGE = (Path(__file__).parents[2] / "docs" / "report-json.md").read_text()
END = PlannedEnd(joules=3.4e6, loss=Interval(low=1.7, median=1.75, high=1.8))
INTERVAL = {"low", "median", "high", "level"}
TARGET = {"loss", "way", "forecast", "more"}


def keys(value, path=""):
    """Every path to a value; an interval and a target are values."""
    if isinstance(value, dict) and value.keys() not in (INTERVAL, TARGET):
        for name, item in value.items():
            yield from keys(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for item in value:
            yield from keys(item, f"{path}[]")
    else:
        yield path


def documented(part):
    return set(
        re.findall(r"`([a-z_.\[\]0-9]+)`", "\n".join(re.findall(r"^\| (`.*?) \| ", part, re.MULTILINE)))
    )


def full(report):
    prices = Prices(pue=1.2, grid_gco2e_per_kwh=56.0, grid_source="as given", price_per_kwh=0.2)
    scenario = Scenario(name="held", target=target(1.7, 0.2, Verdict.REACHABLE, (1e6, 2e6, 3e6), 0.1))
    noted = summary(warnings=("w",))
    return json.loads(
        render(
            report(prices=prices, summary=noted, outlook=outlook(scenarios=(scenario,), planned_end=END)),
            ".json",
        )
    )


def test_every_key_is_documented_and_there_is_no_other(report):
    top, rest = PAGE.split("A *target* is")
    sections = {"outlook", "target_table"}
    found = set(keys(full(report)))
    empty = {"summary.missing", "domains[].notes"}
    assert found - empty == documented(top) - sections - {"summary.missing", "domains[].notes[]"}
    shown = full(report)["outlook"]["targets"][0]
    told = {f"forecast.{name}" for name in shown["forecast"]} | {"loss", "way", "more"}
    assert told == documented(rest.split("## Reading")[0])


def test_the_recipe_for_reading_between_rows_is_what_the_table_does(report, tmp_path, monkeypatch):
    (tmp_path / "report.json").write_text(render(report(), ".json"))
    recipe = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL).group(1), recipe)
    for loss in (5.0, 4.0, 2.5, 1.85, 1.8, 1.71, 1.7):
        assert recipe["median_joules"](loss) == pytest.approx(TABLE.at(loss).joules.median)
    for loss in (1.6, 1.2, 0.5):
        assert recipe["median_joules"](loss) is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_its_layout_changes_nothing(value):
    assert json.loads("".join(_lines(value))) == value


def test_columns_of_numbers_stand_in_one_line(report):
    lines = render(report(), ".json").splitlines()
    assert any(line.strip().startswith('"losses": [4.0, 1.85') for line in lines)
