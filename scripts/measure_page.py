"""Measure a report page as a reader meets it: words, numbers, intervals and screens before a fold is opened.

Usage: python scripts/measure_page.py PAGE... [--axe axe.min.js]

Needs Chromium and playwright (the ``test`` extra). With ``--axe``, the rules of axe-core for accessibility run on the
page, in both colour schemes and sizes; the file is ``axe.min.js`` of the npm package ``axe-core``. The exit code is 1
if there is a violation.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

SCREENS = {"desktop": (1440, 900), "phone": (390, 844)}
TEXT = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (element.closest("script, style, svg, noscript, datalist") || !element.checkVisibility()) continue;
    found.push(walker.currentNode.textContent);
  }
  return found.join(" ");
}"""
PLOT = """() => {
  const plot = document.querySelector(".figure .nsewdrag");
  const box = plot && plot.getBoundingClientRect();
  return box && [Math.round(box.width), Math.round(box.height)];
}"""
NUMBER = r"\d[\d.,]*(?:e[+-]?\d+)?"
INTERVAL = rf"\[[^\[\]]*\d[^\[\]]*\]|{NUMBER} ?\S{{0,6}} to {NUMBER}|at least {NUMBER}|± ?(?:< )?{NUMBER}"


def counts(text: str) -> dict[str, int]:
    """Count words, numbers and intervals of a text; a number is no word."""
    return {
        "words": len(re.findall(r"\b[^\W\d_]{2,}[\w'-]*", text)),
        "numbers": len(re.findall(NUMBER, text)),
        "intervals": len(re.findall(INTERVAL, text)),
    }


def measure(page: Page, address: str) -> dict[str, Any]:
    """Measure a page at both sizes."""
    found: dict[str, Any] = {}
    for name, (width, height) in SCREENS.items():
        page.set_viewport_size({"width": width, "height": height})
        page.goto(address)
        page.wait_for_timeout(1500)
        if not found:
            found |= counts(page.evaluate(TEXT))
        found[f"{name} screens"] = round(page.evaluate("document.documentElement.scrollHeight") / height, 1)
        found[f"{name} plot"] = page.evaluate(PLOT)
    return found


def violations(page: Page, address: str, axe: str) -> list[str]:
    """Run axe-core in both colour schemes and sizes, with every fold open."""
    found = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for name, (width, height) in SCREENS.items():
            page.set_viewport_size({"width": width, "height": height})
            page.goto(address)
            page.wait_for_timeout(1500)
            page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
            page.wait_for_timeout(500)
            # The policy of the page admits no further script element; a script of the debugger is not subject to it.
            page.evaluate(axe)
            result = page.evaluate("axe.run()")
            found += [f"{scheme}, {name}: {one['id']} ({len(one['nodes'])})" for one in result["violations"]]
    return found


def main() -> int:
    """Measure the pages and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", metavar="PAGE", nargs="+", type=Path)
    parser.add_argument("--axe", metavar="FILE", type=Path)
    options = parser.parse_args()
    failed = False
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        for path in options.pages:
            address = path.resolve().as_uri()
            shown = ", ".join(f"{name} {value}" for name, value in measure(page, address).items())
            print(f"{path}: {shown}, {path.stat().st_size / 1e6:.2f} MB")
            if options.axe:
                found = violations(page, address, options.axe.read_text(encoding="utf-8"))
                print("  axe: " + ("; ".join(found) or "no violation"))
                failed = failed or bool(found)
        browser.close()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
