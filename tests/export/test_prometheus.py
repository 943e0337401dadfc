"""Metrics for Prometheus, read back by its client library's parser."""

import json
import math
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from profiler import load_run
from profiler.export import export
from profiler.export.prometheus import FAMILIES, exposed_quickly
from profiler.reporting import report_of
from tests.support.runs import write_run

ROOT = Path(__file__).parents[2]


def read(content):
    """Return the values by metric and labels."""
    families = text_string_to_metric_families(content.decode())
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


def value(found, name, **labels):
    return found[(f"energy_profiler_{name}", *sorted(labels.items()))]


def test_values_are_those_of_the_report(tmp_path):
    run = load_run(write_run(tmp_path / "first", steps=400))
    found = read(export(run, "prometheus"))
    assert value(found, "joules_total", run="first") == run.total_joules
    assert value(found, "steps_total", run="first") == 400
    gpu = {"run": "first", "domain": "gpu:0", "provenance": "counter"}
    assert value(found, "domain_joules_total", **gpu) == run.energy_by_domain()["gpu:0"]
    target = next(row for row in report_of(run).outlook.targets if row.change == 0.05)
    labels = {"run": "first", "metric": "loss", "target": "5 % lower"}
    assert value(found, "forecast_more_joules", **labels, percentile="50") == pytest.approx(
        target.more.median
    )
    assert value(found, "forecast_more_joules", **labels, percentile="95") == pytest.approx(target.more.high)
    assert value(found, "forecast_unreachable_probability", **labels) == target.forecast.p_unreachable
    assert not any(name == "energy_profiler_watts" for name, *_ in found)  # it has ended


def test_two_runs_of_one_name_have_different_labels(tmp_path):
    runs = [load_run(write_run(tmp_path / name, steps=5)) for name in ("a", "b")]
    found = read(export(runs, "prometheus"))
    assert {dict(labels)["run"] for name, *labels in found if name == "energy_profiler_run_info"} == {
        "a",
        "b",
    }


def test_a_running_run_has_power_and_a_budget(tmp_path):
    meta = {"status": "running", "totals": None, "goals": {"energy_budget_joules": 10_000.0}}
    found = read(export(load_run(write_run(tmp_path / "run", steps=5, meta=meta)), "prometheus"))
    assert value(found, "watts", run="run", domain="gpu:0") == 300.0
    assert value(found, "budget_used_ratio", run="run") == pytest.approx(400 * 3.25 / 10_000)


def test_no_forecast_is_no_number(tmp_path):
    run = load_run(write_run(tmp_path / "run", steps=100, loss=lambda step: 2.0 + 0.3 * math.sin(7 * step)))
    assert not any("forecast" in name for name, *_ in read(export(run, "prometheus")))


def test_a_hostile_name_stays_one_label(tmp_path):
    name = 'a"} 1\nenergy_profiler_joules_total{run="x"} 9\ud800'
    found = read(export(load_run(write_run(tmp_path / "run", steps=5, meta={"name": name})), "prometheus"))
    assert {dict(labels)["run"] for _, *labels in found} == {"run"}


def test_quick_values_agree_with_the_whole_record(tmp_path):
    run = load_run(write_run(tmp_path / "run", steps=40))
    quick = exposed_quickly(run, label="run")
    assert (quick.steps, quick.total_joules) == (40, run.total_joules)


def test_every_metric_is_documented_and_shown_on_the_dashboard():
    names = {f"energy_profiler_{one.name}{'_total' if one.is_counter else ''}" for one in FAMILIES}
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(energy_profiler_\w+)`", page)) == names
    dashboard = (ROOT / "examples" / "grafana_dashboard.json").read_text(encoding="utf-8")
    json.loads(dashboard)
    assert set(re.findall(r"energy_profiler_\w+", dashboard)) <= names
