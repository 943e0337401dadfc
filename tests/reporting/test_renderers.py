"""Conformance of every renderer, and the contents of the page."""

import base64
import hashlib
import json
import math
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from importlib import import_module
from random import Random

import pytest

from profiler import load_run
from profiler.emissions import Prices
from profiler.errors import UsageError
from profiler.records import CurveState, Metered, Provenance, Status
from profiler.reporting import (
    PLOTLYJS,
    RENDERERS,
    figures,
    render,
    render_comparison,
    report_of,
    tables,
    text,
    write,
)
from profiler.reporting.answer import answer_of
from profiler.reporting.comparison import compare
from profiler.reporting.records import Details, WasteLine
from profiler.reporting.renderer import Rendered, RenderOptions
from tests.support.runs import write_run
from tests.support.scripted_reports import DETAILS, HOSTILE, domain, outlook, summary


class Page(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.addresses, self.text = [], [], ""
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        self._in_script = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._in_script = False

    def handle_data(self, data):
        self.text += "" if self._in_script else data


@pytest.mark.parametrize("extension", RENDERERS)
def test_a_renderer_returns_the_report_and_its_companions(report, extension):
    module = import_module(RENDERERS[extension])
    rendered = module.render(report(), RenderOptions(plotlyjs="directory"))
    assert isinstance(rendered, Rendered)
    assert all(isinstance(content, bytes) for content in (rendered.content, *rendered.companions.values()))
    text = rendered.content.decode()
    assert text.endswith("\n")
    assert "scripted" in text
    assert "490" in text
    assert all(name in text for name in rendered.companions)


def test_page_has_no_control_characters_of_names(report):
    page = render(report(summary=summary(name="a\x1b[31m\u202eb", warnings=("c\u202ed",))), ".html")
    assert not {"\x1b", "\u202e"} & set(page)


@pytest.mark.parametrize("extension", RENDERERS)
def test_hostile_strings_reach_every_format_as_text(report, extension):
    known = render(report(summary=summary(name=HOSTILE, warnings=(HOSTILE,))), extension)
    assert ("<script>alert(1)" in known) == (extension in (".txt", ".json"))


def test_json_holds_every_number_and_no_infinity(report):
    found = json.loads(render(report(), ".json"))
    assert found["report_version"] == 2
    assert found["energy"]["median"] == 490_000.0
    assert found["outlook"]["floor"] == {"low": 1.0, "median": 1.2, "high": 1.31, "level": 0.9}
    tested = found["outlook"]["backtest"][1]
    assert (tested["share"], tested["forecast"]["high"], tested["measured"]) == (0.5, 1.8, 1.85)
    never = found["outlook"]["asked"][-1]
    assert never["forecast"]["verdict"] == "unreachable"
    assert never["forecast"]["median"] is None
    assert never["more"] is None


def test_the_page_asks_no_other_address_and_says_the_numbers(report):
    page = Page(render(report(), ".html"))
    assert page.addresses == ["data:,"]
    for said in (
        "±11 %",
        "400 kJ",
        "out of reach",
        "2.6 MJ",
        "1.7 (1.6 to 1.8)",
        "energy_uj is readable by root",
    ):
        assert said in page.text


def test_every_row_of_a_table_has_a_cell_under_each_heading(report):
    tags = Page(render(report(), ".html")).tags
    tables = " ".join(tags).split("table ")[1:]
    assert len(tables) >= 3
    for table in tables:
        head, *rows = table.split("tr ")[1:]
        assert {row.split().count("td") for row in rows} == {head.split().count("th")}


def test_nothing_breaks_out_of_the_page(report):
    quiet = Page(render(report(), ".html"))
    hostile = summary(
        name=HOSTILE,
        warnings=(HOSTILE,),
        metered=(Metered(domain=domain(HOSTILE, Provenance.COUNTER, HOSTILE), joules=1.0),),
    )
    page = Page(render(report(summary=hostile, outlook=outlook(notes=(HOSTILE,))), ".html"))
    assert page.tags.count("script") == quiet.tags.count("script")
    assert HOSTILE in page.text
    assert "alert(1)" not in "".join(page.tags)


def test_a_page_of_nothing(report):
    text = render(report(outlook=None, details=Details()), ".html")
    assert "the curve has 3. Train longer." in Page(text).text
    assert "nan" not in Page(text).text.split()


SECTIONS = """\
loss against energy
Where the energy went
Reliability of the forecast
Energy by device and activity
Anneal now?
Power over time
Energy per step
Learning rate
Processes
Sensors
Cost of the profiler itself
How each number was made
"""


def titles(page):
    return "".join(f"{unescape(title)}\n" for title in re.findall(r"<h2[^>]*>(.*?)</h2>", page))


def test_the_sections_from_top_to_bottom(report):
    assert titles(render(report(), ".html")) == SECTIONS


def test_warnings_come_first_among_the_folds_and_are_open(report):
    page = render(report(summary=summary(warnings=("a", "b"))), ".html")
    assert titles(page).splitlines()[2] == "2 warnings"
    assert '<details id="warnings-section" open>' in page


def test_what_a_run_does_not_have_leaves_no_empty_section(report):
    page = render(report(outlook=None, details=Details()), ".html")
    assert titles(page).splitlines() == ["Sensors", "How each number was made"]


@pytest.mark.parametrize(
    ("modelled", "mark"), [(490e3, "strong"), (300e3, "strong"), (90e3, "trust"), (10e3, "")]
)
def test_the_mark_at_the_top_follows_the_measured_share(report, modelled, mark):
    page = render(report(summary=summary(modelled_joules=modelled)), ".html")
    found = re.search(r'<p class="(trust[^"]*)"', page)
    assert (found is None) == (mark == "")
    assert found is None or mark in found.group(1)


def test_killed_failed_and_diverged_runs_look_different_from_success(report):
    measured = {"modelled_joules": 0.0}
    diverged = outlook(state=CurveState.DIVERGED, floor=None, targets=(), asked=(), ahead=None)
    bands = [
        re.search(r'class="band (\w+)"', render(known, ".html")).group(1)
        for known in (
            report(summary=summary(**measured)),
            report(summary=summary(status=Status.INTERRUPTED, **measured)),
            report(summary=summary(status=Status.FAILED, **measured)),
            report(summary=summary(**measured), outlook=diverged),
        )
    ]
    assert bands == ["good", "caution", "bad", "bad"]


PRICES = Prices(pue=1.5, grid_gco2e_per_kwh=380.0, grid_source="as given", price_per_kwh=0.25)


def test_carbon_and_money_are_said_where_they_are_known_and_how_to_give_them_where_not(report):
    known, unknown = (Page(render(report(prices=prices), ".html")).text for prices in (PRICES, None))
    for said in ("0.20 kWh", "78 gCO2e", "380 g/kWh, as given", "price 0.051", "PUE 1.5"):
        assert said in known
    assert "gCO2e" not in unknown
    assert "country=" in unknown
    assert "price_per_kwh=" in unknown


def test_the_formats_show_the_same_numbers(tmp_path):
    report = report_of(load_run(write_run(tmp_path / "run")), targets=[1.7])
    lines, page = render(report, ".txt"), Page(render(report, ".html")).text
    found = json.loads(render(report, ".json"))
    for row in (*report.outlook.targets[:3], *report.outlook.asked):
        cells = text.target(row, "min", report.summary.total_joules)
        line = next(line for line in lines.splitlines() if cells[0] in line and cells[1] in line)
        assert all(cell in line and cell in page for cell in cells)
    assert found["answer"]["cost"] in page
    assert "41 kJ (11 Wh) in 102 s; measured, ±6.2 %." in found["answer"]["cost"]
    assert found["answer"]["advice"] in page
    assert found["answer"]["advice"] in " ".join(line.strip() for line in lines.splitlines())


def test_the_step_before_a_divergence_is_exact(tmp_path):
    def loss(step):
        return 1.5 + 3.0 * step**-0.4 if step < 240 else float("nan")

    report = report_of(load_run(write_run(tmp_path / "run", steps=400, loss=loss)))
    assert report.outlook.diverged_step == 239
    for extension in RENDERERS:
        assert "DIVERGED after step 239" in render(report, extension)


def logged(path, names):
    """Add metrics to a run: each falls as the loss does."""
    rows = ["time_seconds,step,name,value,cumulative_joules"]
    for step in range(5, 401, 5):
        joules, seconds = 800 + 100 * step, 2 + step / 4
        rows += [f"{seconds:.6f},{step},{name},{1.0 / step**0.5:.6f},{joules:.6f}" for name in names]
    (path / "metrics.csv").write_text("\n".join(rows) + "\n")
    return path


LISTS = [extension for extension in RENDERERS if extension != ".svg"]
"""Formats that list everything; a figure shows one metric."""


@pytest.mark.slow
@pytest.mark.parametrize("extension", LISTS)
def test_every_renderer_names_every_metric_and_the_state(tmp_path, extension):
    names = ["val_error", "aux <b>", "lr_scale"]
    report = report_of(load_run(logged(write_run(tmp_path / "run"), names)))
    shown = render(report, extension)
    shown = Page(shown).text if extension == ".html" else shown
    assert report.metric == "val_error"
    shown = shown.replace("\\", "") if extension == ".md" else shown
    assert all(name in shown for name in (*names, "loss"))
    assert "improving" in shown or extension == ".txt"


def test_the_headline_is_the_validation_metric_in_every_number(tmp_path):
    run = load_run(logged(write_run(tmp_path / "run"), ["val_error"]))
    report = report_of(run, targets=[0.04])
    found = json.loads(render(report, ".json"))
    assert found["metric"] == found["outlook"]["metric"] == "val_error"
    assert found["outlook"]["asked"][0]["loss"] == 0.04
    assert found["metrics"][1]["name"] == "loss"
    assert found["metrics"][1]["outlook"]["asked"] == []
    assert "val_error" in answer_of(report).advice
    assert report_of(run, metric="loss").metric == "loss"


@pytest.mark.slow
@pytest.mark.parametrize("extension", LISTS)
def test_two_hundred_metrics_have_a_report(tmp_path, extension):
    names = [f"layer{k}/loss" for k in range(200)]
    report = report_of(load_run(logged(write_run(tmp_path / "run"), names)))
    shown = render(report, extension).replace("\\_", "_")
    assert all(name in shown for name in names) or ("196 more metrics" in shown and extension == ".txt")
    assert sum(known.outlook is not None for known in report.metrics) == 8


def test_where_the_script_of_the_figures_stands(report, tmp_path):
    inline, apart, cdn = (
        render(report(), ".html", plotlyjs=place) for place in ("inline", "directory", "cdn")
    )
    assert 1.2e6 < len(inline) < 1.5e6
    assert len(apart) < 1e5
    assert f'src="{figures.SCRIPT_NAME}"' in apart
    assert f'src="https://cdn.plot.ly/{figures.SCRIPT_NAME}" integrity="sha256-' in cdn
    with pytest.raises(UsageError, match="inline, cdn, directory"):
        render(report(), ".html", plotlyjs="floppy")


def test_the_script_is_written_beside_the_page_when_that_is_asked_for(report, tmp_path):
    write(report(), tmp_path / "a.html", plotlyjs="directory")
    write(report(), tmp_path / "b.json", plotlyjs="directory")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.json", figures.SCRIPT_NAME]
    assert (tmp_path / figures.SCRIPT_NAME).read_text() == figures.script()


@pytest.mark.parametrize("plotlyjs", PLOTLYJS)
def test_the_policy_allows_the_scripts_of_the_page_and_nothing_else(report, plotlyjs):
    page = render(report(), ".html", plotlyjs=plotlyjs)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    allowed = set(unescape(policy).split("script-src ")[1].split(";")[0].split())
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    }
    loaded = {"inline": set(), "directory": {"'self'", "file:"}, "cdn": {"https://cdn.plot.ly/"}}[plotlyjs]
    assert allowed == hashes | loaded
    assert len(hashes) == (2 if plotlyjs == "inline" else 1)


