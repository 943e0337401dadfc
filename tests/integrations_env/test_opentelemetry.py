"""Metrics of OpenTelemetry, read back by the SDK's in-memory reader."""

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from profiler import EnergyProfiler
from tests.support.small_training import scripted, train


@pytest.fixture(scope="module")
def reader():
    """A provider can be configured once per process."""
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    return reader


def points(reader):
    """Return the points of each metric by run and device."""
    data = reader.get_metrics_data()
    found = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    key = (metric.name, point.attributes["energy_profiler.run"], point.attributes["hw.id"])
                    assert key not in found
                    found[key] = (metric.unit, point.attributes["hw.type"], point.value)
    return found


def test_energy_and_power_of_each_device_reach_the_provider(reader, tmp_path):
    during = {}

    def look(step, _loss):
        if step == 30:
            during.update(points(reader))

    sensors = [scripted(100.0), scripted(20.0, name="dram:package-0")]
    with EnergyProfiler(run_dir=tmp_path / "first", sensors=sensors) as prof:
        train(31, pause=0.05, after=look)
    after = points(reader)
    unit, kind, joules = after["hw.energy", "first", "cpu:package-0"]
    assert (unit, kind) == ("J", "cpu")
    assert joules == pytest.approx(prof.run.energy_by_domain()["cpu:package-0"])
    assert during["hw.power", "first", "cpu:package-0"] == ("W", "cpu", pytest.approx(100.0))
    assert during["hw.power", "first", "dram:package-0"][1] == "memory"
    assert ("hw.power", "first", "cpu:package-0") not in after


def test_a_second_run_is_a_series_of_its_own(reader, tmp_path):
    for name in ("one", "two"):
        with EnergyProfiler(run_dir=tmp_path / name, sensors=[scripted(100.0)]):
            train(3)
    assert {run for name, run, _ in points(reader) if name == "hw.energy"} >= {"one", "two"}
