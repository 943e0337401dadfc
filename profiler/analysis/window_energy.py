"""Energy between two moments of a recorded run, with its interval."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from profiler import uncertainty
from profiler.errors import UsageError
from profiler.records import Domain, Interval, Provenance
from profiler.storage.schema import TOTALS

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from profiler.storage.reader import StoredRun

    Floats = npt.NDArray[np.float64]

_TOLERANCE_SECONDS = 1e-6


def energy_of(run: "StoredRun", start: float, end: float) -> Interval:
    """Return the counted energy of a run from ``start`` to ``end``, in joules: see :func:`between`."""
    edges = row_edges(run.steps, run.spans)
    unseen = _unseen_variance(run, start, end)
    return between(run.samples_by_domain, run.domains, edges, start, end, unseen_variance=unseen)


def _unseen_variance(run: "StoredRun", start: float, end: float) -> float:
    """Return the variance of energy that no sample shows, as in gaps and after the last reading, in square joules.

    It is what the uncertainty of the total exceeds that of its samples by. A window has the share of the rows in it,
    which are uncertain where energy was estimated.
    """
    import numpy as np

    logs = _billed_logs(run.samples_by_domain, run.domains)
    ends = [float(times[-1]) for times, _ in logs.values()]
    known = sum(
        _variance(run.domains[name], *log, 0.0, last)
        for (name, log), last in zip(logs.items(), ends, strict=True)
    )
    edge_joules = (run.meta.get(TOTALS) or {}).get("edge_joules")
    unseen = (edge_joules or 0.0) ** 2 - known
    if not unseen > 0.0:
        return 0.0
    columns = ("start_seconds", "end_seconds", "uncertainty_joules")
    starts, stops, sigmas = np.concatenate(
        [table[list(columns)].to_numpy(dtype=float) for table in (run.steps, run.spans)]
    ).T
    variances = np.nan_to_num(sigmas) ** 2
    inside = variances[(starts < end) & (stops > start)].sum()
    return float(unseen * inside / variances.sum()) if inside else 0.0


def cumulative_joules(run: "StoredRun", moments: "Iterable[float]") -> list[float]:
    """Return the counted joules of a run up to each time, in seconds since its start."""
    logs, edges = _billed_logs(run.samples_by_domain, run.domains), row_edges(run.steps, run.spans)
    return [_cumulative(logs, edges, moment) for moment in moments]


def row_edges(steps: "pd.DataFrame", spans: "pd.DataFrame") -> "tuple[Floats, Floats]":
    """Return the ends of rows in seconds and the counted joules up to each, from 0 and in order of time."""
    import numpy as np

    both = [table[["end_seconds", "cumulative_joules"]].to_numpy(dtype=float) for table in (steps, spans)]
    rows = np.concatenate([np.zeros((1, 2)), *both])
    known = rows[~np.isnan(rows[:, 1])]
    ordered = known[np.lexsort((known[:, 1], known[:, 0]))]
    return ordered[:, 0], ordered[:, 1]


def between(
    samples: "Mapping[str, pd.DataFrame]",
    domains: Mapping[str, Domain],
    edges: "tuple[Floats, Floats]",
    start: float,
    end: float,
    *,
    unseen_variance: float = 0.0,
) -> Interval:
    """Return the counted energy from ``start`` to ``end``, in joules; times in seconds since the window's start.

    At the ends of rows it equals the sum of the rows; between them it follows the samples. The uncertainty combines, by
    the formulas of :mod:`profiler.uncertainty`, the error at each end, the variation that sampling misses in between,
    and the gain error of the whole run, in proportion to the energy.

    Args:
        samples: The samples of each domain.
        domains: Every domain by name.
        edges: Result of :func:`row_edges`.
        start: Start of the interval.
        end: End of the interval.
        unseen_variance: Variance of the energy that no sample shows, in square joules.

    Raises:
        UsageError: The end is before the start, or a time is outside the recording.
    """
    recorded = max((float(rows["time_seconds"].max()) for rows in samples.values()), default=0.0)
    if not -_TOLERANCE_SECONDS <= start <= end <= recorded + _TOLERANCE_SECONDS:
        raise UsageError(
            f"a window must lie between 0 and {recorded:.6f} s, start before end; got {start} to {end}."
        )
    logs = _billed_logs(samples, domains)
    by_domain = {name: _sampled(times, joules, end) - _sampled(times, joules, start)
                 for name, (times, joules) in logs.items()}  # fmt: skip
    total = _cumulative(logs, edges, end) - _cumulative(logs, edges, start)
    variance = sum(_variance(domains[name], *log, start, end) for name, log in logs.items()) + unseen_variance
    spread = uncertainty.Z_90 * math.sqrt(variance + gain_variance(domains, by_domain))
    return Interval(low=max(total - spread, 0.0), median=total, high=total + spread)


def _billed_logs(
    samples: "Mapping[str, pd.DataFrame]", domains: Mapping[str, Domain]
) -> "dict[str, tuple[Floats, Floats]]":
    return {
        name: (rows["time_seconds"].to_numpy(), rows["energy_joules"].to_numpy())
        for name, rows in samples.items()
        if name in domains and domains[name].billed
    }


def _sampled(times: "Floats", joules: "Floats", moment: float) -> float:
    import numpy as np

    return float(np.interp(moment, times, joules))


def _cumulative(
    logs: "Mapping[str, tuple[Floats, Floats]]", edges: "tuple[Floats, Floats]", moment: float
) -> float:
    """Return the counted joules up to a time; between the ends of two rows they follow the samples."""
    import numpy as np

    def shown(at: float) -> float:
        return sum(_sampled(times, joules, at) for times, joules in logs.values())

    ends, billed = edges
    after = int(np.searchsorted(ends, moment, side="right"))
    start, joules = float(ends[max(after - 1, 0)]), float(billed[max(after - 1, 0)])
    if after in (0, len(ends)):  # before the first row, or past the last one of an unfinished run
        return joules + shown(moment) - shown(start)
    end, gained = float(ends[after]), shown(float(ends[after])) - shown(start)
    # Rows may follow a learnt power profile, which the samples lack: the joules at both ends are those of the rows,
    # and the samples only divide what lies between.
    share = (shown(moment) - shown(start)) / gained if gained > 0 else (moment - start) / (end - start)
    return joules + share * (float(billed[after]) - joules)


def gain_variance(domains: Mapping[str, Domain], joules: Mapping[str, float]) -> float:
    """Return the variance of a total that the gain errors of a run cause, in square joules."""
    return uncertainty.gain_variance(
        (domains[name].provenance is Provenance.MODELLED, domains[name].gain_uncertainty * value)
        for name, value in joules.items()
    )


def _variance(domain: Domain, times: "Floats", energies: "Floats", start: float, end: float) -> float:
    """Return the variance of a domain's energy between two times without its gain error, in square joules."""
    edges = sum(_edge_variance(domain, times, energies, moment) for moment in (start, end))
    return edges + domain.drift_watts**2 * (end - start)


def _edge_variance(domain: Domain, times: "Floats", energies: "Floats", moment: float) -> float:
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
    return always + between * uncertainty.bridge_variance_share(place)
