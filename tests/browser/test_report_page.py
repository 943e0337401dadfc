"""The report's page in a real browser."""

import random

import pytest

from profiler import load_run
from profiler.reporting import figures, report_of, target_table, write
from tests.support.lively_runs import write as write_run
from tests.support.scripted_reports import make, outlook

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
    cards: Object.fromEntries([...document.querySelectorAll("[id^=more-][id$='-0']")].map((one) => [one.id.slice(5, -2),
      [one.textContent, document.getElementById(one.id.replace("more", "ends")).textContent]])),
    verdict: document.getElementById("verdict-0").textContent,
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
    drawn = "document.querySelectorAll('.figure .main-svg:first-child').length"
    assert seen.page.evaluate(drawn) == 2
    seen.page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    becomes(seen.page, drawn, len(figures.figures_of(report)).__eq__)


def test_every_position_of_the_slider_shows_its_row(opened, address, rows):
    places = list(range(len(rows["losses"])))
    found = opened(address).page.evaluate(READ, {"of": "slider-0", "event": "input", "values": places})
    assert found == [shown(rows, row) for row in places]
    assert {row["cards"]["Energy"][0] for row in found} >= {"out of reach"}


def test_a_typed_loss_selects_the_nearest_row(opened, address, rows, report):
    chance = random.Random(1)
    first, last = rows["losses"][0], rows["losses"][-1]
    losses = [round(chance.uniform(last, first), 6) for _ in range(300)] + [first + 1, last / 2, -1.0]
    values = {"of": "exact-0", "event": "change", "values": [repr(loss) for loss in losses]}
    nearest = [
        min(range(len(rows["losses"])), key=lambda row: abs(rows["losses"][row] - loss)) for loss in losses
    ]
    page = opened(address).page
    assert page.evaluate(READ, values) == [shown(rows, row) for row in nearest]
    assert page.input_value("#exact-0") == rows["names"][nearest[-1]]


def test_the_slider_moves_its_mark_in_the_figure(opened, address):
    page = opened(address).page
    mark = "document.getElementById('curve-0').data.at(-1).y[0]"
    before = page.evaluate(mark)
    page.focus("#slider-0")
    page.keyboard.press("ArrowRight")
    becomes(page, mark, lambda loss: loss < before)
    assert page.input_value("#exact-0") == page.get_attribute("#slider-0", "aria-valuetext").removeprefix(
        "loss "
    )


def test_what_is_typed_and_is_no_number_is_put_back(opened, address):
    page = opened(address).page
    before = page.input_value("#exact-0")
    page.fill("#exact-0", "soon")
    page.press("#exact-0", "Enter")
    assert page.input_value("#exact-0") == before


PAPER = "getComputedStyle(document.body).backgroundColor"
INK = "document.querySelector('#curve-0 .xtick text').style.fill"


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


def test_long_name_of_a_metric_wraps_on_a_phone(opened, tmp_path):
    name = "validation/" + 4 * "perplexity_of_the_held_out_part_"
    page = write(make(outlook=outlook(metric=name)), tmp_path / "report.html")
    assert opened(page.as_uri(), width=390).page.evaluate("document.documentElement.scrollWidth") == 390


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
    seen.page.evaluate("document.getElementById('power-section').open = true")
    becomes(seen.page, "document.querySelectorAll('#power .legendtext').length", lambda count: count > 0)
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
    assert seen.requests == [path.as_uri(), (tmp_path / figures.SCRIPT_NAME).as_uri()]
    assert seen.complaints == []
    assert seen.page.locator("#curve-0 .main-svg").count() > 0


def test_without_the_script_from_elsewhere_the_numbers_stand(opened, report, tmp_path):
    path = write(report, tmp_path / "report.html", plotlyjs="cdn")
    seen = opened(path.as_uri(), before=lambda page: page.route("https://**", lambda route: route.abort()))
    assert seen.requests == [path.as_uri(), f"https://cdn.plot.ly/{figures.SCRIPT_NAME}"]
    assert not [complaint for complaint in seen.complaints if "net::ERR" not in complaint]
    before = seen.page.text_content("#more-Energy-0")
    seen.page.focus("#slider-0")
    seen.page.keyboard.press("End")
    assert seen.page.text_content("#more-Energy-0") == "out of reach" != before


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


