"""Steps as one CSV table, in which no text can be evaluated as a formula."""

from typing import TYPE_CHECKING

from profiler.export.table import steps_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from profiler.run import Run

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def export(runs: "Sequence[Run]") -> bytes:
    """Return the table of one run in UTF-8; an empty cell means not measured."""
    (run,) = runs
    table = steps_of(run)
    for name in table.columns:
        if table[name].dtype.kind not in "iufb":
            table[name] = [escape_formula(str(cell)) for cell in table[name]]
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text.encode()


def escape_formula(text: str) -> str:
    """Return text on one line, with an apostrophe in front where a spreadsheet would evaluate it."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return f"'{plain}" if text.startswith(_FORMULA) else plain