def test_an_unknown_extension_names_the_known(report):
    with pytest.raises(UsageError, match=r"\.txt, \.html, \.json, \.md, \.svg"):
        render(report(), ".pdf")


@pytest.mark.parametrize("extension", RENDERERS)
@pytest.mark.parametrize(
    "loss",
    [
        lambda step: None,
        lambda step: float("nan"),
        lambda step: float("-inf") if step % 2 else 1.0 / step,
        lambda step: -1.0,
        lambda step: 2.0,
        lambda step: 1.0 + step,
    ],
    ids=["none", "nan", "inf", "negative", "constant", "rising"],
)
def test_no_curve_however_strange_makes_a_report_fail_or_print_nan(tmp_path, loss, extension):
    run = load_run(write_run(tmp_path / "run", steps=60, loss=loss))
    text = render(report_of(run, targets=[1.0]), extension)
    said = Page(text).text if extension == ".html" else text
    assert "nan" not in said.lower().split()


@pytest.mark.parametrize("extension", RENDERERS)
def test_a_fall_over_many_decades_is_drawn_and_written(tmp_path, extension):
    """A fall over twelve decades to the resolution of the numbers, as of a regression without noise."""
    random = Random(0)

    def loss(step):
        return (6.0 * math.exp(-step / 4.0) + 2e-12 * (1.0 - step / 700.0)) * math.exp(random.gauss(0.0, 0.1))

    run = load_run(write_run(tmp_path / "run", steps=240, loss=loss))
    assert run.fit().floor.high < 2e-12
    assert render(report_of(run), extension)
    assert render_comparison(compare([run, load_run(write_run(tmp_path / "other", steps=240))]), ".html")


