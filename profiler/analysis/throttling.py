"""Share of a run in which accelerators ran at a reduced clock, by cause."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.records import Interval, kind_of
from profiler.storage.schema import TOTALS
from profiler.uncertainty import Z_90

if TYPE_CHECKING:
    import pandas as pd

    from profiler.storage.reader import StoredRun

_WORDS = {"power": ("power_cap", "power_brake"), "thermal": ("thermal",)}
"""Parts of throttle reasons by cause; the causes are those of NVML's violation counters."""
_FEWEST_READINGS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttling:
    """Time at a reduced clock of one device.

    Attributes:
        domain: The device.
        cause: ``power``, where a power limit reduced the clock, or ``thermal``.
        share: Part of the time, with its interval; exact where the device counts it.
        is_counted: True if the device counts the time, False if it is estimated from one reading per second.
    """

    domain: str
    cause: str
    share: Interval
    is_counted: bool


def throttling_of(run: "StoredRun", window_seconds: float) -> tuple[Throttling, ...]:
    """Return the throttled share of each counted accelerator for each cause; empty where nothing is recorded."""
    found: list[Throttling] = []
    for entry in run.meta.get("domains", ()):
        name = str(entry["name"])
        if not entry.get("billed") or not kind_of(name).is_accelerator:
            continue
        counted = entry.get("throttled_seconds")
        # The entry of a run that was killed is from its start.
        if counted and run.meta.get(TOTALS) and window_seconds > 0:
            shares = {cause: min(seconds / window_seconds, 1.0) for cause, seconds in counted.items()}
            found += [
                Throttling(
                    domain=name,
                    cause=cause,
                    share=Interval(low=share, median=share, high=share),
                    is_counted=True,
                )
                for cause, share in shares.items()
            ]
        else:
            found += _from_samples(run.samples_by_domain.get(name), name)
    return tuple(found)


def _from_samples(samples: "pd.DataFrame | None", name: str) -> list[Throttling]:
    if samples is None or "throttle" not in samples:
        return []
    reasons = samples["throttle"].dropna()
    reasons = reasons[reasons != ""].astype(str)
    if len(reasons) < _FEWEST_READINGS:
        return []
    return [
        Throttling(
            domain=name, cause=cause, share=_share(reasons.str.contains("|".join(words))), is_counted=False
        )
        for cause, words in _WORDS.items()
    ]


def _share(is_throttled: "pd.Series[bool]") -> Interval:
    """Return the share of readings with Wilson's interval, for the number of readings that are independent.

    Readings of consecutive seconds resemble each other: with the correlation r of neighbours, n readings hold as much
    as n (1 - r) / (1 + r) independent ones.
    """
    values = is_throttled.to_numpy(dtype=float)
    mean = float(values.mean())
    centred = values - mean
    variance = float((centred**2).sum())
    correlation = float((centred[1:] * centred[:-1]).sum()) / variance if variance > 0 else 0.0
    correlation = min(max(correlation, 0.0), 1.0)
    independent = max(len(values) * (1 - correlation) / (1 + correlation), 1.0)
    z = Z_90**2 / independent
    middle = (mean + z / 2) / (1 + z)
    half = Z_90 * math.sqrt(mean * (1 - mean) / independent + z / (4 * independent)) / (1 + z)
    return Interval(low=max(middle - half, 0.0), median=mean, high=min(middle + half, 1.0))
