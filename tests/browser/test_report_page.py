"""The report's page in a real browser."""

import random

import pytest

from profiler import load_run
from profiler.reporting import figures, report_of, target_table, write
from tests.support.lively_runs import write as write_run

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HOSTILE = (
    "</script><script>window.broken=1</script><img src=x onerror=window.broken=1>\"'&`${1}\n=cmd|'/C calc'!A0"
)
PRICES = {"pue": 1.2, "grid_gco2e_per_kwh": 56.0, "grid_source": "as given", "price_per_kwh": 0.21}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lively") / "run"
    return load_run(write_run(folder, rows=600, rate=lambda _: 6e-4, prices=PRICES))


@pytest.fixture(scope="module")
def report(run):
    return report_of(run)


@pytest.fixture(scope="module")
def address(report, tmp_path_factory):
    return write(report, tmp_path_factory.mktemp("page") / "report.html").as_uri()


@pytest.fixture(scope="module")
def rows(report):
    return target_table.slider(report.details.headline.target_table, report.outlook.targets)


def shown(rows, row):
    cells = zip(rows["labels"], rows["cells"][row], strict=True)
    return {"cards": {label: list(cell) for label, cell in cells}, "verdict": rows["sentences"][row]}


READ = """(step) => {
  const read = () => ({
    cards: Object.fromEntries([...document.querySelectorAll("[id^=more-]")].map((one) => [one.id.slice(5),
      [one.textContent, document.getElementById(one.id.replace("more", "ends")).textContent]])),
    verdict: document.getElementById("verdict").textContent,
  });
  const input = document.getElementById(step.of);
  return step.values.map((value) => {
    input.value = value;
    input.dispatchEvent(new Event(step.event));
    return read();
  });
}"""


def becomes(page, expression, holds, patience=200):
    """Figures are drawn anew a moment after they are told to; the page's policy lets playwright itself not wait."""
    while not holds(page.evaluate(expression)) and patience:
        page.wait_for_timeout(50)
        patience -= 1
    assert holds(page.evaluate(expression))


def test_it_asks_nobody_for_anything_and_does_not_complain(opened, address, report):
    seen = opened(address)
    assert seen.requests == [address]
    assert seen.complaints == []
    drawn = seen.page.eval_on_selector_all(".figure .main-svg:first-child", "all => all.length")
    assert drawn == len(figures.figures_of(report.outlook, report.details)) == 5


def test_every_position_of_the_slider_shows_its_row(opened, address, rows):
    places = list(range(len(rows["losses"])))
    found = opened(address).page.evaluate(READ, {"of": "slider", "event": "input", "values": places})
    assert found == [shown(rows, row) for row in places]
    assert {row["cards"]["Energy"][0] for row in found} >= {"out of reach"}


def test_a_typed_loss_selects_the_nearest_row(opened, address, rows, report):
    chance = random.Random(1)
    first, last = rows["losses"][0], rows["losses"][-1]
    losses = [round(chance.uniform(last, first), 6) for _ in range(300)] + [first + 1, last / 2, -1.0]
    values = {"of": "exact", "event": "change", "values": [repr(loss) for loss in losses]}
    nearest = [
        min(range(len(rows["losses"])), key=lambda row: abs(rows["losses"][row] - loss)) for loss in losses
    ]
    page = opened(address).page
    assert page.evaluate(READ, values) == [shown(rows, row) for row in nearest]
    assert page.input_value("#exact") == rows["names"][nearest[-1]]


def test_the_slider_moves_its_mark_in_the_figure(opened, address):
    page = opened(address).page
    mark = "document.getElementById('curve').data.at(-1).y[0]"
    before = page.evaluate(mark)
    page.focus("#slider")
    page.keyboard.press("ArrowRight")
    becomes(page, mark, lambda loss: loss < before)
    assert page.input_value("#exact") == page.get_attribute("#slider", "aria-valuetext").removeprefix("loss ")


def test_what_is_typed_and_is_no_number_is_put_back(opened, address):
    page = opened(address).page
    before = page.input_value("#exact")
    page.fill("#exact", "soon")
    page.press("#exact", "Enter")
    assert page.input_value("#exact") == before


PAPER = "getComputedStyle(document.body).backgroundColor"
INK = "document.querySelector('#curve .xtick text').style.fill"


