"""One tidy CSV of steps. Text that a spreadsheet would take for a formula begins with an apostrophe."""

from typing import TYPE_CHECKING

from profiler.export.table import steps_of

if TYPE_CHECKING:
    from profiler.run import Run

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def export(run: "Run") -> bytes:
    """Write the table; UTF-8, an empty cell means not measured."""
    table = steps_of(run)
    for name in table.columns:
        if table[name].dtype.kind not in "iufb":
            table[name] = [neutralised(str(cell)) for cell in table[name]]
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text.encode()


def neutralised(text: str) -> str:
    """Text on one line that no spreadsheet computes."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return f"'{plain}" if text.startswith(_FORMULA) else plain
