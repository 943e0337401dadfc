"""The live page in a real browser, beside a run that goes on."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from profiler.cli.watch_snapshot import Latest
from profiler.cli.watch_web import Server
from profiler.reporting.live_report import Watch
from tests.support.growing_run import GrowingRun

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HOSTILE = "</script><script>window.broken=1</script><img src=x onerror=window.broken=1>\"'&`${1}"
TRAIN = """
import time
from pathlib import Path
from profiler import EnergyProfiler
from profiler.records import Domain, Provenance
from profiler.testing.replay import ReplaySensor, ScriptedMeter, Waveform

domain = Domain(name="cpu:package-0", source="scripted", provenance=Provenance.COUNTER)
meter = ScriptedMeter(domain=domain, waveform=Waveform.constant(120.0))
sensor = ReplaySensor([meter])
with EnergyProfiler(name="in the browser", run_dir="run", sensors=[sensor]) as prof:
    print("training", flush=True)
    while not Path("enough").exists():
        prof.step(loss=1.0)
        time.sleep(0.01)
"""


class Served:
    """The page of a run directory, served until the test ends."""

    def __init__(self, path):
        self._server = Server(Latest(Watch(path, charted=True), 0.2), 0)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = self._server.url

    def close(self):
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


@pytest.fixture
def serve():
    served = []

    def start(path):
        served.append(Served(path))
        return served[-1]

    yield start
    for one in served:
        one.close()


@pytest.fixture
def growing(tmp_path):
    run = GrowingRun(tmp_path / "grown", steps=400, meta={"name": HOSTILE, "warnings": [HOSTILE]})
    run.grow(300)
    return run


STEPS = """() => {
  for (const card of document.querySelectorAll('#cards > div')) {
    const [label, value] = card.children;
    if (label.textContent === 'Steps') return Number(value.textContent.replace(/,/g, ''));
  }
  return -1;
}"""


COLOURS = """() => [document.body, document.querySelector('#power .ytick text')].map((one) => {
  const style = getComputedStyle(one);
  return one === document.body ? style.backgroundColor : style.fill;
})"""


def wait_for(seen, condition):
    seen.page.wait_for_function(condition, timeout=60_000)


def test_the_page_follows_a_run_to_its_end(opened, serve, tmp_path):
    training = subprocess.Popen(
        [sys.executable, "-c", TRAIN], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert training.stdout.readline() == "training\n"
    served = serve(tmp_path / "run")
    seen = opened(served.url)
    wait_for(seen, f"() => ({STEPS})() > 0")
    first = seen.page.evaluate(STEPS)
    wait_for(seen, f"() => ({STEPS})() > {first}")
    assert seen.page.title() == "in the browser - running"
    assert seen.page.locator("#lamp").get_attribute("class") == "running"
    assert "120 W" in seen.page.locator("#cards > div").first.inner_text()
    Path("enough").touch()
    wait_for(seen, "() => document.getElementById('lamp').className === 'completed'")
    assert training.wait(60) == 0
    training.stdout.close()
    assert seen.page.locator("#status").inner_text().startswith("Completed after ")
    assert seen.complaints == []
    asked = {url.removeprefix(served.url) for url in seen.requests if not url.startswith("data:")}
    assert asked == {"", "page.css", "watch.css", "plotly.js", "figures.js", "watch.js", "snapshot.json"}


def test_the_page_shows_everything_to_everybody(opened, serve, growing):
    """Figures and targets; a hostile name that stays text; a phone without sideways scroll; light and dark."""
    seen = opened(serve(growing.path).url, width=390)
    page = seen.page
    wait_for(seen, "() => document.querySelectorAll('#power .plotly, #curve .plotly').length >= 2")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("[...document.querySelectorAll('th')].every((one) => one.scope === 'col')")
    assert page.get_attribute("#curve", "role") == "img"
    assert page.locator("#targets tbody tr").count() == 4
    assert page.locator("h1").inner_text() == HOSTILE
    assert page.locator("#warnings li").inner_text() == HOSTILE
    assert page.evaluate("window.broken") is None
    assert page.locator("img").count() == 0
    light = page.evaluate(COLOURS)
    page.emulate_media(color_scheme="dark")
    wait_for(seen, f"() => ({COLOURS})()[1] !== {light[1]!r}")
    assert light[0] == "rgb(255, 255, 255)"
    assert page.evaluate(COLOURS)[0] != light[0]
    assert seen.complaints == []


def test_the_page_says_what_goes_wrong_and_keeps_what_it_knew(opened, serve, growing):
    served = serve(growing.path)
    seen = opened(served.url)
    problem = "() => document.getElementById('problem').textContent.includes"
    wait_for(seen, "() => document.querySelector('#targets tr')")
    with (growing.path / "steps.csv").open("a") as file:
        file.write("nonsense\n")
    wait_for(seen, f"{problem}('steps.csv, line')")
    served.close()
    wait_for(seen, f"{problem}('has ended')")
    assert seen.page.locator("#problem").is_visible()
    assert seen.page.locator("#targets tbody tr").count() == 4
