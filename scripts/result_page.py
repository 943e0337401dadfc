"""Command line of the benchmarks that print a report and write it to a page of the documentation."""

import argparse
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

Sections = Callable[[Path], Iterator[str]]
"""Yields a report, line by line, from the folder with the curves."""


def main(script: str, description: str, sections: Sections, also: Sections | None = None) -> int:
    """Print the report; with ``--write``, replace all that follows the mark of the script in a page.

    Args:
        script: Path of the script, which the mark names.
        description: Help text.
        sections: The report.
        also: The report on a second folder, which ``--also`` names.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=also is None, help="folder with the curves")
    if also is not None:
        parser.add_argument("--also", type=Path, help="folder with further curves, reported apart")
    parser.add_argument("--write", type=Path, help="document whose results to replace")
    options = parser.parse_args()
    lines = []
    parts = [sections(options.data)] if options.data else []
    if also is not None and options.also:
        parts.append(also(options.also))
    for line in itertools.chain(*parts):
        print(line, flush=True)
        lines.append(line)
    if options.write:
        mark = f"<!-- results: made by scripts/{Path(script).name} -->"
        head = options.write.read_text(encoding="utf-8").split(mark)[0]
        options.write.write_text(f"{head}{mark}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return 0