TINY = {
    "no domain": ("samples.csv", {"domains": [], "totals": None}),
    "no step": ("steps.csv", {"totals": None}),
    "no span": ("spans.csv", {"totals": None}),
    "nothing": (".csv", {"domains": [], "overhead": {}, "totals": None}),
}


@pytest.mark.parametrize("extension", RENDERERS)
@pytest.mark.parametrize("case", TINY)
def test_a_run_of_almost_nothing_has_a_report(tmp_path, case, extension):
    gone, meta = TINY[case]
    path = write_run(tmp_path / "run", steps=1, meta=meta)
    for file in path.glob(f"*{gone}"):
        file.unlink()
    text = render(report_of(load_run(path)), extension)
    assert "nan" not in (Page(text).text if extension == ".html" else text).lower().split()


@pytest.mark.slow
@pytest.mark.parametrize("extension", RENDERERS)
def test_ten_years_of_training_have_a_report(tmp_path, extension):
    path = write_run(tmp_path / "run", steps=400, meta={"totals": None})
    for table in ("steps.csv", "spans.csv", "samples.csv"):
        stretch_time(path / table, 3.1e6)
    report = report_of(load_run(path))
    assert report.summary.window_seconds == pytest.approx(10 * 3.1e7, rel=0.05)
    text = render(report, extension)
    assert "years" in text if extension != ".json" else json.loads(text)["step_seconds"] > 7e5
    assert "time since the start, years" in text or extension != ".html"