BOX = """(selector) => {
  const box = document.querySelector(selector).getBoundingClientRect();
  return { top: box.top, bottom: box.bottom, left: box.left, right: box.right, height: box.height };
}"""


def test_curve_and_slider_are_side_by_side_on_a_wide_screen_and_stacked_on_a_phone(opened, address):
    wide, phone = opened(address, width=1440).page, opened(address, width=390).page
    figure, prices = (wide.evaluate(BOX, selector) for selector in ("#curve-0", ".prices"))
    assert figure["right"] <= prices["left"]
    assert prices["top"] < figure["bottom"]
    figure, prices = (phone.evaluate(BOX, selector) for selector in ("#curve-0", ".prices"))
    assert figure["bottom"] <= prices["top"]


def test_the_page_of_a_phone_is_short_and_its_plot_high(opened, address):
    page = opened(address, width=390).page
    assert page.evaluate("document.documentElement.scrollHeight") <= 7 * 900
    assert page.locator("#curve-0 .nsewdrag").first.bounding_box()["height"] >= 220


def test_fewer_than_450_words_are_visible_before_a_fold_is_opened(opened, address):
    words = opened(address).page.evaluate("document.querySelector('main').innerText.split(/\\s+/).length")
    assert 50 < words < 450


OVERLAPS = """() => {
  const boxes = [...document.querySelectorAll("main figure, main p, main table, main dl, main summary, main ul")]
    .filter((one) => one.offsetParent !== null)
    .filter((one) => !one.parentElement.closest("figure, table, dl, ul, details:not([open])"))
    .map((one) => [one.id || one.className || one.tagName, one.getBoundingClientRect()])
    .filter(([, box]) => box.height > 0);
  const found = [];
  boxes.forEach(([name, a], k) => boxes.slice(k + 1).forEach(([other, b]) => {
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 1 && down > 1) found.push([name, other, down]);
  }));
  return found;
}"""


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_nothing_overlaps(opened, address, width):
    assert opened(address, width=width).page.evaluate(OVERLAPS) == []


def test_nothing_overlaps_on_paper(opened, address):
    """Figures keep the height that they are printed with, whatever it is on the screen."""
    page = opened(address, width=700).page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    becomes(
        page, "document.querySelectorAll('.figure .main-svg:first-child').length", lambda drawn: drawn >= 4
    )
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate("document.querySelector('#curve-0').getBoundingClientRect().height") == 300


def test_a_figure_can_be_saved_as_svg(opened, address):
    page = opened(address).page
    with page.expect_download() as saved:
        page.click("[data-save=svg][data-figure=curve-0]")
    assert saved.value.suggested_filename == "curve-0.svg"


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """The page of a run with three metrics."""
    folder = tmp_path_factory.mktemp("several")
    path = write_run(folder / "run", rows=600, rate=lambda _: 6e-4)
    rows = ["time_seconds,step,name,value,cumulative_joules"]
    for step in load_run(path).steps.iloc[4::10].itertuples():
        for name, value in (("val_error", 0.9 * step.step**-0.31), ("acc", 1 - 0.8 * step.step**-0.25)):
            rows.append(f"{step.end_seconds:.6f},{step.step},{name},{value:.6f},{step.cumulative_joules:.6f}")
    (path / "metrics.csv").write_text("\n".join(rows) + "\n")
    return write(report_of(load_run(path)), folder / "report.html").as_uri()


def test_each_metric_has_a_tab_that_the_keyboard_reaches(opened, several):
    seen = opened(several)
    page = seen.page
    tabs = page.locator("[role=tab]")
    assert tabs.all_inner_texts() == ["val_error", "loss", "acc"]
    shown = "[...document.querySelectorAll('.panel')].filter((one) => !one.hidden).map((one) => one.dataset.metric)"
    assert page.evaluate(shown) == ["val_error"]
    tabs.first.focus()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(shown) == ["acc"]
    becomes(page, "document.querySelectorAll('#curve-2 .main-svg').length", lambda drawn: drawn > 0)
    before = page.text_content("#more-Energy-2")
    page.focus("#slider-2")
    page.keyboard.press("End")
    assert page.text_content("#more-Energy-2") == "out of reach" != before
    assert page.get_attribute("#slider-2", "aria-valuetext").startswith("acc ")
    assert seen.complaints == []