def test_it_is_dark_for_those_who_like_it_dark_and_light_on_paper(opened, address):
    light, dark = opened(address).page, opened(address, colours="dark").page
    white, black, on_light, on_dark = (page.evaluate(what) for what in (PAPER, INK) for page in (light, dark))
    assert white == "rgb(255, 255, 255)" != black
    assert on_light != on_dark
    dark.evaluate("dispatchEvent(new Event('beforeprint'))")
    becomes(dark, PAPER, white.__eq__)
    becomes(dark, INK, on_light.__eq__)
    assert dark.evaluate("[...document.querySelectorAll('details')].every((one) => one.open)")
    dark.evaluate("dispatchEvent(new Event('afterprint'))")
    becomes(dark, INK, on_dark.__eq__)
    dark.emulate_media(color_scheme="light")
    becomes(dark, INK, on_light.__eq__)


@pytest.mark.parametrize("width", [390, 820])
def test_no_screen_has_to_scroll_sideways(opened, address, width):
    page = opened(address, width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") == width
    narrow = page.evaluate(
        "Math.max(...[...document.querySelectorAll('.main-svg')].map((one) => one.clientWidth))"
    )
    assert narrow <= width


def test_names_are_shown_and_not_obeyed(opened, tmp_path):
    run = load_run(write_run(
        tmp_path / "run", rows=60, rate=lambda _: 6e-4, name=HOSTILE, warnings=[HOSTILE],
        called=lambda name: name.replace("gpu:0", "<b onclick=x>=1+1</b>"),
        refusals=[{"source": HOSTILE, "reason": HOSTILE, "remedy": HOSTILE}],
    ))  # fmt: skip
    seen = opened(write(report_of(run), tmp_path / "report.html").as_uri())
    assert seen.page.evaluate("window.broken") is None
    assert seen.page.evaluate("document.querySelector('h1').textContent") == HOSTILE
    assert seen.page.evaluate("document.querySelector('#warnings li').textContent") == HOSTILE
    assert seen.page.evaluate("document.querySelectorAll('img, b, script[src]').length") == 0
    legend = seen.page.eval_on_selector_all("#power .legendtext", "all => all.map((one) => one.textContent)")
    assert "<b onclick=x>=1+1</b>" in legend
    assert seen.complaints == []


def test_the_script_may_stand_beside_the_page(opened, report, tmp_path):
    path = write(report, tmp_path / "report.html", plotlyjs="directory")
    assert path.stat().st_size < 1_000_000
    seen = opened(path.as_uri())
    assert seen.requests == [path.as_uri(), (tmp_path / figures.script_name()).as_uri()]
    assert seen.complaints == []
    assert seen.page.locator("#curve .main-svg").count() > 0


def test_without_the_script_from_elsewhere_the_numbers_stand(opened, report, tmp_path):
    path = write(report, tmp_path / "report.html", plotlyjs="cdn")
    seen = opened(path.as_uri(), before=lambda page: page.route("https://**", lambda route: route.abort()))
    assert seen.requests == [path.as_uri(), f"https://cdn.plot.ly/{figures.script_name()}"]
    assert not [complaint for complaint in seen.complaints if "net::ERR" not in complaint]
    before = seen.page.text_content("#more-Energy")
    seen.page.focus("#slider")
    seen.page.keyboard.press("End")
    assert seen.page.text_content("#more-Energy") == "out of reach" != before


@pytest.mark.parametrize("plotlyjs", ["inline", "cdn"])
def test_the_script_that_runs_is_the_one_that_was_meant(opened, report, tmp_path, plotlyjs):
    """The policy of the page forbids every other script, wherever it gets into the page."""
    path = write(report, tmp_path / "report.html", plotlyjs=plotlyjs)
    page = path.read_text().replace(
        "<main>", "<main><script>window.broken=1</script><p onclick='broken=1'>x</p>"
    )
    path.write_text(page)
    seen = opened(path.as_uri(), before=lambda page: page.route("https://**", lambda route: route.abort()))
    assert seen.page.evaluate("window.broken") is None
    assert any("Content Security Policy" in complaint for complaint in seen.complaints)


@pytest.mark.parametrize("missing", [("steps", "spans", "samples"), ("samples",), ("steps",)], ids="-".join)
def test_a_run_of_almost_nothing_is_a_quiet_page(opened, run, tmp_path, missing):
    for file in run.path.iterdir():
        if file.stem not in missing:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    seen = opened(write(report_of(load_run(tmp_path, partial=True)), tmp_path / "report.html").as_uri())
    assert seen.complaints == []
    assert "NaN" not in seen.page.inner_text("body")
