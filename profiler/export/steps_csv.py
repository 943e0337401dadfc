"""Steps as one CSV table, in which no text can be evaluated as a formula."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from profiler.run import Run

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def export(runs: "Sequence[Run]") -> bytes:
    """Return the table of one run in UTF-8; an empty cell means not measured."""
    (run,) = runs
    table = steps_of(run)
    for name in table.columns:
        if table[name].dtype.kind not in "iufb":
            table[name] = table[name].map({cell: escape_formula(str(cell)) for cell in table[name].unique()})
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text.encode()


def steps_of(run: "Run") -> "pd.DataFrame":
    """Return the rows of ``steps.csv`` with the run's name as first column, so that tables can be concatenated."""
    table = run.steps.copy()
    # JSON allows lone surrogates, UTF-8 none.
    table.insert(0, "run", str(run.meta.get("name", "")).encode(errors="replace").decode())
    return table


def escape_formula(text: str) -> str:
    """Return text on one line, with an apostrophe in front where a spreadsheet would evaluate it."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return f"'{plain}" if text.startswith(_FORMULA) else plain
