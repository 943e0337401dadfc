"""A real headless Chromium, found on the machine: nothing is downloaded."""

import os
import shutil

import pytest

NEEDED = "ENERGY_PROFILER_NEEDS_BROWSER"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


def _absent(what):
    if os.environ.get(NEEDED) == "1":
        pytest.fail(f"{what}, and {NEEDED}=1 asks for it")
    pytest.skip(f"{what}: pages are not looked at in a browser")


@pytest.fixture(scope="module")
def browser():
    """One browser a module; it ends with it, so that no event loop of its driver outlives the module."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        _absent("there is no Chromium on this machine (apt-get install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _absent("playwright is not installed (pip install playwright)")
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=_FLAGS)
        yield running
        running.close()


class Seen:
    """A page that is open, and what it asked for and complained of."""

    def __init__(self, page):
        self.page, self.requests, self.complaints = page, [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text))


@pytest.fixture
def opened(browser):
    """Opens an address in a window of its own."""
    contexts = []

    def open_page(address, *, width=1100, colours="light", before=None):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=colours)
        contexts.append(context)
        seen = Seen(context.new_page())
        if before is not None:
            before(seen.page)
        seen.page.goto(address)
        return seen

    yield open_page
    for context in contexts:
        context.close()
