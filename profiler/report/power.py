"""Power over time from the log of samples, thinned without losing energy: each piece is a difference of energies."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from profiler.report.model import Power

if TYPE_CHECKING:
    import pandas as pd

_PIECES = 600


def power_of(samples: "pd.DataFrame", domains: Sequence[str]) -> tuple[Power, ...]:
    """Return the mean power of each domain in at most 600 equal pieces of the window, in watts."""
    groups = {str(name): rows for name, rows in samples.groupby("domain", sort=False)}
    return tuple(_one(name, groups[name]) for name in domains if name in groups and len(groups[name]) > 1)


def _one(name: str, rows: "pd.DataFrame") -> Power:
    import numpy as np

    times, energies = rows["time_seconds"].to_numpy(), rows["energy_joules"].to_numpy()
    edges = np.linspace(times[0], times[-1], min(len(times), _PIECES + 1))
    watts = np.diff(np.interp(edges, times, energies)) / np.diff(edges)
    return Power(domain=name, seconds=tuple(map(float, edges)), watts=tuple(map(float, watts)))
