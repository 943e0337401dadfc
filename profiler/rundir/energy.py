"""Energy between two moments of a recorded run, with its interval."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from profiler import uncertainty
from profiler.errors import UsageError
from profiler.records import Domain, Interval, Provenance

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

_TOLERANCE_SECONDS = 1e-6


def between(samples: "pd.DataFrame", domains: Mapping[str, Domain], start: float, end: float) -> Interval:
    """Billed energy from ``start`` to ``end``, in joules; seconds since the window's start.

    The formulas are those of :mod:`profiler.uncertainty`: what each end may be off by, what sensors that look only at
    times miss in between, and what is common to the whole run, in proportion to the energy.

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
            joules, edges = _one(domain, rows, start, end)
            by_domain[domain.name] = joules
            total, variance = total + joules, variance + edges
    spread = uncertainty.Z_90 * math.sqrt(variance + gain_variance(domains, by_domain))
    return Interval(low=max(total - spread, 0.0), median=total, high=total + spread)


def gain_variance(domains: Mapping[str, Domain], joules: Mapping[str, float]) -> float:
    """Variance, in square joules, of a total from what is common to a whole run."""
    return uncertainty.gain_variance(
        (domains[name].provenance is Provenance.MODELLED, domains[name].gain_uncertainty * value)
        for name, value in joules.items()
    )


def _one(domain: Domain, rows: "pd.DataFrame", start: float, end: float) -> tuple[float, float]:
    import numpy as np

    times, energies = rows["time_seconds"].to_numpy(), rows["energy_joules"].to_numpy()
    at_start, at_end = np.interp([start, end], times, energies)
    variance = sum(_edge_variance(domain, times, energies, moment) for moment in (start, end))
    return float(at_end - at_start), float(variance) + domain.drift_watts**2 * (end - start)


def _edge_variance(
    domain: Domain, times: "npt.NDArray[np.float64]", energies: "npt.NDArray[np.float64]", moment: float
) -> float:
    import numpy as np

    if len(times) < 2:  # noqa: PLR2004 - power takes two points
        return 0.0
    after = int(np.clip(np.searchsorted(times, moment), 1, len(times) - 1))
    near = slice(max(after - 2, 0), after + 2)
    power = np.diff(energies[near]) / np.diff(times[near])
    seconds = float(times[after] - times[after - 1])
    place = float(np.clip((moment - times[after - 1]) / seconds, 0.0, 1.0))
    always, between = uncertainty.edge_variance(
        seconds, power.tolist(), domain.edge_watts, domain.blur_seconds
    )
    return always + between * uncertainty.bridge(place)
