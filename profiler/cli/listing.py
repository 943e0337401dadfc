"""List the runs below a directory, with their energy and the level of their main metric.

A condition of --where compares a column, config.KEY, metrics.NAME or work.UNIT with a value: steps>1000,
status=completed, config.lr<=0.1. Several conditions must all hold; runs without the value are excluded.
"""

import argparse
import csv
import io
import json
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler._compat import printable
from profiler.cli.common import add_prices, prices_of, write_stdout
from profiler.cli.runs import root_of, run_directories
from profiler.errors import ProfilerError, UsageError

if TYPE_CHECKING:
    from profiler.reporting.run_row import RunRow

EXAMPLE = """\
examples:
  energy-profiler list
  energy-profiler list energy_runs --sort joules --where status=completed --where config.lr=0.1
  energy-profiler list --format csv > runs.csv"""

_CONDITION = re.compile(r"([A-Za-z_][^=<>!]*?)\s*(!=|<=|>=|=|<|>)\s*(.*)", re.DOTALL)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_HEADS = ("name", "status", "age", "steps", "energy", "electricity", "level", "measured", "directory")
_RIGHT = {2, 3, 4, 5, 7}


@dataclass(frozen=True, slots=True)
class _Condition:
    key: str
    symbol: str
    text: str

    def holds(self, row: "RunRow") -> bool:
        found, wanted = row.get(self.key), _value(self.text)
        if found is None:
            return False
        compare = _OPERATORS[self.symbol]
        if isinstance(found, str) or isinstance(wanted, str):
            return compare(str(found), self.text)
        return compare(found, wanted)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "root",
        metavar="ROOT",
        nargs="?",
        help="directory of the runs; by default $ENERGY_PROFILER_RUNS, or else energy_runs",
    )
    parser.add_argument(
        "--sort",
        metavar="COLUMN",
        default="age_seconds",
        help="sort by a column, config.KEY, metrics.NAME or work.UNIT; --sort=-COLUMN reverses the order",
    )
    parser.add_argument(
        "--where",
        metavar="CONDITION",
        action="append",
        default=[],
        help="list matching runs only; may be repeated",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON")
    output.add_argument("--format", choices=("text", "csv"), default="text", help="text, the default, or csv")
    add_prices(parser)


def run(options: argparse.Namespace) -> int:
    """Print the list."""
    root = root_of(options.root)
    if not root.is_dir():
        fault = "is not a directory" if root.exists() else "does not exist"
        raise UsageError(f"{root} {fault}; record a run first, or name the directory of the runs.")
    conditions = [_condition(text) for text in options.where]
    _check_key(options.sort.removeprefix("-"))
    rows = [_row(path, options) for path in run_directories(root)]
    rows = _sorted([row for row in rows if all(one.holds(row) for one in conditions)], options.sort)
    if options.json:
        write_stdout(json.dumps([_plain(row) for row in rows], indent=1) + "\n")
    else:
        write_stdout(_csv(rows) if options.format == "csv" else _text(rows, root))
    return 0


def _condition(text: str) -> _Condition:
    match = _CONDITION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--where needs a comparison such as steps>1000, not {text!r}.")
    condition = _Condition(*match.groups())
    _check_key(condition.key)
    return condition


def _check_key(key: str) -> None:
    from profiler.reporting.run_row import COLUMNS, GROUPS

    if key not in COLUMNS and key.partition(".")[0] not in GROUPS:
        known = ", ".join((*COLUMNS, "config.KEY", "metrics.NAME", "work.UNIT"))
        raise UsageError(f"there is no column {key!r}; choose from {known}.")


def _value(text: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, bool | int | float) else text


def _sorted(rows: "list[RunRow]", by: str) -> "list[RunRow]":
    """Sort rows; those without a value come last."""
    key, is_reversed = by.removeprefix("-"), by.startswith("-")
    known = [row for row in rows if row.get(key) is not None]
    unknown = [row for row in rows if row.get(key) is None]
    try:
        known.sort(key=lambda row: row.get(key), reverse=is_reversed)
    except TypeError:  # settings of different types
        known.sort(key=lambda row: str(row.get(key)), reverse=is_reversed)
    return known + unknown


def _row(path: Path, options: argparse.Namespace) -> "RunRow":
    from profiler.merging.load import load
    from profiler.reporting.run_row import damaged_row, row_of

    try:
        run = load(path, partial=False)
        return row_of(run, prices_of(options, run))
    except (ProfilerError, OSError) as error:
        return damaged_row(path, error)


def _plain(row: "RunRow") -> dict[str, Any]:
    from profiler.reporting.run_row import GROUPS

    return {**row.columns, **{group: row.groups.get(group, {}) for group in GROUPS}}


def _csv(rows: "Sequence[RunRow]") -> str:
    from profiler.export.steps_csv import escape_formula
    from profiler.reporting.run_row import COLUMNS, group_columns

    heads = [*COLUMNS, *group_columns(rows)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([escape_formula(head) for head in heads])
    for row in rows:
        cells = [row.get(head) for head in heads]
        writer.writerow(["" if c is None else escape_formula(c) if isinstance(c, str) else c for c in cells])
    return out.getvalue()


def _text(rows: "Sequence[RunRow]", root: Path) -> str:
    from profiler.reporting.run_row import cells_of

    if not rows:
        return f"no run below {printable(str(root))}\n"
    table = [_HEADS, *(cells_of(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEADS) - 1)]
    return "".join(f"{_aligned(row, widths)}\n" for row in table)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        row[column].rjust(width) if column in _RIGHT else row[column].ljust(width)
        for column, width in enumerate(widths)
    ]
    return "  ".join([*cells, row[-1]])
