"""Renew the picture of the report in docs/ and the summary in README.md from a run of the demo.

Usage: python scripts/renew_docs.py [RUN]

Without RUN, ``scripts/demo`` trains first, for about two minutes on an idle machine. Needs Chromium and playwright (the
``test`` extra).
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 1280, 1560
BLOCK = re.compile(r"(?<=^```\n)== .*?(?=^```$)", re.DOTALL | re.MULTILINE)


def demo() -> Path:
    """Run the demo and return its run directory."""
    done = subprocess.run([ROOT / "scripts" / "demo"], stdout=subprocess.PIPE, text=True, check=True)
    match = re.search(r"^Report: (.*)/report.html$", done.stdout, re.MULTILINE)
    if match is None:
        sys.exit(f"scripts/demo printed no report: {done.stdout}")
    return Path(match[1])


def report(run: Path, *arguments: str) -> str:
    """Run ``energy-profiler report`` beside the run, so that paths are those of a user."""
    command = [sys.executable, "-m", "profiler", "report", f"{run.parent.name}/{run.name}", *arguments]
    return subprocess.run(
        command, cwd=run.parent.parent, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def main() -> int:
    """Renew both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", nargs="?", type=Path)
    options = parser.parse_args()
    run = (options.run or demo()).resolve()
    page = run / "report.html"
    report(run, "-o", str(page), "--force")
    picture = ROOT / "docs" / "report.png"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        opened.goto(page.as_uri())
        opened.wait_for_timeout(2000)
        opened.screenshot(path=picture)
        browser.close()
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    if len(BLOCK.findall(text)) != 1:
        sys.exit("README.md must have one block that begins with ==")
    summary = report(run)
    readme.write_text(BLOCK.sub(lambda _: summary, text), encoding="utf-8")
    print(f"Renewed {picture} and {readme}; read both before you commit them.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
