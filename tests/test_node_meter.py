"""A node with a meter of its own, a processor and four accelerators that are inside the node's counter."""

import json
import time

import pytest

from profiler import EnergyProfiler, load_run
from profiler.errors import UsageError
from profiler.records import Domain, Provenance
from profiler.reporting import RENDERERS, render, report_of
from profiler.testing.replay import ReplaySensor, ScriptedMeter, Waveform
from tests.support.rank_jobs import check_books
from tests.support.small_training import scripted, train

WATTS = {"node": 1_000.0, "cpu:package-0": 160.0, **{f"gpu:{index}": 150.0 for index in range(4)}}
PARTS = 760.0
RATIO = "1.32 x the parts"


def node(**provenances):
    return ReplaySensor(
        [
            ScriptedMeter(
                domain=Domain(
                    name=name, source="scripted", provenance=provenances.get(name, Provenance.COUNTER)
                ),
                waveform=Waveform.constant(watts),
            )
            for name, watts in WATTS.items()
        ]
    )


def record(tmp_path, **options):
    options.setdefault("sensors", [node()])
    with EnergyProfiler(run_dir=tmp_path / "run", **options):
        train(15, pause=0.01)
    return load_run(tmp_path / "run")


@pytest.mark.parametrize(("count", "watts"), [("parts", PARTS), ("node", 1_000.0)])
def test_the_total_is_that_of_the_parts_or_that_of_the_node(recorded, count, watts):
    run = recorded[count]
    seconds = check_books(run)
    assert run.total_joules == pytest.approx(watts * seconds, rel=1e-3)
    assert run.meta["missing"] == []
    (meter,) = report_of(run).node_meters
    assert (meter.name, meter.billed) == ("node", count == "node")
    assert meter.ratio == pytest.approx(1_000.0 / PARTS, rel=1e-3)
    assert meter.parts_joules == pytest.approx(PARTS * seconds, rel=1e-3)


@pytest.mark.parametrize("extension", RENDERERS)
@pytest.mark.parametrize("count", ["parts", "node"])
def test_every_renderer_compares_the_node_with_its_parts(recorded, extension, count):
    report = report_of(recorded[count])
    if extension == ".json":
        (meter,) = json.loads(render(report, extension))["node_meters"]
        assert meter["ratio"] == pytest.approx(1_000.0 / PARTS, rel=1e-3)
    elif extension not in (".svg", ".png"):
        assert RATIO in " ".join(str(render(report, extension)).split())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return {count: record(tmp_path_factory.mktemp(count), count=count) for count in ("parts", "node")}


def test_estimated_parts_are_never_added_to_a_measured_node(tmp_path):
    estimated = dict.fromkeys([name for name in WATTS if name != "node"], Provenance.MODELLED)
    run = record(tmp_path, sensors=[node(**estimated)])
    assert run.total_joules == pytest.approx(1_000.0 * check_books(run), rel=1e-3)
    assert "some of them estimated" in render(report_of(run), ".txt")


def test_a_node_that_reads_less_than_its_parts_is_reported(tmp_path):
    parts = scripted(100.0)
    small = scripted(60.0, name="node")
    run = record(tmp_path, sensors=[parts, small])
    assert "0.600 x the parts; it reads less than its parts" in " ".join(
        render(report_of(run), ".txt").split()
    )


def test_counting_a_node_without_a_meter_is_a_warning(tmp_path):
    run = record(tmp_path, sensors=[scripted(100.0)], count="node")
    assert run.total_joules > 0
    assert any("count='node' has no effect" in line for line in run.warnings)


def lines(path):
    """Return a function that appends the reading of this moment after each step."""

    def append(*_):
        with path.open("a") as file:
            file.write(f"{time.time():.6f},900\n")

    return append


def test_an_external_meter_is_named_by_its_path(tmp_path):
    path = tmp_path / "meter.csv"
    path.write_text("time,watts\n")
    append = lines(path)
    append()
    given = scripted(100.0)
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[given, f"external:{path}"], count="node") as prof:
        train(20, pause=0.01, after=append)
    assert prof.run.total_joules == pytest.approx(900.0 * check_books(prof.run), rel=0.1)
    assert given.read()  # the profiler closes its own sensors only


def test_an_external_meter_that_cannot_be_read_is_a_warning(tmp_path):
    run = record(tmp_path, sensors=[scripted(100.0), f"external:{tmp_path / 'nothing'}"])
    assert run.total_joules > 0
    assert any("this meter is not used" in line and "cannot be opened" in line for line in run.warnings)


@pytest.mark.parametrize("sensors", [["external:"], ["internal:x"], ["x"], ["external:a", "external:b"]])
def test_other_names_of_sensors_are_refused(sensors):
    with pytest.raises(UsageError, match="sensors"):
        EnergyProfiler(sensors=sensors)


def test_other_totals_are_refused():
    with pytest.raises(UsageError, match="count must be 'parts' or 'node'"):
        EnergyProfiler(count="all")
