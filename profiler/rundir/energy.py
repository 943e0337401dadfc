"""Energy between two moments of a recorded run, with its interval."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from profiler.errors import UsageError
from profiler.records import Domain, Interval, Provenance

if TYPE_CHECKING:
    import pandas as pd

Z_90 = 1.6448536269514722
"""Standard deviations on either side that hold 90 % of a normal distribution."""

_EDGE_FACTOR = 0.2
_TOLERANCE_SECONDS = 1e-6


def between(samples: "pd.DataFrame", domains: Mapping[str, Domain], start: float, end: float) -> Interval:
    """Billed energy from ``start`` to ``end``, in joules; seconds since the window's start.

    The deviation of each end is 0.2 of (spacing of samples x spread of power around it); a domain's gain adds in
    proportion to its energy, and the gains of modelled domains, which share a model, add up.

    Raises:
        UsageError: The end lies before the start, or a moment outside what was recorded.
    """
    recorded = float(samples["time_seconds"].max()) if len(samples) else 0.0
    if not -_TOLERANCE_SECONDS <= start <= end <= recorded + _TOLERANCE_SECONDS:
        raise UsageError(
            f"a window must lie between 0 and {recorded:.6f} s, start before end; got {start} to {end}."
        )
    total, variance = 0.0, 0.0
    by_domain: dict[str, float] = {}
    for name, rows in samples.groupby("domain", sort=False):
        domain = domains.get(str(name))
        if domain is not None and domain.billed:
            joules, edges = _one(rows, start, end)
            by_domain[domain.name] = joules
            total, variance = total + joules, variance + edges
    spread = Z_90 * math.sqrt(variance + gain_variance(domains, by_domain))
    return Interval(low=max(total - spread, 0.0), median=total, high=total + spread)


def gain_variance(domains: Mapping[str, Domain], joules: Mapping[str, float]) -> float:
    """Variance, in square joules, of a total from the gains common to a whole run.

    Boards err independently of each other; modelled domains share their model, so their errors add up.
    """
    shares = {name: domains[name].gain_uncertainty * value for name, value in joules.items()}
    modelled = sum(share for name, share in shares.items() if domains[name].provenance is Provenance.MODELLED)
    measured = (
        share for name, share in shares.items() if domains[name].provenance is not Provenance.MODELLED
    )
    return modelled**2 + sum(share**2 for share in measured)


def _one(rows: "pd.DataFrame", start: float, end: float) -> tuple[float, float]:
    import numpy as np

    times, energies = rows["time_seconds"].to_numpy(), rows["energy_joules"].to_numpy()
    at_start, at_end = np.interp([start, end], times, energies)
    variance = sum(
        _edge_variance(times, energies, moment) for moment in (start, end) if 0 < moment < times[-1]
    )
    return float(at_end - at_start), float(variance)


def _edge_variance(times: "object", energies: "object", moment: float) -> float:
    import numpy as np

    t, e = np.asarray(times), np.asarray(energies)
    after = int(np.clip(np.searchsorted(t, moment), 1, len(t) - 1))
    near = slice(max(after - 2, 0), after + 2)
    power = np.diff(e[near]) / np.diff(t[near])
    return float((_EDGE_FACTOR * (t[after] - t[after - 1]) * power.std()) ** 2)