def stretch_time(path, factor):
    """Make everything last longer at the same energy."""
    head, *rows = path.read_text().splitlines()
    columns = head.split(",")
    longer = {columns.index(name) for name in columns if name.endswith("_seconds")}
    cells = [
        [f"{float(c) * factor:.6f}" if k in longer and c else c for k, c in enumerate(row.split(","))]
        for row in rows
    ]
    path.write_text("\n".join([head, *(",".join(row) for row in cells)]) + "\n")


@pytest.mark.slow
def test_the_model_reads_the_run_it_was_given(tmp_path):
    report = report_of(load_run(write_run(tmp_path / "run")), targets=[1.8])
    assert report.energy.median == 40_800.0
    assert report.watts == 400.0
    assert (report.step_joules, report.step_seconds) == (100.0, 0.25)
    assert report.training_watts == pytest.approx(400.0)
    assert [line.name for line in report.domains] == ["gpu:0", "cpu:package-0", "dram:package-0"]
    changes = [target.change for target in report.outlook.targets]
    assert changes == [0.01, 0.05, 0.10, 0.25]
    assert report.outlook.asked[0].loss == 1.8
    assert [one.watts[0] for one in report.details.power.domains] == pytest.approx([300.0, 80.0, 20.0])


def test_further_time_is_at_the_power_of_training_in_every_format(report):
    """An hour of setup at 10 W does not slow down the steps to come."""
    slow = summary(window_seconds=4800.0, training_joules=480_000.0, training_seconds=1200.0)
    told = report(summary=slow, outlook=outlook(asked=()))
    assert (round(told.watts), told.training_watts) == (102, 400.0)
    assert tables.targets(told.outlook, 490e3, told.training_watts).rows[1][4] == "17 min"
    assert json.loads(render(told, ".json"))["training_watts"] == 400.0


def test_targets_are_lower_and_dearer_down_the_table(tmp_path):
    targets = report_of(load_run(write_run(tmp_path / "run"))).outlook.targets
    losses = [target.loss for target in targets]
    joules = [target.forecast.median for target in targets]
    assert losses == sorted(losses, reverse=True)
    assert joules == sorted(joules)


def test_processes_are_listed_by_rank_and_a_thousand_are_not_all_listed(report):
    known = DETAILS.processes
    table = tables.processes(DETAILS)
    assert [row[0] for row in table.rows] == ["rank 0, attempt 1", "rank 1"]
    many = replace(DETAILS, processes=tuple(replace(known[0], rank=rank) for rank in range(1024)))
    assert len(tables.processes(many).rows) == 32
    assert "1024 processes, the first 32" in Page(render(report(details=many), ".html")).text


@pytest.mark.slow
def test_a_long_run_is_thinned_for_drawing(tmp_path):
    """As many rows as a run of a million steps has."""
    report = report_of(load_run(write_run(tmp_path / "run", steps=12_000)))
    drawn = figures.figures_of(report)
    points = {name: sum(len(trace["x"]) for trace in figure["data"]) for name, figure in drawn.items()}
    assert max(points.values()) < 6000
    assert len(render(report, ".html")) < 6e6
    assert len(render(report, ".json")) < 1e6


@pytest.mark.parametrize("extension", [".txt", ".html", ".md", ".json"])
def test_waste_is_in_every_format(report, extension):
    one = WasteLine(
        name="data_wait", joules=3e4, share=0.0612, low=2.9e4, high=3.1e4, remedy="up to 30.0 kJ less if so"
    )
    words = " ".join(render(report(waste=(one,)), extension).split())
    assert "6 % of the energy was spent waiting for data: up to 30.0 kJ less if so." in words
    assert "waiting for data" not in render(report(), extension)
