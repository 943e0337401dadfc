"""Command line of the benchmarks that print a report and write it to a page of the documentation."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path


def main(script: str, description: str, sections: Callable[[Path], Iterator[str]]) -> int:
    """Print the report; with ``--write``, replace all that follows the mark of the script in a page.

    Args:
        script: Path of the script, which the mark names.
        description: Help text.
        sections: Yields the report, line by line, from the folder with the curves.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="folder with the curves")
    parser.add_argument("--write", type=Path, help="document whose results to replace")
    options = parser.parse_args()
    lines = []
    for line in sections(options.data):
        print(line, flush=True)
        lines.append(line)
    if options.write:
        mark = f"<!-- results: made by scripts/{Path(script).name} -->"
        head = options.write.read_text(encoding="utf-8").split(mark)[0]
        options.write.write_text(f"{head}{mark}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return 0
