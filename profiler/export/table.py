"""The table of steps that tabular formats share."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from profiler.run import Run


def steps_of(run: "Run") -> "pd.DataFrame":
    """Every row of ``steps.csv``, with the run's name in front, so that tables of several runs can be joined."""
    table = run.steps.copy()
    table.insert(0, "run", str(run.meta.get("name", "")))
    return table
