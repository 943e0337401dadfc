"""Facts of several runs: sums, intervals, and what makes a sum false."""

import json
import math
import re

import pytest

from profiler import load_run
from profiler.errors import UsageError
from profiler.export.boamps import quality
from profiler.export.facts import facts_of
from profiler.export.form_text import methods
from profiler.reporting.model import build
from tests.support.runs import write_run

GRID = {"pue": 1.2, "grid_gco2e_per_kwh": 400.0, "grid_source": "as given"}
SECONDS = 900.0
JOULES = 400.0 * SECONDS
"""Energy of a run of 900 s at the 400 W of ``write_run``."""


@pytest.fixture
def make(tmp_path):
    """Function that writes a run of 900 s and opens it."""

    def build_run(name="run", steps=3_592, **meta):
        return load_run(write_run(tmp_path / name, steps=steps, meta={"name": name, **meta}))

    return build_run


def domain(name, *, watts_share=1.0, provenance="counter", gain=0.02, **more):
    return {"name": name, "source": f"meter of {name}", "provenance": provenance, "billed": True,
            "gain_uncertainty": gain, **more}  # fmt: skip


def test_one_run_has_the_interval_of_its_report(make):
    run = make(prices=GRID)
    report, facts = build(run.summary()), facts_of([run])
    assert facts.joules == report.energy
    assert facts.kwh.median == pytest.approx(JOULES * 1.2 / 3.6e6)
    assert facts.gco2e.high / facts.gco2e.median == pytest.approx(report.energy.high / report.energy.median)
    assert facts.measured_share == 1.0


def test_runs_of_one_sensor_add_up_with_their_common_error(make):
    first, second = make("a"), make("b")
    one, both = facts_of([first]), facts_of([first, second])
    assert both.joules.median == pytest.approx(2 * JOULES)
    assert both.window_seconds == pytest.approx(2 * SECONDS)
    assert both.joules.high - 2 * JOULES == pytest.approx(2 * (one.joules.high - JOULES), rel=1e-3)


def test_errors_of_different_boards_are_independent(make):
    template = make("template").meta

    def on(board):
        domains = [{**entry, "device": f"{board}-{entry['name']}"} for entry in template["domains"]]
        return make(board, domains=domains)

    first, second = on("x"), on("y")
    one, both = facts_of([first]), facts_of([first, second])
    assert both.joules.high - 2 * JOULES == pytest.approx(math.sqrt(2) * (one.joules.high - JOULES), rel=1e-3)


def test_an_unknown_energy_or_intensity_makes_the_sum_unknown(make):
    known = make("known", prices=GRID)
    assert facts_of([known, make("free")]).gco2e is None
    unmetered = make("unmetered", domains=[], totals=None)
    facts = facts_of([known, unmetered])
    assert (facts.joules, facts.kwh, facts.gco2e, facts.measured_share) == (None, None, None, None)
    assert "unknown" in methods(facts)


def test_a_run_is_not_added_twice(make, tmp_path):
    run = make("a")
    (tmp_path / "link").symlink_to(run.path)
    with pytest.raises(UsageError, match="given twice"):
        facts_of([run, load_run(tmp_path / "link")])


def test_a_resumed_run_is_not_added_to_the_one_it_contains(make):
    first = make("first", steps=20)
    second = make("second", steps=20, resumed={"run": str(first.path), "step": 20, "joules": 2800.0})
    third = make("third", steps=20, resumed={"run": str(second.path), "step": 40, "joules": 5600.0})
    assert facts_of([third]).joules.median > facts_of([second]).joules.median
    for runs in ([first, second], [third, first]):
        with pytest.raises(UsageError, match="contains its energy; leave out first"):
            facts_of(runs)


def test_runs_at_the_same_time_on_one_host_are_a_caveat(make):
    first, elsewhere = make("a", host="h1"), make("b", host="h2")
    later = make("c", host="h1", started_at="2026-01-03T00:00:00+00:00")
    assert facts_of([first, elsewhere]).caveats == facts_of([first, later]).caveats == ()
    (caveat,) = facts_of([first, make("d", host="h1")]).caveats
    assert "the sum is too high" in caveat
    assert "cpu:package-0" in caveat


@pytest.mark.parametrize(
    ("meta", "caveat"),
    [
        ({"status": "failed"}, "Run run is failed"),
        ({"missing": ["gpu:1"]}, "no sensor covers gpu:1"),
    ],
)
def test_a_partial_record_is_a_caveat_of_the_method(make, meta, caveat):
    facts = facts_of([make(**meta)])
    assert any(caveat in line for line in facts.caveats)
    assert caveat in methods(facts)


def test_devices_without_a_sensor_count_as_used(make):
    facts = facts_of([make(missing=["gpu:1"])])
    assert facts.accelerator_seconds == pytest.approx(2 * SECONDS)


def test_a_meter_of_the_whole_node_does_not_show_how_many_accelerators_were_used(make):
    run = make("template")
    path = run.path
    for file in ("samples.csv",):
        (path / file).write_text((path / file).read_text().replace("gpu:0", "node"))
    meta = json.loads((path / "run.json").read_text())
    meta["domains"][0]["name"] = "node"
    (path / "run.json").write_text(json.dumps(meta))
    facts = facts_of([load_run(path)])
    assert facts.accelerator_seconds is None
    assert "the whole node" in methods(facts)


def test_flops_need_parameters_and_tokens_of_every_run(make):
    work = {"parameters": 1_000, "tokens": {"total": 50.0}}
    first = make("a", work=work)
    assert facts_of([first, make("b", work=work)]).flops == 6 * 1_000 * 100.0
    assert facts_of([first, make("c")]).flops is None
    assert facts_of([first, make("d", work={**work, "parameters": 7})]).flops is None


def test_settings_that_differ_are_left_out(make):
    facts = facts_of([make("a", config={"lr": 1, "model": "m"}), make("b", config={"lr": 2, "model": "m"})])
    assert facts.config == {"model": "m"}


def test_evaluations_are_a_share_of_the_energy(make):
    run = make()
    spans = run.path / "spans.csv"
    spans.write_text(spans.read_text().replace(",setup,", ",evaluation,"))
    assert facts_of([load_run(run.path)]).validation_share == pytest.approx(2.0 / SECONDS)


GRADES = [(0.02, "high"), (0.12, "medium"), (0.28, "low"), (0.6, None)]


@pytest.mark.parametrize(("gain", "grade"), GRADES)
def test_the_grade_of_boamps_contains_the_interval(make, gain, grade):
    domains = [{**entry, "gain_uncertainty": gain} for entry in make("template").meta["domains"]]
    assert quality(facts_of([make(domains=domains)])) == grade


def test_an_incomplete_total_has_no_grade(make):
    assert quality(facts_of([make(missing=["gpu:1"])])) is None


def test_the_method_follows_the_provenance(make):
    domains = [dict(entry) for entry in make("template").meta["domains"]]
    domains[1] |= {"provenance": "modelled", "source": "table"}
    domains[2] |= {"provenance": "integrated"}
    paragraph = methods(facts_of([make(domains=domains)]))
    assert "75 % of the energy is from hardware energy counters (75 % scripted gpu meter)" in paragraph
    assert "20 % of the energy is estimated from load and hardware tables (20 % table)" in paragraph
    assert "5 % of the energy is from power readings" in paragraph
    assert "not included (PUE 1)" in paragraph


def test_the_method_has_about_a_hundred_words(make):
    paragraph = methods(facts_of([make(prices=GRID)]))
    assert 60 < len(re.findall(r"\w+", paragraph)) < 170
