"""JSON and the page say what the model says, and nothing that is put into them breaks out."""

import json
from html.parser import HTMLParser

import pytest
from scripted_reports import HOSTILE, domain, outlook, summary

from profiler import load_run
from profiler.errors import UsageError
from profiler.records import Metered, Provenance
from profiler.report import render, report_of
from profiler.report.details import Details
from profiler.testing.runs import write_run


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


def test_json_holds_every_number_and_no_infinity(report):
    found = json.loads(render(report(), ".json"))
    assert found["report_version"] == 1
    assert found["energy"]["median"] == 490_000.0
    assert found["outlook"]["floor"] == {"low": 1.0, "median": 1.2, "high": 1.31, "level": 0.9}
    tested = found["outlook"]["backtest"][1]
    assert (tested["share"], tested["forecast"]["high"], tested["measured"]) == (0.5, 1.8, 1.85)
    never = found["outlook"]["targets"][-1]
    assert never["forecast"]["verdict"] == "unreachable"
    assert never["forecast"]["median"] is None
    assert never["more"] is None


def test_the_page_asks_no_other_address_and_says_the_numbers(report):
    page = Page(render(report(), ".html"))
    assert page.addresses == ["data:,"]
    for said in (
        "± 11 %",
        "400 kJ",
        "no finite amount",
        "2.62 MJ",
        "1.700 [1.600, 1.800]",
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
    assert "There are 3 points. Train on." in Page(text).text
    assert "nan" not in Page(text).text.split()


def test_an_unknown_extension_names_the_known(report):
    with pytest.raises(UsageError, match=r"\.txt, \.html, \.json"):
        render(report(), ".pdf")


@pytest.mark.parametrize("extension", [".txt", ".html", ".json"])
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


def test_the_model_reads_the_run_it_was_given(tmp_path):
    report = report_of(load_run(write_run(tmp_path / "run")), targets=[1.8])
    assert report.energy.median == 40_800.0
    assert report.watts == 400.0
    assert report.step_joules == 100.0
    assert [line.name for line in report.domains] == ["gpu:0", "cpu:package-0", "dram:package-0"]
    ways = [target.way for target in report.outlook.targets]
    assert ways == [0.10, 0.25, 0.50, 0.75, 1.10]
    assert report.outlook.asked[0].loss == 1.8
    assert [one.watts[0] for one in report.details.power.domains] == pytest.approx([300.0, 80.0, 20.0])


def test_targets_are_lower_and_dearer_down_the_table(tmp_path):
    targets = report_of(load_run(write_run(tmp_path / "run"))).outlook.targets
    losses = [target.loss for target in targets]
    joules = [target.forecast.median for target in targets]
    assert losses == sorted(losses, reverse=True)
    assert joules == sorted(joules)
