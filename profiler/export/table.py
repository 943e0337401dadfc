"""Table of steps shared by the tabular formats."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from profiler.run import Run


def steps_of(run: "Run") -> "pd.DataFrame":
    """Return the rows of ``steps.csv`` with the run's name as first column, so that tables can be concatenated."""
    table = run.steps.copy()
    name = (
        str(run.meta.get("name", "")).encode(errors="replace").decode()
    )  # JSON allows lone surrogates, UTF-8 none
    table.insert(0, "run", name)
    return table
