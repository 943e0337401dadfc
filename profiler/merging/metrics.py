"""Logged values of several ranks: their mean where several logged a name at the same step."""

from typing import TYPE_CHECKING

from profiler.storage.schema import METRICS

if TYPE_CHECKING:
    import pandas as pd


class Values:
    """The logged values of the ranks added so far."""

    def __init__(self) -> None:
        self._frames: list[pd.DataFrame] = []

    def add(self, metrics: "pd.DataFrame", start: float) -> None:
        """Add a rank whose window began at ``start``, in seconds of the merged window."""
        if len(metrics):
            moved = metrics.assign(time_seconds=metrics["time_seconds"] + start)
            self._frames.append(moved.assign(turn=moved.groupby(["name", "step"]).cumcount()))

    def table(self, steps: "pd.DataFrame", spans: "pd.DataFrame") -> "pd.DataFrame":
        """Return the merged values, each at the joules of all ranks at its time."""
        import numpy as np
        import pandas as pd

        if not self._frames:
            return pd.DataFrame({name: [] for name in METRICS.columns})
        logged = pd.concat(self._frames, ignore_index=True)
        means = (
            logged.groupby(["name", "step", "turn"], sort=False)[["time_seconds", "value"]]
            .mean()
            .reset_index()
        )
        means = means.sort_values("time_seconds", kind="stable", ignore_index=True)
        rows = pd.concat([steps, spans])[["end_seconds", "cumulative_joules"]].dropna()
        rows = rows.sort_values(["end_seconds", "cumulative_joules"])
        moments, joules = np.append(0.0, rows["end_seconds"]), np.append(0.0, rows["cumulative_joules"])
        spent = np.interp(means["time_seconds"], moments, joules) if len(rows) else np.nan
        return means.assign(cumulative_joules=spent)[list(METRICS.columns)]
