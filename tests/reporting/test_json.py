"""The JSON holds what its page of documentation says, and nothing else."""

import json
import re
from dataclasses import replace
from pathlib import Path

from profiler.emissions import Prices
from profiler.records import Interval, Metered, Provenance, Verdict
from profiler.reporting import render
from profiler.reporting.records import (
    Best,
    LimitRow,
    LimitTable,
    MetricReport,
    PlannedEnd,
    Scenario,
    WasteLine,
)
from tests.support.scripted_reports import domain, outlook, summary, target

PAGE = (Path(__file__).parents[2] / "docs" / "report-json.md").read_text()
END = PlannedEnd(joules=3.4e6, loss=Interval(low=1.7, median=1.75, high=1.8))
INTERVAL = {"low", "median", "high", "level"}
TARGET = {"loss", "change", "forecast", "more"}


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


def idle(metered):
    """One domain that is split into idle and active, one whose idle power is wrong, and one of unknown idle power."""
    watts = {"gpu:0": 50.0, "cpu:package-0": 5_000.0}.get(metered.domain.name)
    return replace(metered, domain=replace(metered.domain, idle_watts=watts, billed=True))


def full(report):
    prices = Prices(pue=1.2, grid_gco2e_per_kwh=56.0, grid_source="as given", price_per_kwh=0.2)
    scenario = Scenario(name="held", target=target(1.7, 0.2, Verdict.REACHABLE, (1e6, 2e6, 3e6), 0.1))
    node = Metered(domain=domain("node", Provenance.COUNTER, "x", billed=False), joules=600_000.0)
    noted = summary(warnings=("w",), metered=(*map(idle, summary().metered), node))
    best = Best(level=1.8, joules=4e5, step=9_000, share_after=0.2)
    other = MetricReport(name="acc", goal="max", outlook=None, state=None, refused="?", last=0.5)
    known = outlook(scenarios=(scenario,), planned_end=END, best=best)
    waste = WasteLine(name="idle", joules=2e4, share=0.04, low=1.9e4, high=2.1e4, remedy="up to 20 kJ less")
    about = Interval(low=1.0, median=2.0, high=3.0)
    row = LimitRow(
        limit_watts=400.0,
        visits=2,
        steps=80,
        step_joules=about,
        step_seconds=about,
        joules=about,
        seconds=1.0,
        money=None,
    )
    limits = LimitTable(
        rows=(row,), least_joules=400.0, p_least_joules=0.9, least_seconds=400.0, p_least_seconds=0.8, target=1.7,
        refused="",
    )  # fmt: skip
    made = report(
        prices=prices, summary=noted, outlook=known, others=(other,), waste=(waste,), power_limits=limits
    )
    return json.loads(render(made, ".json"))


def test_every_key_is_documented_and_there_is_no_other(report):
    top, rest = PAGE.split("A *target* is")
    sections = {"outlook", "target_table", "metrics[].target_table", "metrics[].chart"}
    found = set(keys(full(report)))
    empty = {"summary.missing", "domains[].notes"}
    assert found - empty == documented(top) - sections - {"summary.missing", "domains[].notes[]"}
    shown = full(report)["outlook"]["targets"][0]
    told = {f"forecast.{name}" for name in shown["forecast"]} | {"loss", "change", "more"}
    assert told == documented(rest.split("## Prices")[0])
